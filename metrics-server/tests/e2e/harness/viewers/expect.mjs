// The limits of what the server counts for scripts of viewers.

import assert from 'node:assert/strict';
import { LOST_BY_CLIENT } from './named.mjs';
import { hasWrongPlays, meanAbsolute } from './report.mjs';

// For clients that do not report all that they play. Scripts are wilder than people.
const MEAN_SECONDS = 1.5;
const OVER_SECONDS = 5;

/** Every named script within the limit of its client, but for what the client does not report. */
export function expectNamed(id, client, results) {
  const faults = results.filter(({ error, script, ...result }) => {
    const least = LOST_BY_CLIENT[id]?.[script] ?? -client.limitSeconds;
    return error < least || error > client.limitSeconds || hasWrongPlays(result) || result.watching > 0;
  });
  assert.deepEqual(faults.map(line), [], `named viewers with ${client.name}`);
}

/** Random scripts: each within the limit of a client that reports all, else the mean, and no large over-count. */
export function expectRandom(client, results) {
  const faults = results.filter((result) => hasWrongPlays(result) || isOff(client, result));
  assert.deepEqual(faults.map(line), [], `random viewers with ${client.name}`);
  if (!client.isExact) {
    const mean = meanAbsolute(results);
    assert.ok(mean <= MEAN_SECONDS, `${client.name}: a mean error of ${mean.toFixed(2)} s is over ${MEAN_SECONDS} s`);
  }
}

/** What a result says, in a line. */
export function line({ identifier, script, truth, measured, error, plays, wantedPlays, watching, unheard }) {
  const [least, most] = wantedPlays;
  const seconds = `${measured.toFixed(2)} s of ${truth.toFixed(2)} s (${error.toFixed(2)} s)`;
  const notes = [watching > 0 && `${watching} left watching`, unheard && 'left while cut off'].filter(Boolean);
  return [script ?? identifier, seconds, `${plays} plays, right are ${least} to ${most}`, ...notes].join('; ');
}

// A page that goes while it is cut off cannot report its last seconds.
function isOff(client, { error, unheard }) {
  if (!client.isExact) return error > OVER_SECONDS;
  return error > client.limitSeconds || (error < -client.limitSeconds && !unheard);
}
