// Measures the <video> and <audio> elements of a page. script.rs tells how it works, and the README how it is used.
// Comments have lines of their own here, and no text goes over several: the server leaves out comments and indentation.

// The server gives up on a websocket that is silent for 60 s.
const HEARTBEAT_MS = 30_000;
// A websocket that takes longer to open is taken to be blocked.
const OPEN_MS = 5_000;
const RETRY_MS = 1_000;
const RETRY_MS_MAX = 30_000;
// So many websockets must fail while batches get through before no more are tried.
const TRIES = 3;
// How long events wait for others to be posted with.
const COLLECT_MS = 1_000;
// Far below the 256 events of which the server knows whether it has seen them.
const BATCH_MAX = 50;
// A beacon may have 64 KiB.
const BATCH_CHARS_MAX = 50_000;
// A server that is away must not cost the page more memory than this.
const QUEUE_MAX = 1_000;
// Players that seek to a key frame, and timers, are not exact.
const JUMP_SECONDS = 0.5;
// Players tell where they are four times a second, in the background once.
const GUESS_MS_MAX = 1_000;

// A clock that never steps, and never says the same twice: the server knows an event by its timestamp.
let stamped = 0;
const stamp = () => (stamped = Math.max(stamped + 1, Math.round(performance.timeOrigin + performance.now())));

const withoutQuery = (address) => address.split(/[?#]/)[0];

// One viewing of one video, with the events that are not acknowledged.
class Session {
  id = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join('-');
  topic = `session:${this.id}`;
  events = [];
  joinRef = null;
  joined = false;
  playing = false;
  over = false;

  constructor(link, video, sessionData) {
    this.link = link;
    this.about = { ...video, session_data: sessionData, source_url: withoutQuery(location.href) };
    link.sessions.add(this);
  }

  add(event) {
    // A `pause` without its `play` would be harmless, but not the other way round.
    if (this.events.length < QUEUE_MAX || event.name === 'pause') {
      this.events.push({ event: { ...event, timestamp: stamp() }, ref: null });
      this.told = performance.now();
    }
    this.link.flush();
  }

  remove(entries) {
    this.events = this.events.filter((entry) => !entries.includes(entry));
  }

  end() {
    this.over = true;
    this.link.flush();
  }

  // The websocket or the channel is gone, and with it what was under way.
  part() {
    this.joinRef = null;
    this.joined = false;
    for (const entry of this.events) entry.ref = null;
  }

  // All events as bodies of batches. Each says whose it is, and the first of a body the rest: there is little room.
  batches() {
    const { identifier, metadata, ...once } = this.about;
    const whose = { session_id: this.id, embed_id: identifier, metadata };
    const fitting = Math.floor(BATCH_CHARS_MAX / (JSON.stringify(whose).length + 150));
    const size = Math.max(1, Math.min(BATCH_MAX, fitting));
    const batches = [];
    for (let start = 0; start < this.events.length; start += size) {
      const entries = this.events.slice(start, start + size);
      const events = entries.map(({ event: { from, to, ...more } }) => ({ ...more, video_time: from ?? to, ...whose }));
      Object.assign(events[0], once);
      batches.push({ entries, body: JSON.stringify({ events }) });
    }
    return batches;
  }
}

// The way to the server, for all sessions of the page: one websocket, or batches while there is none.
class Link {
  sessions = new Set();
  socket = null;
  open = false;
  // Whether this websocket has said anything, and whether any has.
  heard = false;
  worked = false;
  blocked = false;
  // Websockets that failed since the last that was of use, and batches.
  failures = 0;
  refusals = 0;
  lastRef = 0;

  constructor(base, key, silence, live) {
    Object.assign(this, { base, key, silence, live });
    this.batchUrl = `${base}api/v1/events?key=${encodeURIComponent(key)}`;
  }

  // Nothing is sent any more.
  end() {
    this.ended = true;
    this.close();
    this.sessions.clear();
  }

  // Something is to be said, or can be.
  flush() {
    if (this.ended) return;
    for (const session of this.sessions) {
      if (this.open) this.tell(session);
      if (session.over && !session.events.length) this.sessions.delete(session);
    }
    if (this.open || !this.isNeeded()) return;
    if (!this.socket && !this.retry && !this.blocked) this.connect();
    if (this.failures >= (this.worked ? 2 : 1)) this.post();
  }

  isNeeded() {
    return [...this.sessions].some((session) => session.playing || session.events.length);
  }

  connect() {
    const url = new URL('socket/websocket', this.base);
    url.protocol = url.protocol.replace('http', 'ws');
    url.search = new URLSearchParams({ source_url: withoutQuery(location.href), key: this.key, vsn: '2.0.0' });
    try {
      const socket = (this.socket = new WebSocket(url));
      this.timer = setTimeout(() => this.lose(socket), OPEN_MS);
      socket.onopen = () => {
        this.open = true;
        this.flush();
      };
      socket.onmessage = ({ data }) => socket === this.socket && this.hear(...JSON.parse(data));
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
    }, this.patience(this.failures));
    this.flush();
  }

  close() {
    const { socket } = this;
    this.socket = this.beating = null;
    this.open = this.heard = false;
    clearTimeout(this.timer);
    clearTimeout(this.retry);
    this.retry = null;
    this.sessions.forEach((session) => session.part());
    socket?.close();
  }

  // Longer each time, and not the same for all whom a server has lost.
  patience(failures) {
    return Math.min(RETRY_MS_MAX, RETRY_MS * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
  }

  beat() {
    this.timer = setTimeout(() => {
      if (this.beating) return this.lose(this.socket);
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

  tell(session) {
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

  hear(joinRef, ref, topic, event, { status, response }) {
    if (!this.heard) {
      this.heard = this.worked = true;
      clearTimeout(this.timer);
      this.beat();
    }
    if (ref === this.beating) this.beating = null;
    if (status === 'ok') this.failures = this.refusals = 0;
    for (const session of this.sessions) {
      if (session.topic !== topic) continue;
      if (event === 'phx_reply') this.answer(session, ref, status === 'ok' ? null : response.reason);
      // The server closed the channel: to join again tells why.
      else if (joinRef === session.joinRef) session.part();
    }
    this.flush();
  }

  answer(session, ref, refusal) {
    const entries = session.events.filter((entry) => entry.ref === ref);
    if (refusal) this.refuse(session, refusal, entries);
    else if (ref === session.joinRef) session.joined = true;
    else session.remove(entries);
  }

  // The server does not take a session or some of its events: nothing from here, those never, or not now.
  refuse(session, reason, entries) {
    if (/^(invalid key|opted out|bot)$/.test(reason)) this.silence(reason);
    else if (/^(\x60|missing|a session)|videos/.test(reason)) session.remove(entries.length ? entries : session.events);
    // Whatever it is may pass, but for too many channels on one websocket.
    else if (this.open && !/channels/.test(reason)) this.lose(this.socket);
  }

  // Posts what there is, one batch after the other, until a websocket is open.
  post(wait = COLLECT_MS) {
    this.posting ??= setTimeout(async () => {
      const taken = await this.postAll();
      this.posting = null;
      this.refusals = taken ? 0 : this.refusals + 1;
      const waits = [...this.sessions].some((session) => session.events.length);
      if (waits && !this.open && !this.ended) this.post(taken ? COLLECT_MS : this.patience(this.refusals));
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
    const response = await this.fetch(body);
    if (response.status === 401) this.silence('invalid key');
    if (!response.ok) return false;
    this.blocked ||= !this.worked && this.failures >= TRIES;
    const { rejected } = await response.json();
    session.remove(entries);
    for (const { reason } of rejected) this.refuse(session, reason, entries);
    return true;
  }

  // The page goes away, or may: what is not acknowledged is sent in a way that outlives it.
  depart() {
    for (const { body } of [...this.sessions].flatMap((session) => session.batches())) {
      // As text, for which a browser need not ask the server first.
      if (!navigator.sendBeacon?.(this.batchUrl, body)) this.fetch(body).catch(() => {});
    }
  }

  fetch(body) {
    return fetch(this.batchUrl, { method: 'POST', body, keepalive: true, credentials: 'omit' });
  }
}

// What an element says of itself, or where it is in a shadow root, what the elements say that hold it.
const describe = (media) => {
  const said = {};
  for (let node = media; node?.attributes; node = node.getRootNode().host) {
    for (const { name, value } of node.attributes) {
      if (name.startsWith('data-metrics-')) said[name.slice(13)] ??= value;
    }
  }
  return said;
};

// The address of the media, or of the page, if that of the media is made anew for each viewing.
const addressOf = (media) => {
  const source = media.src || media.querySelector('source')?.src;
  return withoutQuery(/^https?:/.test(source) ? source : location.href);
};

const isFullscreen = (node) => !!node && (node.matches?.(':fullscreen') || isFullscreen(node.parentNode ?? node.host));

const EVENTS =
  'play playing pause seeking seeked timeupdate waiting ratechange error emptied webkitbeginfullscreen webkitendfullscreen'
    .split(' ');

// One media element. Only what the element says counts, whatever plays in it.
class Monitor {
  session = null;
  // A segment is open, frames move in it, and it waits for data.
  playing = false;
  moving = false;
  waiting = false;
  rate = 1;
  fullscreen = false;

  constructor(link, media, options, isFound) {
    Object.assign(this, { link, media, options, isFound });
    this.targets = [...EVENTS.map((type) => [media, type]), [document, 'fullscreenchange']];
    if (media.textTracks) this.targets.push([media.textTracks, 'change']);
    // What fails to load is a <source> in the media, of which the media hears on the way down.
    for (const [target, type] of this.targets) target.addEventListener(type, this, true);
    this.resume(isFound);
  }

  handleEvent(event) {
    try {
      this[`on${event.type}`](event);
    } catch {
      // Nothing here is worth an error in somebody's page.
    }
  }

  stop() {
    this.leave();
    for (const [target, type] of this.targets) target.removeEventListener(type, this, true);
  }

  // The viewing is over.
  leave() {
    this.close();
    this.session?.end();
    this.session = null;
  }

  // It may play already. If it was found, what it played before this script was there was shown as well.
  resume(isFound) {
    const { media } = this;
    if (media.paused || media.ended) return;
    const { played, currentTime } = media;
    let from = currentTime;
    for (let i = 0; isFound && i < played.length; i++) {
      if (played.start(i) <= currentTime && currentTime < played.end(i) + JUMP_SECONDS) from = played.start(i);
    }
    this.open(from);
    // When it was asked for, nobody knows.
    this.session.started = true;
    this.moving = media.readyState > 2;
    this.look();
  }

  video() {
    const { id, ignore, ...said } = describe(this.media);
    const metadata = { ...said, ...this.options.metadata };
    const isDescribed = Object.keys(metadata).length > 0;
    const identifier = this.options.identifier ?? id ?? (isDescribed ? undefined : addressOf(this.media));
    return { identifier: identifier?.toString(), metadata: isDescribed ? metadata : undefined };
  }

  open(from = this.media.currentTime) {
    if (this.playing) return;
    const video = this.video();
    const name = JSON.stringify(video);
    // Another source was chosen before the first began.
    if (this.session && !this.session.started && this.session.name !== name) this.leave();
    this.session ??= Object.assign(new Session(this.link, video, this.options.sessionData), { name });
    this.session.playing = this.playing = true;
    this.from = this.at = from;
    this.seen = performance.now();
    this.tell('play', { from });
  }

  close(hasJumped = this.media.seeking) {
    if (!this.playing) return;
    const to = Math.max(this.from, this.position(hasJumped));
    this.flow();
    this.session.playing = this.playing = this.moving = false;
    this.tell('pause', { to });
  }

  // Where playback is, or where it was before it jumped: a little past where it was last seen.
  position(hasJumped) {
    const { currentTime } = this.media;
    if (!hasJumped && currentTime > this.at - JUMP_SECONDS) return currentTime;
    const moved = this.moving && !this.waiting ? Math.min(performance.now() - this.seen, GUESS_MS_MAX) : 0;
    return Math.min(this.at + (moved / 1000) * this.rate, this.duration || Infinity);
  }

  // Notes where playback is. While it jumps, that is where it jumps to.
  look() {
    const { seeking, currentTime, playbackRate, duration } = this.media;
    if (seeking) return;
    Object.assign(this, { at: currentTime, seen: performance.now(), rate: playbackRate, duration });
  }

  // There is data again.
  flow() {
    if (this.waiting) this.tell('rebuffering_end');
    this.waiting = false;
  }

  tell(name, { from, to, ...more } = {}) {
    const round = (seconds) => seconds && Math.round(seconds * 1000) / 1000;
    this.session?.add({ name, from: round(from), to: round(to), duration: this.media.duration, ...more });
  }

  onplay() {
    this.open();
  }

  onplaying() {
    if (!this.session) return;
    this.flow();
    this.moving = this.playing;
    this.look();
    // Media that starts by itself was not waited for until it did.
    if (!this.session.started && !this.media.autoplay) this.tell('playing');
    this.session.started = true;
  }

  onpause() {
    this.close();
  }

  onseeking() {
    this.close(true);
  }

  onseeked() {
    if (!this.session) return;
    this.tell('seeked');
    if (!this.media.paused && !this.media.ended) this.open();
  }

  ontimeupdate() {
    const { seeking, currentTime } = this.media;
    if (!this.playing || seeking) return;
    if (currentTime < this.at - JUMP_SECONDS) {
      // It began again without a word.
      this.close(true);
      this.open(this.media.loop ? 0 : currentTime);
    } else if (currentTime > this.at) {
      this.flow();
      this.moving = true;
    }
    this.look();
    // Who is not connected is believed to watch as long as something is heard.
    const silence = Math.min(this.link.live * 1000 || Infinity, this.link.open ? Infinity : HEARTBEAT_MS);
    if (performance.now() - this.session.told > silence) this.tell('timeupdate');
  }

  onwaiting() {
    const { seeking, ended } = this.media;
    if (!this.moving || this.waiting || seeking || ended) return;
    this.look();
    this.waiting = true;
    this.tell('rebuffering_start', { from: this.at });
  }

  onratechange() {
    this.look();
    // Players of live streams change it a little all the time.
    const rate = Math.round(this.media.playbackRate * 4) / 4;
    if (rate !== this.toldRate) this.tell('ratechange', { rate });
    this.toldRate = rate;
  }

  onerror({ target }) {
    const { media } = this;
    if (target !== media && target !== media.querySelector('source:last-of-type')) return;
    if (!this.session && media.autoplay) this.open();
    this.tell('playback_failure');
    this.close(true);
  }

  // Another source, or none.
  onemptied() {
    this.close(true);
    if (this.session?.started) this.leave();
  }

  onchange() {
    const track = [...this.media.textTracks].find(({ mode }) => mode === 'showing');
    if (track && track.language !== this.language) this.tell('track_set', { language: track.language });
    this.language = track?.language;
  }

  onfullscreenchange() {
    this.fill(isFullscreen(this.media));
  }

  onwebkitbeginfullscreen() {
    this.fill(true);
  }

  onwebkitendfullscreen() {
    this.fill(false);
  }

  fill(fullscreen) {
    if (fullscreen !== this.fullscreen) this.tell(fullscreen ? 'fullscreen_enter' : 'fullscreen_exit');
    this.fullscreen = fullscreen;
  }
}

// `address` is that of this script, `tag` its element, if it has one: what plays in the page is then found.
const start = (address, tag) => {
  const { key, server, live, manual } = tag?.dataset ?? {};
  const monitors = new Map();
  const chosen = new WeakSet();
  let link = null;
  let isSilenced = false;

  const silence = (reason) => {
    if (isSilenced) return;
    isSilenced = true;
    observer.disconnect();
    link?.end();
    monitors.forEach((monitor) => monitor.stop());
    monitors.clear();
    if (/key/.test(reason)) console.warn(`metrics: ${reason}`);
  };

  // A key in the address may have its `+` as it is.
  const connect = (given) => {
    const used = key ?? given ?? new URL(address).searchParams.get('key')?.replaceAll(' ', '+');
    if (!link && !used) silence('no key');
    const base = new URL('.', new URL(server ?? address, location.href));
    if (!isSilenced) link ??= new Link(base, used, silence, live);
    return !isSilenced;
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
    if (localName === 'video' || localName === 'audio') {
      const isMine = !monitors.has(node) && !chosen.has(node) && describe(node).ignore === undefined;
      if (isMine && connect()) add(node, {}, true);
    } else if (shadowRoot) {
      watch(shadowRoot);
    } else if (localName.includes('-') && !node.matches(':defined')) {
      customElements.whenDefined(localName).then(() => node.shadowRoot && watch(node.shadowRoot), () => {});
    }
  };

  const watch = (root) => {
    if (isSilenced) return;
    observer.observe(root, { childList: true, subtree: true });
    root.querySelectorAll('*').forEach(find);
  };

  const observer = new MutationObserver((records) => {
    for (const { addedNodes } of records) {
      for (const node of addedNodes) {
        if (node.nodeType !== Node.ELEMENT_NODE) continue;
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

  // Whoever comes back to a page begins anew, whether the browser kept the page or not.
  let isGone = false;
  addEventListener('pagehide', () => {
    isGone = true;
    monitors.forEach((monitor) => monitor.leave());
    link?.depart();
    link?.close();
  });
  addEventListener('pageshow', ({ persisted }) => {
    if (!persisted) return;
    isGone = false;
    monitors.forEach((monitor) => monitor.resume());
    link?.flush();
  });
  document.addEventListener('visibilitychange', () => {
    // Of a page that goes, browsers say this as well.
    if (document.visibilityState === 'hidden' && !isGone) link?.depart();
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
