// Our own client loses no event, and none counts twice. `METRICS_TEST_VIEWINGS=1000` plays more sessions.

import assert from 'node:assert/strict';
import { Loss } from './harness/loss.mjs';
import { Suite } from './harness/suite.mjs';

const { METRICS_TEST_NIGHTLY: nightly, METRICS_TEST_VIEWINGS: viewings } = process.env;
const VIEWINGS = Number(viewings ?? (nightly === '1' ? 192 : 48));
const RESTARTS = Math.ceil(VIEWINGS / 250);
// A second each is more than enough, and a minute for the start.
const TEST_MS = 60_000 + VIEWINGS * 1_000;

const suite = new Suite();

suite.test(`of ${VIEWINGS} viewings, none is lost and none counts twice`, async (scene) => {
  const server = await scene.server();
  // So slow that a cut always loses a message in transit: either the event or its reply.
  const slow = await scene.proxy(server, { delayMs: 150 });
  const blocking = await scene.proxy(server, { refuseWebsockets: true });
  const proxies = [slow, await scene.proxy(server), slow, blocking];
  const loss = new Loss(scene, server, proxies);
  const found = await loss.run(VIEWINGS, RESTARTS);
  console.log(`${found.sessions} sessions, ${found.lost.length} lost, ${found.doubled.length} doubled`);
  const wrong = await Promise.all([...found.lost, ...found.doubled].map(({ identifier }) => loss.evidence(identifier)));
  const message = wrong.length > 0 ? `${JSON.stringify(found, null, 2)}\n${wrong.join('\n\n')}` : undefined;
  assert.deepEqual(found, { sessions: VIEWINGS, lost: [], doubled: [] }, message);
}, TEST_MS);
