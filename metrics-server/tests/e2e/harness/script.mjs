// The setup of our own client as the author of a page does it, and expectations of its reports.

import assert from 'node:assert/strict';
import { eventually, sleep } from './eventually.mjs';
import { near, onePlay } from './expect.mjs';
import { length } from './player.mjs';
import { EXAMPLE_KEY } from './server.mjs';

export const TOLERANCE_SECONDS = 0.3;

// Longer than a player on a busy machine waits for data that is available.
const STALL_MS = 1_000;

/** The tag that measures all media of a page. `server` is a server or a proxy: any object with a `url`. */
export function scriptTag(server, key = EXAMPLE_KEY) {
  return `<script defer src="${server.url}/metrics.js" data-key="${key}"></script>`;
}

/** A <video> with these attributes, as they are in a page. */
export function videoTag(id, attributes = '', source = '/video.webm') {
  return `<video id="${id}" src="${source}" preload="auto" muted ${attributes}></video>`;
}

/** A page with one video with the identifier `intro`. */
export function introPage(server, key) {
  return { html: `${scriptTag(server, key)}${videoTag('video', 'data-metrics-id="intro"')}` };
}

/**
 * Opens a page with simulated media (`page/fake.mjs`), as `window.fake`, with the identifier `intro`. Returns it with its
 * messages and with `show`, which plays a number of seconds. The test advances the page's clock instead of waiting.
 */
export async function fakePage(scene, server) {
  const page = await scene.page();
  await page.clock.install();
  const traffic = recordTraffic(page);
  const html = scriptTag(server).replace('data-key', 'data-manual data-key');
  const script = `import { Media } from './page/fake.mjs'; window.fake = new Media('intro');`;
  await page.goto(await scene.site.publish('/watch', { html, script }));
  await page.evaluate(() => window.metrics.monitor(window.fake.element, { identifier: 'intro' }));
  // An advanced clock makes the script give up websockets that are still opening.
  const settled = () => eventually(() => assert.ok(traffic.sockets.every((it) => it.isClosed() || traffic.answered.has(it))));
  const show = async (seconds) => {
    for (let second = 0; second < seconds; second++) {
      await settled();
      await page.clock.fastForward(1_000);
      await page.evaluate(() => window.fake.advance(1_000));
    }
  };
  return { page, traffic, show };
}

/** Expects one play of `selection`, with the view time of the segments `shown`. */
export async function expectShown(server, selection, shown) {
  await eventually(async () => {
    const row = await onePlay(server, selection);
    near(row.total_view_time, length(shown), TOLERANCE_SECONDS, `view time of ${JSON.stringify(shown)}`);
  });
}

export function setRate(page, rate) {
  return page.evaluate((rate) => (document.querySelector('video').playbackRate = rate), rate);
}

export function position(player) {
  return player.page.evaluate((id) => document.getElementById(id).currentTime, player.id);
}

/**
 * Records the websockets of a page from now on, and which of them received a message: the topics that it joins and leaves,
 * its heartbeats and events, and the topic and the code of each answer; only refusals have a code.
 */
export function recordTraffic(page) {
  const [sockets, joins, leaves, heartbeats, events, answers] = [[], [], [], [], [], []];
  const answered = new Set();
  page.on('websocket', (socket) => {
    sockets.push(socket);
    socket.on('framesent', ({ payload }) => {
      const [, , topic, event, content] = JSON.parse(payload);
      if (event === 'phx_join') joins.push(topic);
      if (event === 'phx_leave') leaves.push(topic);
      if (event === 'heartbeat') heartbeats.push(content);
      if (event === 'event') events.push(content);
    });
    socket.on('framereceived', ({ payload }) => {
      answered.add(socket);
      const [, , topic, , { response }] = JSON.parse(payload);
      answers.push({ topic, code: response?.code });
    });
  });
  return {
    sockets,
    answered,
    joins,
    leaves,
    heartbeats,
    events,
    answers,
    names: () => events.map(({ name }) => name),
    // A busy machine makes a player wait as well, now and then.
    namesWithoutWaits: () => events.map(({ name }) => name).filter((name) => !name.startsWith('rebuffering')),
  };
}

/** Waits until a player lacks data, and returns the index of the event that reports it. */
export function stalled(traffic) {
  return eventually(async () => {
    const last = traffic.events.length - 1;
    assert.equal(traffic.events[last]?.name, 'rebuffering_start', traffic.names().join());
    await sleep(STALL_MS);
    assert.equal(traffic.events.length - 1, last, traffic.names().join());
    return last;
  });
}
