// Values over time: with the previous period, an unfinished last bucket, peak and mean.

import { Chart, px, svg, widthOf } from './draw.js';
import { roundTimes, spreadApart, ticksTo } from './maths.js';
import { axisText, bucketText, fill, formatOf, partsOf } from './text.js';

const LEVEL_PX = 14; // The least distance of two levels' labels.
const DENSE_PX = 3; // Between points, for a thinner line.
const TIME_LABEL_PX = 84; // The least room of a label below the axis.

class TimeLine extends Chart {
  get heightDefault() {
    return 220;
  }

  isEmpty() {
    return !this.data.points.some(({ value }) => value !== null && value !== undefined);
  }

  #name(index) {
    const { start } = this.data.points[index];
    return bucketText(new Date(start), this.options);
  }

  // Where nothing was recorded there is no line. A share is known to be 0.
  get #previous() {
    const { previous = [] } = this.data;
    return previous.some(({ value }) => value || (value === 0 && this.options.unit === 'share')) ? previous : [];
  }

  // Its date. Without one, or with that of the point itself, what it is.
  #nameBefore({ start }, index) {
    const name = start && bucketText(new Date(start), this.options);
    return name && name !== this.#name(index) ? name : (this.options.previousName ?? this.words.before);
  }

  #levels() {
    const { peak, mean } = this.options;
    const values = this.data.points.map(({ value }) => value).filter((value) => value != null);
    const levels = [];
    // The caller may know them better: the points may be maxima.
    if (peak) levels.push([peak === true ? Math.max(...values) : peak, this.words.peak]);
    if (mean) levels.push([mean === true ? values.reduce((sum, it) => sum + it, 0) / values.length : mean, this.words.mean]);
    return levels;
  }

  paint() {
    const { points, isPartial } = this.data;
    const previous = this.#previous;
    const { unit } = this.options;
    const format = formatOf(this.options);
    const levels = this.#levels().map(([value, name]) => ({ value, text: `${name} ${format(value)}` }));
    const all = [...points, ...previous, ...levels].map(({ value }) => value ?? 0);
    const right = Math.max(6, ...levels.map(({ text }) => widthOf(text, this.root) + 10));
    this.paintScale(ticksTo(Math.max(...all), { unit }), { right });
    const [from, to] = [this.left + 2, this.right - (levels.length ? 6 : 0)];
    const x = (index) => (points.length === 1 ? (from + to) / 2 : from + (index / (points.length - 1)) * (to - from));
    this.#paintLevels(levels);
    if (previous.length) this.drawing.append(svg('path', { class: 'mc-before', d: this.#path(previous.slice(0, points.length), x) }));
    const whole = isPartial && points.length > 1 ? points.slice(0, -1) : points;
    this.drawing.append(svg('path', { class: 'mc-area', d: this.#area(whole, x) }));
    this.drawing.append(svg('path', { class: 'mc-line', d: this.#path(whole, x) }));
    this.#paintEnd(points, isPartial, x);
    this.#paintTimes(points, x);
    if (this.data.previous?.length) {
      const before = previous.length ? ['mc-before', this.options.previousName ?? this.words.before] : [null, this.words.noBefore];
      this.paintLegend([['mc-line', this.options.name ?? ''], before]);
    }
    this.plot.classList.toggle('mc-dense', to - from < points.length * DENSE_PX);
    this.plot.classList.toggle('is-pick', Boolean(this.options.onPick));
    this.stops = points.map((point, index) => this.#stop(point, previous[index], index, x(index)));
  }

  #paintLevels(levels) {
    const ys = spreadApart(levels.map(({ value }) => this.y(value) + 4), LEVEL_PX, 12, this.base);
    levels.forEach(({ value, text }, index) => {
      this.drawing.append(svg('path', { class: 'mc-level', d: `M${this.left} ${this.y(value)}H${this.right}` }));
      this.drawing.append(this.text(this.right + 6, ys[index], text));
    });
  }

  #paintEnd(points, isPartial, x) {
    const last = points.length - 1;
    const { value } = points[last];
    if (value == null) return;
    const before = points[last - 1]?.value;
    if (isPartial && before != null) {
      const d = `M${px(x(last - 1))} ${this.y(before)}L${px(x(last))} ${this.y(value)}`;
      this.drawing.append(svg('path', { class: 'mc-partial', d }));
    }
    const kind = isPartial ? 'mc-ring' : 'mc-dot';
    if (isPartial || points.length === 1) this.drawing.append(svg('circle', { class: kind, cx: px(x(last)), cy: this.y(value), r: 3.5 }));
  }

  #paintTimes(points, x) {
    const { bucket, timezone } = this.options;
    const parts = points.map(({ start }) => partsOf(new Date(start), timezone));
    const label = (index) => ({ at: x(index), text: axisText(new Date(points[index].start), parts[index], this.options) });
    const most = Math.max(2, this.width / TIME_LABEL_PX);
    const sets = roundTimes(parts, bucket).filter((set) => set.length <= most);
    this.paintAxis(sets.map((set) => set.map(label)));
  }

  #path(points, x) {
    let isDown = false;
    return points.map(({ value }, index) => {
      const isFirst = !isDown;
      isDown = value != null;
      return isDown ? `${isFirst ? 'M' : 'L'}${px(x(index))} ${this.y(value)}` : '';
    }).join('');
  }

  #area(points, x) {
    const runs = [[]];
    points.forEach(({ value }, index) => {
      if (value == null) runs.push([]);
      else runs.at(-1).push(`${px(x(index))} ${this.y(value)}`);
      if (value != null) runs.at(-1).ends = [runs.at(-1).ends?.[0] ?? px(x(index)), px(x(index))];
    });
    const isWide = (run) => run.length > 1;
    return runs.filter(isWide).map((run) => `M${run.ends[0]} ${this.base}L${run.join('L')}V${this.base}Z`).join('');
  }

  #stop({ value }, before, index, x) {
    const format = (it) => (it == null ? '–' : formatOf(this.options)(it));
    const isOpen = this.data.isPartial && index === this.data.points.length - 1;
    const parts = [`${this.#name(index)}: ${format(value)}${isOpen ? ` ${this.words.soFar}` : ''}`];
    if (before) parts.push(`${this.#nameBefore(before, index)}: ${format(before.value)}`);
    const dots = value == null ? [] : [[this.y(value), '']];
    return { x, text: parts.join(' · '), dots };
  }

  chosen(index) {
    this.options.onPick?.(this.data.points[index], index);
  }

  cursorName() {
    return fill(this.words.cursor, { name: this.options.name });
  }

  sentence() {
    if (this.isEmpty()) return this.options.empty ?? this.words.empty;
    const { points } = this.data;
    const previous = this.#previous;
    const { name, unit = 'count', peak, mean, previousName = this.words.before } = this.options;
    const format = formatOf(this.options);
    const values = points.map(({ value }) => value).filter((value) => value != null);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const sum = (list) => format(list.reduce((total, { value }) => total + (value ?? 0), 0));
    const isSum = unit !== 'share' && !peak && !mean && this.options.isSum !== false;
    const when = this.#name(points.findIndex(({ value }) => value === most));
    const facts = { name, from: this.#name(0), to: this.#name(points.length - 1), sum: sum(points), least: format(least), most: format(most), when };
    const text = fill(isSum ? this.words.lineSum : this.words.lineRange, facts);
    const before = !previous.length ? this.data.previous?.length && this.words.noBefore : isSum && `${previousName}: ${sum(previous)}`;
    return before ? `${text}; ${before}` : text;
  }

  rows() {
    const { points } = this.data;
    const previous = this.#previous;
    const format = (it) => (it == null ? '–' : formatOf(this.options)(it));
    const head = [this.words.from, this.options.name ?? ''];
    if (previous.length) head.push(this.options.previousName ?? this.words.before);
    const row = ({ value }, index) => [this.#name(index), format(value), ...(previous.length ? [format(previous[index]?.value)] : [])];
    return [head, ...points.map(row)];
  }
}

/** Values over time; see `Chart` for the handle. */
export const timeLine = (element, data, options) => new TimeLine(element, 'mc-time').start(data, options);
