// Scales, labels, times and moments of the charts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pageModule, randomFrom } from './harness/modules.mjs';

const maths = await pageModule('charts/maths.js');
const { axisText, bucketText, clockText, formatOf, partsOf, spanText } = await pageModule('charts/text.js');
const { binsOf } = await pageModule('charts/bins.js');
const { againstBody, selectedValues, sourceOf } = await pageModule('video-data.js');

const RUNS = 2_000;

/** Calls `check` with generators of numbers: `integer(most)` and `real(most)`. */
function repeatedly(check) {
  const random = randomFrom(20_261_130);
  const real = (most) => random() * most;
  for (let run = 0; run < RUNS; run++) check({ real, integer: (most) => Math.floor(real(most + 1)) });
}

test('ticks begin at 0, are evenly spaced, few, and reach the largest value', () => {
  repeatedly(({ real, integer }) => {
    const unit = ['count', 'share', 'seconds', 'number'][integer(3)];
    const most = 10 ** (real(8) - 2);
    const ticks = maths.ticksTo(most, { unit });
    const step = ticks[1];
    assert.equal(ticks[0], 0);
    assert.ok(most <= ticks.at(-1) * (1 + 1e-9) && ticks.at(-2) < most, `${unit} ${most}: ${ticks}`);
    assert.ok(ticks.length <= 6, `${unit} ${most}: ${ticks}`);
    ticks.forEach((tick, index) => assert.ok(Math.abs(tick - index * step) < step * 1e-6, `${ticks}`));
    if (unit === 'count') assert.ok(ticks.every(Number.isInteger), `${ticks}`);
  });
  assert.deepEqual(maths.ticksTo(0), [0, 1]);
  assert.deepEqual(maths.ticksTo(1, { unit: 'share' }), [0, 0.25, 0.5, 0.75, 1]);
  assert.deepEqual(maths.ticksTo(7000, { unit: 'seconds' }), [0, 1800, 3600, 5400, 7200]);
});

test('positions on a clock are round, and not more than there is room for', () => {
  repeatedly(({ real, integer }) => {
    const [duration, room] = [real(1e6) + 0.1, 1 + integer(12)];
    const ticks = maths.clockTicks(duration, room);
    assert.ok(ticks[0] === 0 && ticks.at(-1) <= duration && ticks.length <= room + 1, `${duration} ${room}: ${ticks}`);
  });
  assert.deepEqual(maths.clockTicks(142, 5), [0, 30, 60, 90, 120]);
});

test('labels never collide, and lie within their axis', () => {
  repeatedly(({ real, integer }) => {
    const [from, to, gap] = [real(60), 100 + real(1500), real(30)];
    const all = Array.from({ length: 1 + integer(60) }, () => from + real(to - from)).sort((a, b) => a - b);
    const label = (at) => ({ at, width: 5 + real(Math.min(80, to - from - 5)) });
    const sets = [1, 2, 4, 8].map((step) => all.filter((_, index) => index % step === 0).map(label));
    const placed = maths.placeLabels(sets, from, to, gap);
    assert.ok(placed.length > 0);
    placed.forEach(({ x, width }, index) => {
      const before = placed[index - 1];
      assert.ok(from <= x && x + width <= to + 0.5, `${x} ${width} within ${from} ${to}`);
      if (before) assert.ok(before.x + before.width + gap <= x + 1e-9, `${JSON.stringify(placed)}`);
    });
  });
});

test('levels are moved apart, in their order', () => {
  repeatedly(({ real, integer }) => {
    const ys = Array.from({ length: 1 + integer(4) }, () => real(200));
    const placed = maths.spreadApart(ys, 14, 12, 200);
    const order = ys.map((_, index) => index).sort((a, b) => ys[a] - ys[b]);
    order.forEach((index, rank) => {
      assert.ok(placed[index] <= 200 + 1e-9, `${placed}`);
      if (rank > 0) assert.ok(placed[order[rank - 1]] + 14 <= placed[index] + 1e-9, `${ys}: ${placed}`);
    });
  });
  assert.deepEqual(maths.spreadApart([50, 100], 14, 12, 200), [50, 100]);
});

test('labels of time fall on round local times, across a change of the clock', () => {
  // The night of 25 October 2026 has 25 hours in Amsterdam.
  const starts = Array.from({ length: 49 }, (_, index) => Date.UTC(2026, 9, 23, 22) + index * 3_600_000);
  const parts = starts.map((start) => partsOf(start, 'Europe/Amsterdam'));
  const sets = maths.roundTimes(parts, 'hour');
  for (const set of sets.slice(0, -1)) assert.ok(set.length > 1);
  const midnights = sets.find((set) => set.every((index) => parts[index].hour === 0));
  assert.deepEqual(midnights, [0, 24, 48].slice(0, midnights.length));
  const days = Array.from({ length: 60 }, (_, index) => partsOf(Date.UTC(2026, 0, 1 + index), 'UTC'));
  const weeks = maths.roundTimes(days, 'day')[2];
  assert.deepEqual(weeks.slice(0, 3), [4, 11, 18], 'Mondays: 5, 12 and 19 January 2026');
});

test('names of buckets follow the locale and the zone', () => {
  const start = new Date(Date.UTC(2026, 10, 4, 23));
  const options = { bucket: 'day', locale: 'en-GB', timezone: 'Europe/Amsterdam' };
  // Versions of Unicode's data differ in the comma.
  assert.match(bucketText(start, options), /^Thu,? 5 Nov$/);
  assert.equal(axisText(start, partsOf(start, 'Europe/Amsterdam'), { ...options, bucket: 'hour' }), '5 Nov');
  assert.equal(axisText(start, partsOf(start, 'UTC'), { ...options, bucket: 'hour', timezone: 'UTC' }), '23:00');
  assert.equal(clockText(65), '1:05');
  assert.equal(clockText(3_725.9), '1:02:05');
  const spans = [0, 8.25, 59.4, 59.7, 65, 3_600, 7_260, 360_000, 4e9].map((it) => spanText(it, 'en'));
  assert.deepEqual(spans, ['0 s', '8.3 s', '59 s', '1 min', '1 min 5 s', '1 h', '2 h 1 min', '100 h', '1.1M h']);
  assert.equal(formatOf({ unit: 'share', locale: 'en' })(0.123), '12%');
  assert.equal(formatOf({ locale: 'de' })(1_234), '1.234');
});

test('the last bucket is partial until it ends, and compared buckets have their own times', () => {
  const row = (text, plays, at, before) => ({ dimensions: [text], metrics: [plays], comparison: { ...(at && { dimensions: [at] }), metrics: [before] } });
  const answer = { results: [row('2026-11-29T00:00:00Z', 3, '2026-11-27T00:00:00Z', 1), row('2026-11-30T00:00:00Z', 2, null, 0)], meta: { compared: {} } };
  const line = maths.linePoints(answer, '1 day', { now: Date.UTC(2026, 10, 30, 12) });
  assert.deepEqual(line.points.map(({ value }) => value), [3, 2]);
  assert.deepEqual(line.previous, [{ start: new Date('2026-11-27T00:00:00Z'), value: 1 }, {}]);
  assert.deepEqual(maths.linePoints({ ...answer, meta: {} }, '1 day').previous, []);
  for (const [start, interval, end] of [
    ['2026-11-30T00:00:00Z', '1 day', '2026-12-01T00:00:00Z'],
    ['2026-11-30T10:15:00Z', '15 minutes', '2026-11-30T10:30:00Z'],
    ['2026-11-01T00:00:00+01:00', '1 month', '2026-12-01T00:00:00+01:00'],
    ['2026-11-01T00:00:00-11:00', '1 month', '2026-12-01T00:00:00-11:00'],
    ['2026-10-01T00:00:00+14:00', '3 months', '2027-01-01T00:00:00+14:00'],
    ['2026-01-01T00:00:00+13:00', '1 year', '2027-01-01T00:00:00+13:00'],
  ]) {
    const isPartial = (now) => maths.linePoints({ results: [row(start, 1)], meta: {} }, interval, { now }).isPartial;
    const ms = Date.parse(end);
    // Clocks change: buckets longer than an hour may end an hour early.
    const last = interval === '15 minutes' ? ms - 1 : ms - 36e5 - 1;
    assert.deepEqual([Date.parse(start), last, ms].map(isPartial), [true, true, false], start);
  }
});

const second = (second, viewers, views = viewers, exits = 0, skips = 0) => ({ second, viewers, views, exits, skips });

test('a curve has every second, adds up its buckets, and keeps the exits of a fragment at the end', () => {
  const bucket = { sessions: 4, duration: 3.3, average_percentage_viewed: 0.5 };
  const answer = {
    engagement: [
      { ...bucket, per_second: [second(0, 4), second(2, 1, 3, 1), second(3, 1, 1, 2)] },
      { ...bucket, sessions: 12, average_percentage_viewed: 0.9, per_second: [second(0, 12, 13)] },
    ],
  };
  const curve = maths.curveOf(answer);
  assert.deepEqual([curve.sessions, curve.duration, curve.length], [16, 3.3, 3.3]);
  assert.ok(Math.abs(curve.averagePercentageViewed - 0.8) < 1e-9);
  assert.deepEqual(curve.steps.map(({ viewers }) => viewers), [16, 0, 1]);
  assert.deepEqual(curve.steps.at(-1), { from: 2, to: 3.3, viewers: 1, views: 3, exits: 3, skips: 0 });
  assert.deepEqual(maths.curveOf({ engagement: [] }).steps, []);
});

test('condensed steps keep the view time and the exits', () => {
  repeatedly(({ integer, real }) => {
    const length = 1 + integer(300);
    const steps = Array.from({ length }, (_, from) => ({ from, to: from + 1, viewers: integer(50), views: integer(90), exits: integer(3), skips: integer(3) }));
    const joined = maths.condense(steps, 1 + real(120));
    const sum = (list, value) => list.reduce((total, it) => total + value(it), 0);
    for (const member of ['viewers', 'views']) {
      const time = (list) => sum(list, (it) => it[member] * (it.to - it.from));
      assert.ok(Math.abs(time(steps) - time(joined)) < 1e-6);
    }
    for (const member of ['exits', 'skips']) assert.equal(sum(steps, (it) => it[member]), sum(joined, (it) => it[member]));
    assert.equal(joined.at(-1).to, length);
  });
});

test('moments are named where they are, and only if they stand out', () => {
  const steps = (make) => Array.from({ length: 100 }, (_, from) => ({ from, to: from + 1, viewers: 50, views: 50, exits: 0, skips: 0, ...make(from) }));
  const curve = (make) => ({ sessions: 100, length: 100, steps: steps(make) });
  assert.deepEqual(maths.momentsOf(curve((at) => (at === 41 ? { exits: 60 } : {}))), [
    { kind: 'left', at: 41 },
    { kind: 'half', at: 42 },
  ]);
  assert.deepEqual(maths.momentsOf(curve((at) => (at === 99 ? { exits: 100 } : {}))), [{ kind: 'finished', at: 100 }]);
  assert.deepEqual(maths.momentsOf(curve((at) => (at === 70 ? { views: 90 } : at === 5 ? { skips: 30 } : {}))), [
    { kind: 'skipped', at: 5 },
    { kind: 'replayed', at: 70 },
  ]);
  assert.deepEqual(maths.momentsOf(curve(() => ({ views: 60 }))), [], 'replayed alike everywhere');
  assert.deepEqual(maths.momentsOf({ ...curve(() => ({ exits: 1 })), sessions: 4 }), [], 'too few sessions');
  const leavers = (exits, sessions) => maths.momentsOf({ ...curve((at) => (at === 41 ? { exits } : {})), sessions }).length;
  assert.deepEqual([leavers(3, 39), leavers(4, 39), leavers(2, 12), leavers(5, 100), leavers(9, 200)], [0, 1, 1, 1, 0]);
});

test('half have left when as many exits are counted, as a naive count says', () => {
  repeatedly(({ integer }) => {
    const steps = Array.from({ length: 40 }, (_, from) => ({ from, to: from + 1, viewers: 9, views: 9, exits: integer(4), skips: 0 }));
    const sessions = steps.reduce((sum, { exits }) => sum + exits, 0) + integer(60);
    if (sessions < 5) return;
    let left = 0;
    const at = steps.findIndex(({ exits }) => (left += exits) * 2 >= sessions);
    const found = maths.momentsOf({ sessions, length: 40, steps }).find(({ kind }) => kind === 'half' || kind === 'finished');
    const expected = at < 0 ? undefined : at + 1 < 38 ? { kind: 'half', at: at + 1 } : { kind: 'finished', at: 40 };
    assert.deepEqual(found, expected);
  });
});

test('bins hold each value once', () => {
  repeatedly(({ real, integer }) => {
    const values = Array.from({ length: 1 + integer(60) }, () => real(10 ** integer(3)));
    const bins = binsOf(values);
    assert.equal(bins.reduce((sum, { count }) => sum + count, 0), values.length);
    assert.ok(bins.length <= 25 && bins[0].from === 0, `${bins.length}`);
    bins.slice(1).forEach((bin, index) => assert.equal(bin.from, bins[index].to));
  });
});

test('a comparison adds a filter, or takes another period or video', () => {
  const state = { body: { identifier: 'intro', timeframe: '30 days', filters: ['is', 'browser', ['safari']] } };
  const compared = { from: 1, to: 2 };
  assert.deepEqual(againstBody('previous', state, compared).body.timeframe, compared);
  assert.deepEqual(againstBody('device=mobile', state, null).body.filters, [['is', 'browser', ['safari']], ['is', 'device', ['mobile']]]);
  assert.deepEqual(againstBody('page=https://a/?b=c', state, null).body.filters.at(-1), ['is', 'page', ['https://a/?b=c']]);
  assert.equal(againstBody('video=a=b', state, null).body.identifier, 'a=b');
  assert.deepEqual([againstBody('all', state, null).body.identifier, againstBody('all', state, null).isOther], [undefined, true]);
  assert.equal(againstBody('password=x', state, null), null);
  assert.deepEqual(selectedValues(state.body, 'browser'), ['safari']);
});

test('only addresses of media are played', () => {
  const base = 'https://stats.example/page';
  const source = (metadata, identifier = 'intro', state = {}) => sourceOf(state, { metadata, identifier }, base);
  assert.equal(source({ source: 'https://cdn.example/a.mp4' }), 'https://cdn.example/a.mp4');
  assert.equal(source(null, 'https://cdn.example/b.webm?x'), 'https://cdn.example/b.webm?x');
  assert.equal(source(null, 'intro', { source: 'page/tide.webm' }), 'https://stats.example/page/tide.webm');
  for (const text of ['javascript:alert(1).mp4', 'https://example.com/watch', 7, 'data:video/mp4,x.mp4']) assert.equal(source({ source: text }), null, text);
  assert.equal(source(null), null);
});
