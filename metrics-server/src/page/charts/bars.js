// Rows with a value and a bar as long as their share.

import { html } from './draw.js';
import { adoptStyles } from './styles.js';
import { fill, formatOf, numberText } from './text.js';

const BARS_CSS = `
.mc-rows { list-style: none; margin: 0; padding: 0; display: grid; grid-template-columns: minmax(0, 1fr); gap: 2px; }
.mc-rows li { position: relative; display: flex; align-items: stretch; gap: 0.5rem; min-block-size: 28px; padding-inline-end: 2px; line-height: 28px; }
.mc-rows li.is-muted { color: var(--muted-); }
.mc-track { position: relative; display: grid; flex: 1; min-inline-size: 0; }
.mc-fill { position: absolute; inset-block: 0; inset-inline-start: 0; border-radius: 4px; background: color-mix(in srgb, var(--mc-color) 15%, transparent); print-color-adjust: exact; }
.mc-rows li:hover .mc-fill { background: color-mix(in srgb, var(--mc-color) 24%, transparent); }
.mc-rows li.is-active .mc-fill { background: color-mix(in srgb, var(--mc-color) 34%, transparent); }
.mc-name { position: relative; flex: 1; min-inline-size: 0; padding-inline: 8px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; text-align: start; }
button.mc-name { appearance: none; margin: 0; min-block-size: 0; padding-block: 0; border: 0; border-radius: 4px; background: none; color: inherit; font: inherit; line-height: inherit; cursor: pointer; }
button.mc-name:hover { text-decoration: underline; text-underline-offset: 3px; }
button.mc-name:focus-visible { outline: 2px solid var(--focus-); outline-offset: -2px; }
.is-active .mc-name { font-weight: 600; }
.mc-value { min-inline-size: 3.75em; text-align: end; }
.mc-value, .mc-share { position: relative; flex: none; unicode-bidi: isolate; direction: ltr; }
.mc-share { min-inline-size: 3.25em; text-align: end; color: var(--muted-); }
.is-active .mc-share { color: inherit; }
.mc-was { position: relative; flex: none; inline-size: 5em; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; text-align: end; color: var(--muted-); }
.mc-caption { display: flex; gap: 0.5rem; padding-block-end: 4px; font-size: 0.8125rem; color: var(--muted-); }
.mc-caption span:first-child { flex: 1; }
.mc-rows .mc-rest { padding-inline: 8px; color: var(--muted-); }
.mc-rest button.mc-name { padding-inline: 0; }
@media (max-width: 30rem) {
  .mc-rows:has(.mc-was) .mc-share { display: none; }
}
@media (forced-colors: active) {
  .mc-fill { inset-block: auto 0; block-size: 3px; border-radius: 0; background: CanvasText !important; forced-color-adjust: none; }
  .is-active .mc-fill { background: Highlight !important; }
  .is-active .mc-name { outline: 2px solid Highlight; outline-offset: -2px; }
}
`;

const SHOWN_IN_NAME = 5; // Rows that the sentence for screen readers has.

function draw(root, rows, options) {
  const { words, limit = rows.length, caption, name = caption, valueName, empty = words.empty, color } = options;
  const shown = rows.slice(0, limit);
  const sum = rows.reduce((sum, { value }) => sum + (value ?? 0), 0);
  const shares = shown.map(({ share, value }) => share ?? (sum > 0 ? (value ?? 0) / sum : 0));
  if (color) root.style.setProperty('--mc-color', color);
  const percent = (share) => numberText(share, options.locale, { style: 'percent', maximumFractionDigits: share > 0 && share < 0.01 ? 1 : 0 });
  const first = shown.slice(0, SHOWN_IN_NAME).map((row, index) => `${row.name} ${percent(shares[index])}`);
  const list = html('ul', { class: 'mc-rows', 'aria-label': fill(words.bars, { name, rows: first.join(', ') || empty }) });
  shown.forEach((row, index) => list.append(rowOf(row, shares[index], percent, options)));
  if (shown.length === 0) list.append(html('li', { class: 'mc-rest' }, empty));
  const rest = rows.length - shown.length;
  if (rest > 0) list.append(restOf(rest, options));
  const before = options.beforeName ? [html('span', { class: 'mc-was' }, options.beforeName)] : [];
  const head = html('div', { class: 'mc-caption', 'aria-hidden': true }, html('span', {}, caption ?? ''), html('span', {}, valueName ?? ''), ...before);
  root.replaceChildren(...(caption || valueName ? [head] : []), list);
  adoptStyles(root);
  adoptStyles(root, BARS_CSS);
}

function rowOf(row, share, percent, options) {
  const { onPick, showShare = true } = options;
  const pressed = row.isActive === undefined ? null : String(Boolean(row.isActive));
  // A name of the other direction keeps its place.
  const text = html('bdi', {}, row.name);
  const attributes = { class: 'mc-name', title: row.title ?? row.name };
  const name = onPick ? html('button', { type: 'button', 'aria-pressed': pressed, ...attributes }, text) : html('span', attributes, text);
  if (onPick) name.addEventListener('click', () => onPick(row));
  const bar = html('span', { class: 'mc-fill' });
  bar.style.inlineSize = `${Math.round(Math.min(share, 1) * 1000) / 10}%`;
  const value = html('span', { class: 'mc-value' }, row.value == null ? '–' : formatOf(options)(row.value));
  const cells = showShare ? [html('span', { class: 'mc-share' }, percent(share))] : [];
  if (options.beforeName) cells.push(html('span', { class: 'mc-was', title: options.beforeName }, formatOf(options)(row.before ?? 0)));
  const kinds = [row.isActive && 'is-active', row.isMuted && 'is-muted'].filter(Boolean).join(' ');
  return html('li', { class: kinds }, html('span', { class: 'mc-track' }, bar, name), value, ...cells);
}

function restOf(rest, { words, locale, onMore }) {
  const text = fill(words.more, { count: numberText(rest, locale) });
  if (!onMore) return html('li', { class: 'mc-rest' }, text);
  const more = html('button', { type: 'button', class: 'mc-name' }, text);
  more.addEventListener('click', onMore);
  return html('li', { class: 'mc-rest' }, more);
}

/**
 * Horizontal bars: `[{ name, value, share, before, title, isActive, isMuted }]`, in the order given. With the option
 * `beforeName`, a column has the values `before`.
 */
export function bars(element, data, options) {
  let all = { locale: 'en', unit: 'count', ...options };
  const root = html('div', { class: 'mc mc-plays mc-bars' });
  element.replaceChildren(root);
  draw(root, data, all);
  return {
    update(data, options = {}) {
      all = { ...all, ...options };
      // The focus stays on the row of the same place.
      const buttons = () => [...root.querySelectorAll('button')];
      const focused = buttons().indexOf(root.getRootNode().activeElement);
      draw(root, data, all);
      if (focused >= 0) buttons()[Math.min(focused, buttons().length - 1)]?.focus();
    },
    destroy: () => root.remove(),
  };
}
