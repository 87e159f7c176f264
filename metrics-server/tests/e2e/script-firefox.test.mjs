// Our own client, /metrics.js, in Firefox, whose players and pages end in ways of their own.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { counted, onePlay, perSecond, watching } from './harness/expect.mjs';
import { launchFirefox } from './harness/firefox.mjs';
import { Player } from './harness/player.mjs';
import { expectShown, introPage, position, scriptTag, setRate, videoTag } from './harness/script.mjs';
import { Suite } from './harness/suite.mjs';

const suite = new Suite({ launch: launchFirefox });
const intro = { identifier: 'intro' };

suite.test('in Firefox, shown video counts for any actions of the viewer until the tab is closed', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', introPage(server));
  const shown = await watch(page, async () => {
    await eventually(async () => assert.equal(await watching(server, intro), 1));
  });
  await page.close();

  await expectShown(server, intro, shown);
  const seconds = await perSecond(server, intro);
  const strays = [...seconds.keys()].filter((second) => ![0, 1, 10, 11, 20, 21, 22, 23, 24].includes(second));
  assert.deepEqual(strays, [], 'seconds that were never shown');
  await eventually(async () => assert.equal(await watching(server, intro), 0));
  assert.deepEqual(counted(await onePlay(server, intro), 'browser'), { firefox: 1 });
});

suite.test('in Firefox, where websockets are blocked, batches report the same', async (scene) => {
  const server = await scene.server();
  const proxy = await scene.proxy(server, { refuseWebsockets: true });
  const page = await scene.visit('/watch', introPage(proxy));
  const next = await scene.site.publish('/next', { html: 'next' });
  const shown = await watch(page, async () => {
    await eventually(async () => assert.equal(await watching(server, intro), 1));
  });
  await page.goto(next);
  await expectShown(server, intro, shown);
});

suite.test('in Firefox, a video in a shadow root that loops is a replay', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', { html: `${scriptTag(server)}<div id="host" data-metrics-id="intro"></div>` });
  await page.evaluate((video) => {
    const root = document.querySelector('#host').attachShadow({ mode: 'open' });
    root.innerHTML = video;
    // The script looks into a shadow root when its host is added to the page.
    document.body.append(root.host);
  }, videoTag('video', 'loop'));
  const end = await page.evaluate(async () => {
    const video = document.querySelector('#host').shadowRoot.querySelector('video');
    const recorded = (type) => new Promise((resolve) => video.addEventListener(type, resolve, { once: true }));
    if (video.readyState < 1) await recorded('loadedmetadata');
    const seeked = recorded('seeked');
    video.currentTime = video.duration - 1.5;
    await seeked;
    await video.play();
    while (video.currentTime > 10 || video.currentTime < 1) await new Promise(requestAnimationFrame);
    const paused = recorded('pause');
    video.pause();
    await paused;
    return { duration: video.duration, position: video.currentTime };
  });
  await expectShown(server, intro, [[end.duration - 1.5, end.duration], [0, end.position]]);
});

suite.test('in Firefox, a video that is loaded again stays one session', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', introPage(server));
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(2);
  const first = await page.evaluate(() => {
    const at = video.currentTime;
    video.load();
    video.currentTime = at;
    video.play();
    return [0, at];
  });
  await player.reach(first[1] + 2);
  await player.pause();
  await expectShown(server, intro, [first, [first[1], await position(player)]]);
});

/** Pauses, seeks, plays faster for a while, and leaves while the video plays. Returns the segments shown. */
async function watch(page, meanwhile) {
  const player = new Player(page, 'video');
  await player.play();
  await meanwhile();
  await player.reach(1.5);
  await player.pause();
  await player.seek(10);
  await player.play();
  await player.reach(11);
  await player.seek(20);
  await setRate(page, 2);
  await player.reach(23);
  // For a tab that is closed by remote control, Firefox sometimes only closes the websocket, and the server assumes that
  // the viewer watched at normal speed.
  await player.pause();
  await setRate(page, 1);
  await player.play();
  await player.reach(24);
  const shown = await player.shown();
  assert.equal(shown.length, 4, `the player showed ${JSON.stringify(shown)}`);
  return shown;
}
