// The page at / in Chromium, on a busy, an empty and a failing server.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';
import { accessibility, answered, busy, busyServer, chips, figure, listen, rows } from './page/screens.mjs';

const BYTES_MAX = 120 * 1024; // Of all that the overview needs, as it is sent.
const REQUESTS_MAX = 16; // Of the API, for a complete overview.
const REFRESH_MS = 20_000; // Between two requests for the same reports.
const SCREENS = ['', 'live', 'quality', 'settings', 'videos/video-001'];

const suite = new Suite();
const server = busy(suite);

suite.test('the overview has the figures of the API, and asks little for them', async (scene) => {
  const { url, request } = await server();
  const page = await scene.page();
  const recorded = listen(page);
  const asked = [];
  page.on('request', (it) => it.url().includes('/api/v1/') && asked.push(it.url()));
  await page.goto(`${url}/#/?period=all`);
  await answered(page);

  const { results } = await request('query', { metrics: ['plays', 'view_time', 'average_percentage_viewed', 'completion_rate'], timeframe: 'all' });
  const shown = await Promise.all(['plays', 'view_time', 'average_percentage_viewed', 'completion_rate'].map((metric) => figure(page, metric)));
  assert.deepEqual(shown, results[0].metrics);
  assert.match(await page.locator('.totals .chart svg[role]').first().getAttribute('aria-label'), /Plays/);
  assert.match(await page.locator('.pager').innerText(), /1–10 of 200/);
  const devices = await page.locator('[data-dimension=device] li').allInnerTexts();
  const { results: byDevice } = await request('query', { metrics: ['plays'], dimensions: ['device'], timeframe: 'all' });
  assert.deepEqual(devices.map((text) => Number(/\n([\d,]+)/.exec(text)[1].replace(',', ''))), byDevice.map(({ metrics }) => metrics[0]));

  assert.ok(asked.length <= REQUESTS_MAX, asked.join('\n'));
  assert.deepEqual(recorded.complaints, []);
  assert.deepEqual([...recorded.origins], [url]);
  assert.ok((await recorded.bytes()) <= BYTES_MAX, `${await recorded.bytes()} bytes`);
});

suite.test('the chart of the overview tells both dates that it compares', async (scene) => {
  const { url } = await server();
  const page = await scene.page();
  await page.goto(`${url}/#/`);
  await answered(page);
  const text = await page.locator('.totals [role=slider]').getAttribute('aria-valuetext');
  const dates = text.split(' · ').map((it) => /^\w+, \w+ \d+/.exec(it)?.[0]);
  assert.equal(new Set(dates).size, 2, text);
  assert.ok(dates.every(Boolean), text);
});

suite.test('the overview follows sessions that arrive, in each of its parts', async (scene) => {
  const { url, request } = await busyServer(scene);
  const page = await scene.page();
  await page.clock.install();
  await page.goto(`${url}/#/?period=all`);
  await answered(page);
  const ask = async (query) => (await request('query', { metrics: ['plays'], timeframe: 'all', ...query })).results;
  const watching = () => page.locator('[data-metric=watching] data').evaluate((data) => Number(data.value));
  const numbers = (selector) => page.locator(selector).allInnerTexts().then((all) => all.map((text) => Number(text.replace(/\D/g, ''))));
  const [{ metrics: [before] }] = await ask({});
  for (const round of [1, 2]) {
    const at = Date.now();
    const event = (index) => ({ session_id: `arrival-${round}-${index}`, embed_id: 'video-007', key: EXAMPLE_KEY, name: 'play', video_time: 0, timestamp: at - 30_000 });
    await request('events', { events: Array.from({ length: 40 }, (_, index) => event(index)) });
    // Those who watch are reported at once; all else is at most as old as a refresh.
    await eventually(async () => {
      const { watching: count } = await request('watching', {});
      assert.ok(count >= 40);
      assert.equal(await watching(), count);
    });
    await request('events', { events: Array.from({ length: 40 }, (_, index) => ({ ...event(index), name: 'pause', video_time: 30, timestamp: at })) });
    await eventually(async () => assert.deepEqual((await ask({}))[0].metrics, [before + 40 * round]));
    await page.clock.fastForward(REFRESH_MS);
    await eventually(async () => assert.equal(await figure(page, 'plays'), before + 40 * round));
    await eventually(async () => {
      const { results } = await request('videos', { timeframe: 'all', limit: 10 });
      assert.deepEqual(await numbers('.videos tbody td.plays'), results.map(({ metrics }) => metrics[0]));
      assert.ok(results.some(({ name }) => name === 'video-007'));
      for (const dimension of ['device', 'browser', 'page']) {
        const rows = await ask({ dimensions: [dimension], limit: 7 });
        assert.deepEqual(await numbers(`[data-dimension=${dimension}] .mc-value`), rows.map(({ metrics }) => metrics[0]), dimension);
      }
    });
  }
});

suite.test('videos are sorted, searched and paged', async (scene) => {
  const { url, request } = await server();
  const page = await scene.page();
  await page.goto(`${url}/#/?period=all`);
  await answered(page);
  const expected = async (query) => (await request('videos', { timeframe: 'all', limit: 10, ...query })).results.map(({ title }) => title);
  assert.deepEqual(await rows(page), await expected({ order_by: [['plays', 'desc']] }));
  await page.getByRole('columnheader', { name: 'View time' }).getByRole('link').click();
  await eventually(async () => assert.deepEqual(await rows(page), await expected({ metrics: ['view_time'], order_by: [['view_time', 'desc']] })));
  await page.getByRole('link', { name: 'Next' }).click();
  await eventually(async () => assert.deepEqual(await rows(page), await expected({ metrics: ['view_time'], order_by: [['view_time', 'desc']], offset: 10 })));
  await page.goBack();
  await eventually(async () => assert.match(await page.locator('.pager').innerText(), /1–10 of 200/));
  await page.getByRole('searchbox').fill('TRAILER');
  await eventually(async () => assert.deepEqual(await rows(page), ['🎬 Trailer 🚀']));
  await page.getByRole('searchbox').fill('no such thing');
  await eventually(async () => assert.match(await page.locator('.videos tbody').innerText(), /No video matches “no such thing”/));
});

suite.test('each row is a filter, filters are in the address, and back leads back', async (scene) => {
  const { url, request } = await server();
  const page = await scene.page();
  await page.goto(`${url}/#/?period=all`);
  await answered(page);
  const plays = async (filters) => (await request('query', { metrics: ['plays'], timeframe: 'all', filters })).results[0].metrics[0];
  const [all, phones] = [await plays([]), await plays([['is', 'device', ['mobile']]])];
  await page.locator('[data-dimension=device]').getByText('Phone').click();
  await eventually(async () => assert.equal(await figure(page, 'plays'), phones));
  assert.deepEqual(await chips(page), ['Device = Phone']);
  // Another reader of the link sees the same.
  const other = await scene.page();
  await other.goto(page.url());
  await eventually(async () => assert.equal(await figure(other, 'plays'), phones));
  await other.getByTitle('Turn into the opposite').click();
  await eventually(async () => assert.equal(await figure(other, 'plays'), all - phones));
  assert.deepEqual(await chips(other), ['Device ≠ Phone']);
  await other.getByLabel(/Remove filter/).click();
  await eventually(async () => assert.equal(await figure(other, 'plays'), all));
  await page.goBack();
  await eventually(async () => assert.equal(await figure(page, 'plays'), all));
  await page.goForward();
  await eventually(async () => assert.equal(await figure(page, 'plays'), phones));
});

suite.test('any field can be a filter', async (scene) => {
  const { url, request } = await server();
  const page = await scene.page();
  await page.goto(`${url}/#/?period=all`);
  await answered(page);
  await page.locator('[data-menu=filter] summary').click();
  await page.locator('[data-menu=filter] option[value="video.course"]').waitFor({ state: 'attached' });
  await page.locator('[data-menu=filter] select').selectOption('video.course');
  await page.locator('[data-menu=filter] input').fill('course-3');
  await eventually(async () => assert.deepEqual(await page.locator('[data-menu=filter] .options').allInnerTexts(), ['course-3']));
  await page.locator('[data-menu=filter] .options button').click();
  const { results } = await request('query', { metrics: ['plays'], timeframe: 'all', filters: [['is', 'video.course', ['course-3']]] });
  await eventually(async () => assert.equal(await figure(page, 'plays'), results[0].metrics[0]));
  assert.deepEqual(await chips(page), ['Field: course = course-3']);
});

suite.test('any period can be chosen, and is compared with the one before', async (scene) => {
  const { url, request } = await server();
  const page = await scene.page();
  await page.goto(url);
  await answered(page);
  const summary = page.locator('[data-menu=period] summary');
  await summary.click();
  await page.getByRole('link', { name: 'Last 7 days' }).click();
  await eventually(() => assert.match(page.url(), /period=7d/));
  await answered(page);
  assert.match(await page.locator('[data-metric=plays] .change').innerText(), /^[+−]\d/);
  await summary.click();
  const [from, to] = ['from', 'to'].map((_, index) => page.locator('[data-menu=period] input[type=date]').nth(index));
  await from.fill('2020-01-01');
  await to.fill('2020-12-31');
  await page.getByRole('button', { name: 'Apply' }).click();
  await eventually(() => assert.match(page.url(), /period=2020-01-01\.\.2020-12-31/));
  await answered(page);
  assert.equal(await figure(page, 'plays'), 0);
  assert.match(await page.locator('[data-dimension=page]').innerText(), /Nobody watched in this period/);
  await page.goto(`${url}/#/?period=12m&compare=none`);
  await answered(page);
  assert.equal(await page.locator('[data-metric=plays] .change').innerText(), '');
  const { results } = await request('query', { metrics: ['plays'], timeframe: 'all' });
  assert.ok((await figure(page, 'plays')) > results[0].metrics[0] * 0.9);
});

suite.test('until it is answered, a choice shows no numbers of another', async (scene) => {
  const { url } = await server();
  const page = await scene.page();
  await page.goto(url);
  await answered(page);
  await page.route('**/api/v1/**', () => {});
  await page.goto(`${url}/#/?period=7d&device=mobile`);
  await page.locator('.totals.waiting').waitFor();
  for (const part of ['.totals .chart > *', '.videos tbody', '[data-dimension=page] ul', '[data-dimension=browser] ul']) {
    assert.equal(await page.locator(part).first().isVisible(), false, part);
  }
  const colours = await page.locator('.tile data').evaluateAll((all) => all.slice(1).map((it) => getComputedStyle(it).color));
  assert.deepEqual([...new Set(colours)], ['rgba(0, 0, 0, 0)'], 'dashes cover the numbers');
});

suite.test('an answer that comes late is not shown under a newer choice', async (scene) => {
  const { url, request } = await server();
  const page = await scene.page();
  const { results } = await request('query', { metrics: ['plays'], timeframe: 'all', filters: [['is', 'device', ['tablet']]] });
  const held = [];
  await page.route('**/api/v1/query', async (route) => {
    if (route.request().postData().includes('mobile')) held.push(route);
    else await route.continue();
  });
  await page.goto(`${url}/#/?period=all&device=mobile`);
  await eventually(() => assert.ok(held.length > 3));
  await page.goto(`${url}/#/?period=all&device=tablet`);
  await answered(page);
  // The page has given these up; where it has not, this is what it would show.
  const late = { results: [{ dimensions: ['2026-01-01T00:00:00Z'], metrics: [1, 1, 1, 1] }], totals: { metrics: [1, 1, 1, 1] }, meta: { rows: 1 } };
  for (const route of held) await route.fulfill({ json: late }).catch(() => {});
  await page.evaluate(() => new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve))));
  assert.equal(await figure(page, 'plays'), results[0].metrics[0]);
});

suite.test('an error stands where its answer would, and can be tried again', async (scene) => {
  const { url } = await server();
  const page = await scene.page();
  let isBroken = true;
  const answers = [[503, { error: 'busy', code: 'busy' }], [400, { error: '<b>wrong</b>', code: 'x' }], [401, {}], [403, {}]];
  let turn = 0;
  await page.route('**/api/v1/query', async (route) => {
    const asked = route.request().postDataJSON();
    if (!isBroken || asked.dimensions[0] === 'page') return route.continue();
    if (asked.dimensions[0] === 'browser') return route.abort();
    const [status, body] = answers[turn++ % answers.length];
    return route.fulfill({ status, json: body });
  });
  await page.goto(url);
  await page.locator('.totals.failed').waitFor();
  assert.match(await page.locator('.totals .fault').innerText(), /^(The server|Sign in|You may)/);
  await eventually(async () => assert.match(await page.locator('[data-dimension=browser] .fault').innerText(), /does not answer/));
  assert.equal(await page.locator('b:has-text("wrong")').count(), 0);
  // The others are shown.
  await page.locator('[data-dimension=page]:not(.failed):not(.waiting)').waitFor();
  assert.equal((await rows(page)).length, 10);
  isBroken = false;
  await page.locator('.totals .fault button').click();
  await page.locator('.totals:not(.failed):not(.waiting)').waitFor();
  assert.ok((await figure(page, 'plays')) > 0);
});

suite.test('a video that nobody knows is not one that nobody watched', async (scene) => {
  const { url } = await server();
  const page = await scene.page();
  await page.goto(`${url}/#/?period=all`);
  await answered(page);
  await page.locator('.videos tbody a').first().click();
  await eventually(async () => assert.equal(await page.locator('h1').innerText(), 'Launch film'));
  assert.match(await page.title(), /^Launch film/);
  await page.locator('.vs svg[role]').first().waitFor();
  await page.goto(`${url}/#/videos/nobody-knows`);
  const status = page.locator('.vs-empty:visible');
  await eventually(async () => assert.match(await status.innerText(), /nobody-knows/));
  const unknown = await status.innerText();
  await page.goto(`${url}/#/videos/video-001?period=2020-01-01..2020-01-02`);
  await eventually(async () => assert.notEqual(await status.innerText(), unknown));
});

suite.test('quality is ordered by what it costs viewers, or by any column', async (scene) => {
  const { url, request } = await server();
  const page = await scene.page();
  const metrics = ['sessions', 'startup_time_p50', 'startup_time_p95', 'rebuffering_ratio', 'failure_rate', 'exit_before_start_rate'];
  const { results, totals } = await request('query', { metrics, dimensions: ['browser'], timeframe: 'all', totals: true });
  const named = { chrome: 'Chrome', safari: 'Safari', firefox: 'Firefox', edge: 'Edge' };
  // By impact, or by a column.
  const expected = (index, isImpact = false) => {
    const value = (row) => (isImpact ? (row[index] - totals.metrics[index]) * row[0] : row[index]);
    return results.map(({ dimensions: [name], metrics: row }) => [named[name], value(row)]).sort(([, a], [, b]) => b - a).map(([name]) => name);
  };
  const browsers = () => page.locator('.impact tbody th a').allInnerTexts();
  const sorted = () => page.locator('.impact th[aria-sort]').evaluateAll((all) => all.map((it) => `${it.innerText.trim()} ${it.ariaSort}`));
  await page.goto(`${url}/#/quality?period=all`);
  await answered(page);
  assert.deepEqual(await browsers(), expected(1, true));
  assert.deepEqual(await sorted(), ['Impact\u00a0↓ descending']);
  await page.locator('[data-metric=failure_rate]').click();
  await eventually(async () => assert.deepEqual(await browsers(), expected(4, true)));
  assert.match(page.url(), /metric=failure_rate/);
  // Firefox fails more often: the row and the value say so in words.
  const row = page.locator('.impact tbody tr').first();
  assert.match(await row.innerText(), /^Firefox\s+worse/);
  assert.match(await row.locator('.failure_rate').textContent(), /^▲ worse: \d/);
  const header = (name) => page.getByRole('columnheader', { name }).getByRole('link');
  for (const [name, index] of [['Sessions', 0], ['Startup, 95 %', 2], ['Failures', 4]]) {
    await header(name).click();
    await eventually(async () => assert.deepEqual(await sorted(), [`${name}\u00a0↓ descending`]));
    assert.deepEqual(await browsers(), expected(index));
    // The focus stays, so the keyboard can turn the order.
    await page.keyboard.press('Enter');
    await eventually(async () => assert.deepEqual(await sorted(), [`${name}\u00a0↑ ascending`]));
    assert.deepEqual(await browsers(), expected(index).reverse());
  }
  await header('Browsers').click();
  await eventually(async () => assert.deepEqual(await browsers(), ['Chrome', 'Edge', 'Firefox', 'Safari']));
  assert.match(await page.locator('.impact tfoot').innerText(), /^All sessions\s+10,000/);
  await page.locator('.startup svg[role]').first().waitFor();
  await page.locator('.impact select').selectOption('video');
  await eventually(async () => assert.equal((await browsers()).length, 12));
  await page.locator('.impact').getByRole('button', { name: '188 more' }).click();
  assert.equal((await browsers()).length, 200);
});

for (const colorScheme of ['light', 'dark']) {
  suite.test(`every screen is accessible in ${colorScheme} colours, on a phone and a wide screen`, async (scene) => {
    const { url } = await server();
    const page = await scene.page({ colorScheme, viewport: { width: 360, height: 740 } });
    for (const screen of SCREENS) {
      await page.goto(`${url}/#/${screen}?device=mobile&not.browser=edge`);
      await answered(page);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360, `${screen} is as wide as a phone`);
      assert.deepEqual(await accessibility(page), [], screen);
    }
    await page.setViewportSize({ width: 1920, height: 1080 });
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 1920);
    const small = await page.locator('a:visible, button:visible, summary:visible, select:visible, input:visible').evaluateAll((all) => all.filter((it) => it.getBoundingClientRect().height < 24).map((it) => it.outerHTML));
    assert.deepEqual(small, []);
  });
}

suite.test('the colours are those of the system, until another choice is made', async (scene) => {
  const { url } = await server();
  const page = await scene.page({ colorScheme: 'dark' });
  await page.goto(url);
  const brightness = () => page.evaluate(() => Math.max(...getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number)));
  assert.ok((await brightness()) < 64);
  await page.getByRole('combobox', { name: 'Theme' }).selectOption('light');
  assert.ok((await brightness()) > 192);
  await page.reload();
  assert.ok((await brightness()) > 192);
  await page.getByRole('combobox', { name: 'Theme' }).selectOption('');
  assert.ok((await brightness()) < 64);
});

suite.test('the page speaks the language of its reader', async (scene) => {
  const { url } = await server();
  const page = await scene.page({ locale: 'nl-NL' });
  await page.goto(url);
  await answered(page);
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'nl');
  assert.equal(await page.locator('h1').innerText(), 'Overzicht');
  await page.getByRole('combobox', { name: 'Taal' }).selectOption('de');
  await eventually(async () => assert.equal(await page.locator('h1').innerText(), 'Übersicht'));
  const other = await scene.page({ locale: 'fr-FR' });
  await other.goto(url);
  await eventually(async () => assert.equal(await other.locator('h1').innerText(), 'Overview'));
});

suite.test('menus work by keyboard, and chosen things show without colours', async (scene) => {
  const { url } = await server();
  const page = await scene.page({ forcedColors: 'active', reducedMotion: 'reduce' });
  await page.goto(url);
  await answered(page);
  const summary = page.locator('[data-menu=period] summary');
  await summary.focus();
  await page.keyboard.press('Enter');
  await page.locator('[data-menu=period] .sheet').waitFor();
  await page.keyboard.press('Escape');
  await eventually(async () => assert.equal(await page.locator('[data-menu=period] .sheet').isVisible(), false));
  assert.ok(await summary.evaluate((it) => it === document.activeElement));
  const outline = (selector) => page.locator(selector).first().evaluate((it) => getComputedStyle(it).outlineStyle);
  assert.equal(await outline('.tile[aria-pressed=true]'), 'solid');
  assert.equal(await outline('.top nav [aria-current]'), 'solid');
  assert.equal(await outline('.tile[aria-pressed=false]'), 'none');
});

suite.test('with a key of several, only its sessions count', async (scene) => {
  const one = await scene.server();
  const { key } = await one.request('keys', { name: 'Shop' });
  const event = { session_id: 'a', embed_id: 'lamp', key };
  const at = Date.now() - 60_000;
  await one.request('events', { events: [{ ...event, name: 'play', video_time: 0, timestamp: at }, { ...event, name: 'pause', video_time: 8, timestamp: at + 8_000 }] });
  const page = await scene.page();
  await page.goto(one.url);
  await eventually(async () => assert.equal(await figure(page, 'view_time'), 8));
  await page.locator('[data-menu=key] summary').click();
  await page.getByRole('link', { name: 'Shop' }).click();
  await eventually(async () => assert.deepEqual(await chips(page), ['Key = Shop']));
  await eventually(async () => assert.equal(await figure(page, 'view_time'), 8));
  await page.goto(`${one.url}/#/?key=${encodeURIComponent(EXAMPLE_KEY)}`);
  await eventually(async () => assert.equal(await figure(page, 'view_time'), 0));
});
