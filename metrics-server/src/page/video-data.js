// The requests of the screen of a video, and what their responses mean.

import { curveOf, linePoints } from './charts/maths.js';

const WHOLE = '100 years'; // One bucket for all: wider than any timeframe. If there are two, they are added up.
const STEPS_MAX = 1_000; // Of a curve.
const BUCKETS = 10_000;
const ROWS = 50; // Of pages, devices and so on.
const VIDEOS = 20; // To compare with.
const STARTUP = { steps: [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60], count: 12 }; // Seconds of a bin, and the number of bins before the last.
const MEDIA = /\.(mp4|m4v|webm|ogv|mov|m3u8)$/i;

export const TOTALS = ['plays', 'view_time', 'average_percentage_viewed', 'completion_rate'];
export const QUALITY = ['startup_time_p50', 'startup_time_p95', 'rebuffering_ratio', 'failure_rate', 'exit_before_start_rate'];
export const DIMENSIONS = ['page', 'referrer', 'utm_campaign', 'country', 'device', 'browser', 'platform'];

/** The members of every request of a screen. */
export const membersOf = ({ body }) => ({ minimum_watch_seconds: 1, ...body });

/** Title, length and metadata of a video, or null if the server has none of this identifier. */
export async function askVideo(ask, state, signal) {
  const { identifier, query } = membersOf(state);
  // Whether it exists depends on no timeframe and no filter.
  const { results } = await ask('videos', { identifier, query, timeframe: 'all', metrics: ['sessions'], limit: 1 }, signal);
  return results[0] ?? null;
}

/** `{ values, before, compared }`: `before` are the values of `compared`, the timeframe that the state compares with. */
export async function askTotals(ask, state, signal) {
  const metrics = [...TOTALS, ...QUALITY];
  const { results, meta } = await ask('query', { ...membersOf(state), metrics, compare: state.compare }, signal);
  const [row] = results;
  const byName = (list) => Object.fromEntries(metrics.map((name, index) => [name, list?.[index] ?? null]));
  const before = row?.comparison ? byName(row.comparison.metrics) : null;
  return { values: byName(row?.metrics), before, compared: meta.compared };
}

/** Plays over time, for a time line. */
export async function askPlays(ask, state, signal) {
  const body = { ...membersOf(state), metrics: ['plays'], dimensions: [`time:${state.interval}`], compare: state.compare };
  return linePoints(await ask('query', { ...body, limit: BUCKETS }, signal), state.interval);
}

/** The retention curve: by second, or in steps that make it no longer than STEPS_MAX. */
export async function askCurve(ask, body, duration, signal) {
  const step = Math.max(1, Math.ceil((duration ?? 0) / STEPS_MAX));
  return curveOf(await ask('engagement', { ...body, interval: WHOLE, resolution: step }, signal), { step });
}

/** The curve by percent of the duration, which compares videos of several lengths. */
export async function askPercentCurve(ask, body, signal) {
  return curveOf(await ask('engagement', { ...body, interval: WHOLE, resolution: '100 steps' }, signal), { step: 1 });
}

/** Rows of a dimension: `[{ name, value, before }]`, the most plays first. None if no session has a value, which is a `name`. */
export async function askRows(ask, state, dimension, signal) {
  const body = { ...membersOf(state), metrics: ['plays'], dimensions: [dimension], compare: state.compare, limit: ROWS };
  const { results } = await ask('query', body, signal);
  const rows = results.map(({ dimensions: [name], metrics: [value], comparison }) => ({ name, value, before: comparison?.metrics[0] ?? null }));
  const played = rows.filter(({ value }) => value > 0);
  return played.some(({ name }) => name !== null) ? played : [];
}

/** Other videos with plays: `[{ identifier, title }]`. */
export async function askOthers(ask, state, signal) {
  const { identifier, query, timeframe, timezone } = membersOf(state);
  const { results } = await ask('videos', { query, timeframe, timezone, metrics: ['plays'], limit: VIDEOS + 1 }, signal);
  const isOther = (it) => it.identifier && it.identifier !== identifier && it.metrics[0] > 0;
  return results.filter(isOther).slice(0, VIDEOS).map((it) => ({ identifier: it.identifier, title: it.title ?? it.name }));
}

/** What `against` selects: the body of a request for a curve, and whether it is of another video. */
export function againstBody(against, state, compared) {
  const body = membersOf(state);
  const [, name, value] = /^(\w+)=(.*)$/s.exec(against) ?? [];
  if (against === 'previous') return compared ? { body: { ...body, timeframe: compared } } : null;
  // The typical curve: that of all videos together.
  if (against === 'all') return { body: { ...body, identifier: undefined }, isOther: true };
  if (name === 'video') return { body: { ...body, identifier: value }, isOther: true };
  if (!DIMENSIONS.includes(name)) return null;
  return { body: { ...body, filters: allOf(body.filters, ['is', name, [value]]) } };
}

// `filters` is one filter, or an array of filters.
function allOf(filters, other) {
  if (!filters?.length) return [other];
  return typeof filters[0] === 'string' ? [filters, other] : [...filters, other];
}

/** The values of `name` that a body's filters select. */
export function selectedValues({ filters = [] }, name) {
  const all = typeof filters[0] === 'string' ? [filters] : filters;
  return all.filter(([operator, of]) => operator === 'is' && of === name).flatMap(([, , values]) => values);
}

/** The edges of equal bins of startup times, of which the last but one is beyond the 95th percentile. */
export function startupEdges(p95) {
  const step = STARTUP.steps.find((it) => p95 < it * (STARTUP.count - 1)) ?? STARTUP.steps.at(-1);
  return Array.from({ length: STARTUP.count + 1 }, (_, index) => Number((index * step).toPrecision(12)));
}

/** The startup times of a selection, for a histogram: one request per bin. Empty bins at the end are left out. */
export async function startupBins(ask, body, p95, signal) {
  if (p95 == null) return { bins: [], isOpen: false };
  const edges = startupEdges(p95);
  const bins = await Promise.all(edges.map(async (from, index) => {
    const to = edges[index + 1] ?? from + edges[1];
    const isLast = index === STARTUP.count;
    const within = [['>=', 'startup_time', from], ...(isLast ? [] : [['<', 'startup_time', to]])];
    const filters = within.reduce(allOf, body.filters);
    const { results } = await ask('query', { ...body, filters, metrics: ['sessions'], dimensions: [] }, signal);
    return { from, to, count: results[0]?.metrics[0] ?? 0 };
  }));
  return { bins: bins.slice(0, bins.findLastIndex(({ count }) => count > 0) + 1), isOpen: bins.at(-1).count > 0 };
}

/** The address of a file that a browser may play, or null. */
export function sourceOf(state, video, base) {
  const metadata = video?.metadata ?? {};
  const named = [state.source, metadata.source, metadata.src, metadata.url].find((it) => typeof it === 'string' && it);
  const text = named ?? video?.identifier;
  if (!text) return null;
  try {
    const url = new URL(text, named ? base : undefined);
    const isMedia = named === state.source || MEDIA.test(url.pathname);
    return isMedia && ['http:', 'https:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}
