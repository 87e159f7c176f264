// How a value of a dimension compares with all sessions together: pure.

const SESSIONS_MIN = 20; // Fewer prove nothing.
const RATIO = 1.25; // The least ratio to the overall value.
const LEAST = { share: 0.005, brief: 0.1 }; // The least difference that a viewer notices.
const DEVIATIONS = 2; // Beyond these, a share differs by more than chance.

/** What the difference to the overall value amounts to over all sessions of a row; null if a value is missing. */
export const impactOf = (value, overall, sessions) => (value == null || overall == null ? null : (value - overall) * sessions);

/** Whether a value, of which less is better, is clearly worse than the overall one. */
export function isWorse(unit, value, overall, sessions) {
  if (value == null || overall == null || sessions < SESSIONS_MIN) return false;
  const difference = value - overall;
  if (value < overall * RATIO || difference < LEAST[unit]) return false;
  return unit !== 'share' || difference > DEVIATIONS * Math.sqrt((Math.max(0, overall * (1 - overall))) / sessions);
}

/** Rows in the order of a value. Rows without one come last in both directions. */
export function sorted(rows, valueOf, isDown) {
  const order = (a, b) => (typeof a === 'string' ? a.localeCompare(b) : a - b);
  const [known, unknown] = [rows.filter((row) => valueOf(row) != null), rows.filter((row) => valueOf(row) == null)];
  return [...known.sort((a, b) => order(valueOf(a), valueOf(b)) * (isDown ? -1 : 1)), ...unknown];
}
