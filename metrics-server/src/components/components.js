// Web components: the charts of the page, in pages of other applications.

import { Chart, html } from '../page/charts/draw.js';
import { timeLine } from '../page/charts/line.js';
import { curveOf, linePoints, unitOf } from '../page/charts/maths.js';
import { heatStrip, retention } from '../page/charts/retention.js';
import { adoptStyles } from '../page/charts/styles.js';
import { fill, numberText } from '../page/charts/text.js';
import { CURVE_WORDS } from '../page/charts/curve-words.js';

const ROOT = new URL('.', import.meta.url); // Of the server that serves this module.
const REFRESH_MIN = 1; // Seconds.
const POLL_SECONDS = 10; // Between requests of a count that no stream sends.
const AGAIN_SECONDS = 30; // After an error.
const ANSWER_MS_MAX = 30_000; // The server's own timeout of a report.
const SILENT_MS_MAX = 60_000; // Without a heartbeat a stream is dead.
const LINE_MAX = 1 << 20; // Of a stream, in characters.
const WHOLE = '100 years'; // One bucket for all; two are added up.
const BUCKETS = 10_000;
const SELECTION = ['identifier', 'query', 'timeframe', 'filters', 'timezone'];
const JSONS = new Set(['query', 'filters']);

const TEXTS = {
  en: { unreachable: 'The server cannot be reached.', json: '{name} is not valid JSON.', watching: 'watching now', plays: 'Plays' },
  de: { unreachable: 'Der Server ist nicht erreichbar.', json: '{name} ist kein gültiges JSON.', watching: 'sehen gerade zu', plays: 'Wiedergaben' },
  nl: { unreachable: 'De server is onbereikbaar.', json: '{name} is geen geldige JSON.', watching: 'kijken nu', plays: 'Weergaven' },
};

// The colours in light and dark. Custom properties of the page, such as --metrics-ink, replace them.
const COLORS = {
  ink: ['#1b1d20', '#eceef0'],
  muted: ['#5f646b', '#9aa1a9'],
  line: ['#e3e3de', '#2c3136'],
  surface: ['#fff', '#191c1f'],
  viewers: ['#2563eb', '#7aa9ff'],
  replays: ['#c2410c', '#ff9d66'],
  plays: ['#0f766e', '#4fd1b5'],
  skips: ['#9c6ade', '#b794f6'],
  focus: ['#2563eb', '#7aa9ff'],
  error: ['#b42318', '#ff8a80'],
};
const isPaired = CSS.supports('color', 'light-dark(#000, #fff)');
const colors = Object.entries(COLORS).map(([name, [light, dark]]) => `--${name}: var(--metrics-${name}, ${isPaired ? `light-dark(${light}, ${dark})` : light});`);

const HOST_CSS = `
:host { display: block; ${colors.join('')} color: var(--ink); }
:host([hidden]), [hidden] { display: none; }
.error { margin: 0; color: var(--error); }
.count { display: inline-flex; align-items: baseline; gap: 0.4em; font-variant-numeric: tabular-nums; }
.dot { align-self: center; width: 0.5em; height: 0.5em; border-radius: 50%; background: var(--viewers); forced-color-adjust: none; }
.count b { font-weight: 600; }
`;

/** What all elements share: their attributes, requests, refreshes and errors. */
class MetricsElement extends HTMLElement {
  static observedAttributes = ['server', 'token', 'lang', 'refresh', 'interval', 'compare', 'for', ...SELECTION];

  #timer = 0;
  #aborting = new AbortController();
  #isDue = false;

  connectedCallback() {
    if (!this.shadowRoot) {
      this.attachShadow({ mode: 'open' });
      this.body = html('div', { part: 'chart' });
      this.complaint = html('p', { part: 'error', class: 'error', role: 'alert' });
      this.complaint.hidden = true;
      this.shadowRoot.append(this.body, this.complaint);
      adoptStyles(this.body, HOST_CSS);
    }
    document.addEventListener('visibilitychange', this.#seen);
    this.reload();
  }

  disconnectedCallback() {
    document.removeEventListener('visibilitychange', this.#seen);
    this.#stop();
  }

  attributeChangedCallback() {
    if (this.shadowRoot && this.isConnected) this.reload();
  }

  /** Requests the data anew. Several changed attributes are one request. */
  reload() {
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => {
      this.#isDue = false;
      if (!this.isConnected) return;
      this.#stop();
      this.clear();
      this.#run();
    });
  }

  /** Hides the figures of an earlier selection. */
  clear() {
    this.body.hidden = true;
    this.complaint.hidden = true;
  }

  get locale() {
    return this.lang || this.closest('[lang]')?.lang || navigator.language || 'en';
  }

  get texts() {
    return TEXTS[this.locale.slice(0, 2)] ?? TEXTS.en;
  }

  get chartOptions() {
    const words = CURVE_WORDS[this.locale.slice(0, 2)] ?? CURVE_WORDS.en;
    return { words, locale: this.locale, timezone: this.getAttribute('timezone') ?? undefined };
  }

  get server() {
    const server = this.getAttribute('server');
    return server ? new URL(server.endsWith('/') ? server : `${server}/`, document.baseURI) : ROOT;
  }

  get headers() {
    const token = this.getAttribute('token');
    return token ? { authorization: `Bearer ${token}` } : {};
  }

  /** The members of a request that the attributes select. */
  selection() {
    const body = {};
    for (const name of SELECTION) {
      const text = this.getAttribute(name);
      if (text === null || text === '') continue;
      const isJson = JSONS.has(name) || /^\s*[[{]/.test(text);
      try {
        body[name] = isJson && name !== 'identifier' ? JSON.parse(text) : text;
      } catch {
        throw new Error(fill(this.texts.json, { name }));
      }
    }
    return body;
  }

  async ask(path, body, signal) {
    const response = await fetch(new URL(`api/v1/${path}`, this.server), {
      method: 'POST',
      headers: { ...this.headers, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS_MAX)]),
    }).catch(() => {
      throw new Error(this.texts.unreachable);
    });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(answer.error ?? `${response.status} ${response.statusText}`);
    return answer;
  }

  #seen = () => {
    if (!document.hidden && this.isLate) this.#run();
  };

  #stop() {
    clearTimeout(this.#timer);
    this.#aborting.abort();
    this.#aborting = new AbortController();
  }

  async #run() {
    clearTimeout(this.#timer);
    // A hidden page requests nothing until it is shown.
    this.isLate = document.hidden;
    if (this.isLate) return;
    const { signal } = this.#aborting;
    let seconds = Number(this.getAttribute('refresh')) || this.refreshDefault;
    try {
      await this.load(signal);
      if (signal.aborted) return;
      this.complaint.hidden = true;
      this.body.hidden = false;
    } catch (error) {
      if (signal.aborted) return;
      seconds &&= Math.max(seconds, AGAIN_SECONDS);
      this.complaint.textContent = error.message;
      this.complaint.hidden = false;
      this.dispatchEvent(new CustomEvent('metrics-error', { detail: error }));
    }
    if (seconds) this.later(seconds);
  }

  /** Requests the data again in a while. */
  later(seconds) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), Math.max(seconds, REFRESH_MIN) * 1000);
  }

  get refreshDefault() {
    return 0;
  }

  /** Shows data in a chart of `make`, which is made once. */
  draw(make, data, options) {
    this.body.hidden = false;
    const all = { ...this.chartOptions, ...options };
    if (this.chart instanceof Chart) this.chart.update(data, all);
    else this.chart = make(this.body, data, all);
  }
}

/** The elements of one video, which move in step with a media element: `for` is its id. */
class AlongMedia extends MetricsElement {
  async load(signal) {
    const body = { minimum_watch_seconds: 1, timeframe: '30 days', ...this.selection(), interval: WHOLE };
    // Several videos have no seconds in common.
    const isMany = Array.isArray(body.identifier) || !body.identifier;
    const curve = curveOf(await this.ask('engagement', isMany ? { ...body, resolution: '100 steps' } : body, signal));
    if (signal.aborted) return;
    this.follow();
    this.draw(this.make, curve, { moments: true, flow: true, table: true, onSeek: !isMany && this.media && ((position) => (this.media.currentTime = position)) });
    this.move();
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    this.follow(null);
  }

  follow(media = this.getRootNode().getElementById?.(this.getAttribute('for') ?? '') ?? null) {
    if (this.media === media) return;
    for (const type of ['timeupdate', 'seeking']) {
      this.media?.removeEventListener(type, this.move);
      media?.addEventListener(type, this.move);
    }
    this.media = media;
  }

  move = () => this.chart?.moveTo(this.media ? this.media.currentTime : null);
}

export class MetricsRetention extends AlongMedia {
  make = retention;
}

export class MetricsHeatStrip extends AlongMedia {
  make = heatStrip;
}

export class MetricsPlays extends MetricsElement {
  async load(signal) {
    const interval = this.getAttribute('interval') || '1 day';
    const dimensions = [`time:${interval}`];
    const compare = this.getAttribute('compare') || undefined;
    const body = { timeframe: '30 days', timezone: Intl.DateTimeFormat().resolvedOptions().timeZone, ...this.selection() };
    const answer = await this.ask('query', { ...body, metrics: ['plays'], dimensions, compare, limit: BUCKETS }, signal);
    if (signal.aborted) return;
    const options = { bucket: unitOf(interval), name: this.texts.plays, timezone: body.timezone };
    this.draw(timeLine, linePoints(answer, interval), options);
  }
}

export class MetricsWatching extends MetricsElement {
  async load(signal) {
    const { timeframe, timezone, ...body } = this.selection();
    // The first count comes at once, the next ones by stream, or else by polling.
    this.show((await this.ask('watching', body, signal)).watching);
    if (!this.isStreamed && !this.isWithoutStream) this.#stream(body, signal);
  }

  get refreshDefault() {
    return this.isStreamed ? 0 : POLL_SECONDS;
  }

  clear() {
    super.clear();
    this.isStreamed = this.isWithoutStream = false;
  }

  show(watching) {
    this.body.hidden = false;
    const { texts, locale } = this;
    const dot = html('span', { class: 'dot', part: 'dot' });
    dot.hidden = watching === 0;
    this.body.replaceChildren(html('span', { class: 'count' }, dot, html('b', { part: 'count' }, numberText(watching, locale)), html('span', { part: 'label' }, texts.watching)));
  }

  // A browser's own stream of events cannot send a token.
  async #stream(body, signal) {
    // Only the number is shown, so each event has one video of one part.
    const address = new URL('api/v1/live?limit=1&parts=1', this.server);
    for (const [name, value] of Object.entries(body)) address.searchParams.set(name, typeof value === 'string' ? value : JSON.stringify(value));
    const silence = new AbortController();
    let timer = 0;
    const listen = () => {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENT_MS_MAX);
    };
    try {
      listen();
      const response = await fetch(address, { headers: { ...this.headers, accept: 'text/event-stream' }, signal: AbortSignal.any([signal, silence.signal]) });
      const isStream = response.ok && response.headers.get('content-type')?.startsWith('text/event-stream');
      this.isWithoutStream = !isStream && response.status === 404;
      if (!isStream) return response.body?.cancel();
      this.isStreamed = true;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (let part = await reader.read(); !part.done && rest.length < LINE_MAX; part = await reader.read()) {
        listen();
        const lines = (rest + part.value).split(/\r?\n/);
        rest = lines.pop();
        for (const line of lines) this.#take(line);
      }
    } catch {
      // The stream is lost: see below.
    } finally {
      clearTimeout(timer);
      silence.abort();
      // Counts are polled until a stream opens again.
      if (this.isStreamed && !signal.aborted) this.later(POLL_SECONDS);
      this.isStreamed = false;
    }
  }

  #take(line) {
    if (!line.startsWith('data:')) return;
    try {
      const { watching } = JSON.parse(line.slice(5));
      if (typeof watching === 'number') this.show(watching);
    } catch {
      // Other events may have other data.
    }
  }
}

const ELEMENTS = { 'metrics-retention': MetricsRetention, 'metrics-heat-strip': MetricsHeatStrip, 'metrics-plays': MetricsPlays, 'metrics-watching': MetricsWatching };
for (const [name, element] of Object.entries(ELEMENTS)) if (!customElements.get(name)) customElements.define(name, element);
