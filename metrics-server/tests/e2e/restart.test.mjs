// A restart of the server while viewers watch changes nothing in their pages or in the reports.

import assert from 'node:assert/strict';
import { channelPage } from './harness/clients.mjs';
import { eventually } from './harness/eventually.mjs';
import { near, onePlay, perSecond, watching } from './harness/expect.mjs';
import { Player, length } from './harness/player.mjs';
import { Suite } from './harness/suite.mjs';

const TOLERANCE_SECONDS = 1.5;

const suite = new Suite();
const selection = { identifier: 'intro' };

for (const [how, end] of [['stopped', 'stop'], ['killed', 'kill']]) {
  suite.test(`a session goes on over a server that is ${how} and comes back`, async (scene) => {
    const server = await scene.server();
    const page = await scene.visit('/watch', channelPage(server, { video: ['intro', {}] }));
    const player = new Player(page, 'video');
    await player.play();
    await player.reach(2.5);

    const reconnected = joined(page);
    await server[end]();
    await server.start();
    await reconnected;
    await eventually(async () => assert.equal(await watching(server, selection), 1));
    await player.reach((await position(player)) + 2);
    await player.pause();

    await expectOnePlayOf(server, await player.shown());
  });

  suite.test(`what a viewer does while the server is ${how} is counted once it is back`, async (scene) => {
    const server = await scene.server();
    const page = await scene.visit('/watch', channelPage(server, { video: ['intro', {}] }));
    const player = new Player(page, 'video');
    await player.play();
    await player.reach(2.5);

    // The client keeps unsent events, and sends them after it has joined the same session again.
    const reconnected = joined(page);
    await server[end]();
    await player.pause();
    await player.seek(20);
    await player.play();
    await server.start();
    await reconnected;
    await player.reach(22.5);
    await player.pause();

    const shown = await player.shown();
    await expectOnePlayOf(server, shown);
    const seconds = await perSecond(server, selection);
    const strays = [...seconds.keys()].filter((second) => second > 4 && second < 20);
    assert.deepEqual(strays, [], 'seconds that were never shown');
  });
}

async function expectOnePlayOf(server, shown) {
  await eventually(async () => {
    const play = await onePlay(server, selection);
    near(play.total_view_time, length(shown), TOLERANCE_SECONDS, 'view time');
    near(play.unique_total_view_time, length(shown), TOLERANCE_SECONDS, 'unique view time');
  });
}

/** Resolves when the page's next socket has its first reply, which is that of a join. */
async function joined(page) {
  const socket = await page.waitForEvent('websocket', { timeout: 20_000 });
  await socket.waitForEvent('framereceived', { timeout: 20_000 });
}

async function position(player) {
  return (await player.shown()).at(-1)[1];
}
