// The limits of the server's errors for scripts of viewers.

import assert from 'node:assert/strict';
import { UNREPORTED } from './named.mjs';
import { hasWrongPlays, meanAbsolute } from './report.mjs';

// For clients that do not report all playback. Scripts are wilder than people.
const MEAN_SECONDS = 1.5;
const OVER_SECONDS = 5;
// Their additional limit on a busy machine: its pages stall, and these clients take a stall for a jump.
const BUSY_SECONDS = 1.5;

/** Expects every named script within the limit of its client, except for playback that the client does not report. */
export function expectNamed(id, client, results, isBusy) {
  const limitSeconds = client.limitSeconds + busySeconds(client, isBusy);
  const faults = results.filter((result) => {
    const [least, most] = UNREPORTED[id]?.[result.script] ?? [0, 0];
    const [first, last] = [Math.min(least, -limitSeconds), Math.max(most, limitSeconds)];
    return result.error < first || result.error > last || hasWrongPlays(result) || result.watching > 0;
  });
  assert.deepEqual(faults.map(line), [], `named viewers with ${client.name}`);
}

/**
 * Expects each random script within the limit of a client that reports all, else the mean, and no large over-count. Pages
 * that close while they are cut off may count short.
 */
export function expectRandom(client, results, isBusy) {
  const addedSeconds = busySeconds(client, isBusy);
  const faults = results.filter((result) => hasWrongPlays(result) || isOff(client, result, addedSeconds));
  assert.deepEqual(faults.map(line), [], `random viewers with ${client.name}`);
  const mean = meanAbsolute(results.filter(({ unreported }) => !unreported));
  const mostSeconds = MEAN_SECONDS + addedSeconds;
  assert.ok(client.isExact || mean <= mostSeconds, `${client.name}: a mean error of ${mean} s is over ${mostSeconds} s`);
}

/** A result as a line of text. */
export function line({ identifier, script, truth, measured, error, plays, wantedPlays, watching, unreported }) {
  const [least, most] = wantedPlays;
  const seconds = `${measured.toFixed(2)} s of ${truth.toFixed(2)} s (${error.toFixed(2)} s)`;
  const notes = [watching > 0 && `${watching} left watching`, unreported && 'left while cut off'].filter(Boolean);
  return [script ?? identifier, seconds, `${plays} plays, right are ${least} to ${most}`, ...notes].join('; ');
}

function isOff(client, { error, unreported }, addedSeconds) {
  if (!client.isExact) return error > OVER_SECONDS + addedSeconds;
  return error > client.limitSeconds || (error < -client.limitSeconds && !unreported);
}

function busySeconds(client, isBusy) {
  return isBusy && !client.isExact ? BUSY_SECONDS : 0;
}
