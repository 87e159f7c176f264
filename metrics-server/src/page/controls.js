// The bar above a screen: period, comparison, key, and the filters as chips.

import { PERIODS, isoOf, periodOf, rangeOf, resolve } from './dates.js';
import { copyable, h, menu } from './dom.js';
import { exportLink } from './export.js';
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

const partsOf = (screen) => PARTS[screen] ?? PARTS.overview;

const SHARED_DAYS = [1, 7, 30, 90, 365];

/** Returns `{ element, update(state) }`. */
export function controls(context) {
  const { t, fmt, api, me, go, link, keys, names, state: current } = context;
  const element = h('div', { class: 'controls' });
  const chips = h('ul', { class: 'chips', 'aria-label': t('filters') });
  const heading = h('h1', { dir: 'auto', tabindex: -1 });
  // On paper, which has no menus.
  const printed = h('p', { class: 'printed muted' });
  const back = h('a', { class: 'back', 'aria-label': t('screen_overview') }, '‹');
  let shown = null;
  const tools = h('div', { class: 'tools' });
  element.append(h('div', { class: 'line' }, h('div', { class: 'title' }, back, heading), tools), printed, chips);

  const periodName = (period) => (rangeOf(period) ? fmt.dayRange(...rangeOf(period)) : t(`period_${period}`));

  function periodMenu(state) {
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
    const options = h('div', { class: 'options', role: 'group', 'aria-label': t('period') }, PERIODS.map((it) => option(periodName(it), { period: it }, it === state.period)));
    const zone = h('p', { class: 'muted' }, t('zone', { zone: Intl.DateTimeFormat().resolvedOptions().timeZone }));
    return menu(periodName(state.period), [options, dates, state.period === 'all' ? null : comparisons, zone], { 'data-menu': 'period' });
  }

  function keyMenu(state) {
    if (keys.size < 2) return null;
    const found = state.filters.find((it) => it.name === 'key' && !it.not);
    const others = state.filters.filter((it) => it !== found);
    const option = (text, values, isCurrent) => h('a', { href: link({ filters: values ? [...others, { name: 'key', not: false, values }] : others }), 'aria-current': isCurrent ? 'true' : null }, text);
    const options = h('div', { class: 'options' }, option(t('all_keys'), null, !found), [...keys].map(([key, name]) => option(h('bdi', {}, name), [key], found?.values.includes(key))));
    return menu(found ? names.value('key', found.values[0]) : t('all_keys'), options, { 'data-menu': 'key' });
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
    const values = filter.values.map((value) => names.value(filter.name, value)).join(', ');
    const others = state.filters.filter((it) => it !== filter);
    const name = names.one(filter.name);
    const label = filter.not ? t('filter_not', { name, values }) : t('filter_is', { name, values });
    const shown = filter.values.flatMap((value, index) => [index ? ', ' : '', h('bdi', {}, names.value(filter.name, value)), detailOf(filter.name, value)]);
    const turned = () => go({ filters: state.filters.map((it) => (it === filter ? { ...it, not: !it.not } : it)) });
    const turn = h('button', { type: 'button', class: 'turn', title: t('filter_turn'), on: { click: turned } }, name, h('b', {}, filter.not ? ' ≠ ' : ' = '), shown);
    return h('li', {}, turn, h('button', { type: 'button', class: 'remove', 'aria-label': t('filter_remove', { filter: label }), on: { click: () => go({ filters: others }) } }, '×'));
  }

  function detailOf(dimension, value) {
    const detail = names.detail(dimension, value);
    return detail && h('small', {}, ' ', h('bdi', {}, detail));
  }

  function fillChips({ screen, ...rest }) {
    const state = { ...rest, screen, filters: partsOf(screen).filters ? rest.filters : [] };
    const at = [...chips.children].findIndex((it) => it.contains(document.activeElement));
    const kind = document.activeElement?.className;
    chips.replaceChildren(...state.filters.map((filter) => chip(state, filter)));
    if (state.filters.length > 1) chips.append(h('li', { class: 'plain' }, h('button', { type: 'button', on: { click: () => go({ filters: [] }) } }, t('filter_clear'))));
    chips.hidden = !chips.childElementCount;
    if (at < 0) return;
    // The focus goes to the chip that came into the place of a removed one.
    const next = chips.children[Math.min(at, state.filters.length - 1)];
    (next?.querySelector(`.${kind || 'remove'}`) ?? next?.lastElementChild ?? tools.querySelector('[data-menu=filter] summary') ?? heading).focus();
  }

  // The menus are made anew; the focus stays at the one that had it.
  function fillTools(state, { filters, period }) {
    const { menu: focused } = tools.contains(document.activeElement) ? document.activeElement.closest('[data-menu]').dataset : {};
    tools.replaceChildren(...[exportLink(context, state), filters && shareMenu(state), filters && filterMenu(context, state), filters && keyMenu(state), period && periodMenu(state)].filter(Boolean));
    if (!focused) return;
    const made = tools.querySelector(`[data-menu=${focused}]`);
    (made?.querySelector('summary') ?? made ?? heading).focus();
  }

  // Titles of videos that the address names by their identifiers.
  async function learn(state) {
    const videos = state.filters.flatMap((it) => (it.name === 'video' ? it.values : []));
    if (await context.learnTitles(videos)) fillChips(current());
  }

  function update(state) {
    const parts = partsOf(state.screen);
    back.hidden = state.screen !== 'videos';
    back.href = link({ screen: 'overview', video: null, with: null });
    // The title of the same video stays.
    if (state.screen !== 'videos') heading.textContent = t(`screen_${state.screen}`);
    else if (shown !== state.video) heading.textContent = names.value('video', state.video);
    shown = state.screen === 'videos' ? state.video : null;
    const { from, to } = resolve(state.period, 'none', new Date());
    const dates = from && !rangeOf(state.period) ? ` · ${fmt.dayRange(from, to)}` : '';
    printed.textContent = parts.period ? `${periodName(state.period)}${dates}` : '';
    fillTools(state, parts);
    fillChips(state);
    learn(state);
    element.dataset.address = format(current());
  }
  return { element, update, title: (text) => (heading.textContent = text), focus: () => heading.focus({ preventScroll: true }) };
}
