// Live: how many watch now, the last hour minute by minute, and where in each video its viewers are.

import { timeLine } from './charts/line.js';
import { WORDS as CHART_WORDS } from './charts/words.js';
import { focusKeeper, h } from './dom.js';
import { clock } from './format.js';
import { Panel } from './panel.js';
import { queried } from './state.js';
import { textOf } from './tiles.js';
import { follow } from './watching.js';

const MINUTES = 60;
const MINUTE_MS = 60_000;
const REFRESH_MS = 20_000;
const VIDEOS = 20;
const PARTS = 160;
const SVG = 'http://www.w3.org/2000/svg';

export function create(place, context) {
  const { t, fmt, api, locale, language, link } = context;
  const timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const figure = (name) => {
    const value = h('data', { value: '' }, '–');
    return { value, tile: h('div', { class: 'tile', 'data-metric': name }, h('span', { class: 'name' }, t(`metric_${name}`)), h('b', {}, value)) };
  };
  const [now, peak, mean, plays] = ['watching', 'peak', 'mean', 'plays_today'].map(figure);
  now.tile.classList.add('live');
  const panel = new Panel(t, { name: 'totals' });
  panel.element.setAttribute('aria-label', t('totals'));
  const chartPlace = h('div', { class: 'chart' });
  panel.body.append(h('div', { class: 'tiles' }, now.tile, peak.tile, mean.tile, plays.tile), chartPlace);
  const videos = new Panel(t, { title: t('live_videos'), name: 'watched' });
  const list = h('ul', { class: 'watched' });
  videos.body.append(list);
  place.append(h('div', { class: 'board' }, panel.element, videos.element));

  let state = null;
  let chart = null;
  let timer = 0;

  const set = ({ value }, number, unit) => {
    value.value = number ?? '';
    value.textContent = textOf(fmt, unit, number);
  };

  // The last hour as minutes, and the present one, which moves with each report.
  let hour = null;
  let present = null;

  function showChart() {
    if (!hour) return;
    const { points, totals, to } = hour;
    const all = present === null ? points : [...points, { start: to.toISOString(), value: present }];
    hour.most = Math.max(hour.most, present ?? 0);
    set(peak, hour.most, 'count');
    mean.value.value = totals[1] ?? '';
    mean.value.textContent = typeof totals[1] === 'number' ? fmt.decimal(totals[1]) : '–';
    const options = { words: CHART_WORDS[language], locale, name: t('metric_concurrent'), bucket: 'minute', peak: hour.most, mean: totals[1] ?? 0, isSum: false, height: 220, color: 'var(--viewers)', empty: t('live_nobody') };
    const data = { points: all, isPartial: present !== null };
    if (chart) chart.update(data, options);
    else chart = timeLine(chartPlace, data, options);
  }

  const viewers = follow(api, () => ({ filters: queried(state.filters), timezone, limit: VIDEOS, parts: PARTS }), (report) => {
    set(now, report.watching, 'count');
    present = report.watching;
    showChart();
    now.tile.classList.toggle('on', report.watching > 0);
    if (report.plays !== undefined) set(plays, report.plays, 'count');
    plays.tile.hidden = report.plays === undefined && plays.value.value === '';
    videos.element.hidden = report.videos === undefined && report.watching !== null;
    if (report.watching === null) return videos.wait();
    videos.element.classList.remove('waiting');
    if (report.videos) showVideos(report);
  });

  function showVideos({ videos: watched, rows = watched.length }) {
    const items = watched.map(({ name, title, watching, positions, end }) => {
      const text = title || name;
      const head = h('a', { href: link({ screen: 'videos', video: name }) }, h('bdi', {}, text));
      const ends = h('div', { class: 'ends', dir: 'ltr', 'aria-hidden': 'true' }, h('span', {}, '0:00'), h('span', {}, end ? clock(end) : ''));
      return h('li', { 'data-video': name }, h('div', { class: 'row' }, head, h('b', {}, t('viewers', { count: watching }))), strip(positions ?? [], end), ends);
    });
    if (items.length === 0) items.push(h('li', { class: 'hint' }, t('live_nobody')));
    if (rows > watched.length) items.push(h('li', { class: 'hint' }, t('more', { count: rows - watched.length })));
    const refocus = focusKeeper(list);
    list.replaceChildren(...items);
    refocus();
  }

  // Where the viewers are: a bar per part of the video with viewers.
  function strip(positions, end) {
    const most = Math.max(1, ...positions);
    const drawing = document.createElementNS(SVG, 'svg');
    const parts = positions.flatMap((count, index) => (count ? [[index, count]] : []));
    const words = parts.map(([index, count]) => t('viewers_at', { count, at: clock((index / positions.length) * (end ?? 0)) }));
    for (const [name, value] of Object.entries({ class: 'strip', viewBox: `0 0 ${positions.length || 1} 20`, preserveAspectRatio: 'none', role: 'img', 'aria-label': words.join(', ') || t('live_nobody') })) drawing.setAttribute(name, value);
    for (const [index, count] of parts) {
      const bar = document.createElementNS(SVG, 'rect');
      const height = Math.max(5, (count / most) * 20);
      for (const [name, value] of Object.entries({ x: index, y: 20 - height, width: 1, height })) bar.setAttribute(name, value);
      drawing.append(bar);
    }
    return drawing;
  }

  function load() {
    clearTimeout(timer);
    const filters = queried(state.filters);
    // Whole minutes: the current one has not been counted yet.
    const to = new Date(Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS);
    const from = new Date(to.getTime() - MINUTES * MINUTE_MS);
    const query = { metrics: ['peak_concurrent', 'average_concurrent'], dimensions: ['time:1 minute'], timeframe: { from: from.toISOString(), to: to.toISOString() }, filters, totals: true, limit: MINUTES + 1 };
    panel.load(['live', filters], (signal) => api.ask('query', query, signal), ({ results, totals }) => {
      const rows = results.map(({ dimensions, metrics }) => ({ start: dimensions[0], value: metrics[0] }));
      const points = rows.filter(({ start }) => new Date(start) < to);
      const values = totals?.metrics ?? [];
      // The whole minutes do not include the viewers of the present one.
      const most = hour?.to.getTime() === to.getTime() ? hour.most : 0;
      hour = { points, totals: values, to, most: Math.max(most, values[0] ?? 0) };
      showChart();
    });
    timer = setTimeout(() => (document.hidden ? (timer = setTimeout(load, REFRESH_MS)) : load()), REFRESH_MS);
  }

  return {
    update(next) {
      const isSame = state && JSON.stringify(state.filters) === JSON.stringify(next.filters);
      state = next;
      if (isSame) return;
      hour = null;
      viewers.restart();
      load();
    },
    destroy() {
      clearTimeout(timer);
      viewers.stop();
      panel.stop();
      chart?.destroy();
    },
  };
}
