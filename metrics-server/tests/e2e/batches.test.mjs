// @maveio/data 0.1.1, which posts batches of events across origins, in a real page.

import assert from 'node:assert/strict';
import { batchPage } from './harness/clients.mjs';
import { eventually } from './harness/eventually.mjs';
import { counted, near, onePlay, perSecond } from './harness/expect.mjs';
import { Player, length } from './harness/player.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';

// The client reports the start after a seek 0.2 s late.
const TOLERANCE_SECONDS = 0.7;

const suite = new Suite();
const selection = { identifier: 'intro' };

suite.test('batches posted with a key in the address are one play', async (scene) => {
  const server = await scene.server();
  const endpoint = `${server.url}/v1/events?key=${encodeURIComponent(EXAMPLE_KEY)}`;
  await expectOnePlay(scene, server, endpoint);
});

suite.test('batches posted without a key count under the default key', async (scene) => {
  const server = await scene.server({ METRICS_DEFAULT_KEY: EXAMPLE_KEY });
  await expectOnePlay(scene, server, `${server.url}/v1/events`);
});

suite.test('batches posted without a key are refused where no default is set', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', batchPage(`${server.url}/v1/events`, 'intro'));
  // The response is readable across origins: the page must be able to tell a refusal from an outage.
  const refused = page.waitForResponse((response) => response.request().method() === 'POST');
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(1.5);
  await player.pause();

  const response = await refused;
  assert.equal(response.status(), 401);
  assert.ok(['*', scene.site.origin].includes(response.headers()['access-control-allow-origin']));
  assert.deepEqual((await server.request('plays', selection)).views, []);
});

async function expectOnePlay(scene, server, endpoint) {
  const page = await scene.visit('/lesson?secret=of-the-visitor#chapter', batchPage(endpoint, 'intro'));
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(1.5);
  await player.pause();
  await player.play();
  await player.reach(2.5);
  await player.seek(20);
  await player.reach(22.5);
  const shown = await player.shown();
  // The client sends its last pause in a beacon. Browsers send beacons with credentials, and so refuse
  // the wildcard in the preflight's answer: it must name the page's origin and allow credentials.
  await page.close();

  assert.equal(shown.length, 3, `the player showed ${JSON.stringify(shown)}`);
  const play = await eventually(async () => {
    const row = await onePlay(server, selection);
    near(row.total_view_time, length(shown), TOLERANCE_SECONDS, 'view time');
    return row;
  });
  assert.deepEqual(counted(play, 'browser'), { chrome: 1 });
  const seconds = await perSecond(server, selection);
  const strays = [...seconds.keys()].filter((second) => (second > 3 && second < 20) || second > 23);
  assert.deepEqual(strays, [], 'seconds that were never shown');

  const { sources } = await server.request('sources', selection);
  assert.deepEqual(sources.map(({ path }) => path), [`${scene.site.origin}/lesson`]);
}
