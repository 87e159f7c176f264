// How much view time of our own client is lost or counts twice: many sessions on many pages, over connections that are
// cut and a server that is killed, with tabs that close, navigate, or end their sessions by a call.

import assert from 'node:assert/strict';
import { eventually, sleep } from './eventually.mjs';
import { EXAMPLE_KEY } from './server.mjs';
import { Trace } from './trace.mjs';

// On one websocket: far fewer than its limit of 64, and as many as some pages have.
const VIEWINGS_A_PAGE = 8;
// The number that a machine with two processors plays without a wait.
const PAGES_AT_ONCE = 6;
const WATCHED_MS = 1_500;
const CUT_EVERY_MS = 700;
const AWAY_MS = 1_000;
const SETTLED_MS = 60_000;
// Less, so that a restart does not give up on a page that needs the server for so long.
const COUNTED_MS = 30_000;
const ENDS = ['close', 'leave', 'stop'];

export class Loss {
  // How many pages need the server now: to load, or to send their last events.
  #needing = 0;
  #isAway = false;

  /** `proxies` lead to `server`; pages use them in turn. */
  constructor(scene, server, proxies) {
    Object.assign(this, { scene, server, proxies });
    // The true view time of each session, in milliseconds.
    this.shown = {};
    this.trace = new Trace(proxies);
  }

  /** Plays `count` sessions, with `restarts` of the server in between; returns the lost and the doubled ones. */
  async run(count, restarts) {
    await this.#publish();
    const pages = Array.from({ length: Math.ceil(count / VIEWINGS_A_PAGE) }, (_, page) => page);
    const cutting = setInterval(() => new Set(this.proxies).forEach((proxy) => proxy.cut()), CUT_EVERY_MS);
    const every = Math.ceil(pages.length / (restarts + 1));
    const workers = Array.from({ length: PAGES_AT_ONCE }, async () => {
      for (let page = pages.shift(); page !== undefined; page = pages.shift()) {
        const viewings = Math.min(VIEWINGS_A_PAGE, count - page * VIEWINGS_A_PAGE);
        const viewed = this.#view(page, viewings);
        if (page > 0 && page % every === 0) await this.#restart();
        await viewed;
      }
    });
    await Promise.all(workers).finally(() => clearInterval(cutting));
    return this.#count();
  }

  async #publish() {
    this.urls = [];
    for (const [index, { url }] of this.proxies.entries()) {
      const html = `<script defer src="${url}/metrics.js" data-key="${EXAMPLE_KEY}" data-manual></script>`;
      this.urls.push(await this.scene.site.publish(`/loss/${index}`, { html, script: `import './page/fake.mjs';` }));
    }
    this.next = await this.scene.site.publish('/loss/next', { html: 'next' });
  }

  async #view(number, viewings) {
    const identifiers = Array.from({ length: viewings }, (_, index) => `viewing-${number}-${index}`);
    const { context, page } = await this.#needs(() => this.#open(this.urls[number % this.urls.length]));
    await page.evaluate(([identifiers, seed]) => window.view(identifiers, seed), [identifiers, number * 1000]);
    await sleep(WATCHED_MS);
    await this.#needs(() => this.#end(page, identifiers, ENDS[number % ENDS.length]));
    await context.close();
  }

  async #needs(work) {
    await eventually(() => assert.ok(!this.#isAway), SETTLED_MS);
    this.#needing += 1;
    return work().finally(() => (this.#needing -= 1));
  }

  async #end(page, identifiers, end) {
    const shown = await page.evaluate(() => window.halt());
    this.trace.note(`halted, will ${end}`, identifiers);
    if (end === 'close') await page.close();
    if (end === 'leave') await page.goto(this.next);
    if (end === 'stop') await page.evaluate(() => window.stop());
    this.trace.note(`did ${end}`, identifiers);
    Object.assign(this.shown, shown);
    const expected = Object.values(shown).reduce((sum, milliseconds) => sum + milliseconds, 0);
    // On a busy machine the browser sends the last events late, and a closed context sends none. If the count never
    // reaches it, the count at the end shows the loss.
    const counted = async () => assert.equal(await this.#counted(identifiers), expected);
    await eventually(counted, COUNTED_MS).catch(({ message }) => this.trace.note(message, identifiers));
  }

  async #open(url) {
    const context = await this.scene.browser.newContext();
    const page = await context.newPage();
    // The cuts may break the connection that loads the script.
    await eventually(async () => {
      await page.goto(url);
      assert.ok(await page.evaluate(() => Boolean(window.metrics)));
    }, SETTLED_MS);
    return { context, page };
  }

  async #restart() {
    this.#isAway = true;
    await eventually(() => assert.equal(this.#needing, 0), SETTLED_MS);
    await this.server.kill();
    this.trace.note('killed the server');
    await sleep(AWAY_MS);
    await this.server.start();
    this.trace.note('started the server');
    this.#isAway = false;
  }

  /** The counted view time of one or more identifiers, in milliseconds. */
  async #counted(identifier) {
    const { views } = await this.server.request('plays', { identifier, minimum_watch_seconds: 0 });
    return Math.round(views.reduce((sum, row) => sum + row.total_view_time, 0) * 1000);
  }

  /** What the server stored of a session, and what its page sent: the cause of a wrong count. */
  async evidence(identifier) {
    const response = await fetch(`${this.server.url}/api/v1/export/sessions?identifier=${identifier}&format=ndjson`);
    return [`${identifier}: ${await response.text()}`, ...this.trace.of(identifier)].join('\n');
  }

  async #count() {
    const all = { query: { key: EXAMPLE_KEY }, minimum_watch_seconds: 0 };
    const { views } = await this.server.request('plays', all);
    const found = { sessions: views.reduce((sum, row) => sum + row.views, 0), lost: [], doubled: [] };
    for (const [identifier, shown] of Object.entries(this.shown)) {
      const counted = await this.#counted(identifier);
      if (counted < shown) found.lost.push({ identifier, shown, counted });
      if (counted > shown) found.doubled.push({ identifier, shown, counted });
    }
    return found;
  }
}
