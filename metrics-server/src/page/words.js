// Formats numbers for people.

const NUMBER = new Intl.NumberFormat('en');
const SHORT = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export const number = (value) => NUMBER.format(value);

/** Few digits, for axes. */
export const short = (value) => (value < 10_000 ? number(value) : SHORT.format(value));

export const count = (value, one, many = `${one}s`) => `${number(value)} ${value === 1 ? one : many}`;

/** A position: `1:05`. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (value) => String(value).padStart(2, '0');
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** A length of time: `8.2 s`, `12 min`. */
export function span(seconds) {
  if (seconds === 0) return '0 s';
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 360_000) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${short(Math.round(seconds / 3600))} h`;
}

const NAMES = { chrome: 'Chrome', edge: 'Edge', firefox: 'Firefox', safari: 'Safari', opera: 'Opera', brave: 'Brave', ie: 'Internet Explorer', ios: 'iOS', mac: 'macOS' };

export const nameOf = (name) => NAMES[name] ?? name[0].toUpperCase() + name.slice(1);

const DAY = { day: 'numeric', month: 'short' };
const FORMATS = {
  hour: { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  day: { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  week: { weekday: 'short', ...DAY },
  month: DAY,
  year: { month: 'short', year: 'numeric' },
};

/** The name of a bucket in a timeframe. */
export const bucketName = (start, last) => new Intl.DateTimeFormat('en-GB', FORMATS[last]).format(start);
