// The question of the list of videos, which its table and its file share.

// The columns with numbers: metric and unit.
const COLUMNS = [
  ['plays', 'count'],
  ['view_time', 'seconds'],
  ['average_percentage_viewed', 'share'],
  ['completion_rate', 'share'],
];

/** The columns that the server has, as `[metric, unit]`. */
export const columnsOf = (metrics) => COLUMNS.filter(([metric]) => metrics.has(metric));

/** The order of an address, as `{ by, isDown }`: by a column, or by `video`. */
export function orderOf({ sort }, columns) {
  const by = sort.replace('-', '');
  const isKnown = by === 'video' || columns.some(([metric]) => metric === by);
  return isKnown ? { by, isDown: sort.startsWith('-') } : { by: columns[0]?.[0] ?? 'video', isDown: true };
}

/** The members of a request for the videos of a view: metrics, order and search. */
export function questionOf(state, columns) {
  const { by, isDown } = orderOf(state, columns);
  const search = state.search.trim();
  return { metrics: columns.map(([metric]) => metric), order_by: [[by, isDown ? 'desc' : 'asc']], ...(search ? { search } : {}) };
}
