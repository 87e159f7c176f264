// Measures the <video> and <audio> elements of a page. script.rs describes the design, docs/script.md the usage.
// Each comment is on lines of its own, and each string on one line: the build removes comments and indentation.

// The server closes a websocket after 60 s without a message.
const HEARTBEAT_MS = 30_000;
// Without a websocket, a viewer no longer counts as watching 60 s after the last event.
const ALIVE_MS = 15_000;
// The timeout of opening a websocket, after which the script posts batches.
const OPEN_MS = 5_000;
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 30_000;
// The number of failed websockets, while batches succeed, after which the script stops opening websockets.
const TRIES = 3;
// The delay of a batch, which collects further events.
const COLLECT_MS = 1_000;
// Far below the 256 events among which the server recognizes a repeated one.
const BATCH_MAX = 50;
// Browsers limit a beacon to 64 KiB.
const BATCH_CHARS_MAX = 50_000;
// The largest number of queued events, which bounds the memory of the page while the server is unavailable.
const QUEUE_MAX = 1_000;
// The longest value of a campaign, as the server keeps it.
const CAMPAIGN_MAX = 128;
// The tolerance of positions: players seek to key frames, and timers are inexact.
const JUMP_SECONDS = 0.5;
// Media report their position four times a second, in the background once.
const ESTIMATE_MS_MAX = 1_000;
// The time that a detached session waits for its video: recovery from an error takes seconds, an advert half a minute.
const KEPT_MS = 60_000;
// The largest number of detached sessions: a video, and the adverts of a break.
const KEPT_MAX = 4;
// The tolerance of the position at which a player attaches a video again.
const NEAR_SECONDS = 1;

// A clock that never steps and never repeats a value: the server recognizes an event by its timestamp.
let stamped = 0;
const stamp = () => (stamped = Math.max(stamped + 1, Math.round(performance.timeOrigin + performance.now())));

const withoutQuery = (address) => address.split(/[?#]/)[0];

// The reported part of the page's URL, from `data-page`: `path`, `host`, `none`, or patterns of paths.
let detail;

// The host that led to the page, and the campaign in the URL of the page.
let arrival;

// A `*` matches one segment; at the end it matches the rest.
const fits = (pattern) => {
  const [segments, given] = [pattern, location.pathname].map((path) => path.split('/'));
  const isWhole = segments.at(-1) === '*' || segments.length === given.length;
  return isWhole && segments.every((part, i) => part === given[i] || (part === '*' && i in given));
};

// The reported part of the page's URL.
const pageAddress = () => {
  const path = /^[/p]/.test(detail) ? detail.split(/\s+/).find(fits) : detail && '/';
  return path ? location.origin + path : withoutQuery(location.href);
};

// One viewing of one video, with its unacknowledged events.
class Session {
  id = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join('-');
  topic = `session:${this.id}`;
  events = [];
  joinRef = null;
  joined = false;
  playing = false;
  over = false;
  sentAt = performance.now();
  rate = 1;

  constructor(monitor, about) {
    Object.assign(this, { monitor, link: monitor.link });
    this.about = detail === 'none' ? about : { ...about, source_url: pageAddress(), ...arrival };
    this.link.sessions.add(this);
  }

  add(event) {
    // Always keeps a `pause`: a lost `pause` would leave a segment open, a lost `play` is harmless.
    if (this.events.length < QUEUE_MAX || event.name === 'pause') {
      this.events.push({ event: { ...event, timestamp: event.timestamp || stamp() }, ref: null });
    }
    this.sentAt = performance.now();
    this.link.flush();
  }

  remove(entries) {
    this.events = this.events.filter((entry) => !entries.includes(entry));
  }

  end() {
    this.over = true;
    this.link.flush();
  }

  // Resets the channel after it or its websocket has closed: messages in flight are lost.
  part() {
    this.joinRef = null;
    this.joined = false;
    for (const entry of this.events) entry.ref = null;
  }

  // Returns all events as bodies of batches. To save space, only the first event of a body has page and session data.
  batches() {
    const { identifier, metadata, ...once } = this.about;
    const owner = { session_id: this.id, embed_id: identifier, metadata };
    const fitting = Math.floor(BATCH_CHARS_MAX / (JSON.stringify(owner).length + 150));
    const size = Math.max(1, Math.min(BATCH_MAX, fitting));
    const batches = [];
    for (let start = 0; start < this.events.length; start += size) {
      const entries = this.events.slice(start, start + size);
      const events = entries.map(({ event: { from, to, ...more } }) => ({ ...more, video_time: from ?? to, ...owner }));
      Object.assign(events[0], once, { heartbeat: ALIVE_MS / 1000 });
      batches.push({ entries, body: JSON.stringify({ events }) });
    }
    return batches;
  }
}

// The connection to the server, which all sessions of the page share: one websocket, or batches without one.
class Link {
  sessions = new Set();
  socket = null;
  open = false;
  // Whether this websocket, or any, has received a message.
  received = false;
  worked = false;
  blocked = false;
  // Failed websockets since the last successful one, and failed batches.
  failures = 0;
  refusals = 0;
  lastRef = 0;

  constructor(base, key, disable, live) {
    Object.assign(this, { base, key, disable, live });
    this.batchUrl = `${base}api/v1/events?key=${encodeURIComponent(key)}`;
  }

  // Stops sending.
  end() {
    this.ended = true;
    this.close();
    clearTimeout(this.alive);
    this.sessions.clear();
  }

  // Sends queued events, if a connection permits it.
  flush() {
    if (this.ended) return;
    for (const session of this.sessions) {
      session.over ||= session.until < performance.now();
      if (this.open) this.report(session);
      if (session.over && !session.events.length) this.sessions.delete(session);
    }
    this.ping();
    if (this.open || !this.isNeeded()) return;
    if (!this.socket && !this.retry && !this.blocked) this.connect();
    if (this.failures >= (this.worked ? 2 : 1)) this.post();
  }

  isNeeded() {
    return [...this.sessions].some((session) => session.playing || session.events.length);
  }

  // Without a websocket, playing sessions send signs of life, also while they wait for data.
  ping() {
    clearTimeout(this.alive);
    const sentAt = [...this.sessions].filter((session) => session.playing).map((session) => session.sentAt);
    if (this.open || !sentAt.length) return;
    this.alive = setTimeout(() => {
      this.check();
      this.ping();
    }, Math.max(Math.min(...sentAt) + ALIVE_MS - performance.now(), COLLECT_MS));
  }

  check() {
    this.sessions.forEach((session) => session.playing && session.monitor.check());
  }

  connect() {
    const url = new URL('socket/websocket', this.base);
    url.protocol = url.protocol.replace('http', 'ws');
    url.search = new URLSearchParams({ key: this.key, vsn: '2.0.0' });
    try {
      const socket = (this.socket = new WebSocket(url));
      this.timer = setTimeout(() => this.lose(socket), OPEN_MS);
      socket.onopen = () => {
        this.open = true;
        this.flush();
      };
      socket.onmessage = ({ data }) => socket === this.socket && this.receive(...JSON.parse(data));
      socket.onclose = () => this.lose(socket);
    } catch {
      this.lose(this.socket);
    }
  }

  lose(socket) {
    if (socket !== this.socket) return;
    this.close();
    this.failures += 1;
    this.retry = setTimeout(() => {
      this.retry = null;
      this.flush();
    }, this.backoff(this.failures));
    this.flush();
  }

  close() {
    const { socket } = this;
    this.socket = this.beating = null;
    this.open = this.received = false;
    clearTimeout(this.timer);
    clearTimeout(this.retry);
    this.retry = null;
    this.sessions.forEach((session) => session.part());
    socket?.close();
  }

  // The backoff, exponential with jitter.
  backoff(failures) {
    return Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
  }

  beat() {
    this.timer = setTimeout(() => {
      if (this.beating) return this.lose(this.socket);
      this.check();
      this.flush();
      if (!this.sessions.size) return this.close();
      this.beating = this.send(null, 'phoenix', 'heartbeat', {});
      this.beat();
    }, HEARTBEAT_MS);
  }

  send(joinRef, topic, event, payload) {
    const ref = `${++this.lastRef}`;
    this.socket.send(JSON.stringify([event === 'phx_join' ? ref : joinRef, ref, topic, event, payload]));
    return ref;
  }

  report(session) {
    const { topic, about, joinRef } = session;
    if (!joinRef) {
      if (session.playing || session.events.length) {
        session.joinRef = this.send(null, topic, 'phx_join', { ...about, key: this.key });
      }
    } else if (session.joined) {
      for (const entry of session.events.slice(0, BATCH_MAX)) {
        entry.ref ??= this.send(joinRef, topic, 'event', entry.event);
      }
      if (session.over && !session.events.length) this.send(joinRef, topic, 'phx_leave', {});
    }
  }

  receive(joinRef, ref, topic, event, { status, response }) {
    if (!this.received) {
      this.received = this.worked = true;
      // A batch may have got through while this websocket was still opening.
      this.blocked = false;
      clearTimeout(this.timer);
      this.beat();
    }
    if (ref === this.beating) this.beating = null;
    if (status === 'ok') this.failures = this.refusals = 0;
    for (const session of this.sessions) {
      if (session.topic !== topic) continue;
      if (event === 'phx_reply') this.answer(session, ref, status !== 'ok' && `${response.code}`);
      // The server closed the channel: the next join returns the reason.
      else if (joinRef === session.joinRef) session.part();
    }
    this.flush();
  }

  answer(session, ref, code) {
    const entries = session.events.filter((entry) => entry.ref === ref);
    if (code) this.refuse(session, code, entries);
    else if (ref === session.joinRef) session.joined = true;
    else session.remove(entries);
  }

  // Handles a refusal by its code: stops the script, drops events, or connects again later.
  refuse(session, code, entries) {
    if (/^(invalid_key|opted_out|bot|origin_not_allowed)$/.test(code)) this.disable(code);
    else if (/^(invalid|another)|_(long|deep|segments|videos)$/.test(code)) session.remove(entries.length ? entries : session.events);
    // Other refusals are temporary, except too many channels on one websocket.
    else if (this.open && code !== 'too_many_channels') this.lose(this.socket);
  }

  // Posts queued events, one batch after the other, until a websocket is open.
  post(wait = COLLECT_MS) {
    this.posting ??= setTimeout(async () => {
      const taken = await this.postAll();
      this.posting = null;
      this.refusals = taken ? 0 : this.refusals + 1;
      const waits = [...this.sessions].some((session) => session.events.length);
      if (waits && !this.open && !this.ended) this.post(taken ? COLLECT_MS : this.backoff(this.refusals));
    }, wait);
  }

  async postAll() {
    for (const session of this.sessions) {
      for (const { entries, body } of session.batches()) {
        if (this.open || this.ended) return true;
        if (!(await this.postBatch(session, entries, body).catch(() => false))) return false;
      }
      if (session.over && !session.events.length) this.sessions.delete(session);
    }
    return true;
  }

  async postBatch(session, entries, body) {
    const answer = await this.fetch(body);
    const { code, rejected } = await answer.json().catch(() => ({}));
    if (answer.status === 401) this.disable(code ?? 'invalid_key');
    if (rejected) this.blocked ||= !this.worked && this.failures >= TRIES;
    // Drops a batch that is refused with 4xx, except after a timeout or a rate limit.
    else if (!/^4(?!08|25|29|00body)/.test(`${answer.status}${code}`)) return false;
    // Accepted events of a repeated batch count once.
    if (rejected?.some(({ code }) => code === 'rate_limited')) return false;
    session.remove(entries);
    rejected?.forEach(({ code }) => this.refuse(session, code, entries));
    return true;
  }

  // Sends unacknowledged events with beacons, which outlive a closing page.
  sendRest() {
    for (const { body } of [...this.sessions].flatMap((session) => session.batches())) {
      // As plain text, which needs no CORS preflight.
      if (!navigator.sendBeacon?.(this.batchUrl, body)) this.fetch(body).catch(() => {});
    }
  }

  fetch(body) {
    return fetch(this.batchUrl, { method: 'POST', body, keepalive: true, credentials: 'omit' });
  }
}

// Returns the attributes of the video and of the session, from an element and the hosts of its shadow roots.
const describe = (media) => {
  const [attributes, session] = [{}, {}];
  for (let node = media; node?.attributes; node = node.getRootNode().host) {
    for (const { name, value } of node.attributes) {
      const [, ofSession, member] = /^data-metrics-(session-)?(.+)/.exec(name) ?? [];
      if (member) (ofSession ? session : attributes)[member] ??= value;
    }
  }
  return [attributes, session];
};

const orNone = (members) => (Object.keys(members).length ? members : undefined);

// The URL of the media, or that of the page if the URL of the media is temporary (`blob:`).
const addressOf = (media) => {
  const source = media.src || media.querySelector('source')?.src;
  return /^https?:/.test(source) ? withoutQuery(source) : pageAddress();
};

const isFullscreen = (node) => !!node && (node.matches?.(':fullscreen') || isFullscreen(node.parentNode ?? node.host));

const EVENTS =
  'play playing pause seeking seeked timeupdate waiting ratechange error emptied webkitbeginfullscreen webkitendfullscreen'
    .split(' ');

// Measures one media element by its events and properties alone, for every player.
class Monitor {
  session = null;
  // Sessions of detached videos, the latest first.
  kept = [];
  // The timestamp of a `play` whose session is not determined yet.
  intent = 0;
  // Whether a segment is open, whether its frames move, and whether it waits for data.
  playing = false;
  moving = false;
  waiting = false;
  rate = 1;
  fullscreen = false;

  constructor(link, media, options, isFound) {
    Object.assign(this, { link, media, options, isFound });
    this.targets = [...EVENTS.map((type) => [media, type]), [document, 'fullscreenchange']];
    if (media.textTracks) this.targets.push([media.textTracks, 'change']);
    // An error of a <source> does not bubble: the media receives it in the capture phase.
    for (const [target, type] of this.targets) target.addEventListener(type, this, true);
    this.resume(isFound);
  }

  handleEvent(event) {
    try {
      this[`on${event.type}`](event);
    } catch {
      // An error of the script must not reach the page.
    }
  }

  stop() {
    this.leave();
    for (const [target, type] of this.targets) target.removeEventListener(type, this, true);
  }

  // Ends the current session and all detached ones.
  leave() {
    this.close();
    this.end();
    for (const session of this.kept.splice(0)) session.end();
  }

  end() {
    this.session?.end();
    this.session = null;
  }

  // Opens a segment if the media already plays. For media found in the page, it includes the part played before.
  resume(isFound) {
    const { media } = this;
    if (media.paused || media.ended) return;
    const { played, currentTime } = media;
    let from = currentTime;
    for (let i = 0; isFound && i < played.length; i++) {
      if (played.start(i) <= currentTime && currentTime < played.end(i) + JUMP_SECONDS) from = played.start(i);
    }
    this.open(from);
    if (!this.session) return;
    // The time of its `play` is unknown, so there is no startup time.
    this.session.started = true;
    this.moving = media.readyState > 2;
    this.observe();
  }

  open(from = this.media.currentTime, isShown = false) {
    const [{ id, ignore, ...attributes }, ofSession] = describe(this.media);
    if (this.playing || (this.isFound && ignore !== undefined)) return;
    const { identifier, metadata, sessionData } = this.options;
    const about = orNone({ ...attributes, ...metadata });
    const source = addressOf(this.media);
    const video = { identifier: (identifier ?? id ?? (about ? undefined : source))?.toString(), metadata: about };
    const name = JSON.stringify(video);
    // The source changed before the session started.
    if (this.session && !this.session.started && this.session.name !== name) this.end();
    if (!this.session) {
      const kept = this.kept.filter((one) => one.name === name && performance.now() < one.until);
      // The first frame shows which of them continues, if any.
      if (kept.length && !isShown) return void (this.intent ||= stamp());
      const session_data = orNone({ ...ofSession, ...sessionData });
      this.session = kept.find((one) => this.goesOn(one, source)) ?? new Session(this, { ...video, session_data });
      if (this.session.name) this.intent = 0;
      this.kept = this.kept.filter((one) => one !== this.session);
      Object.assign(this.session, { name, source, until: Infinity });
    }
    this.session.playing = this.playing = true;
    this.from = this.at = from;
    this.observed = performance.now();
    this.setRate(this.intent && this.intent - 1);
    this.report('play', { from, timestamp: this.intent });
    this.intent = 0;
    this.onchange();
  }

  // Returns whether a detached session continues: at its last position, because each `blob:` has another URL; or, with
  // the same lasting source, at any position if no other session played in between.
  goesOn(session, source) {
    const { media } = this;
    // Live streams continue meanwhile, and some grow.
    const seconds = (performance.now() - session.until + KEPT_MS) / 1000 + NEAR_SECONDS;
    if (Math.abs(media.duration - session.duration) > seconds) return false;
    const moved = media.currentTime - session.at;
    const isSource = session.source === source && source !== pageAddress();
    return (-NEAR_SECONDS < moved && moved < seconds) || (isSource && session === this.kept[0]);
  }

  close(hasJumped = this.media.seeking) {
    if (!this.playing) return;
    const to = (this.at = Math.max(this.from, this.position(hasJumped)));
    this.flow();
    this.session.playing = this.playing = this.moving = false;
    this.report('pause', { to });
  }

  // The position of playback; after a jump, the position before it, extrapolated from the last observation.
  position(hasJumped) {
    const { currentTime } = this.media;
    // Before a video has loaded, its position is that at which it will begin.
    if (!this.moving) return this.from;
    if (!hasJumped && currentTime > this.at - JUMP_SECONDS) return currentTime;
    const moved = this.waiting ? 0 : Math.min(performance.now() - this.observed, ESTIMATE_MS_MAX);
    return Math.min(this.at + (moved / 1000) * this.rate, this.duration || Infinity);
  }

  // Reports a changed rate. Players of live streams vary it slightly, and some set 0 while they wait.
  setRate(timestamp) {
    const { playbackRate } = this.media;
    const rate = playbackRate < 0.25 ? playbackRate : Math.round(playbackRate * 4) / 4;
    if (!this.session || !(rate > 0) || rate === this.session.rate) return;
    this.session.rate = rate;
    this.report('ratechange', { rate, timestamp });
  }

  // Observes the position, but not during a jump, when it is that of the target.
  observe() {
    const { seeking, currentTime, playbackRate, duration } = this.media;
    if (seeking) return;
    Object.assign(this, { at: currentTime, observed: performance.now(), rate: playbackRate, duration });
  }

  // Ends a wait for data.
  flow() {
    if (this.waiting) this.report('rebuffering_end');
    this.waiting = false;
  }

  report(name, { from, to, ...more } = {}) {
    const round = (seconds) => seconds && Math.round(seconds * 1000) / 1000;
    this.session?.add({ name, from: round(from), to: round(to), duration: this.media.duration, ...more });
  }

  onplay() {
    this.open();
  }

  onplaying() {
    // A player that loaded a video again shows no frame before it has reached its position.
    if (this.intent && !this.media.seeking) this.open(undefined, true);
    if (!this.session) return;
    this.flow();
    this.moving = this.playing;
    this.observe();
    // Media with `autoplay` has no startup time: no viewer waited for it.
    if (!this.session.started && !this.media.autoplay) this.report('playing');
    this.session.started = true;
  }

  onpause() {
    this.intent = 0;
    this.close();
  }

  onseeking() {
    this.close(true);
  }

  onseeked() {
    if (!this.session && !this.intent) return;
    this.observe();
    this.report('seeked');
    if (!this.media.paused && !this.media.ended) this.open(undefined, true);
  }

  ontimeupdate() {
    const { seeking, currentTime, readyState } = this.media;
    if (!this.playing || seeking || !readyState) return;
    if (currentTime < this.at - JUMP_SECONDS) {
      // It started again without an event.
      this.close(true);
      this.open(this.media.loop ? 0 : currentTime);
    } else if (currentTime > this.at) {
      this.flow();
      this.moving = true;
    }
    this.observe();
    this.check();
  }

  // Reports a sign of life for an open segment after a time without events.
  check() {
    // iOS leaves fullscreen without `pause`.
    if (this.media.paused) return this.close();
    const { live, open } = this.link;
    const interval = Math.min(live * 1000 || Infinity, open ? Infinity : ALIVE_MS);
    if (this.playing && performance.now() - this.session.sentAt >= interval) this.report('timeupdate');
  }

  onwaiting() {
    const { seeking, ended } = this.media;
    if (!this.moving || this.waiting || seeking || ended) return;
    this.observe();
    this.waiting = true;
    this.report('rebuffering_start', { from: this.at });
  }

  onratechange() {
    this.observe();
    this.setRate();
  }

  onerror({ target }) {
    const { media } = this;
    if (target !== media && target !== media.querySelector('source:last-of-type')) return;
    if (!this.session && (this.intent || media.autoplay)) this.open(undefined, true);
    this.report('playback_failure');
    this.close(true);
  }

  // The media was detached: another source, none, or the same follows.
  onemptied() {
    const { session } = this;
    this.intent = 0;
    this.close(true);
    if (!session?.started) return;
    this.session = null;
    Object.assign(session, { at: this.at, duration: this.duration, until: performance.now() + KEPT_MS });
    this.kept.unshift(session);
    if (this.kept.length > KEPT_MAX) this.kept.pop().end();
  }

  // Reports the text track that shows: the first of a session, and each other one.
  onchange() {
    const { session } = this;
    if (!session) return;
    const track = [...(this.media.textTracks ?? [])].find(({ mode }) => mode === 'showing');
    if (track && track.language !== session.language) this.report('track_set', { language: track.language });
    session.language = track?.language;
  }

  onfullscreenchange() {
    this.fill(isFullscreen(this.media));
  }

  // Safari fires this event for picture-in-picture as well.
  onwebkitbeginfullscreen() {
    this.fill(this.media.webkitPresentationMode !== 'picture-in-picture');
  }

  onwebkitendfullscreen() {
    this.fill(false);
    this.check();
  }

  fill(fullscreen) {
    if (fullscreen !== this.fullscreen) this.report(`fullscreen_${fullscreen ? 'enter' : 'exit'}`);
    this.fullscreen = fullscreen;
  }
}

// `address` is the URL of this script, `tag` its element, if any: then the script searches the page for media.
const start = (address, tag) => {
  const { key, server, live, manual, page } = tag?.dataset ?? {};
  detail = page ?? new URL(address).searchParams.get('page');
  // The viewer visited the outermost page of this origin, which may embed this one in frames. The page of another origin that
  // embeds it led to it.
  let view = self;
  try {
    while (view.parent.document !== view.document) view = view.parent;
  } catch {
    // A page of another origin hides its document.
  }
  // Once: a page that changes its URL by script has the same visitor. The server discards the host of the page itself.
  arrival = { referrer: (view.location.ancestorOrigins?.[0] ?? view.document.referrer).split('/')[2] };
  for (const [name, value] of new URLSearchParams(view.location.search)) {
    if (/^utm_(source|medium|campaign)$/.test(name)) arrival[name] = value.slice(0, CAMPAIGN_MAX);
  }
  const monitors = new Map();
  const chosen = new WeakSet();
  let link = null;
  let isOff = false;

  const disable = (code) => {
    if (isOff) return;
    isOff = true;
    observer.disconnect();
    link?.end();
    monitors.forEach((monitor) => monitor.stop());
    monitors.clear();
    if (/key|origin/.test(code)) console.warn(`metrics: ${code}`);
  };

  // A key in the URL may have an unencoded `+`, which is read as a space.
  const connect = (given) => {
    const used = key ?? given ?? new URL(address).searchParams.get('key')?.replaceAll(' ', '+');
    if (!link && !used) disable('missing_key');
    const base = new URL('.', new URL(server ?? address, location.href));
    if (!isOff) link ??= new Link(base, used, disable, live);
    return !isOff;
  };

  const add = (media, options, isFound) => {
    monitors.get(media)?.stop();
    const monitor = new Monitor(link, media, options, isFound);
    monitors.set(media, monitor);
    return () => {
      monitor.stop();
      if (monitors.get(media) === monitor) monitors.delete(media);
    };
  };

  const find = (node) => {
    const { localName, shadowRoot } = node;
    if (/^(video|audio)$/.test(localName)) {
      if (!monitors.has(node) && !chosen.has(node) && connect()) add(node, {}, true);
    } else if (shadowRoot) {
      watch(shadowRoot);
    } else if (localName.includes('-') && !node.matches(':defined')) {
      customElements.whenDefined(localName).then(() => node.shadowRoot && watch(node.shadowRoot), () => {});
    }
  };

  const watch = (root) => {
    if (isOff) return;
    observer.observe(root, { childList: true, subtree: true });
    root.querySelectorAll('*').forEach(find);
  };

  const observer = new MutationObserver((records) => {
    for (const { addedNodes } of records) {
      for (const node of addedNodes) {
        // Text and comment nodes have no name.
        if (!node.localName) continue;
        find(node);
        node.querySelectorAll('*').forEach(find);
      }
    }
    for (const [media, monitor] of monitors) {
      if (monitor.isFound && !media.isConnected) {
        monitor.stop();
        monitors.delete(media);
      }
    }
  });

  // A viewer who returns to a page begins new sessions, also if the browser kept the page.
  let isGone = false;
  addEventListener('pagehide', () => {
    isGone = true;
    monitors.forEach((monitor) => monitor.leave());
    link?.sendRest();
    link?.close();
  });
  addEventListener('pageshow', ({ persisted }) => {
    if (!persisted) return;
    isGone = false;
    monitors.forEach((monitor) => monitor.resume());
    link?.flush();
  });
  document.addEventListener('visibilitychange', () => {
    // Browsers fire this event for a closing page as well.
    if (document.visibilityState === 'hidden' && !isGone) link?.sendRest();
  });

  if (tag && manual === undefined) watch(document);

  return {
    monitor(media, options = {}) {
      if (!media?.addEventListener || !connect(options.key)) return () => {};
      chosen.add(media);
      return add(media, options, false);
    },
  };
};
