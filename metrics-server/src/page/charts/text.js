// Numbers and times as text, by locale.

const cache = new Map();

function cached(kind, locale, options) {
  const key = kind.name + locale + JSON.stringify(options);
  if (!cache.has(key)) cache.set(key, new kind(locale, options));
  return cache.get(key);
}

/** Fills the names in braces of a text. */
export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');

export const numberText = (value, locale, options = {}) => cached(Intl.NumberFormat, locale, options).format(value);

/** A position in a video: `1:05`. */
export function clockText(seconds) {
  const whole = Math.floor(seconds + 1e-6);
  const two = (value) => String(value).padStart(2, '0');
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** A length of time with at most two units: `12 min 5 s`. */
export function spanText(seconds, locale) {
  if (seconds < 59.5) return `${numberText(seconds, locale, { maximumFractionDigits: seconds < 10 ? 1 : 0 })} s`;
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (h === 0) return s ? `${m} min ${s} s` : `${m} min`;
  if (h < 100) return m ? `${h} h ${m} min` : `${h} h`;
  return `${numberText(h, locale, h < 100_000 ? {} : { notation: 'compact', maximumFractionDigits: 1 })} h`;
}

/** The function that formats values of a unit; with `isShort` for an axis. */
export function formatOf({ unit = 'count', locale, format }, isShort = false) {
  if (format && !isShort) return format;
  if (unit === 'share') return (value) => numberText(value, locale, { style: 'percent', maximumFractionDigits: isShort || value >= 0.1 ? 0 : 1 });
  if (unit === 'seconds') return (value) => spanText(value, locale);
  if (!isShort) return (value) => numberText(value, locale, { maximumFractionDigits: value < 100 ? 1 : 0 });
  return (value) => numberText(value, locale, value < 10_000 ? {} : { notation: 'compact', maximumFractionDigits: 1 });
}

const TIME = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
const DAY = { day: 'numeric', month: 'short' };
const NAMES = {
  minute: { ...DAY, ...TIME },
  hour: { weekday: 'short', ...DAY, ...TIME },
  day: { weekday: 'short', ...DAY },
  week: DAY,
  month: { month: 'long', year: 'numeric' },
  year: { year: 'numeric' },
};

/** The full name of a bucket. */
export function bucketText(start, { bucket, locale, timezone }) {
  return cached(Intl.DateTimeFormat, locale, { ...(NAMES[bucket] ?? DAY), timeZone: timezone }).format(start);
}

/** The name of a bucket below an axis: a day where hours begin anew, a year where months do. */
export function axisText(start, parts, { bucket, locale, timezone }) {
  const isMidnight = parts.hour === 0 && parts.minute === 0;
  const isTime = (bucket === 'minute' || bucket === 'hour') && !isMidnight;
  const isYear = bucket === 'year' || (bucket === 'month' && parts.month === 1);
  const options = isTime ? TIME : isYear ? { year: 'numeric' } : bucket === 'month' ? { month: 'short' } : DAY;
  return cached(Intl.DateTimeFormat, locale, { ...options, timeZone: timezone }).format(start);
}

/** The local date parts of a time, as numbers. */
export function partsOf(start, timezone) {
  const options = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', hourCycle: 'h23', timeZone: timezone };
  const parts = cached(Intl.DateTimeFormat, 'en-u-ca-gregory-nu-latn', options).formatToParts(start);
  return Object.fromEntries(parts.filter(({ type }) => type !== 'literal').map(({ type, value }) => [type, Number(value)]));
}
