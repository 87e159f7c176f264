// Plays a script with a client and compares the server's counts with the segments that the page showed.

import { eventually, sleep, within } from '../eventually.mjs';
import { watching } from '../expect.mjs';

// On a busy machine.
const LOAD_MS = 20_000;
const POSTED_MS = 10_000;
// The view time is final when it stays the same for this long and no session is watching.
const SETTLE_MS = 1_000;
// A session leaves the count of `watching` within this time after its server was killed. @maveio/data may lose its last
// `pause` with the network: such a session leaves the count after an hour.
const WATCHING_MS = 35_000;
const SETTLED_MS = 60_000;
const PLAY_SECONDS = 1;
const NEAR_SECONDS = 1;

/** Plays one script after another, against its own server, which a script may kill. */
export class Viewer {
  #actions = {
    close: () => this.#go((page) => page.close()),
    leave: () => this.#go((page) => page.goto(this.next)),
    reload: () => this.#reload(),
    cut: ({ milliseconds }) => this.#meanwhile(() => this.#cut(milliseconds)),
    restart: ({ milliseconds }) => this.#meanwhile(() => this.#restart(milliseconds)),
  };

  static async start(scene) {
    const viewer = new Viewer();
    const server = await scene.server();
    const next = await scene.site.publish('/viewers/next', { html: 'next' });
    return Object.assign(viewer, { scene, server, next, proxy: await scene.proxy(server) });
  }

  /**
   * Performs `actions`, a script, in a page that `client` measures, on a video of this identifier. Resolves with the view
   * time shown, the view time counted, and with the client's requests as `recording`.
   */
  async view(client, identifier, actions) {
    Object.assign(this, { client, identifier, traffic: [], loads: [], pending: [], start: Date.now() });
    this.proxy.record = (message) => this.#record(message);
    await this.#open(`/viewers/${identifier}`);
    for (const { wait, act, ...given } of actions) {
      await sleep(wait);
      this.#record({ kind: 'act', act, ...given });
      await (this.#actions[act] ? this.#actions[act](given) : this.#act(act, given));
    }
    await Promise.all(this.pending);
    const result = await this.#result();
    // Not earlier: the beacons of a closed page end with its browser.
    await this.context.close();
    const { traffic, loads } = this;
    return { ...result, recording: { actions, loads, traffic } };
  }

  async #open(path) {
    const { script = '', ...content } = this.client.page(this.proxy, this.identifier);
    this.path = path;
    this.url = await this.scene.site.publish(path, { ...content, script: `${script}\nimport './page/viewer.mjs';` });
    this.context = await this.scene.browser.newContext();
    this.page = await this.context.newPage();
    await this.page.goto(this.url);
    await this.#loaded();
  }

  #loaded() {
    const isReady = () => document.querySelector('video').readyState === HTMLMediaElement.HAVE_ENOUGH_DATA;
    return within(LOAD_MS, 'the video', this.page.waitForFunction(isReady));
  }

  #act(act, given) {
    return this.page.evaluate(([act, given]) => window.acts[act](given), [act, given]);
  }

  /** Performs `action`, which closes the page, and adds the segments that it showed until then. */
  async #go(action) {
    const posted = this.scene.site.posted(this.path);
    const unreported = this.#isUnreported();
    const left = Date.now();
    await action(this.page);
    const { segments, stall } = await within(POSTED_MS, 'what the page showed', posted);
    const since = segments.map((segment) => this.#since(segment));
    this.loads.push({ unreported, stall, left: left - this.start, segments: since });
  }

  // Without a network the page closes, and opens again with the network: browsers cannot reload it before.
  async #reload() {
    if (this.#isAway()) {
      await this.#actions.leave();
      await Promise.all(this.pending);
      await this.page.goto(this.url);
    } else {
      await this.#go((page) => page.reload());
    }
    await this.#loaded();
  }

  #isAway() {
    return this.proxy.isSevered || this.isKilled;
  }

  #isUnreported() {
    return Boolean(this.#isAway() || (this.client.needsWebsocket && this.proxy.channels === 0));
  }

  #meanwhile(work) {
    this.pending.push(work());
  }

  async #cut(milliseconds) {
    this.#record({ kind: 'cut' });
    this.proxy.sever();
    await sleep(milliseconds);
    this.proxy.restore();
    this.#record({ kind: 'restored' });
  }

  async #restart(milliseconds) {
    this.isKilled = true;
    this.#record({ kind: 'killed' });
    await this.server.kill();
    await sleep(milliseconds);
    await this.server.start();
    this.#record({ kind: 'started' });
    this.isKilled = false;
  }

  #record(message) {
    this.traffic.push({ at: Date.now() - this.start, ...message });
  }

  #since({ at, until, ...segment }) {
    return { ...segment, at: at - this.start, until: until - this.start };
  }

  async #result() {
    const sessions = this.#sessions();
    const truth = sessions.reduce((sum, { seconds }) => sum + seconds, 0);
    const { measured, left } = await this.#settled();
    return {
      identifier: this.identifier,
      truth,
      measured,
      error: measured - truth,
      plays: await this.#plays(),
      wantedPlays: wantedPlays(sessions, this.client.marginSeconds),
      watching: left,
      unreported: this.loads.some(({ unreported }) => unreported),
      stall: Math.max(...this.loads.map(({ stall }) => stall)),
    };
  }

  /** The sessions that the client should report, with the seconds of video of each. */
  #sessions() {
    return this.loads.flatMap(({ segments, unreported }) => {
      const sessions = [];
      let last = null;
      for (const segment of segments) {
        if (!last || this.#isNew(segment, last)) sessions.push({ unreported, seconds: 0 });
        sessions.at(-1).seconds += segment.to - segment.from;
        last = segment;
      }
      return sessions;
    });
  }

  // A source that resumes near the position of the last one is the same video, as after a player's error recovery.
  #isNew({ source, from, at }, last) {
    const moved = from - last.to;
    const goesOn = -NEAR_SECONDS < moved && moved < (at - last.until) / 1000 + NEAR_SECONDS;
    return this.client.sessionPerSource && source !== last.source && !goesOn;
  }

  async #settled() {
    const end = Date.now() + WATCHING_MS;
    const read = async () => ({
      measured: await this.#measured(),
      left: await watching(this.server, { identifier: this.identifier }),
    });
    let before = await read();
    return eventually(async () => {
      await sleep(SETTLE_MS);
      const now = await read();
      const isFinal = now.measured === before.measured && (now.left === 0 || Date.now() > end);
      before = now;
      if (!isFinal) throw new Error(`${this.identifier}: the view time still changes: ${JSON.stringify(now)}`);
      return now;
    }, SETTLED_MS);
  }

  async #measured() {
    const rows = await this.#rows(0);
    return rows.reduce((sum, row) => sum + row.total_view_time, 0);
  }

  async #plays() {
    const rows = await this.#rows(PLAY_SECONDS);
    return rows.reduce((sum, row) => sum + row.views, 0);
  }

  async #rows(seconds) {
    return (await this.server.request('plays', { identifier: this.identifier, minimum_watch_seconds: seconds })).views;
  }
}

/** The minimum and the maximum of the right number of plays. */
function wantedPlays(sessions, margin) {
  const recorded = sessions.filter(({ unreported }) => !unreported);
  const count = (sessions, least) => sessions.filter(({ seconds }) => seconds >= least).length;
  return [count(recorded, PLAY_SECONDS + margin), count(sessions, PLAY_SECONDS - margin)];
}
