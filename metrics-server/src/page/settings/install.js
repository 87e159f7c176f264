// How to measure a page: lines to copy, filled in, and a check that says when the first event has arrived.

import { ROOT } from '../api.js';
import { copyable, h } from '../dom.js';

const CHECK_MS = 3_000;
const RECENT_MS = 3_600_000;

// The lines per way to measure, for a key and the server's address.
const WAYS = {
  html: (at, key) => `<script defer src="${at}metrics.js" data-key="${key}"></script>\n<video src="intro.mp4" controls data-metrics-id="intro" data-metrics-title="Introduction"></video>`,
  module: (at, key) => `import { monitor } from '${at}metrics.mjs?key=${encodeURIComponent(key)}';\n\nconst stop = monitor(document.querySelector('video'), { identifier: 'intro' });`,
  bundler: (at, key) => `import { start } from 'metrics-video';\n\nstart({ server: '${at.replace(/\/$/, '')}', key: '${key}' });`,
  batch: (at, key) => `curl '${at}v1/events?key=${encodeURIComponent(key)}' --json '{"events": [\n  {"name": "play", "session_id": "1", "embed_id": "intro", "video_time": 0, "timestamp": ${Date.now() - 12_500}},\n  {"name": "pause", "session_id": "1", "embed_id": "intro", "video_time": 12.5, "timestamp": ${Date.now()}}]}'`,
};

/** `useKeys` is called with the keys of the server, at first and whenever they change. */
export function installation(panel, { t, fmt, api, exampleKey }) {
  const chooser = h('select', { on: { change: show } });
  const ways = Object.keys(WAYS);
  const way = h('select', { on: { change: show } }, ways.map((it) => h('option', { value: it }, t(`install_${it}`))));
  const lines = h('div', {});
  const result = h('p', { role: 'status', class: 'check' });
  const key = h('label', {}, t('by_key'), chooser);
  panel.body.append(h('div', { class: 'fields' }, key, h('label', {}, t('install_way'), way)), lines, result);
  panel.element.classList.remove('waiting');
  let timer = 0;
  let isStopped = false;

  function show() {
    const chosen = chooser.value || exampleKey || 'KEY';
    lines.replaceChildren(copyable(WAYS[way.value](String(ROOT), chosen), t));
    result.textContent = '';
    check(chosen);
  }

  // Asks until the key has an event, and then goes on to show the latest page.
  async function check(chosen) {
    clearTimeout(timer);
    if (isStopped) return;
    const filters = [['is', 'key', [chosen]]];
    const from = new Date(Date.now() - RECENT_MS).toISOString();
    const query = (timeframe) => api.ask('query', { metrics: ['sessions'], dimensions: ['page'], filters, timeframe, limit: 1, totals: true });
    try {
      const recent = await query({ from, to: new Date().toISOString() });
      const all = recent.results.length ? recent : await query('all');
      if (isStopped || chosen !== (chooser.value || exampleKey || 'KEY')) return;
      result.className = `check ${all.results.length ? 'well' : 'pending'}`;
      result.textContent = sentence(recent, all);
    } catch (error) {
      result.textContent = error.message;
    }
    if (!isStopped) timer = setTimeout(() => check(chosen), CHECK_MS);
  }

  function sentence(recent, all) {
    const page = all.results[0]?.dimensions[0];
    const count = all.totals?.metrics[0] ?? 0;
    if (all.results.length === 0) return t('install_waiting');
    if (recent.results.length === 0) return t('install_earlier', { count });
    return page ? t('install_page', { page: page.replace(/^https?:\/\//, ''), count }) : t('install_events', { count });
  }

  function useKeys(list) {
    const before = chooser.value;
    const active = list.filter(({ disabled_at: disabled }) => !disabled);
    chooser.replaceChildren(...active.map(({ key: it, settings }) => h('option', { value: it, selected: it === before }, settings.name ? `${settings.name} (${it})` : it)));
    key.hidden = active.length === 0;
    show();
  }

  return {
    element: panel.element,
    useKeys,
    destroy() {
      isStopped = true;
      clearTimeout(timer);
      panel.stop();
    },
    fmt,
  };
}
