// Where viewers of a video stay, replay, leave and skip.

import { BOTTOM, Chart, TOP, html, px, svg, widthOf } from './draw.js';
import { clamp, clockTicks, condense, momentsOf, spreadApart, ticksTo } from './maths.js';
import { clockText, fill, numberText } from './text.js';

const STEP_PX = 2; // Narrower steps are indistinguishable.
const FLOW_PX = 11; // The height of the rows of exits and skips.
const FLOW_GAP_PX = 3;
const MARK_PX = 8; // The radius of a moment's mark.
const CLOCK_LABEL_PX = 84; // The least room of a label below the axis.
const END_LABELS_PX = [40, 60, 80]; // The least distance of the last label and that of the length, to try in turn.
const FLOW_END = 0.97; // Exits at the end are those who saw all, and would dwarf the others.

/** What charts along a video share: its steps, clock and moments. */
class AlongVideo extends Chart {
  get steps() {
    return condense(this.data.steps, (this.width - (this.left ?? 0)) / STEP_PX);
  }

  get isSeeking() {
    return Boolean(this.options.onSeek);
  }

  isEmpty() {
    return this.data.sessions === 0 || this.data.steps.length === 0;
  }

  at(position) {
    return this.left + (clamp(position, 0, this.data.length) / this.data.length) * (this.right - this.left);
  }

  clock(position) {
    return this.data.isPercent ? this.share(position / 100) : clockText(position);
  }

  share(value) {
    return numberText(value, this.options.locale, { style: 'percent', maximumFractionDigits: 0 });
  }

  paintClock() {
    const { length, isPercent } = this.data;
    const room = Math.max(2, (this.right - this.left) / CLOCK_LABEL_PX);
    const positions = isPercent ? [0, 25, 50, 75, 100] : clockTicks(length, room);
    const label = (position) => ({ at: this.at(position), text: this.clock(position) });
    // The length is always among them; a position too close to it is not.
    const set = (room) => [...positions.filter((position) => this.at(position) + room < this.right), length].map(label);
    this.paintAxis([...END_LABELS_PX.map(set), [0, length].map(label)]);
  }

  chosen(index, event) {
    if (!this.isSeeking) return;
    const isPointer = event.clientX !== undefined && event.type !== 'keydown';
    const along = (event.clientX - this.plot.getBoundingClientRect().left - this.left) / (this.right - this.left);
    this.options.onSeek(isPointer ? clamp(along, 0, 1) * this.data.length : this.stops[index].position);
  }

  cursorName() {
    return this.words.retentionCursor;
  }

  /** Moves the playhead; null removes it. */
  moveTo(position) {
    this.position = position ?? null;
    if (!this.playhead) return;
    if (this.position === null) return this.playhead.replaceChildren();
    const x = px(this.at(this.position));
    const top = this.headTop ?? TOP;
    const line = svg('path', { class: 'mc-head', d: `M${x} ${top}V${this.base}` });
    this.playhead.replaceChildren(line, svg('circle', { class: 'mc-knob', cx: x, cy: top, r: 5 }));
  }

  paintHead() {
    this.playhead = this.drawing.appendChild(svg('g', { 'aria-hidden': true }));
    this.plot.classList.toggle('is-seek', this.isSeeking);
    this.moveTo(this.position);
  }

  startIndex() {
    const found = this.stops.findIndex((stop) => (this.position ?? 0) < stop.end);
    return found < 0 ? this.stops.length - 1 : found;
  }

  momentText({ kind, at }) {
    return fill(this.words[kind], { at: this.clock(at) });
  }
}

/** The retention curve. The methods with `other` are for a kind that compares it; see `compared.js`. */
export class Retention extends AlongVideo {
  get heightDefault() {
    return this.options.flow ? 250 : 220;
  }

  paint() {
    const { sessions } = this.data;
    const bottom = BOTTOM + (this.options.flow ? 2 * (FLOW_PX + FLOW_GAP_PX) : 0);
    const shares = [1, ...this.otherShares(), ...this.data.steps.flatMap((it) => [it.viewers / sessions, (it.views - it.viewers) / sessions])];
    this.paintScale(ticksTo(Math.max(...shares), { unit: 'share' }), { bottom, unit: 'share', right: 10 });
    const { steps } = this;
    this.#paintSeries(steps, 'viewers', (it) => it.viewers / sessions);
    const others = this.paintOther();
    const hasReplays = steps.some((it) => it.views > it.viewers);
    if (hasReplays) this.#paintSeries(steps, 'replays', (it) => (it.views - it.viewers) / sessions);
    if (this.options.flow) this.#paintFlow(steps);
    this.paintClock();
    this.#paintLegend(hasReplays, others);
    this.stops = steps.map((step) => this.#stop(step));
    this.moments = this.options.moments ? momentsOf(this.data) : [];
    this.#paintMoments();
    this.paintHead();
    this.options.onLayout?.({ left: this.left, right: this.width - this.right });
  }

  #paintSeries(steps, kind, value) {
    const tops = steps.map((it) => `V${this.y(value(it))}H${px(this.at(it.to))}`).join('');
    const start = `M${px(this.at(0))} `;
    this.drawing.append(svg('path', { class: `mc-area mc-${kind}`, d: `${start}${this.base}${tops}V${this.base}Z` }));
    this.drawing.append(svg('path', { class: `mc-line mc-${kind}`, d: `${start}${this.y(value(steps[0]))}${tops}` }));
  }

  otherShares() {
    return [];
  }

  /** Returns names for the legend. */
  paintOther() {
    return [];
  }

  /** Texts of the readout of a step. */
  otherTexts() {
    return [];
  }

  /** Cells of a row of the table; without a step, those of its head. */
  otherCells() {
    return [];
  }

  #paintFlow(steps) {
    ['exits', 'skips'].forEach((kind, row) => {
      const most = Math.max(1, ...steps.filter((it) => it.to < this.data.length * FLOW_END).map((it) => it[kind]));
      const top = this.base + FLOW_GAP_PX + row * (FLOW_PX + FLOW_GAP_PX);
      const bars = steps.map((it) => {
        const [x, end] = [this.at(it.from), this.at(it.to)];
        const height = Math.min(1, it[kind] / most) * FLOW_PX;
        return height < 0.5 ? '' : `M${px(x)} ${top}H${px(Math.max(x + 1, end - 0.5))}v${px(height)}H${px(x)}Z`;
      });
      this.drawing.append(svg('path', { class: `mc-bar mc-${kind}`, d: bars.join('') }));
    });
  }

  #paintLegend(hasReplays, others) {
    const { words } = this;
    const names = [['mc-line mc-viewers', words.viewers], ...others];
    if (hasReplays) names.push(['mc-line mc-replays', words.replays]);
    if (this.options.flow) names.push(['mc-line mc-exits', words.exits], ['mc-line mc-skips', words.skips]);
    this.paintLegend(names);
  }

  #stop(step) {
    const { sessions } = this.data;
    const { words, options } = this;
    const round = (value) => numberText(value, options.locale, { maximumFractionDigits: value < 10 ? 1 : 0 });
    const parts = [`${this.clock(step.from)}: ${this.share(step.viewers / sessions)}`, ...this.otherTexts(step)];
    const position = (step.from + step.to) / 2;
    const counts = [[words.replays, step.views - step.viewers]];
    if (options.flow) counts.push([words.exits, step.exits], [words.skips, step.skips]);
    for (const [name, value] of counts) if (value >= 0.05) parts.push(`${name} ${round(value)}`);
    const dots = [[this.y(step.viewers / sessions), 'mc-viewers']];
    // As much as there is room for.
    while (parts.length > 1 && this.width < widthOf(parts.join(' · '), this.root, 600)) parts.pop();
    return { x: this.at(position), position: step.from, end: step.to, text: parts.join(' · '), dots };
  }

  #paintMoments() {
    const { sessions } = this.data;
    const xs = spreadApart(this.moments.map(({ at }) => this.at(at)), 2 * MARK_PX + 1, this.left + MARK_PX, this.right - MARK_PX);
    this.moments.forEach(({ kind, at }, index) => {
      const step = this.data.steps.find((it) => at < it.to) ?? this.data.steps.at(-1);
      const value = kind === 'replayed' ? step.views - step.viewers : step.viewers;
      const y = clamp(this.y(value / sessions) - MARK_PX - 6, TOP + MARK_PX, this.base - MARK_PX - 2);
      const mark = svg('g', { class: 'mc-mark', 'aria-hidden': true });
      mark.append(svg('circle', { cx: px(xs[index]), cy: y, r: MARK_PX }), this.text(xs[index], y + 3.5, String(index + 1)));
      this.drawing.append(mark);
    });
  }

  // The moments as a list, below the drawing.
  decorate(isEmpty) {
    this.list?.remove();
    if (isEmpty || !this.moments?.length) return;
    this.list = html('ol', { class: 'mc-moments', 'aria-label': this.words.moments });
    this.moments.forEach((moment, index) => {
      const content = [html('span', { class: 'mc-number', 'aria-hidden': true }, String(index + 1)), this.momentText(moment)];
      const item = this.isSeeking ? html('button', { type: 'button', class: 'mc-moment' }, ...content) : html('span', { class: 'mc-moment' }, ...content);
      if (this.isSeeking) item.addEventListener('click', () => this.options.onSeek(moment.at));
      const stop = this.stops.findIndex(({ end }) => moment.at < end);
      item.addEventListener('pointerenter', () => this.show(stop < 0 ? this.stops.length - 1 : stop));
      item.addEventListener('pointerleave', () => this.show(null));
      this.list.append(html('li', {}, item));
    });
    this.plot.after(this.list);
  }

  sentence() {
    if (this.isEmpty()) return this.options.empty ?? this.words.empty;
    const { sessions, steps, length, isPercent } = this.data;
    const share = (step) => this.share(step.viewers / sessions);
    const middle = steps.find((it) => length / 2 < it.to) ?? steps[0];
    const facts = { start: share(steps[0]), middle: share(middle), end: share(steps.at(-1)) };
    const text = fill(this.words.retention, { ...facts, sessions: numberText(sessions, this.options.locale), length: isPercent ? this.share(1) : clockText(length) });
    const moments = this.options.moments ? momentsOf(this.data).map((moment) => this.momentText(moment)) : [];
    return [text, ...moments].join('; ');
  }

  // Equal successive steps share a row.
  rows() {
    const { words, options } = this;
    const { sessions, steps } = this.data;
    const members = ['viewers', 'views', 'exits', 'skips', 'others'];
    const runs = [];
    for (const step of steps) {
      const cells = this.otherCells(step);
      const next = { ...step, cells, others: cells.join() };
      const last = runs.at(-1);
      if (last && members.every((it) => last[it] === next[it])) last.to = step.to;
      else runs.push(next);
    }
    const number = (value) => numberText(value, options.locale);
    const head = [words.position, words.share, ...this.otherCells(), words.viewers, words.replays, words.exits, words.skips];
    return [head, ...runs.map((it) => [
      fill(words.range, { from: this.clock(it.from), to: this.clock(it.to) }),
      this.share(it.viewers / sessions), ...it.cells, number(it.viewers), number(it.views - it.viewers), number(it.exits), number(it.skips),
    ])];
  }
}

/** The views of each part of a video as shades of one colour. */
class HeatStrip extends AlongVideo {
  get heightDefault() {
    return TOP + (this.options.strip ?? 20);
  }

  paint() {
    [this.left, this.right, this.base] = [0, this.width, this.height];
    this.headTop = TOP;
    const { steps } = this;
    const most = Math.max(1e-9, ...steps.map(({ views }) => views));
    const mix = (value) => Math.round((0.06 + 0.94 * (value / most)) * 100) / 100;
    const clip = svg('g', { class: 'mc-viewers' });
    for (const { from, to, views } of steps) {
      // Whole pixels leave no seams.
      const [x, end] = [this.at(from), this.at(to)].map(Math.round);
      clip.append(svg('rect', { class: 'mc-bar', x, y: TOP, width: end - x, height: this.height - TOP, 'fill-opacity': mix(views) }));
    }
    this.drawing.append(clip, svg('g', { class: 'mc-legend' }, this.text(0, 14, this.#summary())));
    const number = (value) => numberText(value, this.options.locale, { maximumFractionDigits: 1 });
    this.stops = steps.map((step) => {
      const position = (step.from + step.to) / 2;
      const text = `${this.clock(step.from)}: ${this.words.views} ${number(step.views)}`;
      return { x: this.at(position), position: step.from, end: step.to, text };
    });
    this.paintHead();
  }

  #summary() {
    const { steps } = this.data;
    const by = (isBetter) => steps.reduce((best, it) => (isBetter(it.views, best.views) ? it : best), steps[0]);
    return fill(this.words.heat, { most: this.clock(by((a, b) => a > b).from), least: this.clock(by((a, b) => a < b).from) });
  }

  sentence() {
    return this.isEmpty() ? (this.options.empty ?? this.words.empty) : this.#summary();
  }

  rows() {
    const { words, options } = this;
    const row = (it) => [fill(words.range, { from: this.clock(it.from), to: this.clock(it.to) }), numberText(it.views, options.locale)];
    return [[words.position, words.views], ...this.data.steps.map(row)];
  }
}

/** The retention curve of a video; its handle also has `moveTo(seconds)`. */
export const retention = (element, data, options) => new Retention(element, 'mc-retention').start(data, options);

/** A strip of shades; its handle also has `moveTo(seconds)`. */
export const heatStrip = (element, data, options) => new HeatStrip(element, 'mc-heat').start(data, { table: false, ...options });
