// Plays by page, referrer, country, device and so on. Each row is a filter. A section shows once its dimension has values.

import { bars } from '../charts/bars.js';
import { WORDS as CHART_WORDS } from '../charts/words.js';
import { h } from '../dom.js';
import { Panel } from '../panel.js';
import { toggled } from '../state.js';

// Sections that always have values come with a place of their own; the others appear when they have any.
const SECTIONS = [
  { name: 'page', isFixed: true },
  { name: 'page_host', least: 2 },
  { name: 'referrer' },
  { name: 'utm_campaign' },
  { name: 'utm_source' },
  { name: 'utm_medium' },
  { name: 'country' },
  { name: 'browser', isFixed: true },
  { name: 'device', isFixed: true },
  { name: 'platform', isFixed: true },
  { name: 'language' },
];
const ROWS = 7;
const ROWS_MAX = 100;

export class Breakdowns {
  #sections;

  constructor(context) {
    const { t, names, dimensions, metrics } = context;
    this.context = context;
    this.#sections = SECTIONS.filter(({ name }) => dimensions.has(name) && metrics.has('plays')).map((section) => {
      const panel = new Panel(t, { title: names.dimension(section.name), name: 'breakdown' });
      panel.element.dataset.dimension = section.name;
      panel.element.hidden = !section.isFixed;
      const place = h('div', {});
      const more = h('button', { type: 'button', class: 'more', hidden: true });
      panel.body.append(place, more);
      return { ...section, panel, place, more, chart: null, isWhole: false };
    });
    this.element = h('div', { class: 'breakdowns' }, this.#sections.map(({ panel }) => panel.element));
  }

  load(state, base, question) {
    return Promise.all(this.#sections.map((section) => this.#load(section, state, base, question)));
  }

  stop() {
    for (const { panel, chart } of this.#sections) {
      panel.stop();
      chart?.destroy();
    }
  }

  #load(section, state, base, question) {
    const { api } = this.context;
    const { timeframe, timezone, filters } = base;
    const limit = section.isWhole ? ROWS_MAX : ROWS;
    const query = { metrics: ['plays'], dimensions: [section.name], totals: true, limit, timeframe, timezone, filters };
    const ask = (signal) => api.ask('query', query, signal);
    return section.panel.load([...question, limit], ask, (answer) => this.#show(section, state, answer, () => {
      section.isWhole = true;
      this.#load(section, state, base, question);
    }));
  }

  #show(section, state, { results, totals, meta }, onMore) {
    const { t, names, locale, language, go } = this.context;
    const { name, least = 1, isFixed, panel, place, more } = section;
    const isFiltered = state.filters.some((it) => it.name === name);
    const known = results.filter(({ dimensions }) => dimensions[0] !== null && dimensions[0] !== '');
    panel.element.hidden = !isFixed && !isFiltered && known.length < least;
    const all = totals?.metrics[0] || 1;
    const active = state.filters.find((it) => it.name === name && !it.not)?.values ?? [];
    const rows = results.map(({ dimensions: [value], metrics: [plays] }) => ({
      key: value,
      name: names.value(name, value),
      title: value || names.value(name, value),
      value: plays,
      share: plays / all,
      isActive: active.includes(value),
      isMuted: value === null,
    }));
    const options = {
      words: CHART_WORDS[language],
      locale,
      name: names.dimension(name),
      empty: t('nobody'),
      onPick: ({ key }) => go({ filters: toggled(state.filters, name, key) }),
    };
    if (section.chart) section.chart.update(rows, options);
    else section.chart = bars(place, rows, options);
    const rest = section.isWhole ? 0 : meta.rows - rows.length;
    more.textContent = t('more', { count: rest });
    more.onclick = onMore;
    more.hidden = rest <= 0;
  }
}
