// Totals as tiles, each with its change against the period before. A tile chooses the metric of the chart below.

import { h } from './dom.js';
import { directionOf, pointsOf } from './format.js';

/**
 * `specs` are `{ metric, unit, needs, isLess }`: the tile is hidden without a value of the metric `needs`, and with
 * `isLess` fewer is better. Returns `{ elements, show(names, totals), press(metric) }`.
 */
export function tiles({ t, fmt, go, locale }, specs) {
  const points = pointsOf(locale);
  const made = specs.map((spec) => {
    const value = h('data', { value: '' }, '–');
    const change = h('span', { class: 'change' });
    const button = h('button', { type: 'button', class: 'tile', 'data-metric': spec.metric, on: { click: () => go({ metric: spec.metric }) } }, h('span', { class: 'name' }, t(`metric_${spec.metric}`)), h('b', {}, value), change);
    return { ...spec, button, value, change };
  });
  return {
    elements: made.map(({ button }) => button),
    show(names, totals) {
      for (const { metric, unit, needs, isLess, button, value, change } of made) {
        const index = names.indexOf(metric);
        const now = totals?.metrics[index];
        button.hidden = Boolean(needs && !totals?.metrics[names.indexOf(needs)]);
        value.value = now ?? '';
        value.textContent = textOf(fmt, unit, now);
        showChange(change, changeOf({ t, fmt, points }, unit, now, totals?.comparison, index), isLess, t('change_before', { value: textOf(fmt, unit, totals?.comparison?.metrics[index]) }));
      }
    },
    press(metric) {
      for (const it of made) it.button.setAttribute('aria-pressed', String(it.metric === metric));
    },
  };
}

/** A value as a text; a dash for none. */
export function textOf(fmt, unit, value) {
  if (value === null || value === undefined) return '–';
  return unit === 'seconds' ? fmt.length(value) : unit === 'brief' ? fmt.brief(value) : unit === 'share' ? fmt.share(value) : fmt.count(value);
}

// How much a value has changed, as a number whose sign counts and as a text; null where there is nothing to compare with.
function changeOf({ t, fmt, points }, unit, now, comparison, index) {
  const [before, change] = [comparison?.metrics[index], comparison?.change[index]];
  if (unit === 'share') {
    if (typeof now !== 'number' || typeof before !== 'number') return null;
    const size = Math.round((now - before) * 1_000) / 10;
    return { size, text: t('points', { count: Math.abs(size), change: points(size / 100) }) };
  }
  return typeof change === 'number' ? { size: directionOf(change), text: fmt.change(change) } : null;
}

function showChange(element, change, isLess, before) {
  element.replaceChildren(...(change ? [change.text, h('span', { class: 'unseen' }, ` (${before})`)] : []));
  element.className = `change ${change?.size ? (change.size < 0 === Boolean(isLess) ? 'up' : 'down') : ''}`;
  element.title = change ? before : '';
}
