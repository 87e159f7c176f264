// Our own client, /metrics.js, with hls.js and dash.js: its reports match the segments that the player showed, also when
// pieces are late.

import assert from 'node:assert/strict';
import { eventually, sleep } from './harness/eventually.mjs';
import { near, onePlay, perSecond } from './harness/expect.mjs';
import { HEIGHTS, PIECE_SECONDS } from './harness/media.mjs';
import { Player } from './harness/player.mjs';
import { TOLERANCE_SECONDS, expectShown, position, scriptTag, setRate, stalled, recordTraffic } from './harness/script.mjs';
import { STREAM_PLAYERS } from './harness/streams.mjs';
import { Suite } from './harness/suite.mjs';

const suite = new Suite({ streams: true });
const intro = { identifier: 'intro' };

// The delay of a piece: far more than the tolerance between the segments shown and those reported.
const WAIT_MS = 1_500;
// Two listeners in one page read the clock one after the other.
const STARTUP_MS = 100;

// Measured apart from the client under test, as `window.startup`.
const STARTUP = `
  video.addEventListener('play', () => (window.requestedAt ??= performance.now()));
  video.addEventListener('playing', () => (window.startup ??= performance.now() - window.requestedAt));`;

/** A page with a stream with the identifier `intro`, and its messages. */
async function visit(scene, server, script) {
  const html = `${scriptTag(server)}<video id="video" muted data-metrics-id="intro"></video>`;
  const page = await scene.page();
  const traffic = recordTraffic(page);
  await page.goto(await scene.site.publish('/watch', { html, script: `${script}${STARTUP}` }));
  return { page, traffic, player: new Player(page, 'video') };
}

for (const [name, script] of Object.entries(STREAM_PLAYERS)) {
  suite.test(`what ${name} shows counts, whatever the viewer does until the tab is closed`, async (scene) => {
    const server = await scene.server();
    const { page, traffic, player } = await visit(scene, server, script);
    await player.play();
    await player.reach(1.5);
    await player.pause();
    await player.play();
    await player.reach(2.5);
    await player.seek(24.5);
    await player.reach(26);
    await setRate(page, 2);
    await player.reach(28);
    await player.seek(0.5);
    await player.reach(1.5);
    const shown = await player.shown();
    assert.deepEqual(traffic.namesWithoutWaits().slice(0, 2), ['play', 'playing'], 'the start is reported once');
    assert.ok(traffic.namesWithoutWaits().lastIndexOf('playing') === 1 && !traffic.names().includes('playback_failure'), traffic.names().join());
    await page.close();

    assert.equal(shown.length, 4, `the player showed ${JSON.stringify(shown)}`);
    await expectShown(server, intro, shown);
    const strays = [...(await perSecond(server, intro)).keys()].filter((second) => ![0, 1, 2, 24, 25, 26, 27, 28].includes(second));
    assert.deepEqual(strays, [], 'seconds that were never shown');
  });

  suite.test(`a piece that ${name} waits for is no watching, and is reported`, async (scene) => {
    const server = await scene.server();
    scene.site.holdPieces(4);
    const { page, traffic, player } = await visit(scene, server, script);
    await player.play();
    await setRate(page, 2);
    const wait = await stalled(traffic);
    assert.deepEqual(traffic.namesWithoutWaits(), ['play', 'playing', 'ratechange']);
    const stuck = await position(player);
    near(stuck, 3 * PIECE_SECONDS, 1, 'what there was');
    near(traffic.events[wait].from, stuck, TOLERANCE_SECONDS, 'where it waited');
    await sleep(WAIT_MS);
    scene.site.release();
    await player.reach(stuck + 2);
    await player.pause();
    await eventually(() => assert.equal(traffic.names().at(-1), 'pause'));
    assert.deepEqual(traffic.namesWithoutWaits(), ['play', 'playing', 'ratechange', 'pause']);
    assert.equal(traffic.events[wait + 1].name, 'rebuffering_end');
    await expectShown(server, intro, [[0, await position(player)]]);

    const waited = traffic.events[wait + 1].timestamp - traffic.events[wait].timestamp;
    assert.ok(waited >= WAIT_MS, `it waited for ${waited} ms`);
    const startup = await page.evaluate(() => window.startup);
    near(traffic.events[1].timestamp - traffic.events[0].timestamp, startup, STARTUP_MS, 'how long it took to start');
  });

  suite.test(`a stream that ${name} attaches again stays one session`, async (scene) => {
    const server = await scene.server();
    const { page, traffic, player } = await visit(scene, server, script);
    await player.play();
    await player.reach(2.5);
    const first = [0, await position(player)];
    await page.evaluate(() => {
      const detached = new Promise((resolve) => video.addEventListener('emptied', resolve, { once: true }));
      window.recover();
      return detached;
    });
    await player.play();
    const second = [await position(player)];
    await player.reach(first[1] + 2.5);
    await player.pause();
    second.push(await position(player));
    near(second[0], first[1], PIECE_SECONDS, 'where it goes on');
    await expectShown(server, intro, [first, second]);
    assert.equal(traffic.names().filter((traffic) => traffic === 'playing').length, 1, 'the start is reported once');
    assert.equal(traffic.joins.length, 1, traffic.joins.join());
  });

  suite.test(`another rendition in ${name} changes nothing, and another stream is another viewing`, async (scene) => {
    const server = await scene.server();
    const { page, traffic, player } = await visit(scene, server, script);
    await player.play();
    await page.waitForFunction((height) => video.videoHeight === height, HEIGHTS[0]);
    await player.reach(1);
    await page.evaluate(() => window.choose(1));
    await setRate(page, 4);
    await page.waitForFunction((height) => video.videoHeight === height, HEIGHTS[1]);
    await player.reach((await position(player)) + 1);
    await player.pause();
    const end = await position(player);
    await eventually(() => assert.deepEqual(traffic.namesWithoutWaits(), ['play', 'playing', 'ratechange', 'pause']));
    await expectShown(server, intro, [[0, end]]);
    await onePlay(server, intro);

    await page.evaluate(() => window.load('?another'));
    await page.waitForFunction(() => video.currentTime === 0 && video.readyState > 2);
    await player.play();
    await player.reach(1.5);
    await player.pause();
    await eventually(async () => {
      const { views } = await server.request('plays', intro);
      assert.deepEqual(views.map((row) => row.views), [2]);
      near(views[0].total_view_time, end + (await position(player)), 2 * TOLERANCE_SECONDS, 'both viewings');
    });
  });
}
