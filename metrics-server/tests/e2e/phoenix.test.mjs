// Every version of Phoenix's own client on npm: authors of their own client for the server use one of these.

import assert from 'node:assert/strict';
import { onePlay } from './harness/expect.mjs';
import { join, open, push, viewAndLeave } from './harness/phoenix.mjs';
import { Suite } from './harness/suite.mjs';

// The default serializer of each version.
const GENERATIONS = { 1.2: '1.0.0', 1.3: '2.0.0', 1.4: '2.0.0', 1.5: '2.0.0', 1.6: '2.0.0', 1.7: '2.0.0', 1.8: '2.0.0' };

const suite = new Suite();

for (const [generation, vsn] of Object.entries(GENERATIONS)) {
  suite.test(`phoenix ${generation} joins, is answered, leaves and is counted once`, async (scene) => {
    const server = await scene.server();
    const page = await open(scene, generation);
    const socket = page.waitForEvent('websocket');
    assert.deepEqual(await join(page, server.socketUrl, {}), ['ok', {}]);
    assert.equal(new URL((await socket).url()).searchParams.get('vsn') ?? '1.0.0', vsn);

    const heartbeats = await page.evaluate(() => window.client.heartbeats(2));
    assert.deepEqual(heartbeats, [{ status: 'ok', response: {} }, { status: 'ok', response: {} }]);

    await viewAndLeave(page, server, '12.34');
  });
}

suite.test('phoenix 1.8 with a token receives its protocol and is counted', async (scene) => {
  const server = await scene.server();
  const page = await open(scene, '1.8');
  // A browser drops a connection whose server selects none of the protocols that it was offered.
  assert.deepEqual(await join(page, server.socketUrl, { authToken: 'token-of-the-visitor' }), ['ok', {}]);
  assert.equal(await page.evaluate(() => window.client.socket.conn.protocol), 'phoenix');

  assert.deepEqual(await push(page, { name: 'play', from: 0 }), ['ok', {}]);
  assert.deepEqual(await push(page, { name: 'pause', to: 5 }), ['ok', {}]);
  await onePlay(server, { identifier: 'intro' });
});
