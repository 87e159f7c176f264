// What all charts share: the frame of drawing, cursor, readout and table.

import { clamp, placeLabels } from './maths.js';
import { adoptStyles } from './styles.js';
import { formatOf } from './text.js';

const SVG = 'http://www.w3.org/2000/svg';
const FONT_PX = 12;
const GAP_PX = 22; // Between labels below an axis.
const PAGE = 0.1; // Of the width: the step of Page Up and Page Down.
const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 };

export const TOP = 26; // For the legend and the readout.
export const BOTTOM = 22; // For the axis.

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value != null) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function html(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value != null) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const px = (value) => Math.round(value * 10) / 10;

let pen;

/** The width of a text of the charts, in CSS pixels. */
export function widthOf(text, element, weight = 400) {
  pen ??= document.createElement('canvas').getContext('2d');
  if (!pen) return text.length * FONT_PX * 0.6;
  pen.font = `${weight} ${FONT_PX}px ${getComputedStyle(element).fontFamily}`;
  return Math.ceil(pen.measureText(text).width) + 1;
}

/**
 * A chart in `host`. A kind of chart defines `paint`, `sentence`, `cursorName` and `rows`, and may define
 * `isEmpty`, `chosen` and `decorate`.
 */
export class Chart {
  #observer;
  #width = 0;
  #index = null;
  #isDragged = false;

  constructor(host, kind) {
    this.host = host;
    this.root = html('div', { class: `mc mc-plays ${kind}` });
    this.plot = this.root.appendChild(html('div', { class: 'mc-plot' }));
    this.cursor = html('div', { class: 'mc-cursor', role: 'slider', tabindex: 0, 'aria-orientation': 'horizontal' });
    this.details = html('details', { class: 'mc-table' }, html('summary'), html('table'));
    this.details.addEventListener('toggle', () => this.#fillTable());
    host.replaceChildren(this.root);
    this.#listen();
    this.#observer = new ResizeObserver(() => {
      if (this.plot.clientWidth !== this.#width) this.draw();
    });
    this.options = { locale: 'en', unit: 'count', table: true };
  }

  /** Shows the first data. The constructor does not, because it runs before that of the kind of chart. */
  start(data, options) {
    this.update(data, options);
    this.#observer.observe(this.plot);
    return this;
  }

  /** Shows other data; `options` are added to the present ones. */
  update(data, options = {}) {
    this.data = data;
    this.options = { ...this.options, ...options };
    this.words = this.options.words;
    if (this.options.color) this.root.style.setProperty('--mc-color', this.options.color);
    if (!this.#isFocused && !this.plot.matches(':hover')) this.#index = null;
    this.draw();
    this.#fillTable();
  }

  destroy() {
    this.#observer.disconnect();
    this.root.remove();
  }

  isEmpty() {
    return false;
  }

  /** The stop at which keys begin. */
  startIndex() {
    return this.stops.length - 1;
  }

  /** Draws everything anew for the present width. */
  draw() {
    const width = this.plot.clientWidth;
    if (width === 0) return;
    adoptStyles(this.root);
    this.#width = width;
    this.width = width;
    this.height = this.options.height ?? this.heightDefault;
    this.stops = [];
    this.drawing = svg('svg', { role: 'img', width, height: this.height, viewBox: `0 0 ${width} ${this.height}`, 'aria-label': this.sentence() });
    const isEmpty = this.isEmpty();
    if (isEmpty) this.#paintHint();
    else this.paint();
    this.guide = this.drawing.appendChild(svg('g'));
    // The cursor stays where it is, with the focus.
    this.plot.querySelector('svg')?.remove();
    this.plot.prepend(this.drawing);
    if (this.stops.length === 0) this.cursor.remove();
    else if (!this.cursor.isConnected) this.plot.append(this.cursor);
    this.#describe();
    if (this.#index !== null) this.show(this.#index);
    const hasTable = this.options.table && !isEmpty;
    if (hasTable && !this.details.isConnected) this.root.append(this.details);
    if (!hasTable) this.details.remove();
    this.details.querySelector('summary').textContent = this.words.table;
    this.decorate?.(isEmpty);
  }

  /** Adds the grid and the labels of the values, and sets `left`, `right` and `y`. */
  paintScale(ticks, { bottom = BOTTOM, right = 4, unit = this.options.unit } = {}) {
    const short = formatOf({ ...this.options, unit, format: undefined }, true);
    const texts = ticks.map(short);
    this.left = Math.max(...texts.map((text) => widthOf(text, this.root))) + 8;
    this.right = this.width - right;
    this.base = this.height - bottom;
    this.y = (value) => px(TOP + (this.base - TOP) * (1 - value / ticks.at(-1)));
    ticks.forEach((tick, index) => {
      const y = this.y(tick);
      this.drawing.append(svg('path', { class: tick === 0 ? 'mc-axis' : 'mc-grid', d: `M${this.left} ${y}H${this.right}` }));
      this.drawing.append(this.text(this.left - 8, y + 4, texts[index], { 'text-anchor': 'end' }));
    });
  }

  /** Adds labels `{ at, text }` below the axis: the first of the sets that fits. */
  paintAxis(sets, y = this.height - 5) {
    const measured = sets.map((set) => set.map((label) => ({ ...label, width: widthOf(label.text, this.root) })));
    for (const { x, text } of placeLabels(measured, 0, this.width, GAP_PX)) this.drawing.append(this.text(x, y, text));
  }

  text(x, y, words, attributes = {}) {
    return svg('text', { x: px(x), y: px(y), ...attributes }, words);
  }

  /** Adds names with their lines above the drawing, closer where it is narrow, as many as fit: `[className, name]`; null: no line. */
  paintLegend(names) {
    const legend = svg('g', { class: 'mc-legend', 'aria-hidden': true });
    const size = this.width < 400 ? 8 : 16; // Of a line, and between names.
    let x = this.left;
    for (const [kind, name] of names) {
      const start = x + (kind ? size + 6 : 0);
      const end = start + widthOf(name, this.root);
      if (this.width < end) break;
      if (kind) legend.append(svg('path', { class: kind, d: `M${x} 10h${size}` }));
      legend.append(this.text(start, 14, name));
      x = end + size;
    }
    this.drawing.append(legend);
  }

  /** Shows the readout of a stop, or none: `{ x, text, dots }`. */
  show(index) {
    this.#show(index === null || this.stops.length === 0 ? null : clamp(index, 0, this.stops.length - 1));
  }

  #show(index) {
    this.#index = index;
    this.plot.classList.toggle('mc-reading', index !== null);
    const stop = index === null ? null : this.stops[index];
    if (!stop) return this.guide.replaceChildren();
    const shapes = [svg('path', { class: 'mc-guide', d: `M${px(stop.x)} ${TOP - 4}V${this.base}` })];
    for (const [y, kind] of stop.dots ?? []) shapes.push(svg('circle', { class: `mc-dot ${kind}`, cx: px(stop.x), cy: y, r: 4 }));
    const width = widthOf(stop.text, this.root, 600);
    const x = clamp(stop.x - width / 2, 0, Math.max(0, this.width - width));
    shapes.push(this.text(x, 14, stop.text, { class: 'mc-strong' }));
    this.guide.replaceChildren(...shapes);
    this.#describe();
  }

  #describe() {
    const { cursor, stops } = this;
    const index = this.#index ?? this.startIndex();
    cursor.setAttribute('aria-label', this.cursorName());
    cursor.setAttribute('aria-valuemin', 0);
    cursor.setAttribute('aria-valuemax', Math.max(0, stops.length - 1));
    cursor.setAttribute('aria-valuenow', Math.max(0, index));
    cursor.setAttribute('aria-valuetext', stops[index]?.text ?? '');
  }

  #paintHint() {
    const text = this.options.empty ?? this.words.empty;
    this.base = this.height - BOTTOM;
    this.drawing.append(
      svg('path', { class: 'mc-axis', d: `M0 ${this.base}H${this.width}` }),
      this.text(this.width / 2, this.height / 2, text, { class: 'mc-hint', 'text-anchor': 'middle' }),
    );
  }

  get #isFocused() {
    return this.cursor.getRootNode().activeElement === this.cursor;
  }

  // The stop that is nearest to a pointer.
  #nearest({ clientX }) {
    const x = clientX - this.plot.getBoundingClientRect().left;
    let best = 0;
    this.stops.forEach((stop, index) => {
      if (Math.abs(stop.x - x) < Math.abs(this.stops[best].x - x)) best = index;
    });
    return best;
  }

  #listen() {
    const { plot, cursor } = this;
    plot.addEventListener('pointermove', (event) => {
      if (this.stops.length === 0) return;
      this.#show(this.#nearest(event));
      if (this.#isDragged) this.chosen?.(this.#index, event);
    });
    plot.addEventListener('pointerdown', (event) => {
      if (this.stops.length === 0 || event.button !== 0) return;
      this.#isDragged = Boolean(this.isSeeking);
      if (this.#isDragged) plot.setPointerCapture(event.pointerId);
      if (this.#isDragged) this.chosen?.(this.#nearest(event), event);
    });
    for (const type of ['pointerup', 'pointercancel', 'lostpointercapture']) plot.addEventListener(type, () => (this.#isDragged = false));
    plot.addEventListener('pointerleave', () => {
      if (!this.#isDragged && !this.#isFocused) this.show(null);
    });
    plot.addEventListener('click', (event) => {
      if (!this.isSeeking && this.stops.length > 0) this.chosen?.(this.#nearest(event), event);
    });
    cursor.addEventListener('focus', () => cursor.matches(':focus-visible') && this.show(this.#index ?? this.startIndex()));
    cursor.addEventListener('blur', () => this.show(null));
    cursor.addEventListener('keydown', (event) => this.#press(event));
  }

  #press(event) {
    const last = this.stops.length - 1;
    const from = this.#index ?? this.startIndex();
    const page = Math.max(1, Math.round(last * PAGE));
    const to = { Home: 0, End: last, PageUp: from + page, PageDown: from - page }[event.key] ?? (event.key in KEYS ? from + KEYS[event.key] : null);
    if (event.key === 'Escape') this.show(null);
    else if (event.key === 'Enter' || event.key === ' ') this.chosen?.(from, event);
    else if (to === null || event.altKey || event.ctrlKey || event.metaKey) return;
    else {
      this.show(to);
      if (this.isSeeking) this.chosen?.(this.#index, event);
    }
    event.preventDefault();
  }

  // Only while it is open: it may have thousands of rows.
  #fillTable() {
    if (!this.details.open || this.isEmpty()) return;
    const [head, ...rows] = this.rows();
    const row = (cells, isHead) =>
      html('tr', {}, ...cells.map((cell, index) => {
        const scope = isHead ? 'col' : 'row';
        return isHead || index === 0 ? html('th', { scope }, cell) : html('td', {}, cell);
      }));
    this.details.querySelector('table').replaceChildren(row(head, true), ...rows.map((cells) => row(cells, false)));
  }
}
