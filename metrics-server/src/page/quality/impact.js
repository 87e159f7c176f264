// Quality by a dimension. By default the values come first that cost viewers most: a small fault of a common browser
// matters more than a large fault of a rare one.

import { h } from '../dom.js';
import { Panel } from '../panel.js';
import { toggled } from '../state.js';
import { textOf } from '../tiles.js';
import { impactOf, isWorse, sorted } from './worse.js';

const DIMENSIONS = ['browser', 'platform', 'device', 'video', 'page', 'page_host', 'country', 'language', 'player', 'key'];
const ROWS = 12; // Until all are asked for.
const ROWS_MAX = 1_000;

const COLUMNS = [
  ['sessions', 'count'],
  ['startup_time_p50', 'brief'],
  ['startup_time_p95', 'brief'],
  ['rebuffering_ratio', 'share'],
  ['failure_rate', 'share'],
  ['exit_before_start_rate', 'share'],
];
const METRICS = COLUMNS.map(([metric]) => metric);
const DEFAULT = 'startup_time_p50';

export class Impact {
  #answer = null;

  constructor(context) {
    const { t, names, dimensions, go } = context;
    this.context = context;
    const known = DIMENSIONS.filter((name) => dimensions.has(name));
    this.chooser = h('select', { 'aria-label': t('by'), on: { change: () => go({ by: this.chooser.value }) } }, known.map((value) => h('option', { value }, names.dimension(value))));
    this.known = known;
    this.panel = new Panel(t, { title: t('impact'), name: 'impact', tools: [this.chooser] });
    this.rows = h('tbody', {});
    this.head = h('tr', {});
    this.foot = h('tfoot', {});
    this.more = h('button', { type: 'button', class: 'more', hidden: true, on: { click: () => this.#show(true) } });
    this.hint = h('p', { class: 'legend' });
    const table = h('table', {}, h('caption', { class: 'unseen' }, t('impact')), h('thead', {}, this.head), this.rows, this.foot);
    this.panel.body.append(h('div', { class: 'scroll' }, table), this.more, this.hint);
    this.element = this.panel.element;
  }

  load(state, base, question) {
    const { api } = this.context;
    const by = this.known.includes(state.by) ? state.by : 'browser';
    this.chooser.value = by;
    this.state = state;
    this.by = by;
    const { timeframe, timezone, filters } = base;
    const query = { metrics: METRICS, dimensions: [by], timeframe, timezone, filters, order_by: [['sessions', 'desc']], totals: true, limit: ROWS_MAX };
    const asked = JSON.stringify([...question, by]);
    // Another order of the same rows.
    if (this.#answer?.asked === asked) return this.#show(false);
    this.#answer = null;
    return this.panel.load([...question, by], (signal) => api.ask('query', query, signal), (answer) => {
      this.#answer = { ...answer, asked };
      this.#show(false);
    });
  }

  stop() {
    this.panel.stop();
  }

  #show(isWhole) {
    const { t, fmt, names } = this.context;
    const { results, totals } = this.#answer;
    const metric = METRICS.includes(this.state.metric) ? this.state.metric : DEFAULT;
    const at = METRICS.indexOf(metric);
    const overall = totals?.metrics ?? [];
    const rows = results.map(({ dimensions: [value], metrics }) => ({
      value, metrics, name: names.value(this.by, value), impact: impactOf(metrics[at], overall[at], metrics[0]),
    }));
    const sort = this.#order();
    const index = METRICS.indexOf(sort.name);
    const valueOf = sort.name === 'impact' ? (row) => row.impact : index < 0 ? (row) => row.name : (row) => row.metrics[index];
    const shown = sorted(rows, valueOf, sort.isDown);
    // A phone shows the chosen columns only.
    const kind = (name) => `number ${name} ${name === metric || name === 'impact' ? 'chosen' : ''}`;
    const made = shown.slice(0, isWhole ? shown.length : ROWS).map((row) => this.#row(row, overall, COLUMNS[at], kind));
    if (made.length === 0) made.push(h('tr', {}, h('td', { colspan: COLUMNS.length + 2, class: 'hint' }, t('quality_nothing'))));
    this.#showHead(sort, kind);
    this.rows.replaceChildren(...made);
    const all = COLUMNS.map(([name, unit], column) => h('td', { class: kind(name) }, textOf(fmt, unit, overall[column])));
    this.foot.replaceChildren(h('tr', {}, h('th', { scope: 'row' }, t('impact_all')), ...all, h('td', { class: kind('impact') })));
    this.foot.hidden = shown.length === 0;
    this.more.textContent = t('more', { count: shown.length - made.length });
    this.more.hidden = shown.length <= made.length;
    this.hint.textContent = t('impact_hint', { metric: t(`metric_${metric}`) });
  }

  // Names of the other screens' columns are none here.
  #order() {
    const { sort } = this.context.state();
    const name = sort.replace('-', '');
    return METRICS.includes(name) || name === 'name' ? { name, isDown: sort.startsWith('-') } : { name: 'impact', isDown: sort !== 'impact' };
  }

  #showHead({ name, isDown }, kind) {
    const { t, names, link } = this.context;
    const column = (it, text) => {
      const isSorted = it === name;
      const isNextDown = isSorted ? !isDown : it !== 'name';
      const mark = isSorted ? (isDown ? '\u00a0↓' : '\u00a0↑') : '';
      const way = h('a', { href: link({ sort: `${isNextDown ? '-' : ''}${it}` }), 'data-sort': it }, text, h('span', { 'aria-hidden': 'true' }, mark));
      return h('th', { scope: 'col', class: it === 'name' ? '' : kind(it), 'aria-sort': isSorted ? (isDown ? 'descending' : 'ascending') : null }, way);
    };
    const focused = this.head.contains(document.activeElement) ? document.activeElement.dataset.sort : null;
    this.head.replaceChildren(
      column('name', names.dimension(this.by)),
      ...METRICS.map((metric) => column(metric, t(`metric_${metric}`))),
      column('impact', t('metric_impact')),
    );
    if (focused) this.head.querySelector(`[data-sort=${focused}]`).focus();
  }

  #row({ value, name, metrics, impact }, overall, [, unit], kind) {
    const { t, fmt, link } = this.context;
    const way = h('a', { href: link({ filters: toggled(this.context.state().filters, this.by, value) }), title: name }, h('bdi', {}, name));
    const marked = [];
    const cells = COLUMNS.map(([metric, unit], index) => {
      const text = textOf(fmt, unit, metrics[index]);
      const isBad = unit !== 'count' && isWorse(unit, metrics[index], overall[index], metrics[0]);
      if (isBad) marked.push(t(`metric_${metric}`));
      const title = isBad ? `${t('impact_worse')}: ${text} / ${textOf(fmt, unit, overall[index])}` : null;
      const mark = isBad ? [h('span', { 'aria-hidden': 'true' }, '▲ '), h('span', { class: 'unseen' }, `${t('impact_worse')}: `)] : [];
      return h('td', { class: `${kind(metric)} ${isBad ? 'worse' : ''}`, title }, ...mark, text);
    });
    const head = h('th', { scope: 'row' }, h('div', {}, way, marked.length ? h('small', { class: 'worse', title: marked.join(', ') }, t('impact_worse')) : null));
    return h('tr', {}, head, ...cells, h('td', { class: kind('impact') }, amountOf(fmt, unit, impact)));
  }
}

// As many sessions, or as much time, more than if the value were the overall one.
function amountOf(fmt, unit, impact) {
  if (impact === null) return '–';
  const amount = Math.abs(impact);
  const size = unit !== 'share' ? fmt.length(amount) : amount < 10 ? fmt.decimal(amount) : fmt.count(Math.round(amount));
  return `${amount < 0.05 ? '' : impact < 0 ? '−' : '+'}${size}`; // Zero has no sign.
}
