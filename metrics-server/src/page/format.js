// Numbers, dates and lengths of time as texts, in the language of the page.

/** Formats for a locale; `units` names the units of time. */
export function formats(locale, units) {
  const plain = new Intl.NumberFormat(locale);
  const compact = new Intl.NumberFormat(locale, { notation: 'compact', maximumFractionDigits: 1 });
  const percent = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 });
  const whole = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 0 });
  const one = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  const two = new Intl.NumberFormat(locale, { maximumFractionDigits: 2 });
  const date = (options) => new Intl.DateTimeFormat(locale, options);
  const day = date({ day: 'numeric', month: 'short', year: 'numeric' });
  const moment = date({ dateStyle: 'medium', timeStyle: 'short' });
  const time = date({ hour: '2-digit', minute: '2-digit' });

  const count = (value) => (Math.abs(value) < 100_000 ? plain.format(value) : compact.format(value));
  // Two units at most: `3 h 12 min`.
  const length = (seconds) => {
    if (seconds < 0.0005) return `0 ${units.s}`;
    if (seconds < 59.5) return `${one.format(seconds < 10 ? seconds : Math.round(seconds))} ${units.s}`;
    const [h, m, s] = parts(seconds);
    if (h === 0) return s ? `${m} ${units.min} ${s} ${units.s}` : `${m} ${units.min}`;
    if (h < 100) return m ? `${h} ${units.h} ${m} ${units.min}` : `${h} ${units.h}`;
    return `${count(Math.round(seconds / 3600))} ${units.h}`;
  };
  // For startup times and the like, which need fractions of a second.
  const brief = (seconds) => (seconds < 9.995 ? `${two.format(seconds)} ${units.s}` : length(seconds));
  const share = (value) => (value !== 0 && Math.abs(value) < 0.1 ? percent : whole).format(value);
  const change = (value) => `${['−', '±', '+'][directionOf(value) + 1]}${(Math.abs(value) < 0.1 ? percent : whole).format(Math.abs(value))}`;
  return { count, length, brief, share, change, decimal: one.format, plain: plain.format, day: day.format, dayRange: (from, to) => day.formatRange(from, to), moment: moment.format, time: time.format };
}

/** Whether a relative change is up (1), down (-1), or none that shows (0). */
export const directionOf = (change) => (Math.abs(change) < 0.0005 ? 0 : Math.sign(change));

/** Formats the difference of two shares in points: a percentage of a percentage misleads. */
export function pointsOf(locale) {
  const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 1, signDisplay: 'never' });
  return (value) => `${['−', '±', '+'][directionOf(value) + 1]}${number.format(value * 100)}`;
}

/** A position in a video: `1:05`. */
export function clock(seconds) {
  const two = (value) => String(value).padStart(2, '0');
  const [h, m, s] = parts(Math.floor(seconds));
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

function parts(seconds) {
  const whole = Math.round(seconds);
  return [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
}
