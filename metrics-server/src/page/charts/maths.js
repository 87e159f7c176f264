// Scales, labels and the moments of a curve: pure functions without a document.

const DAY_MS = 86_400_000;
const STEPS = {
  share: [0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1],
  seconds: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400],
};
const SESSIONS_MIN = 5; // Fewer have no moments.
const SHARE_MIN = 0.05; // Of the sessions, for a moment.
const MOST_MIN = 5; // Fewer must be a larger share.
const PROMINENCE = 1.5; // The least ratio of a moment to the mean.
const END = 0.95; // Of the duration: a session that gets there is complete.

export const clamp = (value, least, most) => Math.min(Math.max(value, least), most);

/** 0 and some evenly spaced values, the last at least `most`. Steps of `count` are integers. */
export function ticksTo(most, { unit = 'count', room = 4 } = {}) {
  const rough = Math.max(most, unit === 'count' ? 1 : 1e-9) / room;
  const isShort = unit === 'seconds' && rough < 0.5;
  const step = (!isShort && unit in STEPS && STEPS[unit].find((it) => rough <= it)) || decimalStep(isShort ? Math.max(0.1, rough) : rough, unit === 'count');
  const count = Math.max(1, Math.ceil(most / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, index) => Number((index * step).toPrecision(12)));
}

function decimalStep(rough, isInteger) {
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((it) => it * power).find((it) => rough <= it * (1 + 1e-9)) ?? 10 * power;
  return isInteger ? Math.max(1, Math.round(step)) : step;
}

/** The positions on a clock that get a mark, about `room` of them, from 0 to `duration`. */
export function clockTicks(duration, room) {
  const most = Math.max(1, room);
  const step = STEPS.seconds.find((it) => duration / it <= most) ?? Math.ceil(duration / most / 86_400) * 86_400;
  return Array.from({ length: Math.floor(duration / step) + 1 }, (_, index) => index * step);
}

/**
 * The first of `sets` whose labels fit between `from` and `to` with `gap` between them; else of the last set the labels
 * that fit. A label is `{ at, width }`, and gets the `x` of its left end. A label at an end is moved inwards.
 */
export function placeLabels(sets, from, to, gap) {
  const place = (label) => ({ ...label, x: clamp(label.at - label.width / 2, from, Math.max(from, to - label.width)) });
  for (const set of sets) {
    const placed = set.map(place);
    const isFree = (label, index) => index === 0 || placed[index - 1].x + placed[index - 1].width + gap <= label.x;
    if (placed.length > 1 && placed.every(isFree) && placed.at(-1).x + placed.at(-1).width <= to + 0.5) return placed;
  }
  const kept = [];
  for (const label of (sets.at(-1) ?? []).map(place)) {
    const before = kept.at(-1);
    if (!before || before.x + before.width + gap <= label.x) kept.push(label);
  }
  return kept;
}

/** Moves the `y` of labels apart, to at least `gap`, within `from` and `to`. Keeps their order. */
export function spreadApart(ys, gap, from, to) {
  const order = ys.map((_, index) => index).sort((a, b) => ys[a] - ys[b]);
  const placed = [...ys];
  order.forEach((index, rank) => {
    const least = rank === 0 ? from : placed[order[rank - 1]] + gap;
    placed[index] = Math.max(placed[index], least);
  });
  let most = to;
  for (const index of order.reverse()) {
    placed[index] = Math.min(placed[index], most);
    most = placed[index] - gap;
  }
  return placed;
}

// Whether a bucket of these local date parts gets a label, in growing distances.
const dayNumber = ({ year, month, day }) => Math.floor(Date.UTC(year, month - 1, day) / DAY_MS);
// 1970-01-05 was a Monday.
const isMonday = (it, weeks = 1) => (dayNumber(it) - 4) % (7 * weeks) === 0;
const minutes = (step) => (it) => (it.hour * 60 + it.minute) % step === 0;
const days = (step) => (it) => minutes(1440)(it) && dayNumber(it) % step === 0;
const monday = (weeks) => (it) => minutes(1440)(it) && isMonday(it, weeks);
const months = (step) => (it) => it.day === 1 && minutes(1440)(it) && (it.month - 1) % step === 0;
const years = (step) => (it) => months(12)(it) && it.year % step === 0;
const DATES = [days(1), days(2), monday(1), monday(2), months(1), months(3), ...[1, 2, 5, 10, 20, 50].map(years)];
const RULES = {
  minute: [...[1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map(minutes), ...DATES],
  hour: [...[60, 120, 180, 360, 720].map(minutes), ...DATES],
  day: DATES,
  month: [1, 2, 3, 6].map(months).concat([1, 2, 5, 10, 20, 50].map(years)),
  year: [1, 2, 5, 10, 20, 50, 100].map(years),
};

/** Sets of indices of buckets, from the densest on, that fall on round times. `parts` are local date parts. */
export function roundTimes(parts, bucket) {
  const all = parts.map((_, index) => index);
  const sets = RULES[bucket]
    ? RULES[bucket].map((isRound) => all.filter((index) => isRound(parts[index])))
    : [1, 2, 4, 8, 13, 26].map((step) => all.filter((index) => index % step === 0));
  return [...sets.filter((set) => set.length > 1), [...new Set([0, parts.length - 1])]];
}

/** The unit of an interval: `day` of `7 days`. */
export const unitOf = (interval) => /(minute|hour|day|week|month|year)/.exec(interval)?.[1] ?? 'day';

const LENGTHS_MS = { minute: 6e4, hour: 36e5, day: 864e5, week: 6048e5 };

// When the bucket that begins at `start` ends, or an hour before: local days and months may be that much shorter.
function endOf(start, interval) {
  const unit = unitOf(interval);
  const count = parseInt(interval) || 1;
  // Half a day later, a month has begun in UTC too, wherever it begins.
  const next = new Date(start.getTime() + 504e5 + count * (LENGTHS_MS[unit] ?? 0));
  next.setUTCMonth(next.getUTCMonth() + count * ({ month: 1, year: 12 }[unit] ?? 0));
  return next - (LENGTHS_MS[unit] < 4e6 ? 504e5 : 54e6);
}

/** The time of a text of the API: without a time zone in UTC, without a suffix. */
export const dateOf = (text) => new Date(/(Z|[+-]\d\d:\d\d)$/.test(text) ? text : `${text}Z`);

/** The data of a time line: the metric number `index` of a response of `/query` whose only dimension is time. */
export function linePoints({ results, meta }, interval, { index = 0, now = Date.now() } = {}) {
  const starts = results.map(({ dimensions: [text] }) => dateOf(text));
  const points = results.map((row, at) => ({ start: starts[at], value: row.metrics[index] }));
  return { points, previous: meta.compared ? previousPoints(results, index) : [], isPartial: starts.length > 0 && now < endOf(starts.at(-1), interval) };
}

/** The points of the compared period, each at its own time, in the order of those that they are compared with, or empty. */
export function previousPoints(results, index) {
  return results.map(({ comparison }) => {
    const text = comparison?.dimensions?.[0];
    return text ? { start: dateOf(text), value: comparison.metrics[index] } : {};
  });
}

/** The curve of a response of `/engagement` with `interval`; its buckets are added up. `step` is its resolution. */
export function curveOf({ engagement }, { step = 1 } = {}) {
  const isPercent = engagement.some((bucket) => bucket.per_step);
  const places = new Map();
  const curve = { isPercent, duration: null, sessions: 0, averagePercentageViewed: null, steps: [] };
  let viewed = 0;
  for (const bucket of engagement) {
    curve.sessions += bucket.sessions;
    curve.duration = Math.max(curve.duration ?? 0, bucket.duration ?? 0) || null;
    viewed += (bucket.average_percentage_viewed ?? 0) * bucket.sessions;
    for (const it of bucket.per_step ?? bucket.per_second) {
      const from = it.percent ?? it.second;
      const sum = places.get(from) ?? { from, to: from, viewers: 0, views: 0, exits: 0, skips: 0 };
      for (const member of ['viewers', 'views', 'exits', 'skips']) sum[member] += it[member] ?? 0;
      places.set(from, sum);
    }
  }
  if (curve.sessions > 0) curve.averagePercentageViewed = viewed / curve.sessions;
  const last = Math.max(0, ...places.keys());
  curve.length = isPercent ? 100 : (curve.duration ?? (places.size > 0 ? last + step : 0));
  // A fragment at the end is no step of its own: players stop a frame before it. Its exits are those of the last step.
  const count = Math.max(places.size > 0 ? 1 : 0, Math.round(curve.length / step - 1e-9));
  const none = { viewers: 0, views: 0, exits: 0, skips: 0 };
  curve.steps = Array.from({ length: count }, (_, index) => {
    const from = Number((index * step).toPrecision(12));
    return { ...(places.get(from) ?? none), from, to: index === count - 1 ? curve.length : from + step };
  });
  const end = curve.steps.at(-1);
  for (const [from, it] of places) {
    if (!end || from <= end.from) continue;
    end.exits += it.exits;
    end.skips += it.skips;
  }
  return curve;
}

/** Joins the steps of a curve to at most `most`: means of viewers and views, sums of exits and skips. */
export function condense(steps, most) {
  const per = Math.ceil(steps.length / Math.max(1, most));
  if (per <= 1) return steps;
  return Array.from({ length: Math.ceil(steps.length / per) }, (_, index) => {
    const group = steps.slice(index * per, (index + 1) * per);
    const [from, to] = [group[0].from, group.at(-1).to];
    const mean = (member) => group.reduce((sum, it) => sum + it[member] * (it.to - it.from), 0) / (to - from);
    const sum = (member) => group.reduce((sum, it) => sum + it[member], 0);
    return { from, to, viewers: mean('viewers'), views: mean('views'), exits: sum('exits'), skips: sum('skips') };
  });
}

/**
 * What is remarkable about a curve, by position: `{ kind, at }`. `half`: half of the sessions have ended; `finished`: half
 * reach the end; `replayed`, `left`, `skipped`: where most do so, if they are many and stand out.
 */
export function momentsOf({ steps, sessions, length }) {
  if (sessions < SESSIONS_MIN || steps.length < 2) return [];
  const found = [];
  let ended = 0;
  const half = steps.find((it) => sessions / 2 <= (ended += it.exits));
  if (half) found.push(half.to < length * END ? { kind: 'half', at: half.to } : { kind: 'finished', at: length });
  const most = (value, within) => {
    const inside = steps.filter(within);
    const best = inside.reduce((best, it) => (value(it) > value(best) ? it : best), inside[0]);
    if (!best) return null;
    const mean = inside.reduce((sum, it) => sum + value(it), 0) / inside.length;
    return value(best) >= Math.max(2, Math.min(MOST_MIN, 2 * SHARE_MIN * sessions), SHARE_MIN * sessions) && value(best) >= mean * PROMINENCE ? best : null;
  };
  const isBeforeEnd = (it) => it.to < length * END;
  const peaks = {
    replayed: most((it) => it.views - it.viewers, () => true),
    left: most((it) => it.exits, isBeforeEnd),
    skipped: most((it) => it.skips, isBeforeEnd),
  };
  for (const [kind, step] of Object.entries(peaks)) if (step) found.push({ kind, at: step.from });
  return found.sort((a, b) => a.at - b.at);
}
