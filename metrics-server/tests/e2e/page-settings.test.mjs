// The page of a new server: its first steps, the demonstration, the live screen and the settings.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { eventually } from './harness/eventually.mjs';
import { near } from './harness/expect.mjs';
import { Player, length } from './harness/player.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';
import { accessibility, answered, figure, listen } from './page/screens.mjs';

const OPERATOR = { METRICS_AUTH_ENABLED: 'true', METRICS_USER: 'operator', METRICS_PASSWORD: 'open sesame' };
const CREDENTIALS = { username: OPERATOR.METRICS_USER, password: OPERATOR.METRICS_PASSWORD };

const suite = new Suite();

suite.test('a new server shows how to begin, and then what began', async (scene) => {
  const server = await scene.server();
  const page = await scene.page();
  await page.goto(server.url);
  await page.locator('.welcome .snippet').waitFor();
  assert.match(await page.locator('.welcome code').innerText(), new RegExp(`src="${server.url}/metrics.js" data-key="HDsj`));
  assert.equal(await page.locator('.board').isVisible(), false, 'no empty panels');
  assert.deepEqual(await accessibility(page), []);
  await page.getByRole('link', { name: 'Try it with an example video' }).click();
  assert.equal(new URL(page.url()).pathname, '/demo');
  const player = new Player(page, 'tide');
  await player.play();
  await player.reach(2);
  await player.pause();
  await eventually(async () => assert.equal(await page.locator('#plays').innerText(), '1'));
  await page.getByRole('link', { name: 'To the overview' }).click();
  await eventually(async () => assert.equal(await figure(page, 'plays'), 1));
  assert.equal(await page.locator('.welcome').isVisible(), false, 'the example is offered only while nothing else is there');
  await eventually(async () => assert.deepEqual(await page.locator('.videos tbody th a').allInnerTexts(), ['Tide']));
});

suite.test('plays and replays show on the demonstration without a reload', async (scene) => {
  const server = await scene.server();
  const page = await scene.page();
  const recorded = listen(page);
  await page.goto(`${server.url}/demo`);
  await eventually(async () => assert.match(await page.locator('#demo .chart').innerText(), /Press play/));
  const player = new Player(page, 'tide');
  const shown = await watchTwice(page, player);
  const shownSeconds = () => page.locator('#view_time').evaluate((it) => Number(it.value));
  await eventually(async () => near(await shownSeconds(), length(shown), 0.3, 'seconds watched'));
  await eventually(async () => assert.equal(await page.locator('#watching').innerText(), '0'));
  // The curve is that of the API's report, including seconds that were seen twice.
  const { engagement } = await server.request('engagement', { identifier: 'tide', interval: '1 day' });
  assert.ok(engagement[0].per_second.some(({ views }) => views === 2), JSON.stringify(engagement));
  await page.locator('#demo .mc-line.mc-replays').first().waitFor();
  await page.locator('#demo summary').click();
  const traffic = engagement[0].per_second.map(({ second, viewers, views }) => [second, viewers, views - viewers]);
  await eventually(async () => assert.deepEqual(await table(page), traffic));
  assert.deepEqual(recorded.complaints, []);
  assert.deepEqual([...recorded.origins], [server.url, server.url.replace('http', 'ws')]);
  assert.equal(recorded.loads, 1);
  assert.deepEqual(await accessibility(page), []);
});

suite.test('while somebody plays, one is watching, here and on other pages', async (scene) => {
  const server = await scene.server();
  const [page, other, overview] = [await scene.page(), await scene.page(), await scene.page()];
  await page.goto(`${server.url}/demo`);
  await other.goto(`${server.url}/#/live`);
  await overview.goto(server.url);
  const player = new Player(page, 'tide');
  await player.play();
  const seconds = () => page.locator('#view_time').evaluate((it) => Number(it.value));
  await eventually(async () => assert.equal(await page.locator('#watching').innerText(), '1'));
  for (const reached of [3, 6]) {
    await player.reach(reached);
    // The page asks every 1.5 s during playback, and a busy machine adds a delay.
    await eventually(async () => assert.ok((await seconds()) > reached - 1), 3_000);
  }
  await eventually(async () => assert.equal(await figure(other, 'watching'), 1), 15_000);
  // The stream says where in which video.
  await eventually(async () => assert.deepEqual(await other.locator('ul.watched a').allInnerTexts(), ['Tide']));
  assert.match(await other.locator('ul.watched svg').getAttribute('aria-label'), /^1 viewer at 0:\d\d$/);
  await player.pause();
  await eventually(async () => assert.equal(await figure(other, 'watching'), 0), 15_000);
  await answered(other);
  assert.deepEqual(await accessibility(other), []);
});

suite.test('the chart of viewers moves as they come and go', async (scene) => {
  const server = await scene.server();
  const live = await scene.page();
  const recorded = listen(live);
  await live.goto(`${server.url}/#/live`);
  await answered(live);
  const last = () => live.locator('.mc-time [role=slider]').getAttribute('aria-valuetext');
  const viewers = [];
  for (const count of [1, 2]) {
    const viewer = await scene.page();
    await viewer.goto(`${server.url}/demo`);
    viewers.push(new Player(viewer, 'tide'));
    await viewers.at(-1).play();
    await eventually(async () => assert.match(await last(), new RegExp(`: ${count} so far$`)), 15_000);
    assert.deepEqual([await figure(live, 'watching'), await figure(live, 'peak')], [count, count]);
  }
  assert.match(await live.locator('.mc-time .mc-level').first().getAttribute('d'), /^M/);
  await viewers[0].pause();
  await eventually(async () => assert.match(await last(), /: 1 so far$/), 15_000);
  assert.deepEqual([await figure(live, 'watching'), await figure(live, 'peak')], [1, 2]);
  assert.equal(recorded.loads, 1, 'no reload');
});

suite.test('peak and mean of the last hour are those of its minutes', async (scene) => {
  // Three viewers, a minute one after the other, for ten minutes each.
  const lines = ['a', 'b', 'c'].map((id, index) => {
    const started_at = new Date(Date.now() - (40 - index) * 60_000).toISOString();
    return JSON.stringify({ id, key: EXAMPLE_KEY, identifier: 'tide', started_at, duration: 900, segments: [[0, 600]] });
  });
  const server = await scene.server({}, (it) => it.command(['import', 'sessions', '-'], lines.join('\n')));
  const page = await scene.page();
  await page.goto(`${server.url}/#/live`);
  await eventually(async () => assert.equal(await figure(page, 'peak'), 3));
  near(await figure(page, 'mean'), 0.5, 0.05, 'mean');
  assert.match(await page.locator('.mc-time svg').textContent(), /Peak 3.*Mean 0\.5|Mean 0\.5.*Peak 3/);
});

suite.test('a position in the curve is a position in the video', async (scene) => {
  const server = await scene.server();
  const page = await scene.page();
  await page.goto(`${server.url}/demo`);
  const player = new Player(page, 'tide');
  await player.play();
  await player.reach(2);
  await player.pause();
  const chart = page.locator('#demo .mc-plot');
  await chart.waitFor();
  const { width, height } = await chart.boundingBox();
  await chart.click({ position: { x: width - 30, y: height / 2 } });
  await eventually(async () => assert.ok((await position(player)) > 25, String(await position(player))));
  await page.locator('#demo [role=slider]').focus();
  await page.keyboard.press('Home');
  await eventually(async () => assert.ok((await position(player)) < 2));
});

suite.test('with authentication the page requires it, and records under a key that is made there', async (scene) => {
  const server = await scene.server(OPERATOR);
  for (const path of ['/', '/demo']) {
    assert.equal((await fetch(`${server.url}${path}`)).status, 401, path);
  }
  const page = await scene.page({ httpCredentials: CREDENTIALS });
  await page.goto(server.url);
  await page.getByRole('link', { name: 'Make a key' }).click();
  const form = page.locator('form.new');
  await form.getByLabel('Name').fill('My <b>site</b>');
  await form.getByLabel('Sites').fill('example.com, 127.0.0.1');
  await form.getByRole('button').click();
  await eventually(async () => assert.match(await page.locator('ul.keys').innerText(), /My <b>site<\/b>/));
  await page.goto(`${server.url}/demo`);
  await page.locator('script[data-key]').waitFor({ state: 'attached' });
  const player = new Player(page, 'tide');
  await player.play();
  await player.reach(2);
  await player.pause();
  await eventually(async () => assert.equal(await page.locator('#plays').innerText(), '1'));
});

suite.test('a view of quality is shared, and no more than it', async (scene) => {
  const row = { key: EXAMPLE_KEY, identifier: 'tide', started_at: new Date(Date.now() - 3_600_000).toISOString(), segments: [[0, 9]], startup_time: 0.4 };
  const lines = [{ ...row, id: 'a', browser: 'chrome', device: 'desktop' }, { ...row, id: 'b', browser: 'safari', device: 'mobile' }].map((it) => JSON.stringify(it));
  const environment = { ...OPERATOR, METRICS_TOKEN_SECRET: 'a secret of thirty-two bytes or more' };
  const server = await scene.server(environment, (it) => it.command(['import', 'sessions', '-'], lines.join('\n')));
  const page = await scene.page({ httpCredentials: CREDENTIALS });
  await page.goto(`${server.url}/#/quality?by=device&sort=-sessions`);
  await answered(page);
  const devices = (it) => it.locator('.impact tbody th a').allInnerTexts();
  await eventually(async () => assert.deepEqual((await devices(page)).sort(), ['Desktop', 'Phone']));
  await page.goto(`${server.url}/#/quality?by=device&sort=-sessions&browser=chrome`);
  await page.locator('[data-menu=share] summary').click();
  await page.getByRole('button', { name: 'Make a link' }).click();
  const link = (await page.locator('[data-menu=share] code').innerText()).trim();
  const guest = await scene.page();
  await guest.goto(link);
  await answered(guest);
  assert.equal(await guest.locator('h1').innerText(), 'Quality');
  await eventually(async () => assert.deepEqual(await devices(guest), ['Desktop']));
  await guest.goto(link.replace('&browser=chrome', ''));
  await guest.reload();
  await answered(guest);
  assert.deepEqual(await devices(guest), ['Desktop']);
});

suite.test('a page that is off is not there', async (scene) => {
  const server = await scene.server({ METRICS_PAGE: 'off' });
  for (const path of ['/', '/demo', '/page/main.js']) assert.equal((await fetch(`${server.url}${path}`)).status, 404, path);
});

suite.test('a key is named, limited to sites, revoked and restored', async (scene) => {
  const server = await scene.server();
  const page = await scene.page();
  page.on('dialog', (dialog) => dialog.accept());
  await page.goto(`${server.url}/#/settings`);
  await page.locator('ul.keys summary').click();
  assert.match(await page.locator('.quotas').innerText(), /Videos\s+0 of 100,000/);
  const edit = page.locator('ul.keys form');
  await edit.getByLabel('Name').fill('Shop');
  await edit.getByLabel('Sites').fill('shop.example, https://wrong');
  await edit.getByRole('button', { name: 'Save' }).click();
  // The server says what is wrong, and the fields stay.
  await eventually(async () => assert.match(await page.locator('.said').first().innerText(), /hosts/));
  assert.equal(await edit.getByLabel('Name').inputValue(), 'Shop');
  await edit.getByLabel('Sites').fill('shop.example');
  await edit.getByRole('button', { name: 'Save' }).click();
  const keys = async () => (await (await fetch(`${server.url}/api/v1/keys`)).json()).keys;
  await eventually(async () => assert.deepEqual((await keys())[0].settings, { name: 'Shop', hosts: ['shop.example'] }));
  await eventually(async () => assert.match(await page.locator('ul.keys summary').innerText(), /Shop/));
  await page.locator('ul.keys summary').click();
  await page.getByRole('button', { name: 'Revoke' }).click();
  await eventually(async () => assert.notEqual((await keys())[0].disabled_at, null));
  await eventually(async () => assert.match(await page.locator('ul.keys summary').innerText(), /revoked/));
  await page.locator('ul.keys summary').click();
  await page.getByRole('button', { name: 'Restore' }).click();
  await eventually(async () => assert.equal((await keys())[0].disabled_at, null));
});

suite.test('the lines of a page are filled in, and its first event is announced', async (scene) => {
  const server = await scene.server();
  const page = await scene.page();
  await page.goto(`${server.url}/#/settings`);
  const check = page.locator('.check');
  await eventually(async () => assert.match(await check.innerText(), /No event of this key/));
  assert.match(await page.locator('.install code').innerText(), new RegExp(`src="${server.url}/metrics.js"`));
  for (const [way, expected] of [['module', `${server.url}/metrics.mjs?key=`], ['bundler', `server: '${server.url}', key:`], ['batch', `${server.url}/v1/events?key=`]]) {
    await page.locator('.install select').nth(1).selectOption(way);
    assert.ok((await page.locator('.install code').innerText()).includes(expected), way);
  }
  const event = { session_id: 'a', embed_id: 'intro', key: EXAMPLE_KEY, source_url: 'https://example.com/watch' };
  const at = Date.now() - 20_000;
  await server.request('events', { events: [{ ...event, name: 'play', video_time: 0, timestamp: at }, { ...event, name: 'pause', video_time: 8, timestamp: at + 8_000 }] });
  await eventually(async () => assert.match(await check.innerText(), /example\.com\/watch sent its first event/));
  await eventually(async () => assert.match(await page.locator('.facts').innerText(), /Ready[\s\S]*Sessions\s+1/), 15_000);
  // All that is stored, as a file.
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download' }).click()]);
  assert.match(await readFile(await download.path(), 'utf8'), /^started_at,[\s\S]*\n[^\n]*intro/);
  await page.locator('.exports select').first().selectOption('days');
  const href = await page.getByRole('link', { name: 'Download' }).getAttribute('href');
  assert.match(await (await fetch(href)).text(), /^time[^\n]*plays/);
});

suite.test('sessions are counted first, and what was counted is erased', async (scene) => {
  const server = await scene.server();
  const at = Date.now() - 60_000;
  const events = ['intro', 'outro'].flatMap((identifier) => [['play', 0, 0], ['pause', 8, 8_000]].map(([name, position, after]) => ({ name, session_id: identifier, embed_id: identifier, key: EXAMPLE_KEY, video_time: position, timestamp: at + after })));
  await server.request('events', { events });
  const page = await scene.page();
  const asked = [];
  page.on('dialog', (dialog) => {
    asked.push(dialog.message());
    return dialog.accept();
  });
  await page.goto(`${server.url}/#/settings`);
  const panel = page.locator('.erase');
  const count = panel.getByRole('button', { name: 'Count' });
  const erase = panel.getByRole('button', { name: /^Erase/ });
  await count.click();
  await eventually(async () => assert.match(await panel.locator('.said').innerText(), /Choose a video/));
  await panel.getByLabel('Identifier of the video').fill('intro');
  await count.click();
  await eventually(async () => assert.match(await panel.locator('.said').innerText(), /^1 session is selected/));
  // Another selection was not counted.
  await panel.getByLabel('Identifier of the video').fill('nothing');
  assert.equal(await erase.isVisible(), false);
  await count.click();
  await eventually(async () => assert.match(await panel.locator('.said').innerText(), /^0 sessions/));
  assert.equal(await erase.isVisible(), false);
  await panel.getByLabel('Identifier of the video').fill('intro');
  await count.click();
  await erase.click();
  await eventually(async () => assert.match(await panel.locator('.said').innerText(), /^1 session is erased/));
  assert.deepEqual(asked, ['Erase 1 session for ever?']);
  const { results } = await server.request('query', { metrics: ['sessions'], dimensions: ['video'], timeframe: 'all' });
  assert.deepEqual(results.map(({ dimensions }) => dimensions[0]), ['outro']);
  assert.deepEqual(await accessibility(page), []);
});

suite.test('under the path of a proxy, the page finds its server', async (scene) => {
  const server = await scene.server();
  const { port } = new URL(server.url);
  const proxy = createServer((asked, answer) => {
    const headers = { ...asked.headers, 'x-forwarded-host': asked.headers.host };
    const passed = request({ port, host: '127.0.0.1', method: asked.method, path: asked.url.replace(/^\/analytics/, ''), headers }, (it) => {
      answer.writeHead(it.statusCode, it.headers);
      it.pipe(answer);
    });
    passed.on('error', () => answer.destroy());
    asked.pipe(passed);
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const place = `http://127.0.0.1:${proxy.address().port}/analytics/`;
  try {
    const page = await scene.page();
    await page.goto(place);
    await eventually(async () => assert.match(await page.locator('.welcome code').innerText(), new RegExp(`src="${place}metrics.js"`)));
    await page.goto(`${place}#/settings`);
    await page.locator('.install select').nth(1).selectOption('batch');
    assert.ok((await page.locator('.install code').innerText()).includes(`${place}v1/events?key=`));
  } finally {
    proxy.closeAllConnections();
    proxy.close();
  }
});

suite.test('a name, and a frame of another application', async (scene) => {
  const site = new URL(scene.site.origin);
  const server = await scene.server({ METRICS_PAGE_NAME: 'Acme & <Co>', METRICS_PAGE_FRAMES: site.origin });
  const page = await scene.page();
  await page.goto(`${server.url}/#/settings`);
  await eventually(async () => assert.equal(await page.title(), 'Settings – Acme & <Co>'));
  assert.equal(await page.locator('.brand').innerText(), 'Acme & <Co>');
  const address = await scene.site.publish('/cms', { html: `<iframe src="${server.url}/" width="900" height="600"></iframe>` });
  await page.goto(address);
  await page.frameLocator('iframe').locator('.welcome').waitFor();
  const closed = await scene.server();
  const refused = await scene.site.publish('/other', { html: `<iframe src="${closed.url}/"></iframe>` });
  await page.goto(refused);
  await page.waitForLoadState('networkidle');
  assert.equal(await page.frameLocator('iframe').locator('.brand').count(), 0);
});

/** Plays 5 seconds from the start, and 3 more from 2 s on. Returns both segments. */
async function watchTwice(page, player) {
  const video = page.locator(`#${player.id}`);
  await player.play();
  await player.reach(5);
  await video.evaluate((it) => it.addEventListener('seeking', () => (window.left = it.played.end(0)), { once: true }));
  await player.seek(2);
  await eventually(async () => assert.ok((await position(player)) < 4));
  await player.reach(5);
  await player.pause();
  return [[0, await page.evaluate(() => window.left)], [2, await position(player)]];
}

/** `[second, viewers, replays]` of the table below the curve, of all seconds with viewers. */
async function table(page) {
  const rows = await page.locator('#demo table tr').evaluateAll((all) => all.slice(1).map((row) => Array.from(row.cells, (cell) => cell.textContent)));
  const secondsOf = (clock) => clock.split(':').reduce((sum, part) => sum * 60 + Number(part), 0);
  return rows.flatMap(([range, , viewers, replays]) => {
    const [from, to] = range.match(/\d+:\d\d/g).map(secondsOf);
    return Array.from({ length: Number(viewers) ? to - from : 0 }, (_, index) => [from + index, Number(viewers), Number(replays)]);
  });
}

const position = (player) => player.page.locator(`#${player.id}`).evaluate((video) => video.currentTime);
