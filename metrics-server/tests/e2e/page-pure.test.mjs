// The pure modules of the page: addresses, periods, formats and texts.

import assert from 'node:assert/strict';
import { test } from 'node:test';

// Days begin at local midnight, also where the clock changes.
process.env.TZ = 'Europe/Amsterdam';

const { PERIODS, asked, isPeriod, isoOf, periodOf, rangeOf, resolve } = await import('../../src/page/dates.js');
const { clock, directionOf, formats, pointsOf } = await import('../../src/page/format.js');
const { fileOf } = await import('../../src/page/export.js');
const { naming } = await import('../../src/page/names.js');
const { columnsOf, orderOf } = await import('../../src/page/overview/list.js');
const { DEFAULTS, format, parse, queried, toggled } = await import('../../src/page/state.js');
const { impactOf, isWorse, sorted } = await import('../../src/page/quality/worse.js');
const { startupEdges } = await import('../../src/page/video-data.js');
const { VIDEO_WORDS } = await import('../../src/page/video-words.js');
const { LANGUAGES, translate } = await import('../../src/page/words.js');
const { lots } = await import('./page/lots.mjs');

test('an address without parameters is the overview', () => {
  for (const fragment of ['', '#', '#/', '#/nowhere', '#/videos', '#/videos/', '#/overview?period=never&compare=x&at=0&sort=%3Cb%3E']) {
    assert.deepEqual(parse(fragment), DEFAULTS, fragment);
  }
  assert.equal(format(DEFAULTS), '#/');
});

test('an address is a view', () => {
  const address = '#/videos/a%2Fb%20%F0%9F%8E%AC?period=2026-01-01..2026-02-28&compare=year&device=mobile&device=tablet&not.browser=edge&page=';
  const state = parse(address);
  assert.equal(state.screen, 'videos');
  assert.equal(state.video, 'a/b 🎬');
  assert.deepEqual(state.filters, [
    { name: 'device', not: false, values: ['mobile', 'tablet'] },
    { name: 'browser', not: true, values: ['edge'] },
    { name: 'page', not: false, values: [null] },
  ]);
  assert.deepEqual(queried(state.filters), [['is', 'device', ['mobile', 'tablet']], ['is_not', 'browser', ['edge']], ['is', 'page', [null]]]);
  assert.deepEqual(parse(format(state)), state);
});

test('every state survives its address', () => {
  const lot = lots(7);
  const pick = (list) => list[lot(list.length)];
  const texts = ['intro', 'a&b=c#d?e', '100 %', 'مرحبا', '🎬', "it's \"x\"", '..', ' ', '+', 'not.', '%zz'];
  for (let round = 0; round < 500; round++) {
    const state = {
      ...DEFAULTS,
      screen: pick(['overview', 'videos', 'live', 'quality', 'settings']),
      period: pick([...PERIODS, '2024-02-29..2024-03-01']),
      compare: pick(['previous', 'year', 'none']),
      search: pick(['', ...texts]),
      sort: pick(['-plays', 'view_time', '-video']),
      at: 1 + lot(50),
      filters: ['device', 'video.a b', 'session.x'].slice(0, lot(4)).map((name) => ({ name, not: lot(2) === 1, values: [...new Set([pick(texts), pick([null, ...texts])])] })),
    };
    state.video = state.screen === 'videos' ? pick(texts) : null;
    assert.deepEqual(parse(format(state)), state, format(state));
  }
});

test('an address cannot hold more than a bounded number of filters', () => {
  const many = Array.from({ length: 100 }, (_, index) => `f${index}=${index}`).join('&');
  assert.equal(parse(`#/?${many}`).filters.length, 20);
  const values = Array.from({ length: 100 }, (_, index) => `device=${index}`).join('&');
  assert.equal(parse(`#/?${values}`).filters[0].values.length, 50);
});

test('a value is added to its filter, and removed by the same choice', () => {
  const one = toggled([], 'device', 'mobile');
  const two = toggled(one, 'device', 'tablet');
  assert.deepEqual(two, [{ name: 'device', not: false, values: ['mobile', 'tablet'] }]);
  assert.deepEqual(toggled(two, 'device', 'mobile'), [{ name: 'device', not: false, values: ['tablet'] }]);
  assert.deepEqual(toggled(one, 'device', 'mobile'), []);
});

const NOW = new Date(2026, 2, 31, 12, 30);
const text = (date) => date && `${isoOf(date)} ${date.toTimeString().slice(0, 8)}`;

test('a period and its comparison are as many days, and end at the same time of day', () => {
  for (const [period, from, to, before, until] of [
    ['today', '2026-03-31 00:00:00', '2026-03-31 12:30:00', '2026-03-30 00:00:00', '2026-03-30 12:30:00'],
    ['yesterday', '2026-03-30 00:00:00', '2026-03-30 23:59:59', '2026-03-29 00:00:00', '2026-03-29 23:59:59'],
    // The clock changed on the 29th.
    ['7d', '2026-03-25 00:00:00', '2026-03-31 12:30:00', '2026-03-18 00:00:00', '2026-03-24 12:30:00'],
    ['30d', '2026-03-02 00:00:00', '2026-03-31 12:30:00', '2026-01-31 00:00:00', '2026-03-01 12:30:00'],
    ['90d', '2026-01-01 00:00:00', '2026-03-31 12:30:00', '2025-10-03 00:00:00', '2025-12-31 12:30:00'],
    // February has no 31st.
    ['this-month', '2026-03-01 00:00:00', '2026-03-31 12:30:00', '2026-02-01 00:00:00', '2026-02-28 12:30:00'],
    ['last-month', '2026-02-01 00:00:00', '2026-02-28 23:59:59', '2026-01-01 00:00:00', '2026-01-31 23:59:59'],
    ['this-year', '2026-01-01 00:00:00', '2026-03-31 12:30:00', '2025-01-01 00:00:00', '2025-03-31 12:30:00'],
    ['12m', '2025-04-01 00:00:00', '2026-03-31 12:30:00', '2024-04-01 00:00:00', '2025-03-31 12:30:00'],
    ['2026-01-10..2026-01-12', '2026-01-10 00:00:00', '2026-01-12 23:59:59', '2026-01-07 00:00:00', '2026-01-09 23:59:59'],
    ['2026-03-30..2026-04-02', '2026-03-30 00:00:00', '2026-03-31 12:30:00', '2026-03-26 00:00:00', '2026-03-27 12:30:00'],
  ]) {
    const resolved = resolve(period, 'previous', NOW);
    assert.deepEqual([resolved.from, resolved.to, resolved.compared.from, resolved.compared.to].map(text), [from, to, before, until], period);
    assert.equal(resolved.isPartial, to === '2026-03-31 12:30:00', period);
  }
});

test('a year earlier is the same dates', () => {
  const { compared } = resolve('7d', 'year', new Date(2024, 1, 29, 9));
  assert.deepEqual([compared.from, compared.to].map(text), ['2023-02-23 00:00:00', '2023-02-28 09:00:00']);
});

test('all time and nothing are compared with nothing', () => {
  assert.deepEqual(asked(resolve('all', 'previous', NOW)), { timeframe: 'all' });
  assert.equal(resolve('7d', 'none', NOW).compared, null);
  const { timeframe, compare } = asked(resolve('today', 'previous', NOW));
  assert.deepEqual(timeframe, { from: '2026-03-30T22:00:00.000Z', to: '2026-03-31T10:30:00.000Z' });
  assert.deepEqual(compare, { from: '2026-03-29T22:00:00.000Z', to: '2026-03-30T10:30:00.000Z' });
});

test('buckets are as wide as the period needs', () => {
  for (const [period, bucket] of [['today', 'hour'], ['2026-01-01..2026-01-02', 'hour'], ['30d', 'day'], ['2025-12-01..2026-02-28', 'day'], ['2025-06-01..2026-02-28', 'week'], ['2020-01-01..2026-02-28', 'month'], ['all', 'month']]) {
    assert.equal(resolve(period, 'none', NOW).bucket, bucket, period);
  }
});

test('only dates that exist, in order, are a period', () => {
  assert.equal(periodOf('2026-02-02', '2026-01-01'), '2026-01-01..2026-02-02');
  assert.deepEqual(rangeOf('2024-02-29..2024-02-29').map(isoOf), ['2024-02-29', '2024-02-29']);
  for (const wrong of ['2026-02-30..2026-03-01', '2026-03-02..2026-03-01', '2026-3-1..2026-3-2', 'x', '', '2026-01-01', '0000-01-01..0000-01-02']) assert.equal(isPeriod(wrong), false, wrong);
});

test('numbers, lengths, shares and positions read as people write them', () => {
  const units = { s: 's', min: 'min', h: 'h' };
  const en = formats('en', units);
  assert.deepEqual([0, 999, 12_345, 123_456].map(en.count), ['0', '999', '12,345', '123.5K']);
  assert.deepEqual([0, 0.25, 8.24, 59.6, 60, 61, 3_600, 3_660, 1_000_000].map(en.length), ['0 s', '0.3 s', '8.2 s', '1 min', '1 min', '1 min 1 s', '1 h', '1 h 1 min', '278 h']);
  assert.deepEqual([0, 0.5, 0.549, 1.2, 61].map(en.brief), ['0 s', '0.5 s', '0.55 s', '1.2 s', '1 min 1 s']);
  assert.deepEqual([0, 0.004, 0.5, 1].map(en.share), ['0%', '0.4%', '50%', '100%']);
  assert.deepEqual([0.5, -0.25, 0.031, 0, 0.0004, -0.0004].map(en.change), ['+50%', '−25%', '+3.1%', '±0%', '±0%', '±0%']);
  assert.deepEqual([0.5, -0.25, 0.0004].map(directionOf), [1, -1, 0]);
  assert.deepEqual([0.031, -0.25, 0].map(pointsOf('en')), ['+3.1', '−25', '±0']);
  assert.equal(pointsOf('de')(0.0312), '+3,1');
  assert.equal(formats('de', units).count(12_345), '12.345');
  assert.deepEqual([0, 65.9, 3_725].map(clock), ['0:00', '1:05', '1:02:05']);
});

const words = Object.fromEntries(await Promise.all(Object.keys(LANGUAGES).map(async (language) => [language, (await import(`../../src/page/words/${language}.js`)).WORDS])));

test('every language has every text, with the same values', () => {
  const placeholders = (entry) => [...new Set(Object.values(typeof entry === 'string' ? { entry } : entry).flatMap((text) => [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)))].sort();
  for (const [language, texts] of Object.entries(words)) {
    assert.deepEqual(Object.keys(texts).sort(), Object.keys(words.en).sort(), language);
    for (const [name, entry] of Object.entries(texts)) {
      assert.deepEqual(placeholders(entry), placeholders(words.en[name]), `${language}: ${name}`);
      if (typeof entry === 'object') assert.deepEqual(Object.keys(entry), ['one', 'other'], `${language}: ${name}`);
    }
  }
});

test('texts choose the plural, and unknown ones are a mistake', () => {
  const t = translate(words.en, 'en');
  assert.equal(t('viewers', { count: 1 }), '1 viewer');
  assert.equal(t('viewers', { count: 1_200 }), '1,200 viewers');
  assert.equal(t('filter_is', { name: 'Device', values: '<b>{name}' }), 'Device is <b>{name}');
  assert.throws(() => t('nothing'), /nothing/);
});

test('a value is worse only by much, and by more than chance', () => {
  for (const [unit, value, overall, sessions, expected] of [
    ['share', 0.049, 0.017, 1_223, true],
    ['share', 0.049, 0.017, 19, false],
    // 2 of 40: chance.
    ['share', 0.05, 0.017, 40, false],
    ['share', 0.021, 0.02, 1_000_000, false],
    // Twice as many, but of nearly none.
    ['share', 0.002, 0.001, 1_000_000, false],
    ['share', 1, 0, 20, true],
    ['share', 0, 0, 20, false],
    ['share', 0.01, 0.017, 1_000, false],
    ['brief', 0.77, 0.55, 89, true],
    ['brief', 0.6, 0.55, 5_000, false],
    ['brief', 0.09, 0.05, 5_000, false],
    ['brief', null, 0.5, 100, false],
    ['brief', 0.5, null, 100, false],
  ]) assert.equal(isWorse(unit, value, overall, sessions), expected, `${unit} ${value} ${overall} ${sessions}`);
});

test('impacts of the rows of a share add up to nothing', () => {
  const lot = lots(9);
  for (let round = 0; round < 100; round++) {
    const rows = Array.from({ length: 1 + lot(9) }, () => ({ sessions: 1 + lot(500), value: lot(1_000) / 1_000 }));
    const all = rows.reduce((sum, { sessions }) => sum + sessions, 0);
    const overall = rows.reduce((sum, { sessions, value }) => sum + sessions * value, 0) / all;
    const impacts = rows.map(({ sessions, value }) => impactOf(value, overall, sessions));
    assert.ok(Math.abs(impacts.reduce((sum, it) => sum + it, 0)) < 1e-6);
  }
  assert.deepEqual([impactOf(null, 1, 2), impactOf(1, undefined, 2), impactOf(3, 1, 2)], [null, null, 4]);
});

test('rows are sorted in both directions, with those without a value last', () => {
  const order = (values, isDown) => sorted(values.map((value) => ({ value })), ({ value }) => value, isDown).map(({ value }) => value);
  assert.deepEqual(order([2, null, 10, -1], true), [10, 2, -1, null]);
  assert.deepEqual(order([2, null, 10, -1], false), [-1, 2, 10, null]);
  assert.deepEqual(order(['b', 'é', 'a', 'f'], false), ['a', 'b', 'é', 'f']);
});

test('bins of startup times are equal, on round edges, and reach beyond the 95th percentile', () => {
  for (const p95 of [0, 0.3, 0.99, 1.1, 2.19, 2.2, 4, 9.7, 60, 600, 5_000]) {
    const edges = startupEdges(p95);
    const step = edges[1];
    assert.equal(edges.length, 13);
    edges.forEach((edge, index) => assert.ok(Math.abs(edge - index * step) < 1e-9));
    assert.ok(p95 < edges.at(-2) || step === 60, `${p95} is beyond ${edges}`);
    assert.ok(p95 >= edges.at(-2) / 11 || step === 0.1, `${p95} is in the first bins of ${edges}`);
  }
});

// A browser's `EventSource`, of which the test says what it receives.
class Source extends EventTarget {
  static all = [];
  static CLOSED = 2;
  readyState = 1;

  constructor(url) {
    super();
    this.url = String(url);
    Source.all.push(this);
  }

  close() {
    this.readyState = Source.CLOSED;
  }

  receive(type, data) {
    this.dispatchEvent(Object.assign(new Event(type), { data: JSON.stringify(data) }));
  }
}

async function followed(ask = async () => ({ watching: 7 })) {
  globalThis.EventSource = Source;
  globalThis.document = { hidden: false, addEventListener: () => {}, removeEventListener: () => {} };
  Source.all = [];
  const { follow } = await import('../../src/page/watching.js');
  const shown = [];
  let filters = [];
  const api = { ask, address: (path, parameters) => `${path}?${JSON.stringify(parameters)}` };
  const viewers = follow(api, () => ({ filters }), ({ watching }) => shown.push(watching));
  viewers.restart();
  return { viewers, shown, choose: (next) => (filters = next) };
}

test('viewers are followed by a stream, which goes on where it broke off', async () => {
  const { viewers, shown } = await followed();
  const [stream] = Source.all;
  assert.equal(stream.url, 'live?{"filters":[]}');
  stream.receive('message', { watching: 2 });
  stream.receive('message', { watching: 3 });
  // The connection breaks, and the browser connects again; nothing has changed meanwhile.
  stream.readyState = 0;
  stream.dispatchEvent(new Event('error'));
  stream.dispatchEvent(new Event('open'));
  stream.receive('problem', { error: 'the store cannot be reached' });
  stream.receive('message', { watching: 4 });
  assert.deepEqual(shown, [null, 2, 3, null, 3, null, 4]);
  viewers.stop();
});

test('a report about another choice is not shown', async () => {
  const { viewers, shown, choose } = await followed();
  choose([['is', 'device', ['mobile']]]);
  viewers.restart();
  const [before, now] = Source.all;
  assert.match(now.url, /mobile/);
  assert.equal(before.readyState, Source.CLOSED);
  before.receive('message', { watching: 9 });
  now.receive('message', { watching: 1 });
  assert.deepEqual(shown, [null, null, 1]);
  viewers.stop();
});

test('where there is no stream, viewers are asked for', async () => {
  const asked = [];
  const { viewers, shown } = await followed(async (path, body) => {
    asked.push([path, body]);
    return { watching: 7 };
  });
  const [stream] = Source.all;
  stream.readyState = Source.CLOSED;
  stream.dispatchEvent(new Event('error'));
  await new Promise(setImmediate);
  assert.deepEqual(asked, [['watching', { filters: [] }]]);
  assert.deepEqual(shown, [null, 7]);
  // The next choice is not tried as a stream again.
  viewers.restart();
  await new Promise(setImmediate);
  assert.equal(Source.all.length, 1);
  assert.deepEqual(shown, [null, 7, null, 7]);
  viewers.stop();
});

test('the screen of a video has the terms of the other screens', async () => {
  const metrics = ['plays', 'view_time', 'average_percentage_viewed', 'completion_rate', 'startup_time_p50', 'startup_time_p95',
    'rebuffering_ratio', 'failure_rate', 'exit_before_start_rate'];
  const terms = { pages: 'by_page', devices: 'by_device', browsers: 'by_browser', platforms: 'by_platform', startup: 'startup', overTime: 'curve',
    against: 'compare', nothing: 'compare_none', previous: 'compare_previous', quality: 'screen_quality' };
  for (const name of metrics) terms[name] = `metric_${name}`;
  for (const language of Object.keys(LANGUAGES)) {
    const { WORDS } = await import(`../../src/page/words/${language}.js`);
    for (const [here, there] of Object.entries(terms)) assert.equal(VIDEO_WORDS[language][here], WORDS[there], `${language} ${here}`);
  }
});

test('an address sorts by what is there, else by the first column', () => {
  const columns = columnsOf(new Set(['plays', 'view_time', 'sessions']));
  assert.deepEqual(columns.map(([metric]) => metric), ['plays', 'view_time']);
  assert.deepEqual(orderOf({ sort: 'view_time' }, columns), { by: 'view_time', isDown: false });
  assert.deepEqual(orderOf({ sort: 'video' }, columns), { by: 'video', isDown: false });
  for (const sort of ['-failures', 'completion_rate']) assert.deepEqual(orderOf({ sort }, columns), { by: 'plays', isDown: true });
});

test('the file of a view is that of its filters, period, order and search', () => {
  const asked = [];
  const api = { address: (path, parameters) => asked.push({ path, parameters }) };
  const context = { api, metrics: new Set(['plays', 'view_time']) };
  const state = { ...DEFAULTS, period: 'yesterday', search: ' lamp ', sort: 'view_time', at: 3, filters: [{ name: 'device', not: true, values: ['mobile'] }] };
  fileOf(context, state, NOW);
  const [{ path, parameters }] = asked;
  assert.equal(path, 'export/videos');
  const { timezone, ...members } = parameters;
  assert.equal(timezone, 'Europe/Amsterdam');
  assert.deepEqual(members, {
    timeframe: { from: '2026-03-29T22:00:00.000Z', to: '2026-03-30T21:59:59.999Z' },
    filters: [['is_not', 'device', ['mobile']]],
    metrics: ['plays', 'view_time'],
    order_by: [['view_time', 'asc']],
    search: 'lamp',
    format: 'csv',
  });
  fileOf(context, { ...state, screen: 'videos', video: 'intro' }, NOW);
  assert.equal(asked[1].path, 'export/query');
  const { identifier, dimensions, timeframe } = asked[1].parameters.q;
  assert.deepEqual({ identifier, dimensions, timeframe }, { identifier: 'intro', dimensions: ['time:1 hour'], timeframe: members.timeframe });
  for (const screen of ['live', 'quality', 'settings']) assert.equal(fileOf(context, { ...state, screen }, NOW), null, screen);
  assert.equal(fileOf({ api, metrics: new Set() }, state, NOW), null);
});

test('dimensions and their values have names for people', () => {
  const t = translate(words.en, 'en');
  const names = naming(t, 'en', new Map(), new Map([['intro', 'The introduction'], ['other', 'other']]));
  assert.deepEqual(['browser', 'page', 'video', 'video.course', 'session.a.b', 'unheard_of'].map(names.one), ['Browser', 'Page', 'Video', 'Field: course', 'Field of the session: a.b', 'unheard_of']);
  assert.deepEqual(['browser', 'page', 'video.course'].map(names.dimension), ['Browsers', 'Pages', 'Field: course']);
  assert.deepEqual(['referrer', 'utm_source', 'country'].map((it) => names.value(it, null)), ['Direct or unknown', 'No campaign', 'Unknown']);
  assert.deepEqual(['CI', 'NL', 'AA'].map((it) => names.value('country', it)), ['Côte d’Ivoire', 'Netherlands', 'AA']);
  assert.deepEqual(['intro', 'other', 'unknown', null].map((it) => [names.value('video', it), names.detail('video', it)]), [['The introduction', 'intro'], ['other', null], ['unknown', null], ['Unknown', null]]);
});
