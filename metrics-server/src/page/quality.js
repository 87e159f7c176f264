// Quality: how fast and smoothly playback was, and where it was not, in order of the sessions that suffered.

import { histogram, timeLine } from './charts/index.js';
import { WORDS as CHART_WORDS } from './charts/words.js';
import { asked, resolve } from './dates.js';
import { h } from './dom.js';
import { Panel } from './panel.js';
import { Impact } from './quality/impact.js';
import { queried } from './state.js';
import { tiles } from './tiles.js';

const TILES = [
  { metric: 'startup_time_p50', unit: 'seconds', isLess: true },
  { metric: 'startup_time_p95', unit: 'seconds', isLess: true },
  { metric: 'rebuffering_ratio', unit: 'share', isLess: true },
  { metric: 'failure_rate', unit: 'share', isLess: true },
  { metric: 'exit_before_start_rate', unit: 'share', isLess: true },
];
const METRICS = TILES.map(({ metric }) => metric);
const BUCKETS_MAX = 1_000;
// The ends of the bars of startup times, in seconds.
const EDGES = [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12];

export function create(place, context) {
  const { t, api, locale, language } = context;
  const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const words = CHART_WORDS[language];
  const panel = new Panel(t, { name: 'totals' });
  panel.element.setAttribute('aria-label', t('totals'));
  const totals = tiles(context, TILES);
  const chartPlace = h('div', { class: 'chart' });
  panel.body.append(h('div', { class: 'tiles' }, totals.elements), chartPlace);
  const startup = new Panel(t, { title: t('startup'), name: 'startup' });
  const startupPlace = h('div', {});
  startup.body.append(startupPlace);
  const impact = new Impact({ ...context, timezone });
  place.append(h('div', { class: 'board' }, panel.element, impact.element, startup.element));
  let chart = null;
  let bars = null;
  let answer = null;
  let state = null;
  let period = null;

  function showChart() {
    const { metric, unit } = TILES.find((it) => it.metric === state.metric) ?? TILES[0];
    totals.press(metric);
    if (!answer) return;
    const index = METRICS.indexOf(metric);
    const points = answer.results.map(({ dimensions, metrics }) => ({ start: dimensions[0], value: metrics[index] }));
    const before = answer.results.map(({ dimensions, comparison }) => ({ start: dimensions[0], value: comparison?.metrics[index] ?? null }));
    // Nothing was recorded then.
    const previous = before.some(({ value }) => value) ? before : undefined;
    const options = { words, locale, timezone, name: t(`metric_${metric}`), unit, bucket: period.bucket, previousName: t(`compare_${state.compare}`), height: 220, color: 'var(--viewers)', empty: t('quality_nothing') };
    const data = { points, previous, isPartial: period.isPartial };
    if (chart) chart.update(data, options);
    else chart = timeLine(chartPlace, data, options);
  }

  // The sessions below each end, of which the differences are the bars.
  async function askStartups(base, signal) {
    const { timeframe, filters } = base;
    const below = (edge) => api.ask('query', { metrics: ['sessions'], timeframe, filters: [...filters, ['<', 'startup_time', edge]] }, signal);
    const all = api.ask('query', { metrics: ['sessions'], timeframe, filters: [...filters, ['>=', 'startup_time', 0]] }, signal);
    const counts = (await Promise.all([...EDGES.slice(1).map(below), all])).map(({ results }) => results[0]?.metrics[0] ?? 0);
    return EDGES.map((from, index) => ({ from, to: EDGES[index + 1] ?? null, count: counts[index] - (counts[index - 1] ?? 0) }));
  }

  function showStartups(bins) {
    const [median, p95] = answer?.totals?.metrics ?? [];
    // Without the empty bars at the end.
    const last = bins.findLastIndex(({ count }) => count > 0);
    const shown = bins.slice(0, last + 1).map((bin) => ({ ...bin, to: bin.to ?? Math.ceil(p95 ?? bin.from) + bin.from }));
    startup.element.hidden = shown.length === 0;
    const data = { bins: shown, median, p95 };
    const options = { words, locale, unit: 'seconds', name: t('startup'), height: 200, color: 'var(--viewers)' };
    if (bars) bars.update(data, options);
    else bars = histogram(startupPlace, data, options);
  }

  async function load() {
    period = resolve(state.period, state.compare, new Date());
    const filters = queried(state.filters);
    const base = { filters, timezone, ...asked(period) };
    const question = [state.period, state.compare, filters];
    const query = { metrics: METRICS, dimensions: [`time:1 ${period.bucket}`], totals: true, limit: BUCKETS_MAX, ...base };
    const impacts = impact.load(state, base, question);
    await panel.load(question, (signal) => api.ask('query', query, signal), (it) => {
      answer = it;
      totals.show(METRICS, it.totals);
      showChart();
    });
    await startup.load(question, (signal) => askStartups(base, signal), showStartups);
    await impacts;
  }

  return {
    update(next) {
      const before = state;
      state = next;
      const keyOf = (it) => JSON.stringify([it.period, it.compare, it.filters]);
      if (before && keyOf(before) === keyOf(next)) {
        showChart();
        const base = { filters: queried(state.filters), timezone, ...asked(period) };
        return void impact.load(state, base, [state.period, state.compare, base.filters]);
      }
      answer = null;
      showChart();
      load();
    },
    destroy() {
      for (const it of [panel, startup, impact]) it.stop();
      chart?.destroy();
      bars?.destroy();
    },
  };
}
