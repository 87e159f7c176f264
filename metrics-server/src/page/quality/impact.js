// Quality by a dimension. The values with the most sessions that suffered come first: a rare fault of a common browser
// matters more than a common fault of a rare one.

import { h } from '../dom.js';
import { Panel } from '../panel.js';
import { toggled } from '../state.js';
import { textOf } from '../tiles.js';

const DIMENSIONS = ['browser', 'platform', 'device', 'video', 'page', 'page_host', 'country', 'language', 'player', 'key'];
const ROWS = 12;
const ROWS_MAX = 1_000;

const COLUMNS = [
  ['sessions', 'count'],
  ['startup_time_p50', 'seconds'],
  ['startup_time_p95', 'seconds'],
  ['rebuffering_ratio', 'share'],
  ['failure_rate', 'share'],
  ['exit_before_start_rate', 'share'],
];
// Counted for the order only.
const COUNTED = ['failures', 'exits_before_start', 'rebuffered_session_rate'];
const METRICS = [...COLUMNS.map(([metric]) => metric), ...COUNTED];

export class Impact {
  constructor(context) {
    const { t, names, dimensions, go } = context;
    this.context = context;
    const known = DIMENSIONS.filter((name) => dimensions.has(name));
    this.chooser = h('select', { 'aria-label': t('by'), on: { change: () => go({ by: this.chooser.value }) } }, known.map((value) => h('option', { value }, names.dimension(value))));
    this.known = known;
    this.panel = new Panel(t, { title: t('impact'), name: 'impact', tools: [this.chooser] });
    this.rows = h('tbody', {});
    this.head = h('tr', {});
    this.panel.body.append(h('div', { class: 'scroll' }, h('table', {}, h('caption', { class: 'unseen' }, t('impact')), h('thead', {}, this.head), this.rows)));
    this.element = this.panel.element;
  }

  load(state, base, question) {
    const { api } = this.context;
    const by = this.known.includes(state.by) ? state.by : 'browser';
    this.chooser.value = by;
    const { timeframe, timezone, filters } = base;
    const query = { metrics: METRICS, dimensions: [by], timeframe, timezone, filters, order_by: [['sessions', 'desc']], limit: ROWS_MAX };
    return this.panel.load([...question, by], (signal) => api.ask('query', query, signal), ({ results }) => this.#show(state, by, results));
  }

  stop() {
    this.panel.stop();
  }

  #show(state, by, results) {
    const { t, fmt, names, link } = this.context;
    this.head.replaceChildren(h('th', { scope: 'col' }, names.dimension(by)), ...COLUMNS.map(([metric]) => h('th', { scope: 'col', class: `number ${metric}` }, t(`metric_${metric}`))), h('th', { scope: 'col', class: 'number' }, t('metric_suffered')));
    const rows = results.map(({ dimensions, metrics }) => ({ value: dimensions[0], metrics, suffered: sufferedOf(metrics) })).sort((a, b) => b.suffered - a.suffered);
    const made = rows.slice(0, ROWS).map(({ value, metrics, suffered }) => {
      const text = names.value(by, value);
      const name = h('a', { href: link({ filters: toggled(state.filters, by, value) }), title: text }, h('bdi', {}, text));
      const cells = COLUMNS.map(([metric, unit], index) => h('td', { class: `number ${metric}` }, textOf(fmt, unit, metrics[index])));
      return h('tr', {}, h('th', { scope: 'row' }, name), ...cells, h('td', { class: 'number' }, textOf(fmt, 'count', suffered)));
    });
    if (made.length === 0) made.push(h('tr', {}, h('td', { colspan: COLUMNS.length + 2, class: 'hint' }, t('quality_nothing'))));
    this.rows.replaceChildren(...made);
  }
}

/** The sessions with a failure, an exit before the start, or a wait; one with several counts several times. */
function sufferedOf(metrics) {
  const at = (name) => metrics[METRICS.indexOf(name)] ?? 0;
  return Math.round(at('failures') + at('exits_before_start') + at('rebuffered_session_rate') * at('sessions'));
}
