// Periods: from a name in the address to instants, in the time zone of the viewer. Pure: `now` is an argument.
//
// A period and the one it is compared with have equally many whole days, and both end at the same time of day. So a day
// that has only begun is compared with the same part of an earlier day.

/** The named periods, in the order of the menu. */
export const PERIODS = ['today', 'yesterday', '7d', '30d', '90d', 'this-month', 'last-month', 'this-year', '12m', 'all'];

const DATES = /^(\d{4}-\d{2}-\d{2})\.\.(\d{4}-\d{2}-\d{2})$/;
const DAY_MS = 86_400_000;

// Beyond these numbers of days, wider buckets.
const HOURS_MAX = 2;
const DAYS_MAX = 92;
const WEEKS_MAX = 400;

export const isPeriod = (text) => PERIODS.includes(text) || rangeOf(text) !== null;

/** The two dates of a period that is none of the named ones; else null. */
export function rangeOf(text) {
  const found = DATES.exec(text);
  if (!found) return null;
  const [from, to] = [found[1], found[2]].map(dateOf);
  return from && to && from <= to ? [from, to] : null;
}

/** The name of a period of dates; reversed dates are put in order. */
export const periodOf = (from, to) => (from <= to ? `${from}..${to}` : `${to}..${from}`);

/** A date as a text like `2026-02-28`, in the time zone of the viewer. */
export function isoOf(date) {
  const two = (number) => String(number).padStart(2, '0');
  return `${String(date.getFullYear()).padStart(4, '0')}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/**
 * A period as `{ from, to, compared, bucket, isPartial }`: `compared` are the ends of the period to compare with, or
 * null, and `isPartial` says that the last bucket has not ended. For `all`, `from` is null.
 */
export function resolve(period, compare, now) {
  const { from, to, shift, bucket } = ends(period, now);
  const back = distanceOf(compare, shift);
  const isCompared = compare !== 'none' && from !== null;
  return {
    from,
    to,
    bucket,
    isPartial: to.getTime() === now.getTime(),
    compared: isCompared ? { from: shifted(from, back), to: shifted(to, back) } : null,
  };
}

const distanceOf = (compare, shift) => (compare === 'year' ? { months: 12 } : shift);

/** The members `timeframe` and `compare` of a query. */
export function asked({ from, to, compared }) {
  const frame = (ends) => ({ from: ends.from.toISOString(), to: ends.to.toISOString() });
  return { timeframe: from ? frame({ from, to }) : 'all', ...(compared ? { compare: frame(compared) } : {}) };
}

function ends(period, now) {
  const day = (days) => new Date(now.getFullYear(), now.getMonth(), now.getDate() + days);
  const month = (months) => new Date(now.getFullYear(), now.getMonth() + months, 1);
  const before = (date) => new Date(date.getTime() - 1);
  switch (period) {
    case 'today': return { from: day(0), to: now, shift: { days: 1 }, bucket: 'hour' };
    case 'yesterday': return { from: day(-1), to: before(day(0)), shift: { days: 1 }, bucket: 'hour' };
    case '7d': return { from: day(-6), to: now, shift: { days: 7 }, bucket: 'day' };
    case '30d': return { from: day(-29), to: now, shift: { days: 30 }, bucket: 'day' };
    case '90d': return { from: day(-89), to: now, shift: { days: 90 }, bucket: 'day' };
    case 'this-month': return { from: month(0), to: now, shift: { months: 1 }, bucket: 'day' };
    case 'last-month': return { from: month(-1), to: before(month(0)), shift: { months: 1 }, bucket: 'day' };
    case 'this-year': return { from: new Date(now.getFullYear(), 0, 1), to: now, shift: { months: 12 }, bucket: 'month' };
    case '12m': return { from: month(-11), to: now, shift: { months: 12 }, bucket: 'month' };
    case 'all': return { from: null, to: now, shift: null, bucket: 'month' };
  }
  const [from, last] = rangeOf(period);
  const end = before(new Date(last.getFullYear(), last.getMonth(), last.getDate() + 1));
  const days = Math.round((last - from) / DAY_MS) + 1;
  const bucket = days <= HOURS_MAX ? 'hour' : days <= DAYS_MAX ? 'day' : days <= WEEKS_MAX ? 'week' : 'month';
  return { from, to: end < now || now < from ? end : now, shift: { days }, bucket };
}

// Earlier by whole days or months of the calendar; a day that the month lacks is its last.
function shifted(date, { days = 0, months = 0 }) {
  const moved = new Date(date);
  if (days) moved.setDate(moved.getDate() - days);
  if (!months) return moved;
  // The last moment of a month is compared with the last moment of another.
  const isLast = new Date(date.getTime() + 1).getDate() === 1 && date.getDate() !== 1;
  moved.setDate(1);
  moved.setMonth(moved.getMonth() - months);
  const length = new Date(moved.getFullYear(), moved.getMonth() + 1, 0).getDate();
  moved.setDate(isLast ? length : Math.min(date.getDate(), length));
  return moved;
}

function dateOf(text) {
  const [year, month, day] = text.split('-').map(Number);
  const date = new Date(year, month - 1, day);
  date.setFullYear(year);
  return date.getMonth() === month - 1 && date.getDate() === day && year >= 1970 ? date : null;
}
