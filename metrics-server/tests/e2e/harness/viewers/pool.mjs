// Plays many scripts, several at once, and records them.

import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Viewer } from './runner.mjs';

// The number that a machine with two processors plays without a stall.
const AT_ONCE = 4;
// The longest time without a frame: beyond it the truth is not known, and 0.1.5 takes the stall for a seek.
const STALL_MS_MAX = 150;
const ATTEMPTS_MAX = 3;

/** The results of `jobs`, each {identifier, actions} and the name of the script, if it has one. `report` receives each. */
export async function playAll(scene, client, jobs, report) {
  const [left, results] = [[...jobs], []];
  const workers = Array.from({ length: Math.min(AT_ONCE, jobs.length) }, async () => {
    const viewer = await Viewer.start(scene);
    for (let job = left.shift(); job; job = left.shift()) {
      const result = await play(viewer, client, job);
      results.push(result);
      report(result);
    }
  });
  await Promise.all(workers);
  return results;
}

/** Plays a script, and again if its page stalled: a stall is a fault of the machine. */
async function play(viewer, client, { identifier, script, actions }) {
  for (let attempt = 1; ; attempt++) {
    const { recording, ...result } = await viewer.view(client, `${identifier}/${attempt}`, actions);
    if (result.stall > STALL_MS_MAX && attempt < ATTEMPTS_MAX) continue;
    await record(identifier, { ...result, ...recording });
    return { ...result, identifier, script };
  }
}

/** Writes into the directory METRICS_TEST_RECORD, if it is set. */
async function record(identifier, recording) {
  const directory = process.env.METRICS_TEST_RECORD;
  if (!directory) return;
  const path = join(directory, `${identifier}.json`);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, JSON.stringify(recording, null, 1));
}
