// Phoenix's own clients, where websockets are blocked or the server restarts: they poll, and count all the same.

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from './harness/eventually.mjs';
import { onePlay, watching } from './harness/expect.mjs';
import { join, open, push, viewAndLeave } from './harness/phoenix.mjs';
import { Suite } from './harness/suite.mjs';

const GENERATIONS = ['1.2', '1.3', '1.4', '1.5', '1.6', '1.7', '1.8'];
// The versions that fall back by themselves.
const FALLING_BACK = ['1.7', '1.8'];
const FALLBACK_MS = 2_500;

const suite = new Suite();
const selection = { identifier: 'intro' };

for (const generation of GENERATIONS) {
  suite.test(`phoenix ${generation} polls, is answered, leaves and is counted once`, async (scene) => {
    const server = await scene.server();
    const page = await open(scene, generation);
    assert.deepEqual(await join(page, server.socketUrl, { transport: 'LongPoll' }), ['ok', {}]);

    await viewAndLeave(page, server, 12.34);
  });

  suite.test(`phoenix ${generation} polls on after the server was restarted`, async (scene) => {
    const server = await scene.server();
    const page = await open(scene, generation);
    await join(page, server.socketUrl, { transport: 'LongPoll' });
    await viewOverRestart(page, server);
  });

  suite.test(`phoenix ${generation} joins again when the server no longer accepts its token`, async (scene) => {
    const server = await scene.server();
    // The proxy repeats the poll until the server is available, so that the client notices nothing else.
    const proxy = await scene.proxy(server, { repeats: true });
    const page = await open(scene, generation);
    await join(page, proxy.url.replace('http', 'ws') + '/socket', { transport: 'LongPoll' });
    await viewOverRestart(page, server);
  });
}

suite.test('a page that is closed watches no more', async (scene) => {
  const server = await scene.server();
  const page = await open(scene, '1.8');
  const polls = new Set();
  page.on('request', (request) => request.method() === 'GET' && request.url().includes('/longpoll') && polls.add(request));
  page.on('requestfinished', (request) => polls.delete(request));
  await join(page, server.socketUrl, { transport: 'LongPoll' });
  assert.deepEqual(await push(page, { name: 'play', from: 0 }), ['ok', {}]);
  // The server learns of the end by a poll that is aborted; of an end between two polls, only by a minute of silence.
  await eventually(() => assert.equal(polls.size, 1));
  await page.close();
  await eventually(async () => assert.equal(await watching(server, selection), 0));
});

suite.test('phoenix 1.8 with a token polls', async (scene) => {
  const server = await scene.server();
  const page = await open(scene, '1.8');
  const options = { transport: 'LongPoll', authToken: 'token-of-the-visitor' };
  assert.deepEqual(await join(page, server.socketUrl, options), ['ok', {}]);
  assert.deepEqual(await push(page, { name: 'play', from: 0 }), ['ok', {}]);
});

for (const generation of FALLING_BACK) {
  suite.test(`phoenix ${generation} falls back to polls where websockets are blocked`, async (scene) => {
    const server = await scene.server();
    const proxy = await scene.proxy(server, { refuseWebsockets: true });
    const page = await open(scene, generation);
    const options = { longPollFallbackMs: FALLBACK_MS };
    const url = `${proxy.url.replace('http', 'ws')}/socket`;
    assert.deepEqual(await join(page, url, options), ['ok', {}]);
    assert.deepEqual(await push(page, { name: 'play', from: 0 }), ['ok', {}]);
    assert.deepEqual(await push(page, { name: 'pause', to: 5 }), ['ok', {}]);
    assert.equal((await onePlay(server, selection)).total_view_time, 5);
    // The next page in this tab polls from the start.
    assert.equal(await page.evaluate(() => sessionStorage.getItem('phx:fallback:LongPoll')), 'true');
    await page.reload();
    assert.deepEqual(await join(page, url, options), ['ok', {}]);
  });

  for (const [how, end] of [['stopped', 'stop'], ['killed', 'kill']]) {
    suite.test(`phoenix ${generation} that falls back is counted over a server that is ${how}`, async (scene) => {
      const server = await scene.server();
      const page = await open(scene, generation);
      await join(page, server.socketUrl, { longPollFallbackMs: FALLBACK_MS });
      assert.deepEqual(await push(page, { name: 'play', from: 0 }), ['ok', {}]);
      await sleep(2_000);
      await server[end]();
      await sleep(1_500);
      await server.start();
      await rejoined(page);
      await sleep(10_000);
      assert.deepEqual(await push(page, { name: 'pause', to: 13.5 }), ['ok', {}]);
      assert.equal((await onePlay(server, selection)).total_view_time, 13.5);
    });
  }
}

/** Plays 5 s, and kills and restarts the server meanwhile. */
async function viewOverRestart(page, server) {
  assert.deepEqual(await push(page, { name: 'play', from: 0 }), ['ok', {}]);
  await server.kill();
  await server.start();
  await rejoined(page);
  assert.deepEqual(await push(page, { name: 'pause', to: 5 }), ['ok', {}]);
  assert.equal((await onePlay(server, selection)).total_view_time, 5);
}

/** Resolves once the client has noticed that its connection is gone, and has joined again. */
async function rejoined(page) {
  await eventually(async () => assert.equal(await page.evaluate(() => window.client.joins), 2));
}
