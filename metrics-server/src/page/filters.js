// The menu that adds a filter: any dimension, fields of metadata and of sessions included, and its most played values.

import { Latest } from './api.js';
import { h, menu } from './dom.js';
import { toggled } from './state.js';

const DIMENSIONS = ['video', 'page', 'page_host', 'referrer', 'utm_source', 'utm_medium', 'utm_campaign', 'country', 'browser', 'device', 'platform', 'language', 'player'];
const VALUES_MAX = 8;
const TYPING_MS = 200;

/** The menu for a state; it asks nothing until it is opened. */
export function filterMenu({ t, api, names, dimensions, go }, state) {
  const latest = new Latest();
  const known = DIMENSIONS.filter((name) => dimensions.has(name));
  const option = (value) => h('option', { value }, names.dimension(value));
  const chooser = h('select', { 'aria-label': t('by'), on: { change: () => ((search.value = ''), load()) } }, known.map(option));
  const search = h('input', { type: 'search', placeholder: t('filter_search'), 'aria-label': t('filter_search'), autocomplete: 'off', spellcheck: 'false', dir: 'auto' });
  const list = h('div', { class: 'options one', 'aria-live': 'polite' });
  let typing = 0;
  search.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(load, TYPING_MS);
  });

  async function load() {
    const name = chooser.value;
    const query = { limit: VALUES_MAX, ...(search.value.trim() ? { search: search.value.trim() } : {}) };
    try {
      const [answer] = await latest.run((signal) => api.ask(`dimensions/${encodeURIComponent(name)}`, query, signal));
      if (answer) show(name, answer.values);
    } catch (error) {
      list.replaceChildren(h('p', { class: 'muted' }, error.message));
    }
  }

  function show(name, values) {
    const chosen = state.filters.find((it) => it.name === name && !it.not)?.values ?? [];
    const button = ({ value }) => {
      const text = names.value(name, value);
      return h('button', { type: 'button', 'aria-pressed': String(chosen.includes(value)), title: text, on: { click: () => go({ filters: toggled(state.filters, name, value) }) } }, h('bdi', {}, text));
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
