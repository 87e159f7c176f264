// Our own client, /metrics.js, with media that no browser at hand has: Safari's, that of iOS, live streams.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { onePlay, perSecond, watching } from './harness/expect.mjs';
import { fakePage } from './harness/script.mjs';
import { Suite } from './harness/suite.mjs';

const suite = new Suite();
const intro = { identifier: 'intro' };

// The periods of the script.
const HEARTBEAT_MS = 30_000;
const SIGN_MS = 15_000;

suite.test('a picture in a picture is no fullscreen', async (scene) => {
  const server = await scene.server();
  const { page, traffic } = await fakePage(scene, server);
  await page.evaluate(() => {
    const { fake } = window;
    fake.play();
    for (const [mode, type] of [
      ['picture-in-picture', 'webkitbeginfullscreen'],
      ['inline', 'webkitendfullscreen'],
      ['fullscreen', 'webkitbeginfullscreen'],
      ['inline', 'webkitendfullscreen'],
    ]) {
      fake.element.webkitPresentationMode = mode;
      fake.dispatch(type);
      fake.dispatch(type);
    }
    fake.pause();
  });
  const expected = ['play', 'playing', 'fullscreen_enter', 'fullscreen_exit', 'pause'];
  await eventually(() => assert.deepEqual(traffic.names(), expected));
});

suite.test('a live window that jumps back is two segments of one play', async (scene) => {
  const server = await scene.server();
  const { page, traffic, show } = await fakePage(scene, server);
  await page.evaluate(() => {
    Object.assign(window.fake.element, { duration: Infinity, currentTime: 25 });
    window.fake.play();
  });
  await show(5);
  await page.evaluate(() => {
    window.fake.element.currentTime = 0;
    window.fake.dispatch('timeupdate');
  });
  await show(5);
  await page.evaluate(() => window.fake.pause());
  await expectSeconds(server, [0, 1, 2, 3, 4, 25, 26, 27, 28, 29]);
  assert.equal(traffic.joins.length, 1);
});

suite.test('a video that leaves fullscreen without a pause ends there', async (scene) => {
  const server = await scene.server();
  const { page, show } = await fakePage(scene, server);
  await page.evaluate(() => window.fake.play());
  await show(2);
  await page.evaluate(() => window.fake.dispatch('webkitbeginfullscreen'));
  await show(1);
  await page.evaluate(() => {
    window.fake.element.paused = true;
    window.fake.dispatch('webkitendfullscreen');
  });
  await expectSeconds(server, [0, 1, 2]);
});

for (const [way, refuseWebsockets, sign] of [['by websocket', false, HEARTBEAT_MS], ['by batch', true, SIGN_MS]]) {
  suite.test(`a video that is paused later without a word is found out ${way}`, async (scene) => {
    const server = await scene.server();
    const proxy = await scene.proxy(server, { refuseWebsockets });
    const { page, show } = await fakePage(scene, proxy);
    await page.evaluate(() => window.fake.play());
    await show(2);
    await page.evaluate(() => {
      window.fake.dispatch('webkitbeginfullscreen', 'webkitendfullscreen');
      window.fake.element.paused = true;
    });
    await eventually(async () => assert.equal(await watching(server, intro), 1));
    await page.clock.fastForward(sign);
    await expectSeconds(server, [0, 1]);
    // Playback resumes at the same position.
    await page.evaluate(() => window.fake.play());
    await show(1);
    await page.evaluate(() => window.fake.pause());
    await expectSeconds(server, [0, 1, 2]);
  });
}

/** Expects one play of these seconds, each of them once, and no session that is watching. */
async function expectSeconds(server, seconds) {
  await eventually(async () => {
    assert.equal(await watching(server, intro), 0);
    assert.equal((await onePlay(server, intro)).total_view_time, seconds.length);
  });
  const views = [...(await perSecond(server, intro))].map(([second, { views }]) => [second, views]);
  assert.deepEqual(views, seconds.map((second) => [second, 1]));
}
