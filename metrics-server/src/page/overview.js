// The overview: totals and their course, all videos, and where, on what and how they are watched.

import { timeLine } from './charts/line.js';
import { previousPoints } from './charts/maths.js';
import { WORDS as CHART_WORDS } from './charts/words.js';
import { asked, resolve } from './dates.js';
import { h } from './dom.js';
import { Panel } from './panel.js';
import { Breakdowns } from './overview/breakdowns.js';
import { Videos } from './overview/videos.js';
import { welcome } from './overview/welcome.js';
import { queried } from './state.js';
import { tiles } from './tiles.js';
import { follow } from './watching.js';

const REFRESH_MS = 20_000;
const SLOW = 3; // The shortest pause, in times of an answer: spares a slow server.

// The totals: metric, unit, and the metric without which it says nothing.
const TILES = [
  { metric: 'plays', unit: 'count' },
  { metric: 'view_time', unit: 'seconds' },
  { metric: 'average_percentage_viewed', unit: 'share' },
  { metric: 'completion_rate', unit: 'share' },
  { metric: 'play_rate', unit: 'share', needs: 'impressions' },
];
const BUCKETS_MAX = 1_000;

export function create(place, context) {
  const { t, fmt, api, locale, metrics, announce } = context;
  const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const specs = TILES.filter(({ metric, needs }) => metrics.has(metric) && (!needs || metrics.has(needs)));
  const names = [...specs.map(({ metric }) => metric), ...specs.flatMap(({ needs }) => needs ?? [])];
  const empty = h('div', { hidden: true });
  const panel = new Panel(t, { name: 'totals' });
  const figures = h('div', { class: 'tiles' });
  const chartPlace = h('div', { class: 'chart' });
  panel.body.append(figures, chartPlace);
  panel.element.setAttribute('aria-label', t('totals'));
  const shared = { ...context, timezone };
  const videos = new Videos(shared);
  const breakdowns = new Breakdowns(shared);
  const board = h('div', { class: 'board' }, panel.element, videos.element, breakdowns.element);
  place.append(empty, board);

  let chart = null;
  let answer = null;
  let timer = 0;
  let isDestroyed = false;
  let state = null;
  let period = null;

  const watching = h('data', { value: '' }, '–');
  const what = h('span', { class: 'what', dir: 'auto' });
  const live = h('a', { class: 'tile live', 'data-metric': 'watching' }, h('span', { class: 'name' }, t('metric_watching')), h('b', {}, watching), what);
  const totals = tiles(context, specs);
  figures.append(live, ...totals.elements);

  const viewers = follow(api, () => ({ filters: queried(state.filters), limit: 3 }), ({ watching: count, videos: list }) => {
    watching.value = count ?? '';
    watching.textContent = count === null ? '–' : fmt.count(count);
    live.classList.toggle('on', count > 0);
    what.textContent = (list ?? []).map(({ title, name }) => title || name).join(', ');
  });

  function showChart() {
    const { metric, unit } = specs.find((it) => it.metric === state.metric) ?? specs[0];
    totals.press(metric);
    if (!answer) return;
    const index = names.indexOf(metric);
    const points = answer.results.map(({ dimensions, metrics }) => ({ start: dimensions[0], value: metrics[index] }));
    const previous = period.compared ? previousPoints(answer.results, index) : undefined;
    const data = { points, previous, isPartial: period.isPartial };
    const options = { words: CHART_WORDS[context.language], locale, timezone, name: t(`metric_${metric}`), unit, bucket: answer.bucket, previousName: t(`compare_${state.compare}`), height: 240, color: 'var(--plays)', empty: t('nobody') };
    if (chart) chart.update(data, options);
    else chart = timeLine(chartPlace, data, options);
  }

  function load(isRefresh) {
    period = resolve(state.period, state.compare, new Date());
    const filters = queried(state.filters);
    const base = { filters, timezone, ...asked(period) };
    const question = [state.period, state.compare, filters];
    const query = (bucket) => ({ metrics: names, dimensions: [`time:1 ${bucket}`], totals: true, limit: BUCKETS_MAX, ...base });
    const ask = async (signal) => {
      const all = await api.ask('query', query(period.bucket), signal);
      // All of a young server is a few months at most.
      const bucket = state.period === 'all' && all.results.length < 3 ? 'day' : period.bucket;
      return { ...(bucket === period.bucket ? all : await api.ask('query', query(bucket), signal)), bucket };
    };
    const start = performance.now();
    const loads = [
      // First, because the curves of its videos are another request.
      videos.load(state, period, base, question),
      panel.load(question, ask, (it) => {
        answer = it;
        totals.show(names, it.totals);
        showChart();
      }),
      breakdowns.load(state, base, question),
    ];
    Promise.all(loads).then(([list, all]) => {
      if (list) showWelcome(list);
      if (all && list && !isRefresh) announce(announcementOf(all, list));
      later(Math.max(REFRESH_MS, (performance.now() - start) * SLOW));
    });
  }

  function announcementOf({ totals: sums }, { meta }) {
    const plays = t('announce', { count: sums?.metrics[0] ?? 0 });
    return state.search ? `${t('announce_videos', { count: meta.rows })}, ${plays}` : plays;
  }

  // Instead of empty panels, while no video has ever been watched.
  function showWelcome(list) {
    const isEmpty = list.meta.rows === 0 && !state.search && state.filters.length === 0;
    if (isEmpty && empty.hidden) welcome(empty, context);
    empty.hidden = !isEmpty;
    board.hidden = isEmpty;
  }

  function later(milliseconds) {
    clearTimeout(timer);
    if (isDestroyed) return;
    timer = setTimeout(() => (document.hidden ? later(REFRESH_MS) : load(true)), milliseconds);
  }

  return {
    update(next) {
      const before = state;
      state = next;
      live.href = context.link({ screen: 'live' });
      const keyOf = (it, ...members) => JSON.stringify(members.map((name) => it?.[name]));
      const isAlike = (...members) => keyOf(before, ...members) === keyOf(next, ...members);
      if (!isAlike('period', 'compare', 'filters')) answer = null;
      showChart();
      if (!isAlike('period', 'compare', 'filters', 'search', 'sort', 'at')) {
        clearTimeout(timer);
        load(false);
      }
      // Its stream lasts, and occupies one of the few connections that a browser opens to a server.
      if (!isAlike('filters')) viewers.restart();
    },
    destroy() {
      isDestroyed = true;
      clearTimeout(timer);
      viewers.stop();
      for (const it of [panel, videos, breakdowns]) it.stop();
      chart?.destroy();
    },
  };
}
