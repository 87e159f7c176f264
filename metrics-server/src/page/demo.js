// The demonstration: two videos, and under them what the server knows about them while they play.

import { Api, Latest, ROOT } from './api.js';
import { curveOf, retention } from './charts/index.js';
import { WORDS as CHART_WORDS } from './charts/words.js';
import { h } from './dom.js';
import { formats } from './format.js';
import { textOf } from './tiles.js';
import { chosenLanguage, localeOf, translate } from './words.js';
import { WORDS } from './words/all.js';

const IDLE_MS = 10_000; // Between requests while nothing plays here.
const LIVE_MS = 1_500; // While a video plays, and LIVE_AFTER_MS longer.
const LIVE_AFTER_MS = 10_000;
const STORED_MS = 300; // The time for events to become durable.
const SLOW = 3; // The shortest pause, in times of an answer: spares a slow server.
const LIVE_SECONDS = 1; // Between heartbeats of the script.
const WHOLE = '100 years'; // One bucket for all.

const root = document.documentElement;
const language = chosenLanguage();
const locale = localeOf(language);
const t = translate(WORDS[language], locale);
const api = new Api(t);
const fmt = formats(locale, { s: t('unit_s'), min: t('unit_min'), h: t('unit_h') });
const latest = new Latest();

const main = document.getElementById('demo');
const videos = [...main.querySelectorAll('video')];
let video = videos[0];
let timer = 0;
let liveUntil = 0;

const figure = (name, unit) => {
  const value = h('data', { value: '', id: name }, '–');
  const tile = h('div', { class: 'tile' }, h('span', { class: 'name' }, t(`metric_${name}`)), h('b', {}, value));
  return { tile, show: (number) => ((value.value = number ?? ''), (value.textContent = textOf(fmt, unit, number))) };
};
const figures = { watching: figure('watching', 'count'), plays: figure('plays', 'count'), view_time: figure('view_time', 'seconds'), average_percentage_viewed: figure('average_percentage_viewed', 'share') };
const choice = h('div', { class: 'line choice', role: 'group', 'aria-label': t('videos') }, videos.map((it) => h('button', { type: 'button', 'aria-pressed': String(it === video), on: { click: () => choose(it) } }, it.dataset.metricsTitle)));
const place = h('div', { class: 'chart' });
const fault = h('p', { class: 'fault', role: 'status', hidden: true });
const board = h('section', { class: 'panel totals', 'aria-label': t('totals') }, h('div', { class: 'tiles' }, Object.values(figures).map(({ tile }) => tile)), fault, place);
main.prepend(h('h1', {}, t('demo')), h('p', { class: 'muted' }, t('demo_text')), choice);
main.append(board, h('p', {}, h('a', { class: 'button', href: ROOT }, t('demo_end'))));
root.lang = language;
document.title = `${t('demo')} – ${root.dataset.name}`;

const options = { words: CHART_WORDS[language], locale, height: 190, moments: true, flow: true, empty: t('demo_hint'), onSeek: (position) => (video.currentTime = position) };
let chart = null;

for (const it of videos) {
  it.controls = true;
  for (const type of ['play', 'pause', 'seeked', 'ended']) it.addEventListener(type, () => it === video && soon());
  for (const type of ['timeupdate', 'seeked']) it.addEventListener(type, () => it === video && chart?.moveTo(it.currentTime));
}

function choose(chosen) {
  for (const it of videos) {
    if (it !== chosen) it.pause();
    it.hidden = it !== chosen;
  }
  for (const [index, button] of [...choice.children].entries()) button.setAttribute('aria-pressed', String(videos[index] === chosen));
  video = chosen;
  video.preload = 'metadata';
  // Until there is an answer, no number of the other video.
  for (const { show } of Object.values(figures)) show(null);
  chart?.destroy();
  chart = null;
  ask();
}

function soon() {
  liveUntil = performance.now() + LIVE_AFTER_MS;
  later(STORED_MS);
}

function later(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(ask, milliseconds);
}

async function ask() {
  clearTimeout(timer);
  if (document.hidden) return;
  const start = performance.now();
  const identifier = video.dataset.metricsId;
  const metrics = ['plays', 'view_time', 'average_percentage_viewed'];
  try {
    const [answer] = await latest.run((signal) => Promise.all([
      api.ask('watching', { identifier }, signal),
      api.ask('query', { identifier, metrics, timeframe: 'all' }, signal),
      api.ask('engagement', { identifier, timeframe: 'all', interval: WHOLE }, signal),
    ]));
    if (!answer) return;
    fault.hidden = true;
    show(answer, metrics);
  } catch (error) {
    fault.textContent = error.message;
    fault.hidden = false;
  }
  const isLive = !video.paused || performance.now() < liveUntil;
  later(Math.max(isLive ? LIVE_MS : IDLE_MS, (performance.now() - start) * SLOW));
}

function show([{ watching }, { results }, engagement], metrics) {
  figures.watching.show(watching);
  for (const [index, name] of metrics.entries()) figures[name].show(results[0]?.metrics[index]);
  const curve = curveOf(engagement);
  if (chart) chart.update(curve);
  else chart = retention(place, curve, options);
  chart.moveTo(video.currentTime);
}

// Records what is played here: under the example key, else under the first that is valid.
async function measure() {
  let key = root.dataset.exampleKey;
  if (!key) {
    const { keys } = await api.get('api/v1/keys').catch(() => ({ keys: [] }));
    key = keys.find(({ disabled_at: disabled }) => !disabled)?.key;
  }
  if (!key) {
    fault.textContent = t('demo_no_key');
    fault.hidden = false;
    return;
  }
  const script = Object.assign(document.createElement('script'), { src: new URL('metrics.js', ROOT) });
  Object.assign(script.dataset, { key, live: LIVE_SECONDS });
  document.head.append(script);
}

document.addEventListener('visibilitychange', () => later(0));
measure();
ask();
