// How values are distributed, with their median and 95th percentile.

import { Chart, html, px, svg, widthOf } from './draw.js';
import { ticksTo } from './maths.js';
import { adoptStyles } from './styles.js';
import { fill, formatOf, numberText } from './text.js';

const GAP_PX = 10; // Between the two names.
const HISTOGRAM_CSS = '.mc-unit { margin: 0; padding-block-end: 4px; font-size: 0.8125rem; color: var(--muted-); }';

class Histogram extends Chart {
  get heightDefault() {
    return 180;
  }

  isEmpty() {
    return !this.data.bins.some(({ count }) => count > 0);
  }

  #range({ from, to }) {
    const format = formatOf(this.options);
    // The last bin has all values beyond.
    if (this.data.isOpen && to === this.data.bins.at(-1).to) return `${format(from)}+`;
    return fill(this.words.range, { from: format(from), to: format(to) });
  }

  paint() {
    const { bins } = this.data;
    this.paintScale(ticksTo(Math.max(...bins.map(({ count }) => count))), { unit: 'count' });
    const [start, end] = [bins[0].from, bins.at(-1).to];
    const x = (value) => this.left + ((Math.min(value, end) - start) / (end - start)) * (this.right - this.left);
    const shapes = bins.filter(({ count }) => count > 0).map(({ from, to, count }) =>
      `M${px(x(from) + 0.5)} ${this.base}V${this.y(count)}H${px(x(to) - 0.5)}V${this.base}Z`);
    this.drawing.append(svg('path', { class: 'mc-bar', 'fill-opacity': 0.6, d: shapes.join('') }));
    this.#paintMarks(x);
    this.#paintEdges(x);
    this.stops = bins.map((bin) => ({
      x: x((bin.from + bin.to) / 2),
      text: `${this.#range(bin)}: ${numberText(bin.count, this.options.locale)}`,
    }));
  }

  #paintEdges(x) {
    const format = formatOf({ ...this.options, format: undefined }, true);
    const { bins, isOpen } = this.data;
    // An open bin has no end.
    const edges = [...bins.map(({ from }) => from), ...(isOpen ? [] : [bins.at(-1).to])];
    const label = (value) => ({ at: x(value), text: `${format(value)}${isOpen && value === edges.at(-1) ? '+' : ''}` });
    const sets = [1, 2, 4, 5, 10, 20].map((step) => edges.filter((_, index) => index % step === 0).map(label));
    this.paintAxis([...sets, [edges[0], edges.at(-1)].map(label)]);
  }

  // Bins are equally wide, so their areas compare as their heights do.
  decorate(isEmpty) {
    this.caption ??= html('p', { class: 'mc-unit', 'aria-hidden': true });
    this.caption.remove();
    if (isEmpty) return;
    const [{ from, to }] = this.data.bins;
    this.caption.textContent = fill(this.words.perBin, { width: formatOf(this.options)(to - from) });
    this.plot.before(this.caption);
    adoptStyles(this.root, HISTOGRAM_CSS);
  }

  // The name of the median stands before its line, that of the percentile behind.
  #paintMarks(x) {
    const format = formatOf(this.options);
    const marks = ['median', 'p95'].filter((name) => this.data[name] != null).map((name) => {
      const text = `${this.words[name]} ${format(this.data[name])}`;
      return { at: x(this.data[name]), text, width: widthOf(text, this.root), isMedian: name === 'median' };
    });
    const names = svg('g', { class: 'mc-legend', 'aria-hidden': true });
    let free = 0;
    const placed = marks.map((mark) => {
      const start = Math.max(free, mark.isMedian ? mark.at - mark.width - 4 : mark.at + 4);
      free = start + mark.width + GAP_PX;
      return start;
    });
    const over = Math.max(0, free - GAP_PX - this.width);
    marks.forEach(({ at, text }, index) => {
      this.drawing.append(svg('path', { class: 'mc-head', d: `M${px(at)} 18V${this.base}` }));
      names.append(this.text(Math.max(0, placed[index] - over), 14, text));
    });
    this.drawing.append(names);
  }

  cursorName() {
    return this.options.name ?? '';
  }

  sentence() {
    if (this.isEmpty()) return this.options.empty ?? this.words.empty;
    const format = formatOf(this.options);
    const { median, p95 } = this.data;
    return fill(this.words.histogram, { name: this.options.name, median: median == null ? '–' : format(median), p95: p95 == null ? '–' : format(p95) });
  }

  rows() {
    const row = (bin) => [this.#range(bin), numberText(bin.count, this.options.locale)];
    return [[this.options.name ?? '', this.words.count], ...this.data.bins.map(row)];
  }
}

/** Bins as adjacent bars; see `Chart` for the handle. */
export const histogram = (element, data, options) => new Histogram(element, 'mc-histogram').start(data, options);
