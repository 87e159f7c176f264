// The page's requests, to the public API.

/** The server's URL. The page's own URL may lack the final slash. */
export const ROOT = new URL('../', import.meta.url);

const MINUTE_MS = 60_000;
const ANSWER_MS_MAX = 30_000; // The server's own timeout of a report.

// Whole buckets, including the current one.
export const TIMEFRAMES = {
  hour: { interval: '5 minutes', start: (now) => new Date(Math.floor(now / (5 * MINUTE_MS)) * 5 * MINUTE_MS - 55 * MINUTE_MS) },
  day: { interval: '1 hour', start: (now) => new Date(now.getFullYear(), now.getMonth(), now.getDate(), now.getHours() - 23) },
  week: { interval: '1 day', start: (now) => new Date(now.getFullYear(), now.getMonth(), now.getDate() - 6) },
  month: { interval: '1 day', start: (now) => new Date(now.getFullYear(), now.getMonth(), now.getDate() - 29) },
  year: { interval: '1 month', start: (now) => new Date(now.getFullYear(), now.getMonth() - 11) },
};

// One bucket for all: wider than any timeframe. If there are two, they are added up.
const WHOLE = '100 years';

let timezone = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Plays, view time and classes of every bucket, also empty ones. */
export async function askPlays(choice, signal) {
  const { interval, ...narrowed } = narrow(choice);
  const request = () => post('plays', { ...narrowed, interval, fill: true, timezone }, signal);
  const { views } = await request().catch((error) => {
    // The server may not know a new zone.
    if (error.cause !== 'unknown_timezone') throw error;
    timezone = undefined;
    return request();
  });
  return views.map((bucket) => ({ ...bucket, start: dateOf(bucket.interval) }));
}

/** `{second, views, viewers}` of all watched seconds, in order. */
export async function askEngagement(choice, signal) {
  const { engagement } = await post('engagement', { ...narrow(choice), interval: WHOLE }, signal);
  const seconds = new Map();
  for (const { second, views, viewers } of engagement.flatMap((bucket) => bucket.per_second)) {
    const sum = seconds.get(second) ?? { second, views: 0, viewers: 0 };
    seconds.set(second, { second, views: sum.views + views, viewers: sum.viewers + viewers });
  }
  return [...seconds.values()].sort((a, b) => a.second - b.second);
}

/** `[page, plays]`, the largest first. */
export async function askSources(choice, signal) {
  const { sources } = await post('sources', { ...narrow(choice), interval: WHOLE }, signal);
  const sums = new Map();
  for (const { path, views } of sources) {
    const page = path.replace(/^https?:\/\//, '');
    sums.set(page, (sums.get(page) ?? 0) + views);
  }
  return [...sums].sort((a, b) => b[1] - a[1]);
}

export async function askWatching({ identifier, key }, signal) {
  const { watching } = await post('watching', { identifier, ...selectKey(key) }, signal);
  return watching;
}

function narrow({ identifier, key, last }) {
  const { interval, start } = TIMEFRAMES[last];
  return { identifier, ...selectKey(key), interval, timeframe: start(new Date()).toISOString() };
}

const selectKey = (key) => (key ? { query: { key } } : {});

// Without a time zone the API returns UTC without a suffix.
const dateOf = (text) => new Date(/(Z|[+-]\d\d:\d\d)$/.test(text) ? text : `${text}Z`);

async function post(report, body, signal) {
  const response = await fetch(new URL(`api/v1/${report}`, ROOT), {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS_MAX)]),
  }).catch((error) => {
    if (signal.aborted) throw error;
    throw new Error('The server does not answer.');
  });
  if (response.status === 401) throw new Error('Authentication required: reload the page.');
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(`Server: ${answer.error ?? response.status}.`, { cause: answer.code });
  return answer;
}
