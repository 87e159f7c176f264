// Our own client, /metrics.js, on a bad network, on a page that closes, or with a server that refuses its events.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { near, watching } from './harness/expect.mjs';
import { Player } from './harness/player.mjs';
import { expectShown, fakePage, introPage, position, scriptTag, setRate, recordTraffic, videoTag } from './harness/script.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';

// Without this, Playwright disables the back/forward cache.
const suite = new Suite({ ignoreDefaultArgs: ['--disable-back-forward-cache'] });
const intro = { identifier: 'intro' };

// The period of the script: a page without a websocket reports playback this often.
const SIGN_MS = 15_000;

suite.test('where websockets are blocked, batches report the same', async (scene) => {
  const server = await scene.server();
  const proxy = await scene.proxy(server, { refuseWebsockets: true });
  const video = videoTag('video', 'data-metrics-id="intro" data-metrics-course="7"');
  const page = await scene.visit('/watch', { html: `${scriptTag(proxy)}${video}` });
  const posts = batches(page);
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(1.5);
  await player.pause();
  await eventually(async () => assert.equal(await watching(server, intro), 0));
  await expectShown(server, intro, await player.shown());
  await player.seek(10);
  await player.play();
  await eventually(async () => assert.equal(await watching(server, intro), 1));
  await player.reach(12);
  const shown = await player.shown();
  await page.close();

  await expectShown(server, { ...intro, query: { video: { course: '7' } } }, shown);
  assert.ok(posts.length >= 2, `${posts.length} batches`);
  const { sources } = await server.request('sources', intro);
  assert.deepEqual(sources.map(({ path }) => path), [`${scene.site.origin}/watch`]);
});

for (const [how, end] of [['stopped', 'stop'], ['killed', 'kill']]) {
  suite.test(`a server that is ${how} and comes back loses nothing and counts nothing twice`, async (scene) => {
    const server = await scene.server();
    const page = await scene.visit('/watch', introPage(server));
    const player = new Player(page, 'video');
    await player.play();
    await player.reach(1.2);
    await server[end]();
    await player.pause();
    await player.seek(10);
    await player.play();
    await player.reach(11);
    await player.seek(20);
    await setRate(page, 2);
    const joined = page.waitForEvent('websocket', (socket) => socket.waitForEvent('framereceived').then(() => true));
    await server.start();
    await joined;
    await player.reach((await position(player)) + 2);
    const shown = await player.shown();
    await page.close();

    assert.equal(shown.length, 3, `the player showed ${JSON.stringify(shown)}`);
    await expectShown(server, intro, shown);
    await eventually(async () => assert.equal(await watching(server, intro), 0));
  });
}

suite.test('a tab that is closed without its websocket has reported everything', async (scene) => {
  const server = await scene.server();
  const proxy = await scene.proxy(server);
  const page = await scene.visit('/watch', introPage(proxy));
  const player = new Player(page, 'video');
  await player.play();
  for (const second of [0.7, 1.4]) {
    await player.reach(second);
    proxy.cut();
    await player.pause();
    await player.play();
  }
  await player.reach(2.5);
  proxy.cut();
  await player.seek(10);
  await player.reach(11);
  proxy.cut();
  const shown = await player.shown();
  await page.close();

  assert.equal(shown.length, 4, `the player showed ${JSON.stringify(shown)}`);
  await expectShown(server, intro, shown);
});

suite.test('unacknowledged events are sent at once when the tab is hidden', async (scene) => {
  const server = await scene.server();
  const proxy = await scene.proxy(server);
  const page = await scene.visit('/watch', introPage(proxy));
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(1.2);
  const shown = await page.evaluate(async () => {
    // No other message carries the event: the websocket sends nothing, and no batch is due.
    WebSocket.prototype.send = () => {};
    const paused = new Promise((resolve) => video.addEventListener('pause', resolve, { once: true }));
    video.pause();
    await paused;
    Object.defineProperty(document, 'visibilityState', { value: 'hidden' });
    document.dispatchEvent(new Event('visibilitychange'));
    return [[0, video.currentTime]];
  });
  await eventually(async () => assert.equal(await watching(server, intro), 0));
  await expectShown(server, intro, shown);
});

suite.test('a page that goes sends one beacon', async (scene) => {
  const server = await scene.server();
  const proxy = await scene.proxy(server);
  const page = await scene.visit('/watch', introPage(proxy));
  const next = await scene.site.publish('/next', { html: 'next' });
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(1.2);
  const shown = await player.shown();
  await page.goto(next);
  await expectShown(server, intro, shown);
  await eventually(() => assert.ok(proxy.posts > 0));
  // A second request would have come with the first.
  await page.evaluate(() => new Promise(requestAnimationFrame));
  assert.equal(proxy.posts, 1);
});

suite.test('a page that is left and shown again is watched anew', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', introPage(server));
  const next = await scene.site.publish('/next', { html: 'next' });
  const player = new Player(page, 'video');
  await page.evaluate(() => addEventListener('pageshow', ({ persisted }) => (window.isKept = persisted)));
  await player.play();
  await player.reach(1.5);
  await page.goto(next);
  await page.goBack({ waitUntil: 'commit' });
  await page.waitForFunction(() => window.isKept !== undefined);
  assert.equal(await page.evaluate(() => window.isKept), true, 'the browser kept the page');
  await page.evaluate(() => video.paused || new Promise((resolve) => {
    video.addEventListener('pause', resolve, { once: true });
    video.pause();
  }));
  await player.seek(10);
  await player.play();
  await player.reach(11.5);
  await player.pause();
  const shown = await player.shown();
  await eventually(async () => {
    const { views } = await server.request('plays', intro);
    assert.deepEqual(views.map((row) => row.views), [2]);
    const seconds = shown.reduce((sum, [from, to]) => sum + to - from, 0);
    assert.ok(Math.abs(views[0].total_view_time - seconds) <= 0.6, `${views[0].total_view_time}, shown ${JSON.stringify(shown)}`);
  });
});

suite.test('where websockets are blocked, a video that plays or waits for data gives signs of life', async (scene) => {
  const server = await scene.server();
  const proxy = await scene.proxy(server, { refuseWebsockets: true });
  const { page } = await fakePage(scene, proxy);
  const posted = events(page);
  // The position does not change, and the media sends no event about that.
  await page.evaluate(() => window.fake.play());
  await eventually(() => assert.deepEqual(names(posted()), ['play', 'playing']));
  for (const signs of [1, 2, 3]) {
    await page.clock.fastForward(SIGN_MS);
    await eventually(() => assert.equal(names(posted()).filter((name) => name === 'timeupdate').length, signs));
  }
  const [first, ...others] = posted().filter(({ name }) => name === 'timeupdate').map(({ timestamp }) => timestamp);
  for (const [index, timestamp] of others.entries()) {
    near(timestamp - first, (index + 1) * SIGN_MS, 5_000, 'the time between signs of life');
  }
  for (const body of posted.bodies) {
    assert.deepEqual(body.events.map(({ heartbeat }) => heartbeat), body.events.map((_, index) => (index ? undefined : 15)));
  }
  assert.equal(await watching(server, intro), 1);

  await page.evaluate(() => window.fake.pause());
  await eventually(() => assert.equal(names(posted()).at(-1), 'pause'));
  const count = posted().length;
  await page.clock.fastForward(2 * SIGN_MS);
  await page.clock.fastForward(2 * SIGN_MS);
  assert.equal(posted().length, count, 'a video that is paused has nothing to say');
});

suite.test('a websocket that opens late is not blocked: when it is lost, another is opened', async (scene) => {
  const server = await scene.server();
  const { page, traffic } = await fakePage(scene, server);
  // No timeout passes on a busy machine.
  await page.clock.pauseAt((await page.evaluate(() => Date.now())) + 60_000);
  await page.evaluate(() => {
    const Opened = WebSocket;
    window.sockets = [];
    // It opens and closes only when the test says so.
    window.WebSocket = class {
      constructor(url) {
        this.url = url;
        window.sockets.push(this);
      }

      open() {
        this.opened = new Opened(this.url);
        for (const name of ['onopen', 'onmessage', 'onclose']) this.opened[name] = (event) => this[name](event);
      }

      send(text) {
        this.opened.send(text);
      }

      close() {
        this.opened?.close();
      }
    };
  });
  const held = [];
  await page.route('**/api/v1/events?*', (route) => held.push(route));
  const isMade = (count) => eventually(async () => {
    await page.clock.fastForward(1_000);
    assert.equal(await page.evaluate(() => window.sockets.length), count);
  });
  await page.evaluate(() => window.fake.play());
  for (const count of [1, 2, 3]) {
    await isMade(count);
    await page.evaluate(() => window.sockets.at(-1).onclose());
  }
  await isMade(4);
  const responded = page.waitForResponse('**/api/v1/events?*');
  await held[0].continue();
  await (await responded).finished();
  // The script has read the response once a later one has been read.
  await page.evaluate(() => fetch(location.href).then((response) => response.text()));
  await page.evaluate(() => window.sockets[3].open());
  await eventually(() => assert.equal(traffic.answers.length, 1));

  await page.evaluate(() => window.sockets[3].close());
  await isMade(5);
  await page.evaluate(() => window.fake.pause());
  await page.evaluate(() => window.sockets[4].open());
  await eventually(() => assert.deepEqual(traffic.names(), ['pause']));
});

suite.test('while a websocket is open, its heartbeats are the only signs of life', async (scene) => {
  const server = await scene.server();
  const { page, traffic } = await fakePage(scene, server);
  await page.evaluate(() => window.fake.play());
  await eventually(() => assert.deepEqual(traffic.names(), ['play', 'playing']));
  await page.clock.fastForward(2 * SIGN_MS);
  await eventually(() => assert.equal(traffic.heartbeats.length, 1));
  await page.evaluate(() => window.fake.advance(1_000));
  assert.deepEqual(traffic.names(), ['play', 'playing']);
});

suite.test('a tab that dies counts as far as it got while its websocket was open', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', introPage(server));
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(2.5);
  const shown = await player.shown();
  const session = await page.context().newCDPSession(page);
  const crashed = page.waitForEvent('crash');
  session.send('Page.crash').catch(() => {});
  await crashed;
  await eventually(async () => assert.equal(await watching(server, intro), 0));
  await expectShown(server, intro, shown);
});

for (const [way, refuseWebsockets] of [['by websocket', false], ['by batch', true]]) {
  suite.test(`who opted out and is told so ${way} sends nothing more`, async (scene) => {
    const server = await scene.server({ METRICS_OPT_OUT: 'refuse' });
    const proxy = await scene.proxy(server, { refuseWebsockets, headers: { 'sec-gpc': '1' } });
    const page = await scene.visit('/watch', introPage(proxy));
    const [warnings, traffic, posts] = [warned(page), recordTraffic(page), batches(page)];
    const player = new Player(page, 'video');
    await player.play();
    await eventually(() => assert.ok(traffic.answers.some(({ code }) => code === 'opted_out') || posts.length > 0));
    await player.reach(3);
    const sent = [traffic.sockets.length, traffic.events.length, posts.length];
    await player.pause();
    await player.seek(10);
    await player.play();
    await player.reach(12);
    await page.evaluate(() => dispatchEvent(new Event('pagehide')));
    assert.deepEqual([traffic.sockets.length, traffic.events.length, posts.length], sent);
    assert.deepEqual(warnings, []);
    assert.deepEqual((await server.request('plays', intro)).views, []);
  });
}

suite.test('a key that is revoked ends it with one warning', async (scene) => {
  const server = await scene.server();
  const { key } = await server.request('keys', {});
  const page = await scene.visit('/watch', introPage(server, key));
  const [warnings, traffic, posts] = [warned(page), recordTraffic(page), batches(page)];
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(1.2);
  await fetch(`${server.url}/api/v1/keys/${encodeURIComponent(key)}`, { method: 'DELETE' });
  await eventually(() => assert.deepEqual(warnings, ['metrics: invalid_key']));
  const sent = [traffic.sockets.length, traffic.events.length, posts.length];
  await player.pause();
  await player.play();
  await player.reach((await position(player)) + 1);
  assert.deepEqual([traffic.sockets.length, traffic.events.length, posts.length], sent);
  assert.deepEqual(warnings, ['metrics: invalid_key']);
});

suite.test('a key that is missing or wrong is warned of once, and the page works', async (scene) => {
  const server = await scene.server();
  const videos = `${videoTag('one')}${videoTag('two')}`;
  for (const [tag, warning] of [
    [`<script defer src="${server.url}/metrics.js"></script>`, 'metrics: missing_key'],
    [scriptTag(server, 'of nobody'), 'metrics: invalid_key'],
  ]) {
    const page = await scene.visit('/watch', { html: `<script>window.errors = []; onerror = (error) => errors.push(error)</script>${tag}${videos}` });
    const warnings = warned(page);
    await page.reload();
    for (const id of ['one', 'two']) {
      const player = new Player(page, id);
      await player.play();
      await player.reach(0.5);
    }
    await eventually(() => assert.deepEqual(warnings, [warning]));
    assert.equal(await page.evaluate(() => typeof window.metrics.monitor(null)), 'function');
    assert.deepEqual(await page.evaluate(() => window.errors), []);
  }
  assert.deepEqual((await server.request('plays', { query: { key: EXAMPLE_KEY } })).views, []);
});

suite.test('a batch is sent again after a refusal for now, once only after one for good', async (scene) => {
  const server = await scene.server();
  const proxy = await scene.proxy(server, { refuseWebsockets: true });
  const page = await scene.visit('/watch', introPage(proxy));
  const [warnings, posted] = [warned(page), events(page)];
  // Some servers and proxies respond without a `code`.
  const answers = [{ status: 503 }, { status: 400, json: { code: 'body_timeout' } }, { status: 404 }, { status: 401 }];
  await page.route('**/api/v1/events?*', (route) => {
    const answer = answers.shift();
    return answer ? route.fulfill({ ...answer, headers: { 'access-control-allow-origin': '*' } }) : route.continue();
  });
  const player = new Player(page, 'video');
  await player.play();
  await eventually(() => assert.equal(answers.length, 1));
  const plays = () => posted().filter(({ name }) => name === 'play').length;
  assert.equal(plays(), 3);
  await player.pause();
  await eventually(() => assert.deepEqual(warnings, ['metrics: invalid_key']));
  assert.equal(plays(), 3);
  const count = posted.bodies.length;
  await player.play();
  await player.reach((await position(player)) + 2);
  assert.equal(posted.bodies.length, count);
});

/** The bodies of the batches that a page sends from now on. */
function batches(page) {
  const bodies = [];
  page.on('request', (request) => {
    if (request.method() === 'POST') bodies.push(request.postData());
  });
  return bodies;
}

/** The events in the batches that a page posts from now on, as a function; their bodies are its `bodies`. */
function events(page) {
  const texts = batches(page);
  const posted = () => posted.bodies.flatMap((body) => body.events);
  Object.defineProperty(posted, 'bodies', { get: () => texts.map((text) => JSON.parse(text)) });
  return posted;
}

function names(events) {
  return events.map(({ name }) => name);
}

function warned(page) {
  const warnings = [];
  page.on('console', (message) => message.type() === 'warning' && warnings.push(message.text()));
  return warnings;
}
