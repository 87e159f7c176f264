// The menu that adds a filter: any dimension, fields of metadata and of sessions included, and its most played values.

import { Latest } from './api.js';
import { h, menu } from './dom.js';
import { toggled } from './state.js';

const DIMENSIONS = ['video', 'page', 'page_host', 'referrer', 'utm_source', 'utm_medium', 'utm_campaign', 'country', 'browser', 'device', 'platform', 'language', 'player'];
const VALUES_MAX = 8;
const TYPING_MS = 200;

/** The menu for a state; it asks nothing until it is opened. */
export function filterMenu({ t, api, names, titles, dimensions, go }, state) {
  const latest = new Latest();
  const known = DIMENSIONS.filter((name) => dimensions.has(name));
  const option = (value) => h('option', { value }, names.one(value));
  const chooser = h('select', { 'aria-label': t('by'), on: { change: choose } }, known.map(option));
  const search = h('input', { type: 'search', placeholder: t('filter_search'), 'aria-label': t('filter_search'), autocomplete: 'off', spellcheck: 'false', dir: 'auto' });
  const list = h('div', { class: 'options one', 'aria-live': 'polite' });
  let typing = 0;
  search.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(load, TYPING_MS);
  });

  function choose() {
    search.value = '';
    // No values of another dimension under this one.
    list.replaceChildren();
    load();
  }

  async function ask(name, signal) {
    const query = { limit: VALUES_MAX, ...(search.value.trim() ? { search: search.value.trim() } : {}) };
    if (name !== 'video') return (await api.ask(`dimensions/${encodeURIComponent(name)}`, query, signal)).values.map(({ value }) => value);
    const { results } = await api.ask('videos', { ...query, metrics: ['plays'], timeframe: 'all' }, signal);
    for (const it of results) titles.set(it.name, it.title || it.name);
    return results.map((it) => it.name);
  }

  async function load() {
    const name = chooser.value;
    try {
      const [values] = await latest.run((signal) => ask(name, signal));
      if (values) show(name, values);
    } catch (error) {
      list.replaceChildren(h('p', { class: 'muted' }, error.message));
    }
  }

  function show(name, values) {
    const chosen = state.filters.find((it) => it.name === name && !it.not)?.values ?? [];
    const button = (value) => {
      const [text, detail] = [names.value(name, value), names.detail(name, value)];
      return h('button', { type: 'button', 'aria-pressed': String(chosen.includes(value)), title: text, on: { click: () => go({ filters: toggled(state.filters, name, value) }) } }, h('bdi', {}, text), detail && h('small', {}, ' ', h('bdi', {}, detail)));
    };
    list.replaceChildren(...(values.length ? values.map(button) : [h('p', { class: 'muted' }, t('filter_no_value'))]));
  }

  async function open() {
    load();
    const { fields } = await api.get('api/v1/fields').catch(() => ({ fields: [] }));
    const more = fields.map(({ name }) => name).filter((name) => ![...chooser.options].some((it) => it.value === name));
    chooser.append(...more.map(option));
  }

  const made = menu(t('filter_add'), [chooser, search, list], { 'data-menu': 'filter' });
  made.addEventListener('toggle', () => (made.open ? open() : latest.stop()));
  return made;
}
