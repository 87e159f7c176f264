// The frame of the page and its overview: by keyboard, on a phone, on paper, and as a file.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { eventually } from './harness/eventually.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';
import { accessibility, answered, busy, chips, rows } from './page/screens.mjs';

const BROWSER = 'Mozilla/5.0 (X11; Linux x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36';
const PHONE = { width: 390, height: 844 };
const METRICS = ['plays', 'view_time', 'average_percentage_viewed', 'completion_rate'];

const suite = new Suite();
const server = busy(suite);

const focused = (page) => page.evaluate(() => document.activeElement.ariaLabel ?? document.activeElement.textContent);
const isFocused = (page, selector) => page.locator(selector).first().evaluate((it) => it === document.activeElement);

async function opened(scene, url, address, options) {
  const page = await scene.page(options);
  await page.goto(`${url}/${address}`);
  await answered(page);
  return page;
}

suite.test('on a phone, videos are sorted by any figure, which is shown', async (scene) => {
  const { url, request } = await server();
  const page = await opened(scene, url, '#/?period=all', { viewport: PHONE });
  const sorter = page.getByRole('combobox', { name: 'Sort by' });
  const expected = async (by, way) => (await request('videos', { timeframe: 'all', metrics: METRICS, limit: 10, order_by: [[by, way]] })).results.map(({ title }) => title);
  for (const [metric, name] of [['view_time', 'View time'], ['average_percentage_viewed', 'Average viewed'], ['completion_rate', 'Completed'], ['plays', 'Plays']]) {
    await sorter.selectOption(name);
    await eventually(async () => assert.deepEqual(await rows(page), await expected(metric, 'desc')));
    assert.equal(await page.locator(`.videos td.${metric}`).first().isVisible(), true, metric);
    assert.equal(await page.getByRole('columnheader', { name }).getAttribute('aria-sort'), 'descending');
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.width, metric);
  }
  await page.getByRole('button', { name: 'Reverse the order' }).click();
  await eventually(async () => assert.deepEqual(await rows(page), await expected('plays', 'asc')));
  await sorter.selectOption('Video');
  await eventually(async () => assert.deepEqual(await rows(page), await expected('video', 'asc')));
  assert.equal(await sorter.inputValue(), 'video');
});

suite.test('where viewers come from has names in the language of the reader, and each is a filter', async (scene) => {
  const server = await scene.server({ METRICS_FORWARDED_HEADER: 'x-forwarded-for', METRICS_COUNTRY_HEADER: 'cf-ipcountry' });
  const watch = async (session_id, country, members) => {
    const event = { key: EXAMPLE_KEY, session_id, embed_id: 'intro' };
    const timestamp = Date.now() - 60_000;
    const events = [{ ...event, name: 'play', video_time: 0, timestamp, ...members }, { ...event, name: 'pause', video_time: 9, timestamp: timestamp + 9_000 }];
    const headers = { 'content-type': 'application/json', 'user-agent': BROWSER, 'x-forwarded-for': '203.0.113.7', 'cf-ipcountry': country };
    const answer = await fetch(`${server.url}/v1/events`, { method: 'POST', headers, body: JSON.stringify({ events }) });
    assert.equal((await answer.json()).accepted, 2);
  };
  const sections = ['referrer', 'utm_campaign', 'utm_source', 'utm_medium', 'country'];
  const names = (page, name) => page.locator(`[data-dimension=${name}] .mc-name`).allInnerTexts();
  await watch('a', 'XX', {});
  const page = await opened(scene, server.url, '#/', { locale: 'de-DE' });
  for (const name of sections) assert.equal(await page.locator(`[data-dimension=${name}]`).isVisible(), false, name);
  await watch('b', 'NL', { referrer: 'https://news.example/story', utm_campaign: 'May' });
  await watch('c', 'CI', { referrer: 'https://news.example/story' });
  await page.reload();
  await answered(page);
  await eventually(async () => assert.deepEqual(await names(page, 'referrer'), ['news.example', 'Direkt oder unbekannt']));
  assert.deepEqual(await names(page, 'utm_campaign'), ['Keine Kampagne', 'May']);
  assert.deepEqual((await names(page, 'country')).sort(), ['Côte d’Ivoire', 'Niederlande', 'Unbekannt']);
  for (const name of ['utm_source', 'utm_medium']) assert.equal(await page.locator(`[data-dimension=${name}]`).isVisible(), false, name);
  await page.locator('[data-dimension=country]').getByText('Niederlande').click();
  await eventually(async () => assert.deepEqual(await chips(page), ['Land = Niederlande']));
  await eventually(async () => assert.deepEqual(await names(page, 'referrer'), ['news.example']));
  await page.getByLabel(/Filter entfernen/).click();
  await page.locator('[data-dimension=referrer]').getByText('Direkt oder unbekannt').click();
  await eventually(async () => assert.deepEqual(await chips(page), ['Verweis = Direkt oder unbekannt']));
  await eventually(async () => assert.deepEqual(await names(page, 'country'), ['Unbekannt']));
  await page.goto(`${server.url}/#/videos/intro`);
  const section = (name) => page.locator('.vs-third').filter({ has: page.getByRole('heading', { name, exact: true }) }).locator('.mc-name');
  await eventually(async () => assert.deepEqual(await section('Verweise').allInnerTexts(), ['news.example', 'Direkt oder unbekannt']));
  await eventually(async () => assert.deepEqual(await section('Kampagnen').allInnerTexts(), ['Keine Kampagne', 'May']));
  await eventually(async () => assert.deepEqual((await section('Länder').allInnerTexts()).sort(), ['Côte d’Ivoire', 'Niederlande', 'Unbekannt']));
});

suite.test('the focus is on the heading of a new screen', async (scene) => {
  const { url } = await server();
  const page = await opened(scene, url, '#/?period=all');
  assert.ok(await isFocused(page, 'body'), 'the first screen takes no focus');
  await page.locator('.videos tbody a').first().focus();
  await page.keyboard.press('Enter');
  await eventually(async () => assert.ok(await isFocused(page, 'h1')));
  await eventually(async () => assert.equal(await focused(page), 'Launch film'));
  await page.keyboard.press('Shift+Tab');
  assert.equal(await focused(page), 'Overview');
  await page.keyboard.press('Enter');
  await answered(page);
  assert.equal(await focused(page), 'Overview');
  assert.ok(await isFocused(page, 'h1'));
});

suite.test('a row that filters or sorts keeps the focus', async (scene) => {
  const { url } = await server();
  const page = await opened(scene, url, '#/?period=all');
  await page.locator('[data-dimension=device]').getByRole('button', { name: 'Phone' }).focus();
  await page.keyboard.press('Enter');
  await eventually(async () => assert.deepEqual(await chips(page), ['Device = Phone']));
  await answered(page);
  assert.equal(await focused(page), 'Phone');
  assert.ok(await isFocused(page, '[data-dimension=device] button[aria-pressed=true]'));
  await page.getByRole('columnheader', { name: 'Completed' }).getByRole('link').focus();
  await page.keyboard.press('Enter');
  await eventually(async () => assert.ok(await isFocused(page, 'th[aria-sort=descending] a[data-sort=completion_rate]')));
  const next = page.getByRole('link', { name: 'Next' });
  await next.focus();
  await page.keyboard.press('Enter');
  await eventually(async () => assert.match(await page.locator('.videos:not(.waiting) .pager').innerText(), /11–20/));
  assert.equal(await focused(page), 'Next');
});

suite.test('a refresh and a choice in a menu leave the focus where it is', async (scene) => {
  const { url } = await server();
  const page = await scene.page();
  await page.clock.install();
  await page.goto(`${url}/#/?period=all`);
  await answered(page);
  const row = page.locator('.videos tbody a').nth(2);
  await row.focus();
  await row.evaluate((it) => (it.dataset.before = ''));
  const name = await focused(page);
  await page.clock.fastForward(120_000);
  await eventually(async () => assert.equal(await page.locator('[data-before]').count(), 0, 'the rows are new'));
  assert.equal(await focused(page), name);
  await page.locator('[data-menu=period] summary').focus();
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'Last 7 days' }).focus();
  await page.keyboard.press('Enter');
  await eventually(async () => assert.equal(await focused(page), 'Last 7 days'));
  assert.ok(await isFocused(page, '[data-menu=period] summary'));
});

suite.test('filters are removed by keyboard, one after the other', async (scene) => {
  const { url } = await server();
  const page = await opened(scene, url, '#/?period=all&browser=firefox&not.device=mobile&video.course=course-3');
  const remove = (name) => page.getByRole('button', { name: `Remove filter: ${name}` });
  for (const name of ['Browser is Firefox', 'Device is not Phone', 'Field: course is course-3']) assert.equal(await remove(name).count(), 1, name);
  await remove('Device is not Phone').focus();
  await page.keyboard.press('Enter');
  await eventually(async () => assert.equal(await focused(page), 'Remove filter: Field: course is course-3'));
  await page.keyboard.press('Enter');
  await eventually(async () => assert.equal(await focused(page), 'Remove filter: Browser is Firefox'));
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Enter');
  await eventually(async () => assert.deepEqual(await chips(page), ['Browser ≠ Firefox']));
  assert.ok(await isFocused(page, '.chips .turn'));
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await eventually(async () => assert.ok(await isFocused(page, '[data-menu=filter] summary')));
});

suite.test('filters have the titles of videos, and the names of fields', async (scene) => {
  const { url } = await server();
  const page = await opened(scene, url, '#/?period=all');
  const menu = page.locator('[data-menu=filter]');
  await menu.locator('summary').click();
  await menu.locator('select').selectOption('video');
  await eventually(async () => assert.match((await menu.locator('.options button').allInnerTexts())[0], /^Launch film\s+video-001$/));
  await menu.getByRole('searchbox').fill('trailer');
  await eventually(async () => assert.deepEqual((await menu.locator('.options bdi').allInnerTexts()), ['🎬 Trailer 🚀', 'video-003']));
  await menu.locator('.options button').click();
  await eventually(async () => assert.deepEqual(await chips(page), ['Video = 🎬 Trailer 🚀 video-003']));
  const names = await menu.locator('option').allTextContents();
  for (const name of ['Page', 'Browser']) assert.ok(names.includes(name), names.join());
  // Somebody else's link knows the identifier only.
  const other = await opened(scene, url, '#/live?video=video-001&video.course=course-3');
  await eventually(async () => assert.deepEqual(await chips(other), ['Video = Launch film video-001', 'Field: course = course-3']));
  assert.equal(await other.getByRole('button', { name: 'Remove filter: Video is Launch film' }).count(), 1);
});

suite.test('a share changes by points', async (scene) => {
  const { url, request } = await server();
  const page = await opened(scene, url, '#/?period=7d');
  const day = (days) => new Date(new Date().setHours(0, 0, 0, 0) + days * 86_400_000).toISOString();
  const now = new Date();
  const before = new Date(now - 7 * 86_400_000).toISOString();
  const query = { metrics: ['completion_rate'], timeframe: { from: day(-6), to: now.toISOString() }, compare: { from: day(-13), to: before } };
  const [{ metrics: [value], comparison }] = (await request('query', query)).results;
  const points = (value - comparison.metrics[0]) * 100;
  const tile = page.locator('button[data-metric=completion_rate]');
  const shown = /([+−])([\d.]+) points? \(Before: (\d+)%\)/.exec(await tile.evaluate((it) => it.textContent));
  assert.equal(Number(`${shown[1] === '−' ? '-' : ''}${shown[2]}`), Math.round(points * 10) / 10);
  assert.equal(Number(shown[3]), Math.round(comparison.metrics[0] * 100));
  assert.match(await page.locator('button[data-metric=plays] .change').innerText(), /^[+−][\d.]+%/);
  const german = await opened(scene, url, '#/?period=7d', { locale: 'de-DE' });
  assert.match(await german.locator('[data-metric=completion_rate] .change').innerText(), /^[+−][\d,]+ Punkte?/);
});

suite.test('a view is exported as it is filtered, searched and sorted', async (scene) => {
  const { url, request } = await server();
  const page = await opened(scene, url, '#/?period=12m&device=mobile&search=webinar&sort=view_time');
  const saved = async () => {
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export this view' }).click()]);
    return (await readFile(await download.path(), 'utf8')).trim().split(/\r?\n/);
  };
  const now = new Date();
  const timeframe = [new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - 11, 1)), now].map((it) => it.toISOString().slice(0, 10));
  const [head, ...lines] = await saved();
  assert.match(head, /^name,identifier,title,.*,plays,view_time,average_percentage_viewed,completion_rate$/);
  const { results } = await request('videos', { timeframe, search: 'webinar', filters: [['is', 'device', ['mobile']]], metrics: METRICS, order_by: [['view_time', 'asc']], limit: 1_000 });
  assert.ok(results.length > 10);
  assert.deepEqual(lines.map((it) => it.split(',')[0]), results.map(({ name }) => name));
  await page.goto(`${url}/#/videos/video-001?period=12m&device=mobile`);
  await answered(page);
  const [, ...months] = await saved();
  assert.equal(months.length, 12);
  const sum = months.reduce((plays, it) => plays + Number(it.split(',')[1]), 0);
  const [{ metrics: [plays] }] = (await request('query', { identifier: 'video-001', timeframe, filters: [['is', 'device', ['mobile']]], metrics: ['plays'] })).results;
  assert.equal(sum, plays);
  await page.goto(`${url}/#/settings`);
  await eventually(async () => assert.equal(await page.getByRole('link', { name: 'Export this view' }).count(), 0));
});

suite.test('the search box has the search of the address', async (scene) => {
  const { url } = await server();
  const page = await opened(scene, url, '#/?period=all');
  const [box, status] = [page.getByRole('searchbox', { name: 'Search videos' }), page.locator('body > [role=status]')];
  await eventually(async () => assert.equal(await status.textContent(), '10,000 plays'));
  await page.locator('[data-dimension=device]').getByRole('button', { name: 'Phone' }).click();
  await box.fill('zzzz');
  await eventually(async () => assert.match(await page.locator('.videos:not(.waiting) tbody').innerText(), /No video matches “zzzz”/));
  await eventually(async () => assert.match(await status.textContent(), /^0 videos/));
  await page.goBack();
  await eventually(async () => assert.equal((await rows(page)).length, 10));
  assert.equal(await box.inputValue(), '');
  await eventually(async () => assert.equal(await status.textContent(), '10,000 plays'));
  await page.goForward();
  await eventually(async () => assert.equal(await box.inputValue(), 'zzzz'));
  await page.reload();
  await answered(page);
  assert.equal(await box.inputValue(), 'zzzz');
  assert.match(page.url(), /search=zzzz/);
  await page.getByRole('link', { name: 'Quality' }).click();
  await page.locator('section.impact').waitFor();
  assert.equal(await status.textContent(), '', 'nothing is said about the screen before');
});

suite.test('names and numbers are in line, and bars end before numbers', async (scene) => {
  const { url } = await server();
  const page = await opened(scene, url, '#/?period=all', { viewport: PHONE });
  const lines = await page.locator('.breakdown:not([hidden]) .mc-rows li').evaluateAll((all) => all.map((it) => {
    const middle = (selector) => {
      const range = document.createRange();
      range.selectNodeContents(it.querySelector(selector));
      const { top, bottom } = range.getBoundingClientRect();
      return (top + bottom) / 2;
    };
    const gap = it.querySelector('.mc-value').getBoundingClientRect().left - it.querySelector('.mc-fill').getBoundingClientRect().right;
    return { shift: Math.abs(middle('.mc-name') - middle('.mc-value')), gap };
  }));
  assert.ok(lines.length > 10);
  for (const { shift, gap } of lines) assert.ok(shift < 0.6 && gap > 0, `${shift} ${gap}`);
});

suite.test('tiles fill their rows at every width, and hold their figures', async (scene) => {
  const { url } = await server();
  const page = await opened(scene, url, '#/?period=all&video=video-001', { viewport: PHONE });
  for (const width of [320, 390, 700, 800, 850, 1_024, 1_280, 1_920]) {
    await page.setViewportSize({ width, height: 800 });
    const whole = await page.locator('.tiles').evaluate((it) => it.getBoundingClientRect().width);
    const tiles = await page.locator('.tile:visible').evaluateAll((all) => all.map((it) => ({ width: it.getBoundingClientRect().width, isCut: it.scrollWidth > it.clientWidth })));
    const filled = tiles.reduce((sum, it) => sum + it.width, 0) / whole;
    assert.ok(Math.abs(filled - Math.round(filled)) < 0.01, `${filled} rows of tiles at ${width}`);
    assert.deepEqual(tiles.map(({ isCut }) => isCut), tiles.map(() => false), `${width}`);
  }
});

suite.test('on paper there is the view without controls, on a light ground', async (scene) => {
  const { url } = await server();
  const page = await scene.page({ colorScheme: 'dark', viewport: { width: 718, height: 1_000 } });
  for (const screen of ['', 'videos/video-001']) {
    await page.emulateMedia({ media: 'screen' });
    await page.goto(`${url}/#/${screen}?period=30d&device=mobile`);
    await answered(page);
    await page.emulateMedia({ media: 'print' });
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), 'rgb(255, 255, 255)');
    assert.equal(await page.locator('input:visible, select:visible, summary:visible, .remove:visible, .top nav:visible, .pager:visible, footer:visible').count(), 0, screen);
    assert.match(await page.locator('.printed').innerText(), /^Last 30 days · \w+ \d+/);
    assert.deepEqual(await chips(page), ['Device = Phone']);
    const wide = await page.locator('svg:visible').evaluateAll((all) => all.filter((it) => it.getBoundingClientRect().right > innerWidth).length);
    assert.equal(wide, 0, 'charts are whole');
  }
  await page.goto(`${url}/#/`);
  await answered(page);
  for (const metric of METRICS) assert.equal(await page.locator(`.videos td.${metric}`).first().isVisible(), true, metric);
});

suite.test('every screen is accessible in forced colours, with an open menu', async (scene) => {
  const { url } = await server();
  const page = await scene.page({ forcedColors: 'active', viewport: PHONE });
  for (const screen of ['', 'live', 'quality', 'settings', 'videos/video-001']) {
    await page.goto(`${url}/#/${screen}?video=video-001&not.browser=edge`);
    await answered(page);
    assert.deepEqual(await accessibility(page), [], screen);
    const menu = page.locator('[data-menu=filter]');
    if ((await menu.count()) === 0) continue;
    await menu.locator('summary').click();
    await menu.locator('.options button').first().waitFor();
    assert.deepEqual(await accessibility(page), [], `the menu of ${screen}`);
  }
});
