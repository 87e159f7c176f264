// The bar above a screen: period, comparison, key, and the filters as chips.

import { PERIODS, isoOf, periodOf, rangeOf, resolve } from './dates.js';
import { copyable, h, menu } from './dom.js';
import { filterMenu } from './filters.js';
import { COMPARISONS, format, queried } from './state.js';

// Which controls a screen has.
const PARTS = {
  overview: { period: true, filters: true },
  videos: { period: true, filters: true },
  live: { period: false, filters: true },
  quality: { period: true, filters: true },
  settings: { period: false, filters: false },
};

const SHARED_DAYS = [1, 7, 30, 90, 365];

/** Returns `{ element, update(state) }`. */
export function controls(context) {
  const { t, fmt, api, me, go, link, keys, state: current } = context;
  const element = h('div', { class: 'controls' });
  const chips = h('ul', { class: 'chips', 'aria-label': t('filters') });
  const heading = h('h1', { dir: 'auto' });
  const back = h('a', { class: 'back', 'aria-label': t('screen_overview') }, '‹');
  let shown = null;
  const tools = h('div', { class: 'tools' });
  element.append(h('div', { class: 'line' }, h('div', { class: 'title' }, back, heading), tools), chips);

  function periodMenu(state) {
    const name = (period) => (rangeOf(period) ? fmt.dayRange(...rangeOf(period)) : t(`period_${period}`));
    const option = (text, changes, isCurrent) => h('a', { href: link(changes), 'aria-current': isCurrent ? 'true' : null }, text);
    const { from, to } = resolve(state.period, state.compare, new Date());
    const first = h('input', { type: 'date', required: true, max: isoOf(new Date()), value: from ? isoOf(from) : '' });
    const last = h('input', { type: 'date', required: true, max: isoOf(new Date()), value: isoOf(to) });
    const apply = (event) => {
      event.preventDefault();
      go({ period: periodOf(first.value, last.value) });
    };
    const dates = h('form', { on: { submit: apply } }, h('label', {}, t('from'), first), h('label', {}, t('to'), last), h('button', { type: 'submit' }, t('apply')));
    const comparisons = h('div', { class: 'options', role: 'group', 'aria-label': t('compare') }, h('p', { class: 'label' }, t('compare')), COMPARISONS.map((it) => option(t(`compare_${it}`), { compare: it }, it === state.compare)));
    const options = h('div', { class: 'options', role: 'group', 'aria-label': t('period') }, PERIODS.map((it) => option(name(it), { period: it }, it === state.period)));
    const zone = h('p', { class: 'muted' }, t('zone', { zone: Intl.DateTimeFormat().resolvedOptions().timeZone }));
    return menu(name(state.period), [options, dates, state.period === 'all' ? null : comparisons, zone], { 'data-menu': 'period' });
  }

  function keyMenu(state) {
    if (keys.size < 2) return null;
    const found = state.filters.find((it) => it.name === 'key' && !it.not);
    const others = state.filters.filter((it) => it !== found);
    const option = (text, values, isCurrent) => h('a', { href: link({ filters: values ? [...others, { name: 'key', not: false, values }] : others }), 'aria-current': isCurrent ? 'true' : null }, text);
    const options = h('div', { class: 'options' }, option(t('all_keys'), null, !found), [...keys].map(([key, name]) => option(h('bdi', {}, name), [key], found?.values.includes(key))));
    return menu(found ? context.names.value('key', found.values[0]) : t('all_keys'), options, { 'data-menu': 'key' });
  }

  // A link that shows this view to others, and nothing else.
  function shareMenu(state) {
    if (!me?.may.includes('create_tokens') || !['overview', 'videos', 'live', 'quality'].includes(state.screen)) return null;
    const days = h('select', {}, SHARED_DAYS.map((value) => h('option', { value }, t('share_days', { count: value }))));
    const result = h('div', { role: 'status' });
    const share = async (event) => {
      event.preventDefault();
      const filters = queried(state.filters);
      const body = { expires_in: `${days.value} days`, ...(filters.length ? { filters } : {}), ...(state.screen === 'videos' ? { identifier: state.video } : {}) };
      try {
        const { link: path } = await api.ask('tokens', body);
        result.replaceChildren(copyable(`${new URL(path, location.href)}${format(state)}`, t));
      } catch (error) {
        result.replaceChildren(h('p', {}, error.message));
      }
    };
    const form = h('form', { on: { submit: share } }, h('label', {}, t('share_for'), days), h('button', { type: 'submit' }, t('share_make')));
    return menu(t('share'), [h('p', { class: 'muted' }, t('share_text')), form, result], { 'data-menu': 'share' });
  }

  function chip(state, filter) {
    const values = filter.values.map((value) => context.names.value(filter.name, value)).join(', ');
    const others = state.filters.filter((it) => it !== filter);
    const name = context.names.dimension(filter.name);
    const label = filter.not ? t('filter_not', { name, values }) : t('filter_is', { name, values });
    const turn = h('a', { class: 'turn', href: link({ filters: state.filters.map((it) => (it === filter ? { ...it, not: !it.not } : it)) }), title: t('filter_turn') }, name, h('b', {}, filter.not ? ' ≠ ' : ' = '), h('bdi', {}, values));
    return h('li', {}, turn, h('a', { class: 'remove', href: link({ filters: others }), 'aria-label': t('filter_remove', { filter: label }) }, '×'));
  }

  function update(state) {
    const parts = PARTS[state.screen] ?? PARTS.overview;
    back.hidden = state.screen !== 'videos';
    back.href = link({ screen: 'overview', video: null, with: null });
    // The title of the same video stays.
    if (state.screen !== 'videos') heading.textContent = t(`screen_${state.screen}`);
    else if (shown !== state.video) heading.textContent = state.video;
    shown = state.screen === 'videos' ? state.video : null;
    tools.replaceChildren(...[parts.filters && shareMenu(state), parts.filters && filterMenu(context, state), parts.filters && keyMenu(state), parts.period && periodMenu(state)].filter(Boolean));
    chips.replaceChildren(...(parts.filters ? state.filters.map((filter) => chip(state, filter)) : []));
    if (state.filters.length > 1 && parts.filters) chips.append(h('li', { class: 'plain' }, h('a', { href: link({ filters: [] }) }, t('filter_clear'))));
    chips.hidden = !chips.childElementCount;
    element.dataset.address = format(current());
  }
  return { element, update, title: (text) => (heading.textContent = text) };
}
