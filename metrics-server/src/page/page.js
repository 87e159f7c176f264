// The page: the selection, its requests, and the display of the responses.

import { EngagementChart, PlaysChart, showRanking } from './charts.js';
import { Player } from './player.js';
import { ROOT, askEngagement, askPlays, askSources, askWatching } from './reports.js';
import { count, nameOf, number, span } from './words.js';

const IDLE_MS = 10_000; // Between requests while nothing plays here.
const LIVE_MS = 1_500; // While a video plays, and LIVE_AFTER_MS longer.
const LIVE_AFTER_MS = 10_000;
const STORED_MS = 300; // Time for events to become durable.
const ERROR_MS = 5_000; // Between requests after an error.
const SLOW = 3; // The minimum pause, in multiples of the response time: spares a slow server.
const SOURCES_MAX = 6;
const LIVE_SECONDS = 1; // Between heartbeats of the script.
const HEIGHT = 190; // Of engagement, under a video.
const HEIGHT_ALONE = 420; // Without a video.

const element = (id) => document.getElementById(id);
const form = element('choice');
const measuredKey = document.documentElement.dataset.key;

let answers = {};
let asking = new AbortController();
let timer = 0;
let liveUntil = 0;

const player = new Player((what, position) => {
  if (what === 'moved') engagementChart.moveTo(position);
  else {
    liveUntil = performance.now() + LIVE_AFTER_MS;
    askIn(STORED_MS);
  }
});
const engagementChart = new EngagementChart(element('engagement'), (position) => player.seek(position));
const playsChart = new PlaysChart(element('plays'));

const REPORTS = {
  watching: [askWatching, showWatching],
  plays: [askPlays, showPlays],
  engagement: [askEngagement, showEngagement],
  sources: [askSources, (sources) => showRanking(element('sources'), sources, SOURCES_MAX, 'No page yet')],
};

function choice() {
  const { video, identifier, key, last } = Object.fromEntries(new FormData(form));
  const named = video || identifier.trim();
  return { identifier: named || undefined, key: key.trim(), last };
}

// Keeps the choice in the URL's fragment, which no server receives.
function remember() {
  const { identifier, key, last } = choice();
  const saved = new URLSearchParams({ video: identifier ?? '', last, ...(key === measuredKey ? {} : { key }) });
  history.replaceState(null, '', `#${saved}`);
}

function recall() {
  form.elements.key.value = measuredKey;
  const saved = new URLSearchParams(location.hash.slice(1));
  const check = (name, value) => {
    const option = form.querySelector(`[name=${name}][value="${CSS.escape(value)}"]`);
    if (option) option.checked = true;
    return Boolean(option);
  };
  if (saved.has('last')) check('last', saved.get('last'));
  if (saved.has('key')) form.elements.key.value = saved.get('key');
  if (saved.has('video') && !check('video', saved.get('video'))) {
    check('video', '');
    form.elements.identifier.value = saved.get('video');
  }
}

function choose() {
  const isOther = form.elements.video.value === '';
  element('another').hidden = !isOther;
  player.show(form.elements.video.value);
  if (isOther) engagementChart.moveTo(null);
  remember();
  answers = {};
  asking.abort();
  // Until an answer arrives, the page shows no numbers of another choice.
  for (const { id } of document.querySelectorAll('dd data')) setData(id, '', '–');
  for (const chart of document.querySelectorAll('figure')) chart.classList.add('waiting');
  isAnnounced = false;
  measure();
  askIn(0);
}

// Records playback here. Without an example key, under the first key entered.
function measure() {
  const { key } = choice();
  if (measuredKey || !key || document.querySelector('script[data-key]')) return;
  const script = Object.assign(document.createElement('script'), { src: new URL('metrics.js', ROOT) });
  Object.assign(script.dataset, { key, live: LIVE_SECONDS });
  document.head.append(script);
}

function askIn(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(request, milliseconds);
}

async function request() {
  clearTimeout(timer);
  // A hidden page sends requests once it is shown.
  if (document.hidden) return;
  const chosen = choice();
  if (!chosen.identifier && !chosen.key) return explain('Enter a video or a key.');
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const start = performance.now();
  const askOne = async ([name, [question, show]]) => {
    const answer = await question(chosen, signal);
    if (signal.aborted) return;
    element(name).closest('figure')?.classList.remove('waiting');
    answers[name] = answer;
    show(answer, chosen);
  };
  const ended = await Promise.allSettled(Object.entries(REPORTS).map(askOne));
  if (signal.aborted) return;
  const error = ended.find(({ status }) => status === 'rejected');
  explain(error?.reason.message ?? '');
  announce();
  const isLive = player.isPlaying || performance.now() < liveUntil;
  const pause = error ? ERROR_MS : isLive ? LIVE_MS : IDLE_MS;
  askIn(Math.max(pause, (performance.now() - start) * SLOW));
}

function explain(error) {
  const place = element('error');
  if (place.textContent !== error) place.textContent = error;
  place.hidden = !error;
}

// Once per choice: a screen reader should not read out every play.
let isAnnounced = false;
function announce() {
  if (isAnnounced || !answers.plays) return;
  isAnnounced = true;
  const plays = answers.plays.reduce((sum, bucket) => sum + bucket.views, 0);
  element('summary').textContent = `${count(plays, 'play')}, ${number(answers.watching ?? 0)} watching now`;
}

const hint = () => (player.video ? 'Press play: your session appears here' : 'No sessions yet');

function setData(id, value, text) {
  element(id).value = value;
  element(id).textContent = text;
}

function showWatching(watching) {
  setData('watching', watching, number(watching));
}

function showPlays(buckets, { last }) {
  playsChart.show({ buckets, last, hint: hint() });
  const sum = (value) => buckets.reduce((sum, bucket) => sum + value(bucket), 0);
  const [plays, seconds] = [sum((bucket) => bucket.views), sum((bucket) => bucket.total_view_time)];
  setData('plays-sum', plays, number(plays));
  setData('watched', seconds, span(seconds));
  setData('per-play', plays ? seconds / plays : 0, span(plays ? seconds / plays : 0));
  for (const field of ['browser', 'device', 'platform']) {
    const classes = Object.keys(buckets[0]?.[field] ?? {});
    const entries = classes.map((name) => [nameOf(name), sum((bucket) => bucket[field][name])]);
    showRanking(element(field), entries, classes.length, 'None yet');
    element(field).classList.remove('waiting');
  }
}

function showEngagement(seconds) {
  const watched = seconds.length ? seconds.at(-1).second + 1 : 0;
  const duration = player.video?.duration || watched || 1;
  engagementChart.show({ seconds, duration, hint: hint(), height: player.video ? HEIGHT : HEIGHT_ALONE });
  engagementChart.moveTo(player.video ? player.video.currentTime : null);
}

// The page's own URL is right behind any proxy.
function fillAddresses() {
  for (const place of document.querySelectorAll('[data-at]')) place.textContent = new URL(place.dataset.at, ROOT);
}

recall();
fillAddresses();
form.addEventListener('change', choose);
form.addEventListener('submit', (event) => event.preventDefault());
addEventListener('hashchange', () => {
  recall();
  choose();
});
document.addEventListener('visibilitychange', () => askIn(0));
// The length sets the scale of the chart.
for (const video of document.querySelectorAll('video')) {
  video.addEventListener('loadedmetadata', () => answers.engagement && showEngagement(answers.engagement));
}
choose();
