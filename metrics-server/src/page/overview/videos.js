// All videos: sorted, searched and paged by the server, each with a small curve of its plays.

import { sparkline } from '../charts/spark.js';
import { Latest } from '../api.js';
import { WORDS as CHART_WORDS } from '../charts/words.js';
import { h } from '../dom.js';
import { directionOf } from '../format.js';
import { Panel } from '../panel.js';
import { textOf } from '../tiles.js';
import { columnsOf, orderOf, questionOf } from './list.js';

const ROWS = 10;
const TYPING_MS = 200;
const CURVE_POINTS_MAX = 62; // Of months, weeks, days or hours; else wider ones.

const WIDER = { hour: 'hour', day: 'day', week: 'week', month: 'month' };

export class Videos {
  #curves = new Latest();
  #typing = 0;
  #searched = null;

  constructor(context) {
    const { t, replace, metrics } = context;
    this.columns = columnsOf(metrics);
    this.context = context;
    this.search = h('input', { type: 'search', placeholder: t('search_videos'), 'aria-label': t('search_videos'), autocomplete: 'off', spellcheck: 'false', dir: 'auto' });
    this.search.addEventListener('input', () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => replace({ search: this.search.value }), TYPING_MS);
    });
    this.panel = new Panel(t, { title: t('videos'), name: 'videos', tools: [this.search, this.#sorter()] });
    this.rows = h('tbody', {});
    this.head = h('tr', {});
    this.pager = h('nav', { class: 'pager', 'aria-label': t('pages_of_videos') });
    this.panel.body.append(h('div', { class: 'scroll' }, h('table', {}, h('caption', { class: 'unseen' }, t('videos')), h('thead', {}, this.head), this.rows)), this.pager);
    this.element = this.panel.element;
  }

  /** Loads a page of videos, then their curves. Resolves with the list. */
  load(state, period, base, question) {
    const { api } = this.context;
    this.#follow(state);
    const { timeframe, timezone, filters, compare } = base;
    const query = {
      ...questionOf(state, this.columns),
      timeframe,
      timezone,
      filters,
      limit: ROWS,
      offset: (state.at - 1) * ROWS,
      ...(compare ? { compare } : {}),
    };
    const ask = (signal) => api.ask('videos', query, signal);
    return this.panel.load([...question, query.order_by, query.offset, query.search], ask, (answer) => {
      this.#loadCurves(answer, period, base);
      this.#show(state, answer);
    });
  }

  stop() {
    clearTimeout(this.#typing);
    this.panel.stop();
    this.#curves.stop();
  }

  // The box shows the search of the address, also after going back. A refresh does not replace unfinished input.
  #follow(state) {
    const { by, isDown } = orderOf(state, this.columns);
    this.sort.value = by;
    this.turn.textContent = isDown ? '↓' : '↑';
    if (state.search === this.#searched) return;
    clearTimeout(this.#typing);
    this.#searched = state.search;
    if (this.search.value !== state.search) this.search.value = state.search;
  }

  // For narrow screens, whose table has no room for all headings.
  #sorter() {
    const { t, go, state } = this.context;
    const names = ['video', ...this.columns.map(([metric]) => metric)];
    const change = () => go({ sort: this.sort.value === 'video' ? 'video' : `-${this.sort.value}` });
    const turn = () => {
      const { by, isDown } = orderOf(state(), this.columns);
      go({ sort: isDown ? by : `-${by}` });
    };
    this.sort = h('select', { on: { change } }, names.map((value) => h('option', { value }, value === 'video' ? t('video') : t(`metric_${value}`))));
    this.turn = h('button', { type: 'button', 'aria-label': t('sort_turn'), title: t('sort_turn'), on: { click: turn } });
    return h('div', { class: 'sorter' }, h('label', {}, t('sort_by'), this.sort), this.turn);
  }

  #show(state, { results, meta }) {
    const { t, titles } = this.context;
    this.#showHead(state);
    for (const { name, title } of results) titles.set(name, title || name);
    const rows = results.map((result) => this.#row(state, result));
    if (rows.length === 0) rows.push(h('tr', {}, h('td', { colspan: this.columns.length + 2, class: 'hint' }, state.search ? t('no_video_found', { search: state.search }) : t('nobody'))));
    this.rows.replaceChildren(...rows);
    this.#showPager(state, meta.rows);
  }

  #showHead(state) {
    const { t, link } = this.context;
    const { by, isDown } = orderOf(state, this.columns);
    const column = (name, text, kind) => {
      const isSorted = by === name;
      const sort = isSorted ? (isDown ? name : `-${name}`) : name === 'video' ? name : `-${name}`;
      const mark = isSorted ? (isDown ? '\u00a0↓' : '\u00a0↑') : '';
      return h('th', { scope: 'col', class: kind, 'aria-sort': isSorted ? (isDown ? 'descending' : 'ascending') : null }, h('a', { href: link({ sort }), 'data-sort': name }, text, h('span', { 'aria-hidden': 'true' }, mark)));
    };
    this.head.replaceChildren(column('video', t('video'), ''), h('th', { scope: 'col', class: 'curve' }, h('span', { class: 'unseen' }, t('curve'))), ...this.columns.map(([metric]) => column(metric, t(`metric_${metric}`), this.#classOf(state, metric))));
  }

  // Narrow screens have room for the plays and the figure that sorts.
  #classOf(state, metric) {
    const { by } = orderOf(state, this.columns);
    const shown = by === 'video' || by === 'plays' ? ['plays', 'average_percentage_viewed'] : ['plays', by];
    return `number ${metric} ${shown.includes(metric) ? '' : 'wide'}`;
  }

  #row(state, { name, title, duration, metrics, comparison }) {
    const { fmt, link, t } = this.context;
    const shown = title || name;
    const length = duration ? fmt.length(duration) : null;
    const details = [title && title !== name ? name : null, length].filter(Boolean);
    const head = h('th', { scope: 'row' }, h('a', { href: link({ screen: 'videos', video: name, search: '' }), title: shown }, h('bdi', {}, shown)), h('small', {}, h('bdi', {}, details.join(' · '))));
    const change = comparison?.change?.[0];
    const cells = this.columns.map(([metric, unit], index) => {
      const value = metrics[index];
      const cell = h('td', { class: this.#classOf(state, metric) }, textOf(fmt, unit, value));
      if (metric === 'plays' && change !== null && change !== undefined) cell.append(h('small', { class: `change ${['down', '', 'up'][directionOf(change) + 1]}`, title: t('change_before', { value: fmt.count(comparison.metrics[0]) }) }, fmt.change(change)));
      return cell;
    });
    return h('tr', { 'data-video': name }, head, h('td', { class: 'curve' }), ...cells);
  }

  async #loadCurves({ results }, period, base) {
    const { api, language, locale, t } = this.context;
    const names = results.map(({ name }) => name);
    if (names.length === 0) return;
    const { timeframe, timezone, filters } = base;
    const bucket = WIDER[period.bucket];
    const dimension = `time:1 ${bucket}`;
    const query = { metrics: ['plays'], dimensions: ['video', dimension], timeframe, timezone, fill: true, limit: 10_000, order_by: [[dimension, 'asc']], filters: [...filters, ['is', 'video', names]] };
    const [answer] = await this.#curves.run((signal) => api.ask('query', query, signal)).catch(() => []);
    if (!answer) return;
    const points = new Map(names.map((name) => [name, []]));
    for (const { dimensions: [name], metrics: [plays] } of answer.results) points.get(name)?.push(plays);
    for (const row of this.rows.children) {
      const values = points.get(row.dataset.video);
      const place = row.querySelector('.curve');
      if (values?.length > 1) sparkline(place, values.slice(-CURVE_POINTS_MAX), { words: CHART_WORDS[language], locale, name: t('metric_plays'), width: 96, height: 24 });
    }
  }

  #showPager(state, count) {
    const { t, link, fmt } = this.context;
    const last = Math.max(1, Math.ceil(count / ROWS));
    const step = (at, text, rel) => (at < 1 || last < at ? h('span', { class: 'off', 'aria-hidden': 'true' }, text) : h('a', { href: link({ at }), rel }, text));
    const from = (state.at - 1) * ROWS + 1;
    const summary = t('page_of', { from: fmt.plain(Math.min(from, count)), to: fmt.plain(Math.min(count, from + ROWS - 1)), count: fmt.plain(count) });
    this.pager.replaceChildren(step(state.at - 1, t('previous'), 'prev'), h('span', {}, summary), step(state.at + 1, t('next'), 'next'));
    this.pager.hidden = count <= ROWS && state.at === 1;
  }
}
