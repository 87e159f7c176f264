// The page at / in a browser: its charts show the video played there, and it sends nothing to other hosts.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { near } from './harness/expect.mjs';
import { Player, length } from './harness/player.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';

const BYTES_MAX = 60 * 1024;
const OPERATOR = { METRICS_AUTH_ENABLED: 'true', METRICS_USER: 'operator', METRICS_PASSWORD: 'open sesame' };
const CREDENTIALS = { username: OPERATOR.METRICS_USER, password: OPERATOR.METRICS_PASSWORD };
const AUTHORIZATION = `Basic ${btoa(`${CREDENTIALS.username}:${CREDENTIALS.password}`)}`;

const suite = new Suite();

suite.test('plays and replays show on the charts without a reload', async (scene) => {
  const server = await scene.server();
  const page = await scene.page();
  const recorded = listen(page);
  await open(page, server);
  assert.equal(await words(page, '#engagement'), 'Press play: your session appears here');

  const player = new Player(page, 'tide');
  const shown = await watchTwice(page, player);

  await eventually(async () => near(await figure(page, '#watched'), length(shown), 0.3, 'seconds watched'));
  assert.equal(await figure(page, '#plays-sum'), 1);
  await eventually(async () => assert.equal(await figure(page, '#watching'), 0));
  // The curve equals the API's report, including seconds that were seen twice.
  const { engagement } = await server.request('engagement', { identifier: 'tide', interval: '1 day' });
  const seconds = engagement[0].per_second;
  assert.ok(seconds.some(({ views }) => views === 2), JSON.stringify(seconds));
  await page.locator('#engagement summary').click();
  const traffic = seconds.map(({ second, views, viewers }) => [second, viewers, views - viewers]);
  // A table is filled once it is open, which a browser reports a moment after the click.
  await eventually(async () => assert.deepEqual(await table(page), traffic));
  assert.match(await words(page, '#engagement'), /at most 1, at 0:00; replayed at most 1 time, at 0:0[23]; /);
  assert.match(await words(page, '#plays'), /^1 play from /);
  const ranked = (id) => page.locator(`${id} tbody tr`).allInnerTexts();
  assert.deepEqual(await ranked('#sources'), [`${server.address}/\t1`]);
  assert.deepEqual(await ranked('#browser'), ['Chrome\t1']);

  assert.deepEqual(recorded.complaints, []);
  assert.deepEqual([...recorded.origins], [server.url, server.url.replace('http', 'ws')]);
  assert.equal(recorded.loads, 1);
  assert.ok((await recorded.bytes()) <= BYTES_MAX, `${await recorded.bytes()} bytes`);
});

suite.test('while somebody plays, the curve grows and one is watching', async (scene) => {
  const server = await scene.server();
  const [page, other] = [await scene.page(), await scene.page()];
  await open(page, server);
  await open(other, server);
  await page.locator('#play').click();
  await eventually(async () => assert.equal(await figure(page, '#watching'), 1));
  const player = new Player(page, 'tide');
  for (const seconds of [3, 6]) {
    await player.reach(seconds);
    // The page polls every 1.5 s during playback, and a busy machine adds a delay.
    await eventually(async () => assert.ok((await figure(page, '#watched')) > seconds - 1), 3_000);
  }
  const [, unseen] = /; (\d+) seconds not watched$/.exec(await words(page, '#engagement'));
  assert.ok(Number(unseen) <= 25, `${unseen} of 30 s are not on the curve`);
  // A page without playback polls less often.
  await eventually(async () => assert.equal(await figure(other, '#watching'), 1), 15_000);
});

suite.test('with authentication the page requests it, and records under the key that is entered', async (scene) => {
  const server = await scene.server(OPERATOR);
  for (const path of ['/', '/page/page.js', '/page/tide.webm']) {
    assert.equal((await fetch(`${server.url}${path}`)).status, 401, path);
  }
  const { key } = await server.request('keys', {}, { authorization: AUTHORIZATION });
  const page = await scene.page({ httpCredentials: CREDENTIALS });
  const recorded = listen(page);
  await open(page, server);
  assert.equal(await page.locator('[name=key]').inputValue(), '');
  await page.locator('[name=key]').fill(key);
  await page.locator('[name=key]').blur();
  await page.locator('script[data-key]').waitFor({ state: 'attached' });
  const player = new Player(page, 'tide');
  await page.locator('#play').click();
  await player.reach(2);
  await page.locator('#play').click();
  await eventually(async () => near(await figure(page, '#watched'), await position(player), 0.3, 'seconds watched'));
  assert.deepEqual(recorded.complaints, []);
});

suite.test('a page that is off is not there', async (scene) => {
  const server = await scene.server({ METRICS_PAGE: 'off' });
  for (const path of ['/', '/page/page.js']) assert.equal((await fetch(`${server.url}${path}`)).status, 404, path);
});

suite.test('the page is dark where that is preferred, until another choice is made', async (scene) => {
  const server = await scene.server();
  const page = await scene.page({ colorScheme: 'dark', viewport: { width: 360, height: 740 } });
  await open(page, server);
  const brightness = () =>
    page.evaluate(() => Math.max(...getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number)));
  assert.ok((await brightness()) < 64);
  await page.locator('#theme').selectOption('light');
  assert.ok((await brightness()) > 192);
  await page.reload();
  assert.ok((await brightness()) > 192);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, 'it is as wide as a phone');
});

suite.test('the scrubber and the curve have the same time axis', async (scene) => {
  const server = await scene.server();
  const page = await scene.page();
  await open(page, server);
  await page.locator('#scrub').focus();
  await page.keyboard.press('End');
  const player = new Player(page, 'tide');
  const [track, chart] = await Promise.all(['#played', '#engagement svg'].map((it) => page.locator(it).boundingBox()));
  assert.deepEqual([track.x, track.width], [chart.x, chart.width]);
  // A position in the chart is a position in the video.
  await page.mouse.click(chart.x + chart.width / 2, chart.y + chart.height / 2);
  await eventually(async () => near(await position(player), 15, 0.2, 'position'));
  await page.locator('#scrub').focus();
  await page.keyboard.press('Home');
  await eventually(async () => assert.equal(await position(player), 0));
});

suite.test('a video that is not on the page is found by its identifier', async (scene) => {
  const server = await scene.server();
  const event = { session_id: 'a', embed_id: 'intro', key: EXAMPLE_KEY };
  const start = Date.now() - 10_000;
  await server.request('events', {
    events: [
      { ...event, name: 'play', video_time: 0, timestamp: start },
      { ...event, name: 'pause', video_time: 8, timestamp: start + 8_000 },
    ],
  });
  const page = await scene.page();
  await open(page, server);
  await page.getByText('Another').click();
  await page.locator('[name=identifier]').fill('intro');
  await page.keyboard.press('Enter');
  await eventually(async () => assert.equal(await figure(page, '#watched'), 8));
  assert.match(await words(page, '#engagement'), /from 0:00 to 0:08; .*every second was watched$/);
  // The URL has the selection.
  await page.reload();
  await eventually(async () => assert.equal(await figure(page, '#watched'), 8));
  assert.equal(await page.locator('video:visible').count(), 0);
});

suite.test('until it is answered, a choice shows no numbers of another', async (scene) => {
  const server = await scene.server();
  const page = await scene.page();
  await open(page, server);
  await page.locator('#sources tbody').waitFor();
  await page.route('**/api/v1/**', () => {});
  await page.getByText('Another').click();
  for (const id of ['watching', 'plays-sum', 'watched', 'per-play']) {
    assert.equal(await page.locator(`#${id}`).textContent(), '–');
  }
  const hidden = ['#engagement .chart', '#plays .chart', '#plays details', '#sources tbody', '#browser tbody'];
  for (const part of hidden) assert.equal(await page.locator(part).isVisible(), false, part);
});

/** Opens the page, and waits for its first responses. */
async function open(page, server) {
  await page.goto(server.url);
  await page.locator('#engagement svg').waitFor();
  await page.locator('#plays svg').waitFor();
}

/** Plays 5 seconds from the start, and 3 more from 2 s on, with the page's controls. Returns both segments. */
async function watchTwice(page, player) {
  const video = page.locator(`#${player.id}`);
  await page.locator('#play').click();
  await player.reach(5);
  await video.evaluate((video) => {
    video.addEventListener('seeking', () => (window.left = video.played.end(0)), { once: true });
  });
  await page.locator('#scrub').fill('2');
  await eventually(async () => assert.ok((await position(player)) < 4));
  await player.reach(5);
  await page.locator('#play').click();
  return [[0, await page.evaluate(() => window.left)], [2, await position(player)]];
}

const position = (player) => player.page.locator(`#${player.id}`).evaluate((video) => video.currentTime);

const figure = (page, selector) => page.locator(selector).evaluate((data) => Number(data.value));

const words = (page, chart) => page.locator(`${chart}:not(.waiting) svg[role=img]`).getAttribute('aria-label');

/** `[second, viewers, replays]` of the table below the curve. */
async function table(page) {
  const rows = await page.locator('#engagement details tr').evaluateAll((rows) =>
    rows.slice(1).map((row) => Array.from(row.cells, (cell) => cell.textContent)),
  );
  const seconds = (clock) => clock.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);
  return rows.flatMap(([span, viewers, replays]) => {
    const [from, to] = span.split(' to ').map(seconds);
    return Array.from({ length: to - from }, (_, index) => [from + index, Number(viewers), Number(replays)]);
  });
}

/** Collects the errors and the requests of a page. */
function listen(page) {
  const recorded = { complaints: [], origins: new Set(), loads: 0 };
  const sizes = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) recorded.complaints.push(message.text());
  });
  page.on('pageerror', (error) => recorded.complaints.push(error.message));
  page.on('request', (request) => {
    recorded.origins.add(new URL(request.url()).origin);
    recorded.loads += request.isNavigationRequest();
  });
  page.on('websocket', (socket) => recorded.origins.add(new URL(socket.url()).origin));
  page.on('response', (response) => {
    const { pathname } = new URL(response.url());
    if (pathname.startsWith('/api/') || pathname.endsWith('.webm')) return;
    sizes.push(response.body().then((body) => body.length));
  });
  recorded.bytes = async () => (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  return recorded;
}
