// How far the counted view time and plays are from the true ones, with our own script and with the clients on npm.
//
// Random seeds 1 to 30 are for tuning the rules of sessions, 31 to 90 for reporting. By hand, METRICS_TEST_SEEDS=31-90
// plays other seeds, METRICS_TEST_CLIENT=m015 one client, and METRICS_TEST_RECORD=DIRECTORY records the messages of each
// client there.

import { CLIENTS } from './harness/viewers/clients.mjs';
import { expectNamed, expectRandom, line } from './harness/viewers/expect.mjs';
import { NAMED_SCRIPTS } from './harness/viewers/named.mjs';
import { playAll } from './harness/viewers/pool.mjs';
import { table } from './harness/viewers/report.mjs';
import { randomScript } from './harness/viewers/script.mjs';
import { Suite } from './harness/suite.mjs';

const SEEDS = '31-34';
// More than three times as long as a script takes where three are played at once.
const SCRIPT_MS_MAX = 30_000;

const { METRICS_TEST_STORE: store = 'sqlite', METRICS_TEST_SEEDS: chosen, METRICS_TEST_CLIENT: client } = process.env;

// The rules of sessions do not depend on the store: one is enough by default. A suite without tests would never close
// its browser.
if (store === 'sqlite' || chosen || client) {
  const suite = new Suite();
  for (const id of client ? [client] : Object.keys(CLIENTS)) measure(suite, id, seeds(chosen ?? SEEDS));
}

function measure(suite, id, seeds) {
  const named = Object.entries(NAMED_SCRIPTS).map(([script, actions]) => {
    return { identifier: `named/${id}-${slug(script)}`, script, actions };
  });
  const random = seeds.map((seed) => {
    return { identifier: `${id}/${String(seed).padStart(3, '0')}`, actions: randomScript(seed) };
  });
  // The long ones first.
  const jobs = [...random, ...named];
  suite.test(`with ${CLIENTS[id].name}, the view time of ${jobs.length} scripts is near what was shown`, async (scene) => {
    const results = await playAll(scene, CLIENTS[id], jobs, (result) => console.log(line(result)));
    const [ofNamed, ofRandom] = [results.filter(({ script }) => script), results.filter(({ script }) => !script)];
    console.log(table(CLIENTS[id], ofRandom));
    // By hand, the machine is idle; with all other tests, it may be busy.
    const isBusy = !chosen && !client;
    expectNamed(id, CLIENTS[id], ofNamed, isBusy);
    expectRandom(CLIENTS[id], ofRandom, isBusy);
  }, jobs.length * SCRIPT_MS_MAX);
}

/** The seeds of `31-90`, or of one number. */
function seeds(text) {
  const [first, last = first] = text.split('-').map(Number);
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function slug(text) {
  return text.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
}
