// Every generation of Phoenix's own client, as npm has it: whoever writes a client of their own for
// the server uses one of these.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { onePlay, watching } from './harness/expect.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';

// The serializer that each generation speaks by itself.
const GENERATIONS = { 1.2: '1.0.0', 1.3: '2.0.0', 1.4: '2.0.0', 1.5: '2.0.0', 1.6: '2.0.0', 1.7: '2.0.0', 1.8: '2.0.0' };

const suite = new Suite();

for (const [generation, vsn] of Object.entries(GENERATIONS)) {
  suite.test(`phoenix ${generation} joins, is answered, leaves and is counted once`, async (scene) => {
    const server = await scene.server();
    const page = await open(scene, generation);
    const socket = page.waitForEvent('websocket');
    await join(page, server, {});
    assert.equal(new URL((await socket).url()).searchParams.get('vsn') ?? '1.0.0', vsn);

    const heartbeats = await page.evaluate(() => window.client.heartbeats(2));
    assert.deepEqual(heartbeats, [{ status: 'ok', response: {} }, { status: 'ok', response: {} }]);

    assert.deepEqual(await push(page, { name: 'play', from: 0, duration: 30 }), ['ok', {}]);
    await eventually(async () => assert.equal(await watching(server, { identifier: 'intro' }), 1));
    assert.deepEqual(await push(page, { name: 'pause', to: '12.34', duration: 30 }), ['ok', {}]);

    const [status, reason] = await push(page, { name: 'play', from: 'the beginning' });
    assert.equal(status, 'error');
    assert.match(reason.reason, /from/);

    const { reply, closed } = await page.evaluate(() => window.client.leave());
    assert.deepEqual(reply, ['ok', {}]);
    assert.equal(closed.event, 'phx_close');

    const play = await onePlay(server, { identifier: 'intro' });
    assert.equal(play.total_view_time, 12.34);
    assert.equal(await watching(server, { identifier: 'intro' }), 0);
  });
}

suite.test('phoenix 1.8 with a token is given its protocol and counted', async (scene) => {
  const server = await scene.server();
  const page = await open(scene, '1.8');
  // A browser drops a connection whose server selects none of the protocols that it was offered.
  await join(page, server, { authToken: 'token-of-the-visitor' });
  assert.equal(await page.evaluate(() => window.client.socket.conn.protocol), 'phoenix');

  assert.deepEqual(await push(page, { name: 'play', from: 0 }), ['ok', {}]);
  assert.deepEqual(await push(page, { name: 'pause', to: 5 }), ['ok', {}]);
  await onePlay(server, { identifier: 'intro' });
});

function open(scene, generation) {
  const script = `
    import { Socket } from 'phoenix-${generation}';
    import { Client } from './page/client.mjs';
    window.client = new Client(Socket);`;
  return scene.visit('/watch', { script });
}

async function join(page, server, options) {
  const join = { identifier: 'intro', key: EXAMPLE_KEY, source_url: page.url() };
  const reply = await page.evaluate((args) => window.client.join(...args), [server.socketUrl, join, options]);
  assert.deepEqual(reply, ['ok', {}]);
}

function push(page, event) {
  return page.evaluate((payload) => window.client.push(payload), event);
}
