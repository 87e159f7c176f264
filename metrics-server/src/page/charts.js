// The charts: SVG that is redrawn when data or width changes. Each has a description and a table as well.

import { bucketName, clock, count, number, short } from './words.js';

const SVG = 'http://www.w3.org/2000/svg';
const TOP = 22; // For the label above the highest value.
const BOTTOM = 20; // For the axis.
const DIGIT_PX = 7;
const STEP_PX_MIN = 2; // Narrower steps are indistinguishable.
const SLACK_SECONDS = 0.1; // Files are a frame too long.

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const wholeSeconds = (duration) => Math.max(1, Math.ceil(duration - SLACK_SECONDS));

const px = (value) => Math.round(value * 10) / 10;

/** 0 and at most five evenly spaced integers, up to `most` or just above. */
export function ticksTo(most) {
  const rough = Math.max(1, most / 5);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 2.5, 5, 10].map((it) => it * power).find((it) => rough <= it && Number.isInteger(it)) ?? 10 * power);
  const ticks = [0];
  while (ticks.at(-1) < most) ticks.push(ticks.at(-1) + step);
  return ticks;
}

// The seconds of video that get a mark, about `room`.
function marksOf(duration, room) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
  const step = steps.find((it) => duration / it <= room) ?? Math.ceil(duration / room / 3600) * 3600;
  return Array.from({ length: Math.floor(duration / step) + 1 }, (_, index) => index * step);
}

// Runs of steps that are not 0.
function runsOf(steps, series) {
  const runs = [];
  steps.forEach((step, index) => {
    if (step[series] === 0) return;
    if (index > 0 && steps[index - 1][series] > 0) runs.at(-1).push(step);
    else runs.push([step]);
  });
  return runs;
}

// A figure with a drawing, a readout of the step under the pointer, and a table.
class Chart {
  constructor(figure, height) {
    this.figure = figure;
    this.height = height;
    this.place = figure.querySelector('.chart');
    this.readout = figure.querySelector('.readout');
    this.details = figure.querySelector('details');
    this.details.addEventListener('toggle', () => this.fillTable());
    new ResizeObserver(() => this.draw()).observe(this.place);
    this.place.addEventListener('pointermove', (event) => this.point(this.along(event)));
    this.place.addEventListener('pointerleave', () => this.point(null));
  }

  show(data) {
    this.data = data;
    this.draw();
    this.fillTable();
  }

  // The position of an event, from 0 to 1.
  along({ clientX }) {
    const { left, width } = this.place.getBoundingClientRect();
    return Math.min(Math.max((clientX - left) / width, 0), 1);
  }

  draw() {
    const width = this.place.clientWidth;
    if (!this.data || width === 0) return;
    this.width = width;
    this.height = this.data.height ?? this.height;
    const ticks = ticksTo(Math.max(this.most(), 1));
    this.left = this.hasGutter ? short(ticks.at(-1)).length * DIGIT_PX + 8 : 0;
    this.y = (value) => px(TOP + (this.height - TOP - BOTTOM) * (1 - value / ticks.at(-1)));
    const drawing = svg('svg', { role: 'img', 'aria-label': this.words(), width, height: this.height, viewBox: `0 0 ${width} ${this.height}` });
    const isEmpty = this.most() === 0;
    if (!isEmpty) {
      for (const tick of ticks) drawing.append(svg('path', { class: tick ? 'grid' : 'axis', d: `M${this.left} ${this.y(tick)}H${width}` }));
    } else {
      drawing.append(svg('path', { class: 'axis', d: `M0 ${this.y(0)}H${width}` }));
      drawing.append(this.text(width / 2, this.height / 2, this.data.hint, 'hint', 'middle'));
    }
    drawing.append(...this.shapes());
    // On top, with a halo, if the drawing has the full width.
    for (const tick of isEmpty ? [] : ticks.slice(1)) {
      const place = this.hasGutter ? [this.left - 6, this.y(tick) + 4] : [5, this.y(tick) - 4];
      drawing.append(this.text(...place, short(tick), 'tick', this.hasGutter ? 'end' : 'start'));
    }
    this.guide = svg('path', { class: 'guide', d: '' });
    drawing.append(this.guide);
    this.place.replaceChildren(drawing);
  }

  text(x, y, words, kind, anchor) {
    return svg('text', { x: px(x), y: px(y), class: kind, 'text-anchor': anchor }, words);
  }

  // A label below the axis, within its ends.
  mark(x, words) {
    const anchor = x < this.left + 16 ? 'start' : x > this.width - 16 ? 'end' : 'middle';
    return this.text(Math.min(Math.max(x, 0), this.width), this.height - 5, words, 'tick', anchor);
  }

  // Only while it is open: it may have thousands of rows.
  fillTable() {
    if (!this.details.open || !this.data) return;
    const [head, ...rows] = this.rows();
    const row = (cells, isHead) => {
      const made = document.createElement('tr');
      cells.forEach((cell, index) => {
        const isHeader = isHead || index === 0;
        const place = made.appendChild(document.createElement(isHeader ? 'th' : 'td'));
        if (isHeader) place.scope = isHead ? 'col' : 'row';
        place.textContent = cell;
      });
      return made;
    };
    this.details.querySelector('table').replaceChildren(row(head, true), ...rows.map((cells) => row(cells, false)));
  }
}

/** Viewers and replays of each second of a video: `{seconds, duration, hint}`. */
export class EngagementChart extends Chart {
  #position = 0;

  constructor(figure, onSeek) {
    super(figure, 190);
    this.place.addEventListener('click', (event) => {
      if (this.data) onSeek(this.along(event) * this.data.duration);
    });
  }

  most() {
    return Math.max(0, ...this.steps().map((step) => Math.max(step.viewers, step.replays)));
  }

  // The seconds, or, if they exceed the width, means of equal steps.
  steps() {
    const { seconds, duration } = this.data;
    const per = Math.max(1, Math.ceil((duration * STEP_PX_MIN) / Math.max(this.place.clientWidth, 1)));
    const steps = Array.from({ length: Math.ceil(wholeSeconds(duration) / per) }, (_, index) => ({ from: index * per, viewers: 0, replays: 0 }));
    for (const { second, views, viewers } of seconds) {
      const step = steps[Math.floor(second / per)];
      if (!step) continue;
      const length = Math.min(per, wholeSeconds(duration) - step.from);
      step.viewers += viewers / length;
      step.replays += (views - viewers) / length;
    }
    steps.forEach((step, index) => (step.to = Math.min(steps[index + 1]?.from ?? duration, duration)));
    return steps;
  }

  shapes() {
    const { duration } = this.data;
    const x = (second) => px((second / duration) * this.width);
    const steps = this.steps();
    const shapes = [];
    for (const series of ['viewers', 'replays']) {
      if (!steps.some((step) => step[series] > 0)) continue;
      const outline = runsOf(steps, series).map((run) => {
        const tops = run.map((step) => `V${this.y(step[series])}H${x(step.to)}`).join('');
        return `M${x(run[0].from)} ${this.y(0)}${tops}V${this.y(0)}`;
      });
      shapes.push(svg('path', { class: `area ${series}`, d: outline.join('') }));
      shapes.push(svg('path', { class: `line ${series}`, d: outline.join('') }));
    }
    for (const second of marksOf(duration, this.width / 70)) {
      // Reserves room for the length at the end.
      if (x(second) < this.width - 36) shapes.push(this.mark(x(second), clock(second)));
    }
    shapes.push(this.mark(this.width, clock(duration)));
    this.playhead = svg('path', { class: 'playhead', d: '' });
    shapes.push(this.playhead);
    this.moveTo(this.#position);
    return shapes;
  }

  /** The player's position; null without a player. */
  moveTo(position) {
    this.#position = position;
    if (!this.playhead) return;
    const x = position === null ? null : px((position / this.data.duration) * this.width);
    this.playhead.setAttribute('d', x === null ? '' : `M${x} ${TOP - 8}V${this.height - BOTTOM}`);
  }

  point(along) {
    if (!this.guide || this.most() === 0) return;
    const step = along === null ? null : this.steps().find((it) => along * this.data.duration < it.to);
    this.guide.setAttribute('d', step ? `M${px(along * this.width)} ${TOP - 8}V${this.height - BOTTOM}` : '');
    const round = (value) => Math.round(value * 10) / 10;
    this.readout.textContent = step
      ? `${clock(step.from)}: ${count(round(step.viewers), 'viewer')}, ${count(round(step.replays), 'replay')}`
      : '';
  }

  words() {
    const { seconds, duration, hint } = this.data;
    if (seconds.length === 0) return hint;
    const most = (value) => seconds.reduce((best, it) => (value(it) > value(best) ? it : best));
    const viewers = most((it) => it.viewers);
    const replays = most((it) => it.views - it.viewers);
    const replayed = replays.views - replays.viewers;
    const unseen = wholeSeconds(duration) - seconds.length;
    return [
      `Viewers of each second from 0:00 to ${clock(duration)}`,
      `at most ${number(viewers.viewers)}, at ${clock(viewers.second)}`,
      replayed ? `replayed at most ${count(replayed, 'time')}, at ${clock(replays.second)}` : 'nothing was replayed',
      unseen > 0 ? `${count(unseen, 'second')} not watched` : 'every second was watched',
    ].join('; ');
  }

  // Equal successive seconds share a row.
  rows() {
    const rows = [['Position', 'Viewers', 'Replays']];
    const { seconds } = this.data;
    seconds.forEach(({ second, views, viewers }, index) => {
      const previous = seconds[index - 1];
      const isAlike = previous?.second === second - 1 && previous.views === views && previous.viewers === viewers;
      const from = isAlike ? rows.pop()[0].split(' ')[0] : clock(second);
      rows.push([`${from} to ${clock(second + 1)}`, number(viewers), number(views - viewers)]);
    });
    return rows;
  }
}

/** Plays over time: `{buckets, last, hint}`. */
export class PlaysChart extends Chart {
  hasGutter = true;

  constructor(figure) {
    super(figure, 150);
  }

  most() {
    return Math.max(0, ...this.data.buckets.map((bucket) => bucket.views));
  }

  shapes() {
    const { buckets, last } = this.data;
    const slot = (this.width - this.left) / buckets.length;
    const at = (index) => this.left + index * slot;
    const gap = Math.min(4, slot * 0.25);
    const most = this.most();
    const shapes = buckets.flatMap(({ views }, index) => {
      if (views === 0) return [];
      const y = this.y(views);
      const bar = { x: px(at(index) + gap / 2), y, width: px(slot - gap), height: px(this.y(0) - y) };
      return [svg('rect', { class: 'bar', rx: 1.5, ...bar })];
    });
    if (most > 0) {
      const highest = buckets.findIndex((bucket) => bucket.views === most);
      const middle = at(highest + 0.5);
      const isLast = this.width - 20 < middle;
      shapes.push(this.text(isLast ? this.width : middle, this.y(most) - 5, number(most), 'value', isLast ? 'end' : 'middle'));
    }
    for (const index of new Set([0, Math.floor((buckets.length - 1) / 2), buckets.length - 1])) {
      const place = index === 0 ? this.left : index === buckets.length - 1 ? this.width : at(index + 0.5);
      shapes.push(this.mark(place, bucketName(buckets[index].start, last)));
    }
    return shapes;
  }

  point(along) {
    if (!this.guide || this.most() === 0) return;
    const { buckets, last } = this.data;
    const index = along === null ? -1 : Math.floor(((along * this.width - this.left) / (this.width - this.left)) * buckets.length);
    const bucket = buckets[Math.min(index, buckets.length - 1)];
    this.readout.textContent = bucket ? `${bucketName(bucket.start, last)}: ${count(bucket.views, 'play')}` : '';
  }

  words() {
    const { buckets, last, hint } = this.data;
    const most = this.most();
    if (most === 0) return hint;
    const highest = buckets.find((bucket) => bucket.views === most);
    const sum = buckets.reduce((sum, bucket) => sum + bucket.views, 0);
    return `${count(sum, 'play')} from ${bucketName(buckets[0].start, last)} on; most at ${bucketName(highest.start, last)}, ${number(most)}`;
  }

  rows() {
    const { buckets, last } = this.data;
    const rows = buckets.filter(({ views }) => views > 0).map((bucket) => [bucketName(bucket.start, last), number(bucket.views)]);
    return [['From', 'Plays'], ...rows];
  }
}

/** Ranks `entries` (`[name, count]`), largest first, with bars as long as their share. */
export function showRanking(figure, entries, most, hint) {
  const body = figure.querySelector('tbody');
  const shown = entries.filter(([, value]) => value > 0).sort((a, b) => b[1] - a[1]);
  const sum = shown.reduce((sum, [, value]) => sum + value, 0);
  const rows = shown.slice(0, most).map(([name, value]) => {
    const row = document.createElement('tr');
    const head = row.appendChild(document.createElement('th'));
    head.scope = 'row';
    head.textContent = name;
    head.title = name;
    row.appendChild(document.createElement('td')).textContent = number(value);
    row.style.setProperty('--share', value / sum);
    return row;
  });
  const rest = shown.length - rows.length;
  if (rest > 0) rows.push(note(`and ${number(rest)} more`));
  if (rows.length === 0) rows.push(note(hint));
  body.replaceChildren(...rows);
}

function note(words) {
  const row = document.createElement('tr');
  const cell = row.appendChild(document.createElement('td'));
  cell.colSpan = 2;
  cell.className = 'hint';
  cell.textContent = words;
  return row;
}
