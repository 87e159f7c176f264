// Quality: how fast and smoothly playback was, and where it was not, in order of what that costs viewers.

import { histogram, timeLine } from './charts/index.js';
import { previousPoints } from './charts/maths.js';
import { WORDS as CHART_WORDS } from './charts/words.js';
import { asked, resolve } from './dates.js';
import { h } from './dom.js';
import { Panel } from './panel.js';
import { Impact } from './quality/impact.js';
import { queried } from './state.js';
import { tiles } from './tiles.js';
import { startupBins } from './video-data.js';

const TILES = [
  { metric: 'startup_time_p50', unit: 'brief', isLess: true },
  { metric: 'startup_time_p95', unit: 'brief', isLess: true },
  { metric: 'rebuffering_ratio', unit: 'share', isLess: true },
  { metric: 'failure_rate', unit: 'share', isLess: true },
  { metric: 'exit_before_start_rate', unit: 'share', isLess: true },
];
const METRICS = TILES.map(({ metric }) => metric);
const BUCKETS_MAX = 1_000;

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
    const previous = period.compared ? previousPoints(answer.results, index) : undefined;
    const options = { words, locale, timezone, name: t(`metric_${metric}`), unit: unit === 'brief' ? 'seconds' : unit, bucket: period.bucket, previousName: t(`compare_${state.compare}`), height: 220, color: 'var(--viewers)', empty: t('quality_nothing') };
    const data = { points, previous, isPartial: period.isPartial };
    if (chart) chart.update(data, options);
    else chart = timeLine(chartPlace, data, options);
  }

  function showStartups({ bins, isOpen }) {
    const [median, p95] = answer?.totals?.metrics ?? [];
    startup.element.hidden = bins.length === 0;
    const data = { bins, isOpen, median, p95 };
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
    const { timeframe } = base;
    await startup.load(question, (signal) => startupBins(api.ask, { timeframe, filters }, answer?.totals?.metrics[1], signal), showStartups);
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
