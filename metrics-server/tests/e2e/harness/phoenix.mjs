// Phoenix's own clients in pages, and a session that each of them must report correctly over every transport.

import assert from 'node:assert/strict';
import { eventually } from './eventually.mjs';
import { onePlay, watching } from './expect.mjs';
import { EXAMPLE_KEY } from './server.mjs';

const intro = { identifier: 'intro' };

/** A page with one version of the client. */
export function open(scene, generation) {
  const script = `
    import { LongPoll, Socket } from 'phoenix-${generation}';
    import { Client } from './page/client.mjs';
    window.client = new Client(Socket, { LongPoll });`;
  return scene.visit('/watch', { script });
}

/** Joins a session of `intro` and returns the reply. */
export function join(page, url, options) {
  const join = { identifier: 'intro', key: EXAMPLE_KEY, source_url: page.url() };
  return page.evaluate((args) => window.client.join(...args), [url, join, options]);
}

export function push(page, event) {
  return page.evaluate((payload) => window.client.push(payload), event);
}

/** Plays, pauses at `to`, sends an invalid event, and leaves: one play of 12.34 s. */
export async function viewAndLeave(page, server, to) {
  assert.deepEqual(await push(page, { name: 'play', from: 0, duration: 30 }), ['ok', {}]);
  await eventually(async () => assert.equal(await watching(server, intro), 1));
  assert.deepEqual(await push(page, { name: 'pause', to, duration: 30 }), ['ok', {}]);

  const [status, reason] = await push(page, { name: 'play', from: 'the beginning' });
  assert.equal(status, 'error');
  assert.match(reason.reason, /from/);

  const { reply, closed } = await page.evaluate(() => window.client.leave());
  assert.deepEqual(reply, ['ok', {}]);
  assert.equal(closed.event, 'phx_close');

  assert.equal((await onePlay(server, intro)).total_view_time, 12.34);
  assert.equal(await watching(server, intro), 0);
}
