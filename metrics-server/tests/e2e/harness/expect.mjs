// Expectations of the JSON API's responses.

import assert from 'node:assert/strict';

/** `actual` within `tolerance` of `expected`. */
export function near(actual, expected, tolerance, what) {
  const message = `${what}: ${actual}, expected ${expected.toFixed(3)} +- ${tolerance}`;
  assert.ok(Math.abs(actual - expected) <= tolerance, message);
}

/** The only row of `/plays` for the selection, which counts one play. */
export async function onePlay(server, selection) {
  const { views } = await server.request('plays', selection);
  assert.deepEqual(views.map((row) => row.views), [1], `plays of ${JSON.stringify(selection)}`);
  return views[0];
}

/** `/engagement` per second, as a map from the second to `{views, viewers}`. */
export async function perSecond(server, selection) {
  const { engagement } = await server.request('engagement', { ...selection, interval: '1 day' });
  assert.equal(engagement.length, 1, 'one bucket of engagement');
  return new Map(engagement[0].per_second.map(({ second, views, viewers }) => [second, { views, viewers }]));
}

export async function watching(server, selection) {
  return (await server.request('watching', selection)).watching;
}

/** The classes of `row[field]` that count at least one play, with their counts. */
export function counted(row, field) {
  return Object.fromEntries(Object.entries(row[field]).filter(([, count]) => count > 0));
}
