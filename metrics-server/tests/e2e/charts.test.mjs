// The charts in a browser, under the page's own security policy: keys, tables, labels, and the screen of a video.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { near } from './harness/expect.mjs';
import { moduleAt } from './harness/modules.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';

const SESSIONS = 8;
const suite = new Suite();

suite.test('a time line is read by keys, by pointer, and as a table', async (scene) => {
  const { page, complaints } = await stage(scene);
  await page.evaluate(async () => {
    const { WORDS, timeLine } = await import('/page/charts/index.js');
    const points = [3, 1, null, 4].map((value, day) => ({ start: Date.UTC(2026, 10, 2 + day), value }));
    const previous = [1, 1, 2, 9].map((value, day) => ({ start: Date.UTC(2026, 9, 2 + day), value }));
    const options = { words: WORDS.en, locale: 'en-GB', timezone: 'UTC', bucket: 'day', name: 'Plays', onPick: (point) => (window.picked = point) };
    window.chart = timeLine(document.querySelector('#here'), { points, previous, isPartial: true }, options);
  });
  const label = await page.locator('#here svg[role=img]').getAttribute('aria-label');
  assert.match(label, /^Plays from Mon,? 2 Nov to Thu,? 5 Nov: 8 in all, at most 4 \(Thu,? 5 Nov\); Before: 13$/);
  const cursor = page.locator('#here [role=slider]');
  await page.keyboard.press('Tab');
  const read = () => cursor.getAttribute('aria-valuetext');
  assert.match(await read(), /^Thu,? 5 Nov: 4 so far · Mon,? 5 Oct: 9$/);
  await page.keyboard.press('ArrowLeft');
  assert.match(await read(), /: – · /, 'a gap is no zero');
  await page.keyboard.press('Home');
  assert.match(await read(), /^Mon,? 2 Nov: 3 /);
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => window.picked.value), 3);
  await page.evaluate(() => window.chart.update(window.chart.data));
  assert.match(await read(), /^Mon,? 2 Nov: 3 /, 'new data keeps the readout');
  assert.equal(await cursor.evaluate((it) => it === document.activeElement), true);
  await page.evaluate(() => {
    const { points } = window.chart.data;
    window.chart.update({ points, previous: points }, { previousName: 'Phones' });
  });
  assert.match(await read(), /^Mon,? 2 Nov: 3 · Phones: 3$/, 'no date stands twice');
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('#here .mc-guide').count(), 0);
  const box = await page.locator('#here .mc-plot').boundingBox();
  await page.mouse.move(box.x + box.width - 5, box.y + box.height / 2);
  assert.match(await page.locator('#here .mc-strong').textContent(), /: 4/);
  await page.locator('#here summary').click();
  await eventually(async () => assert.equal(await page.locator('#here tbody tr, #here table tr').count(), 5));
  await page.evaluate(() => window.chart.update({ points: [] }));
  assert.equal(await page.locator('#here svg[role=img]').getAttribute('aria-label'), 'No data yet');
  assert.equal(await page.locator('#here table').count(), 0);
  assert.deepEqual(complaints, []);
});

suite.test('labels of charts collide at no width, and lie within the chart', async (scene) => {
  const { page } = await stage(scene);
  await page.evaluate(async () => {
    const { WORDS, curveOf, histogram, retention, timeLine } = await import('/page/charts/index.js');
    const common = { words: WORDS.de, locale: 'de', timezone: 'Europe/Berlin', table: false };
    const here = document.querySelector('#here');
    const place = () => here.appendChild(document.createElement('div'));
    for (const [bucket, ms, count] of [['minute', 6e4, 900], ['hour', 36e5, 60], ['day', 864e5, 90], ['month', 2.63e9, 30]]) {
      const points = Array.from({ length: count }, (_, index) => ({ start: Date.UTC(2025, 1, 3) + index * ms, value: 1e5 + (index % 7) * 3e4 }));
      timeLine(place(), { points, previous: points }, { ...common, bucket, name: 'Wiedergaben', peak: true, mean: true });
    }
    const seconds = Array.from({ length: 95 }, (_, second) => ({ second, viewers: 95 - second, views: 95 - second + (second === 40) * 50, exits: 1, skips: 0 }));
    const curve = curveOf({ engagement: [{ sessions: 95, duration: 95, average_percentage_viewed: 0.5, per_second: seconds }] });
    retention(place(), curve, { ...common, moments: true, flow: true });
    const bins = Array.from({ length: 9 }, (_, index) => ({ from: index / 2, to: (index + 1) / 2, count: 9000 - index * 900 }));
    histogram(place(), { bins, median: 1, p95: 1.1, isOpen: true }, { ...common, unit: 'seconds', name: 'Start' });
  });
  for (const width of [240, 320, 480, 777, 1280]) {
    await page.setViewportSize({ width: width + 60, height: 900 });
    await page.evaluate((width) => (document.querySelector('#here').style.width = `${width}px`), width);
    await eventually(async () => {
      const widths = await page.locator('#here svg').evaluateAll((all) => all.map((it) => it.getBoundingClientRect().width));
      assert.ok(widths.every((it) => it === width), `${widths}`);
    });
    const collisions = await page.locator('#here svg').evaluateAll((drawings) => drawings.flatMap((drawing) => {
      const frame = drawing.getBoundingClientRect();
      const texts = [...drawing.querySelectorAll('text')].map((text) => ({ name: text.textContent, box: text.getBoundingClientRect() }));
      const out = texts.filter(({ box }) => box.left < frame.left - 1 || frame.right + 1 < box.right);
      const isOn = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3;
      const pairs = texts.flatMap((a, index) => texts.slice(index + 1).filter((b) => isOn(a.box, b.box)).map((b) => `${a.name} on ${b.name}`));
      return [...out.map(({ name }) => `${name} is outside`), ...pairs];
    }));
    assert.deepEqual(collisions, [], `at ${width} px`);
    const clocks = await page.locator('#here .mc-retention svg > text').allTextContents();
    assert.ok(clocks.filter((text) => /^\d:\d\d$/.test(text)).length >= (width < 300 ? 2 : 3), `${clocks} at ${width} px`);
  }
});

suite.test('rows are buttons that keep their focus, and names of both directions', async (scene) => {
  const { page } = await stage(scene);
  await page.evaluate(async () => {
    const { WORDS, bars } = await import('/page/charts/index.js');
    const rows = [{ name: 'مرحبا 🎬', value: 3 }, { name: 'b', value: 1, isActive: true }, { name: 'c', value: 1 }];
    window.list = bars(document.querySelector('#here'), rows, { words: WORDS.en, caption: 'Page', limit: 2, onPick: (row) => window.list.update(rows, { caption: row.name }) });
  });
  const list = page.locator('#here ul');
  assert.equal(await list.getAttribute('aria-label'), 'Page: مرحبا 🎬 60%, b 20%');
  assert.deepEqual(await page.locator('#here li').allInnerTexts(), ['مرحبا 🎬\n3\n60%', 'b\n1\n20%', '1 more']);
  const button = page.getByRole('button', { name: 'b', exact: true });
  assert.equal(await button.getAttribute('aria-pressed'), 'true');
  assert.ok((await button.boundingBox()).height >= 24);
  await button.focus();
  await page.keyboard.press('Enter');
  assert.match(await list.getAttribute('aria-label'), /^b: /);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'b');
});

suite.test('the screen of a video shows its curve, in step with the video', async (scene) => {
  const { page, server, complaints } = await stage(scene);
  await record(server);
  await show(page, { identifier: 'tide', source: '/page/tide.webm' });
  await eventually(async () => assert.deepEqual(await page.locator('.vs-figures dd').allInnerTexts().then((all) => all.slice(0, 1)), [String(SESSIONS)]));
  const label = await page.locator('.mc-retention svg[role=img]').getAttribute('aria-label');
  assert.match(label, /^Retention over 0:30 \(sessions: 8\): 100% at the start, 50% half-way, 50% at the end; Most leave before the end at 0:09; Half have left at 0:10$/);
  const video = page.locator('.vs video');
  await eventually(async () => assert.ok(await video.isVisible()));
  // The position in the chart is the position in the video.
  const position = () => video.evaluate((it) => it.currentTime);
  await page.getByRole('button', { name: 'Half have left' }).click();
  await eventually(async () => near(await position(), 10, 0.1, 'half have left'));
  const cursor = page.locator('.mc-retention [role=slider]');
  await cursor.focus();
  await page.keyboard.press('Home');
  await eventually(async () => assert.equal(await position(), 0));
  await page.keyboard.press('ArrowRight');
  await eventually(async () => assert.equal(await position(), 1));
  const [strip, image] = await Promise.all(['.mc-heat svg', '.vs video'].map((it) => page.locator(it).boundingBox()));
  near(strip.x, image.x, 1, 'left end');
  near(strip.width, image.width, 1, 'width');
  assert.deepEqual(complaints, []);
});

suite.test('a curve is compared with a device and with another video', async (scene) => {
  const { page, server } = await stage(scene);
  await record(server);
  await record(server, 'dusk', 20);
  await show(page, { identifier: 'tide' });
  const legend = () => page.locator('.mc-retention .mc-legend').textContent();
  await eventually(async () => assert.equal(await page.locator('.vs select option[value="video=dusk"]').count(), 1));
  await page.locator('.vs select').selectOption('video=dusk');
  await eventually(async () => assert.match(await legend(), /dusk/));
  assert.equal(await page.evaluate(() => window.against), 'video=dusk');
  // The address brings the choice back: nothing is requested or hidden because of it.
  let requests = 0;
  page.on('request', () => requests++);
  await page.evaluate(() => window.shown.update({ against: 'video=dusk', ...window.state }));
  assert.deepEqual([requests, /dusk/.test(await legend())], [0, true]);
  assert.equal(await page.locator('.vs-note').isVisible(), true, 'by percent: they differ in length');
  await page.locator('.vs select').selectOption('');
  await eventually(async () => assert.doesNotMatch(await legend(), /dusk/));
});

suite.test('a comparison keeps exits and skips, and stands beside the figures and in the tables', async (scene) => {
  const { page, server } = await stage(scene);
  await record(server);
  await record(server, 'dusk', 20, 15);
  await show(page, { identifier: 'tide', source: '/page/tide.webm', against: 'video=dusk' });
  const legend = () => page.locator('.mc-retention .mc-legend').textContent();
  await eventually(async () => assert.equal(await legend(), 'ViewersduskExitsSkips'));
  assert.notEqual(await page.locator('.mc-retention .mc-before').first().evaluate((it) => getComputedStyle(it).strokeDasharray), 'none');
  assert.notEqual(await page.locator('.mc-retention .mc-bar.mc-exits').getAttribute('d'), '');
  // Half leave at 10 of 30 seconds here, and at 15 of 20 there.
  await page.locator('.mc-retention summary').click();
  const rows = () => page.locator('.mc-retention tr').evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent)));
  await eventually(async () => assert.deepEqual((await rows()).slice(0, 2).map((row) => row.slice(0, 4)), [['Position', 'Share', 'dusk', '± points'], ['0% to 33%', '100%', '100%', '0']]));
  const later = (await rows()).slice(2).map(([position, ...values]) => [position, ...values.slice(0, 3)]);
  assert.deepEqual(later.filter(([position]) => /^(34|75)%/.test(position)).map((row) => row.slice(1)), [['50%', '100%', '-50'], ['50%', '50%', '0']]);
  const figures = () => page.locator('.vs-figures').first().innerText();
  await eventually(async () => assert.match(await figures(), /Average viewed\s+67%\s+−21 points\s+dusk: 88%/));
  assert.match(await figures(), /Plays\s+8\s+dusk: 8/);
  assert.match(await page.locator('.mc-time .mc-legend').first().textContent(), /^Playsdusk$/);
  // By percent too, a moment is a position in the video.
  const video = page.locator('.vs video');
  await eventually(async () => assert.ok(await video.isVisible()));
  await page.getByRole('button', { name: 'Half have left' }).click();
  await eventually(async () => near(await video.evaluate((it) => it.currentTime), 10.2, 0.3, 'half have left'));
  const [knob, plot] = await Promise.all(['.mc-retention .mc-head', '.vs video'].map((it) => page.locator(it).boundingBox()));
  near((knob.x - plot.x) / plot.width, 0.34, 0.01, 'the playhead');
  await page.locator('.vs select').selectOption('');
  await eventually(async () => assert.doesNotMatch(await figures(), /dusk/));
  assert.equal(await page.locator('.mc-time .mc-legend').count(), 0);
  assert.match(await legend(), /Exits/);
});

suite.test('a comparison with nothing draws no line, and says so', async (scene) => {
  const { page, server } = await stage(scene);
  await record(server);
  await show(page, { identifier: 'tide', compare: 'previous_period' });
  const text = 'No plays in the compared period';
  await eventually(async () => assert.match(await page.locator('.mc-time .mc-legend').textContent(), new RegExp(`${text}$`)));
  assert.equal(await page.locator('.mc-time .mc-before').count(), 0);
  assert.match(await page.locator('.mc-time svg[role=img]').getAttribute('aria-label'), new RegExp(text));
  await eventually(async () => assert.match(await page.locator('.vs-figures').first().innerText(), new RegExp(`Plays\\s+8\\s+${text}`)));
  await page.locator('.vs select').selectOption('previous');
  await eventually(async () => assert.match(await page.locator('.vs-note').innerText(), new RegExp(text)));
  assert.equal(await page.locator('.mc-before').count(), 0);
  // A share of 0 is known, unlike no share.
  const lines = (value, unit) => page.evaluate(async ({ value, unit }) => {
    const { WORDS, timeLine } = await import('/page/charts/index.js');
    const points = [1, 1].map((value, day) => ({ start: Date.UTC(2026, 10, 2 + day), value }));
    const place = document.body.appendChild(document.createElement('div'));
    timeLine(place, { points, previous: points.map(({ start }) => ({ start, value })) }, { words: WORDS.en, bucket: 'day', name: 'x', unit });
    return place.querySelectorAll('svg > .mc-before').length;
  }, { value, unit });
  assert.deepEqual([await lines(0, 'share'), await lines(null, 'share'), await lines(0, 'count'), await lines(2, 'count')], [1, 0, 0, 1]);
});

suite.test('bins of a histogram are equally wide, and named by their edges', async (scene) => {
  const { page } = await stage(scene);
  await page.evaluate(async () => {
    const { WORDS, histogram } = await import('/page/charts/index.js');
    const bins = [5, 3, 2, 1].map((count, index) => ({ from: index / 2, to: (index + 1) / 2, count }));
    histogram(document.querySelector('#here'), { bins, median: 0.5, p95: 1.4, isOpen: true }, { words: WORDS.en, locale: 'en', unit: 'seconds', name: 'Startup' });
  });
  const shapes = (await page.locator('#here .mc-bar').getAttribute('d')).match(/M[^Z]+Z/g);
  const widths = shapes.map((it) => Number(/H([\d.]+)/.exec(it)[1]) - Number(/M([\d.]+)/.exec(it)[1]));
  assert.equal(widths.length, 4);
  for (const width of widths) near(width, widths[0], 0.2, 'a bin');
  assert.equal(await page.locator('#here .mc-unit').innerText(), 'Sessions per 0.5 s');
  const labels = await page.locator('#here svg > text').allTextContents();
  assert.deepEqual(labels.filter((it) => it.includes(' s')), ['0 s', '0.5 s', '1 s', '1.5 s+']);
});

suite.test('an unknown video, and one that nobody watched, are told apart', async (scene) => {
  const { page, server } = await stage(scene);
  await record(server);
  await show(page, { identifier: 'nothing' });
  await eventually(async () => assert.equal(await page.locator('.vs-empty').innerText(), 'No video has the identifier “nothing”.'));
  await page.evaluate(() => window.shown.update({ ...window.state, identifier: 'tide', body: { identifier: 'tide', timeframe: ['2020-01-01', '2020-01-02'] } }));
  await eventually(async () => assert.equal(await page.locator('.vs-empty').innerText(), 'Nobody watched it in this time.'));
  await page.route('**/api/v1/**', (route) => route.abort());
  await page.evaluate(() => window.shown.update(window.state));
  await eventually(async () => assert.equal(await page.locator('.vs-error').isVisible(), true));
  assert.equal(await page.locator('.vs-figures dd').first().isVisible(), true);
  assert.equal(await page.locator('.vs-figures dd').first().innerText(), '–');
});

/** The page of a server, with an empty place for charts, and its complaints. */
async function stage(scene) {
  const server = await scene.server();
  const page = await scene.page();
  const complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  // The page without its own content, and the modules that the server joins to one.
  await page.route('**/page/**/*.js', (route) => route.fulfill(moduleAt(new URL(route.request().url()).pathname)));
  await page.goto(server.url);
  await page.evaluate(() => {
    document.body.replaceChildren(Object.assign(document.createElement('div'), { id: 'here' }));
  });
  return { page, server, complaints };
}

/** Records sessions of a video: half of them leave at `left` seconds, the others see all. */
async function record(server, identifier = 'tide', duration = 30, left = 10) {
  const start = Date.now() - 120_000;
  const events = Array.from({ length: SESSIONS }, (_, index) => {
    const event = { session_id: `${identifier}${index}`, embed_id: identifier, key: EXAMPLE_KEY, duration };
    const end = index % 2 ? left : duration;
    return [
      { ...event, name: 'play', video_time: 0, timestamp: start },
      { ...event, name: 'pause', video_time: end, timestamp: start + end * 1_000 },
    ];
  });
  await server.request('events', { events: events.flat() });
}

/** Shows the screen of a video. */
async function show(page, { identifier, ...more }) {
  await page.evaluate(async ({ identifier, more }) => {
    const { videoScreen } = await import('/page/video.js');
    const ask = async (path, body, signal) => {
      const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), signal };
      const response = await fetch(`/api/v1/${path}`, init);
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.error);
      return answer;
    };
    window.state = { identifier, ...more, interval: '1 day', body: { identifier, timeframe: '7 days' } };
    const onAgainst = (against) => (window.against = against);
    window.shown = videoScreen(document.querySelector('#here'), { ask, state: window.state, locale: 'en', timezone: 'UTC', onAgainst });
  }, { identifier, more });
}
