// The web components in a page of another origin: they show reports, errors and the number that watch now.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { brotliCompressSync } from 'node:zlib';
import { eventually } from './harness/eventually.mjs';
import { near } from './harness/expect.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';

const BYTES_MAX = 15 * 1024;
const TSC = fileURLToPath(new URL('node_modules/typescript/bin/tsc', import.meta.url));
const TYPES = fileURLToPath(new URL('../../src/components/components.d.ts', import.meta.url));

// Each line after a `@ts-expect-error` must be an error.
const USES = `
import { MetricsRetention, type MetricsPlaysAttributes } from './metrics-components.js';

const attributes: MetricsPlaysAttributes = { identifier: 'intro', interval: '1 day', refresh: 60 };
document.querySelector('metrics-plays')!.reload();
const made: MetricsRetention = new MetricsRetention();
made.addEventListener('metrics-error', ({ detail }) => console.log(detail.message));
made.addEventListener('click', () => {});
document.createElement('metrics-watching').reload();
// @ts-expect-error
const wrong: MetricsPlaysAttributes = { identifier: 7 };
// @ts-expect-error
document.createElement('metrics-heat-strip').reload('now');
`;

const suite = new Suite();

suite.test('the elements show the reports of a server of another origin, in their own languages', async (scene) => {
  const { page, server, complaints } = await open(scene, `
    <metrics-retention identifier="intro"></metrics-retention>
    <metrics-heat-strip identifier="intro" lang="nl"></metrics-heat-strip>
    <metrics-plays identifier="intro" lang="de" timezone="UTC" compare="previous_period"></metrics-plays>`);
  await eventually(async () => assert.match(await sentence(page, 'metrics-retention'), /^Retention over 0:20 \(sessions: 6\): 100% /));
  await eventually(async () => assert.equal(await sentence(page, 'metrics-heat-strip'), 'Meest bekeken bij 0:00, minst bij 0:10'));
  await eventually(async () => assert.match(await sentence(page, 'metrics-plays'), /: insgesamt 6, höchstens 6 /));
  const origins = await page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => new URL(name).origin));
  assert.deepEqual([...new Set(origins)], [server.url]);
  assert.deepEqual(complaints, []);
});

suite.test('the retention curve moves in step with a media element', async (scene) => {
  const { page } = await open(scene, '<metrics-retention identifier="intro" for="video"></metrics-retention>', ['video']);
  await page.locator('video').evaluate((video) => video.readyState || new Promise((resolve) => (video.onloadedmetadata = resolve)));
  const cursor = page.locator('metrics-retention [role=slider]');
  await cursor.focus();
  await page.keyboard.press('Home');
  for (let step = 0; step < 3; step++) await page.keyboard.press('ArrowRight');
  await eventually(async () => near(await page.locator('video').evaluate((video) => video.currentTime), 3, 0.1, 'position'));
  const head = page.locator('metrics-retention .mc-head');
  const before = await head.getAttribute('d');
  await page.locator('video').evaluate((video) => (video.currentTime = 6));
  await eventually(async () => assert.notEqual(await head.getAttribute('d'), before));
});

suite.test('an element says what is wrong, and shows nothing of another selection', async (scene) => {
  const { page } = await open(scene, `
    <metrics-plays id="json" identifier="intro" filters="[oops"></metrics-plays>
    <metrics-plays id="interval" identifier="intro" interval="1 fortnight"></metrics-plays>
    <metrics-retention id="none" identifier="unknown" lang="nl"></metrics-retention>`);
  const error = (id) => page.locator(`#${id} [part=error]`);
  await eventually(async () => assert.equal(await error('json').innerText(), 'filters is not valid JSON.'));
  await eventually(async () => assert.match(await error('interval').innerText(), /fortnight/));
  await eventually(async () => assert.equal(await sentence(page, '#none'), 'Nog geen gegevens'));
  assert.equal(await page.locator('#json [part=chart]').isVisible(), false);
  await page.locator('#json').evaluate((element) => element.removeAttribute('filters'));
  await eventually(async () => assert.match(await sentence(page, '#json'), /: 6 in all/));
  assert.equal(await error('json').isVisible(), false);
  await page.route('**/api/v1/query', (route) => route.abort());
  await page.locator('#json').evaluate((element) => element.setAttribute('timeframe', '7 days'));
  await eventually(async () => assert.equal(await error('json').innerText(), 'The server cannot be reached.'));
  assert.equal(await page.locator('#json [part=chart]').isVisible(), false);
});

suite.test('a token is sent as a header and never in an address, and permits pages of all origins to read', async (scene) => {
  const { page, server, complaints } = await open(scene, '', [], { METRICS_TOKEN_SECRET: 'a secret of some forty characters or so' });
  const { token } = await server.request('tokens', { identifier: 'intro' });
  const requests = [];
  page.on('request', (request) => requests.push(request));
  await page.evaluate((token) => document.body.insertAdjacentHTML('beforeend', `
    <metrics-plays identifier="intro" token="${token}"></metrics-plays><metrics-watching token="${token}"></metrics-watching>`), token);
  await eventually(async () => assert.match(await sentence(page, 'metrics-plays'), /: 6 in all/));
  await eventually(async () => assert.match(await page.locator('metrics-watching .count').innerText(), /^0\s*watching now$/));
  const sent = requests.filter((request) => request.url().startsWith(`${server.url}/api/v1/`) && request.method() !== 'OPTIONS');
  assert.deepEqual(new Set(sent.map((request) => new URL(request.url()).pathname)), new Set(['/api/v1/query', '/api/v1/watching', '/api/v1/live']));
  for (const request of sent) {
    assert.equal(await request.headerValue('authorization'), `Bearer ${token}`);
    assert.ok(!request.url().includes(token));
  }
  assert.deepEqual(complaints, []);
});

suite.test('the number that watch now comes by stream', async (scene) => {
  const { page } = await open(scene, '');
  const cors = { 'access-control-allow-origin': '*' };
  const streams = [];
  await page.route('**/api/v1/live?**', (route) => {
    streams.push(new URL(route.request().url()).searchParams);
    const body = ': heartbeat\n\nevent: count\ndata: {"watching":7}\n\ndata: {"other":1}\n\ndata: no json\n\n';
    return route.fulfill({ status: 200, headers: { ...cors, 'content-type': 'text/event-stream' }, body });
  });
  await page.evaluate(() => document.body.insertAdjacentHTML('beforeend', '<metrics-watching identifier="intro" filters=\'[["is","device",["mobile"]]]\'></metrics-watching>'));
  await eventually(async () => assert.match(await page.locator('metrics-watching .count').innerText(), /^7\s*watching now$/));
  assert.deepEqual(Object.fromEntries(streams[0]), { limit: '1', parts: '1', identifier: 'intro', filters: '[["is","device",["mobile"]]]' });
});

suite.test('without a stream the number is polled', async (scene) => {
  const { page } = await open(scene, '');
  await page.route('**/api/v1/live?**', (route) => route.fulfill({ status: 404, headers: { 'access-control-allow-origin': '*' }, body: '{}' }));
  let watching = 1;
  await page.route('**/api/v1/watching', async (route) => {
    if (route.request().method() === 'OPTIONS') return route.fallback();
    return route.fulfill({ status: 200, headers: { 'access-control-allow-origin': '*' }, json: { watching: watching++ } });
  });
  await page.evaluate(() => document.body.insertAdjacentHTML('beforeend', '<metrics-watching identifier="intro" refresh="1"></metrics-watching>'));
  await eventually(async () => assert.match(await page.locator('metrics-watching .count').innerText(), /^[3-9]\s*watching now$/), 10_000);
});

suite.test('the number follows the viewers', async (scene) => {
  const { page, server } = await open(scene, '<metrics-watching identifier="intro"></metrics-watching>');
  const count = () => page.locator('metrics-watching [part=count]').innerText();
  await eventually(async () => assert.equal(await count(), '0'));
  const event = { session_id: 'live', embed_id: 'intro', key: EXAMPLE_KEY, duration: 20 };
  await server.request('events', { events: [{ ...event, name: 'play', video_time: 0, timestamp: Date.now() }] });
  await eventually(async () => assert.equal(await count(), '1'), 15_000);
  await server.request('events', { events: [{ ...event, name: 'pause', video_time: 1, timestamp: Date.now() }] });
  await eventually(async () => assert.equal(await count(), '0'), 15_000);
});

suite.test('the module is small, and its colours are those of the page', async (scene) => {
  const { page, server } = await open(scene, '<metrics-plays identifier="intro"></metrics-plays>');
  const response = await fetch(`${server.url}/metrics-components.js`, { headers: { 'accept-encoding': 'br' } });
  assert.equal(response.headers.get('content-encoding'), 'br');
  assert.equal(response.headers.get('access-control-allow-origin'), '*');
  const bytes = brotliCompressSync(Buffer.from(await response.arrayBuffer())).length;
  assert.ok(bytes <= BYTES_MAX, `${bytes} bytes`);
  const line = page.locator('metrics-plays .mc-line');
  await line.first().waitFor({ state: 'attached' });
  const color = () => line.first().evaluate((path) => getComputedStyle(path).stroke);
  await page.evaluate(() => document.documentElement.style.setProperty('--metrics-plays', 'rgb(1, 2, 3)'));
  assert.equal(await color(), 'rgb(1, 2, 3)');
});

suite.test('the page of the chapter shows all four elements', async (scene) => {
  const chapter = await readFile(fileURLToPath(new URL('../../../docs/components.md', import.meta.url)), 'utf8');
  const [, example] = /```html\n(.*?)```/s.exec(chapter);
  const { page, server } = await open(scene, '');
  const html = example.replaceAll('https://metrics.example.com', server.url);
  await page.goto(await scene.site.publish('/copied', { html }));
  for (const element of ['metrics-retention', 'metrics-heat-strip', 'metrics-plays']) {
    await eventually(async () => assert.doesNotMatch(await sentence(page, element), /No data/), 10_000);
  }
  await eventually(async () => assert.match(await page.locator('metrics-watching .count').innerText(), /^0\s*watching now$/));
});

test('the types fit the use of the elements by a page', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'metrics-e2e-'));
  try {
    await writeFile(join(directory, 'metrics-components.d.ts'), await readFile(TYPES));
    await writeFile(join(directory, 'page.ts'), USES);
    const options = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'esnext', '--moduleResolution', 'bundler'];
    const checked = promisify(execFile)(process.execPath, [TSC, ...options, 'page.ts'], { cwd: directory });
    await checked.catch(({ stdout }) => {
      throw new Error(stdout);
    });
  } finally {
    await rm(directory, { recursive: true });
  }
});

const sentence = (page, element) => page.locator(`${element} svg[role=img]`).getAttribute('aria-label');

/** A page of another origin with `html`, a server with six sessions, and the page's complaints. */
async function open(scene, html, videos = [], settings = { METRICS_CORS_ORIGINS: scene.site.origin }) {
  const server = await scene.server(settings);
  const start = Date.now() - 60_000;
  const events = Array.from({ length: 6 }, (_, index) => {
    const event = { session_id: String(index), embed_id: 'intro', key: EXAMPLE_KEY, duration: 20 };
    const end = index % 2 ? 10 : 20;
    return [
      { ...event, name: 'play', video_time: 0, timestamp: start },
      { ...event, name: 'pause', video_time: end, timestamp: start + end * 1_000 },
    ];
  });
  await server.request('events', { events: events.flat() });
  const page = await scene.page({ locale: 'en-GB' });
  const complaints = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  // Without an icon of its own, the page would request one.
  const script = `<link rel="icon" href="data:,"><script type="module" src="${server.url}/metrics-components.js"></script>`;
  await page.goto(await scene.site.publish('/cms', { html: `${script}${html}`, videos }));
  await page.waitForFunction(() => customElements.get('metrics-watching'));
  return { page, server, complaints };
}
