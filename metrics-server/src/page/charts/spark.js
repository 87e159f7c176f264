// Small curves without axes, for rows of tables.

import { px, svg } from './draw.js';
import { adoptStyles } from './styles.js';
import { fill, formatOf } from './text.js';

const SPARK_CSS = `
.mc-spark { display: inline-block; vertical-align: middle; overflow: visible; }
.mc-spark path { vector-effect: non-scaling-stroke; stroke-width: 1.5; }
`;

/** A small curve of numbers. Draws 200 of them in a moment: it neither measures nor observes. */
export function sparkline(element, data, options) {
  let values = data;
  let all = { locale: 'en', unit: 'count', width: 96, height: 24, ...options };
  const drawing = svg('svg');
  const draw = () => {
    const { width, height, words, name, color } = all;
    const known = values.filter((value) => value != null);
    const most = Math.max(...known, 0);
    const format = formatOf(all);
    const x = (index) => px(values.length === 1 ? width / 2 : 2 + (index / (values.length - 1)) * (width - 4));
    const y = (value) => px(height - 2 - (most ? value / most : 0) * (height - 4));
    const steps = values.map((value, index) => (value == null ? null : `${x(index)} ${y(value)}`));
    const label = known.length ? fill(words.spark, { name, last: format(known.at(-1)), most: format(most) }) : words.empty;
    for (const [key, value] of Object.entries({ class: 'mc mc-plays mc-spark', role: 'img', width, height, viewBox: `0 0 ${width} ${height}`, 'aria-label': label })) {
      drawing.setAttribute(key, value);
    }
    if (color) drawing.style.setProperty('--mc-color', color);
    const line = steps.map((step, index) => step && `${steps[index - 1] ? 'L' : 'M'}${step}`).filter(Boolean).join('');
    const isWhole = steps.length > 1 && !steps.includes(null);
    drawing.replaceChildren();
    if (isWhole) drawing.append(svg('path', { class: 'mc-area', d: `M${x(0)} ${height - 1}${line.replace('M', 'L')}V${height - 1}Z` }));
    if (known.length) drawing.append(svg('path', { class: 'mc-line', d: line }));
    element.replaceChildren(drawing);
    adoptStyles(drawing);
    adoptStyles(drawing, SPARK_CSS);
  };
  draw();
  return {
    update(data, options = {}) {
      values = data;
      all = { ...all, ...options };
      draw();
    },
    destroy: () => drawing.remove(),
  };
}
