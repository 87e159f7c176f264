// Plays many scripts, several at once.

import { Viewer } from './runner.mjs';

// As many as a machine with two processors plays without a wait.
const AT_ONCE = 3;

/** The results of `jobs`, each {identifier, actions} and the name of the script, if it has one. `tell` receives each. */
export async function playAll(scene, client, jobs, tell) {
  const [left, results] = [[...jobs], []];
  const workers = Array.from({ length: Math.min(AT_ONCE, jobs.length) }, async () => {
    const viewer = await Viewer.start(scene);
    for (let job = left.shift(); job; job = left.shift()) {
      const result = await viewer.view(client, job.identifier, job.actions);
      results.push({ ...result, script: job.script });
      tell(results.at(-1));
    }
  });
  await Promise.all(workers);
  return results;
}
