// Our own client, /metrics.js: one viewing is one session, even if a player or a page changes the element meanwhile.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { onePlay } from './harness/expect.mjs';
import { Player } from './harness/player.mjs';
import { expectShown, fakePage, introPage, position, scriptTag, setRate, recordTraffic, videoTag } from './harness/script.mjs';
import { Suite } from './harness/suite.mjs';

const suite = new Suite();
const intro = { identifier: 'intro' };

// The timeout of the script: a session waits this long for its video.
const KEPT_MS = 60_000;
const HEARTBEAT_MS = 30_000;
// Far more than the tolerance, for media that never loads.
const UNLOADED_MS = 1_500;

// The ways of players to load a source again: with the position set at once, or once the source allows it.
const RELOADS = {
  'and is sought at once': () => {
    const at = video.currentTime;
    video.load();
    video.currentTime = at;
    video.play();
  },
  'and is sought when it has loaded': () => {
    const at = video.currentTime;
    video.load();
    video.play();
    video.addEventListener('loadedmetadata', () => (video.currentTime = at), { once: true });
  },
};

for (const [how, reload] of Object.entries(RELOADS)) {
  for (const [what, attributes] of [['with a name', 'data-metrics-id="intro"'], ['without one', '']]) {
    suite.test(`a video ${what} that is loaded again ${how} stays one session`, async (scene) => {
      const server = await scene.server();
      const { page, traffic, player } = await visit(scene, `${scriptTag(server)}${videoTag('video', attributes)}`);
      await player.play();
      await player.reach(2);
      const first = [0, await position(player)];
      await page.evaluate(reload);
      await player.reach(first[1] + 2);
      await player.pause();
      const second = [first[1], await position(player)];

      const selection = attributes ? intro : { identifier: `${scene.site.origin}/video.webm` };
      await expectShown(server, selection, [first, second]);
      assert.deepEqual(traffic.namesWithoutWaits().filter((name) => name !== 'seeked'), ['play', 'playing', 'pause', 'play', 'pause']);
      assert.equal(traffic.joins.length, 1, traffic.joins.join());
    });
  }
}

suite.test('another file of the same video that goes on where it was stays one session', async (scene) => {
  const server = await scene.server();
  const { page, traffic, player } = await visit(scene, introPage(server).html);
  await player.play();
  await player.reach(2);
  const first = [0, await position(player)];
  await page.evaluate(() => {
    const at = video.currentTime;
    video.src = '/larger/video.webm';
    video.currentTime = at;
    video.play();
  });
  await player.reach(first[1] + 1.5);
  await player.pause();
  await expectShown(server, intro, [first, [first[1], await position(player)]]);
  assert.equal(traffic.joins.length, 1, traffic.joins.join());
});

suite.test('a session waits a minute for its video, and then leaves and lets the websocket close', async (scene) => {
  const server = await scene.server();
  const { page, traffic, show } = await fakePage(scene, server);
  const watch = async (sessions) => {
    await page.evaluate(() => window.fake.play());
    await show(2);
    await page.evaluate(() => window.fake.pause());
    await eventually(() => assert.equal(traffic.joins.length, sessions));
    await eventually(() => assert.equal(traffic.names().at(-1), 'pause'));
  };
  const detach = () => page.evaluate(() => {
    window.at = window.fake.element.currentTime;
    window.fake.element.currentTime = 0;
    window.fake.dispatch('emptied');
  });
  const attach = () => page.evaluate(() => (window.fake.element.currentTime = window.at));
  // The websocket stays open for as long as its heartbeats have replies.
  const pass = async (milliseconds) => {
    const replies = () => page.evaluate(() => window.heartbeatReplies());
    const before = await replies();
    await page.clock.fastForward(milliseconds);
    await eventually(async () => assert.ok((await replies()) > before || traffic.sockets.at(-1).isClosed()));
  };

  await watch(1);
  await detach();
  await pass(HEARTBEAT_MS);
  await attach();
  await watch(1);

  await detach();
  await pass(HEARTBEAT_MS);
  assert.equal(traffic.sockets[0].isClosed(), false, 'it waits');
  assert.deepEqual(traffic.leaves, []);
  await pass(KEPT_MS - HEARTBEAT_MS + 1_000);
  await eventually(() => assert.deepEqual(traffic.leaves, [traffic.joins[0]]));
  // At the next heartbeat, if a message arrived before the last one.
  await pass(HEARTBEAT_MS);
  assert.ok(traffic.sockets[0].isClosed(), 'nothing needs it any more');

  await attach();
  await watch(2);
  assert.notEqual(traffic.joins[0], traffic.joins[1]);
  await eventually(async () => {
    const { views } = await server.request('plays', intro);
    assert.deepEqual(views.map((row) => [row.views, row.total_view_time]), [[2, 6]]);
  });
});

suite.test('an advert in the element of the video is left out while it is to be ignored', async (scene) => {
  const server = await scene.server();
  const { page, traffic, player } = await visit(scene, `${scriptTag(server)}${videoTag('video', 'data-metrics-id="intro" data-metrics-ignore', '/advert.webm')}`);
  await player.play();
  await player.reach(1.5);
  assert.deepEqual(traffic.sockets, [], 'an advert alone connects nobody');
  const film = async (from, to) => {
    await page.evaluate((from) => {
      delete video.dataset.metricsIgnore;
      video.src = '/video.webm';
      video.currentTime = from;
    }, from);
    await player.play();
    const start = await position(player);
    await player.reach(to);
    return [start, await position(player)];
  };
  const first = await film(0, 2);
  await page.evaluate(() => {
    video.dataset.metricsIgnore = '';
    video.src = '/advert.webm';
  });
  await player.play();
  await player.reach(1.5);
  const second = await film(first[1], first[1] + 1.5);
  await player.pause();
  await expectShown(server, intro, [first, second]);
  assert.equal(traffic.joins.length, 1, traffic.joins.join());
});

suite.test('an advert with a name of its own is a session, and the video around it one other', async (scene) => {
  const server = await scene.server();
  const { page, traffic, player } = await visit(scene, introPage(server).html);
  const shown = { advert: [], intro: [] };
  let at = 0;
  for (const [name, source] of [['advert', '/advert.webm'], ['intro', '/video.webm'], ['advert', '/advert.webm'], ['intro', '/video.webm']]) {
    await page.evaluate(([name, source, at]) => {
      video.dataset.metricsId = name;
      video.src = source;
      video.currentTime = at;
    }, [name, source, name === 'intro' ? at : 0]);
    await player.play();
    const start = await position(player);
    await player.reach(start + 1.3);
    shown[name].push([start, await position(player)]);
    if (name === 'intro') [, at] = shown.intro.at(-1);
  }
  await player.pause();
  await expectShown(server, intro, shown.intro);
  assert.equal(traffic.joins.length, 3, 'of the video one, and of each advert');
  await eventually(async () => {
    const { views } = await server.request('plays', { identifier: 'advert' });
    assert.deepEqual(views.map((row) => row.views), [2]);
  });
});

suite.test('with the name of the video, an advert is another play of it', async (scene) => {
  const server = await scene.server();
  const { page, player } = await visit(scene, `${scriptTag(server)}${videoTag('video', 'data-metrics-id="intro"', '/advert.webm')}`);
  await player.play();
  await player.reach(1.5);
  await page.evaluate(() => (video.src = '/video.webm'));
  await player.play();
  await player.reach(1.5);
  await player.pause();
  await eventually(async () => {
    const { views } = await server.request('plays', intro);
    assert.deepEqual(views.map((row) => row.views), [2]);
  });
});

for (const [how, end] of [['paused', (player) => player.pause()], ['closed', (player) => player.page.close()]]) {
  suite.test(`a video that never loads counts nothing when it is ${how}`, async (scene) => {
    const server = await scene.server();
    scene.site.hold(0);
    const { page, traffic, player } = await visit(scene, `${scriptTag(server)}${unloaded}`);
    await begin(page, 600);
    await page.waitForTimeout(UNLOADED_MS);
    await end(player);
    await eventually(async () => {
      const { views } = await server.request('plays', { ...intro, minimum_watch_seconds: 0 });
      assert.deepEqual(views.map((row) => [row.views, row.total_view_time]), [[1, 0]]);
      assert.deepEqual((await server.request('plays', intro)).views, []);
    });
    assert.ok(!traffic.names().includes('playing'), traffic.names().join());
  });
}

suite.test('a video that loads late counts from where it begins', async (scene) => {
  const server = await scene.server();
  scene.site.hold(0);
  const { page, player } = await visit(scene, `${scriptTag(server)}${unloaded}`);
  await begin(page, 20);
  await page.waitForTimeout(UNLOADED_MS);
  scene.site.release();
  await player.reach(21.5);
  await player.pause();
  await expectShown(server, intro, [[20, await position(player)]]);
});

suite.test('attributes of the session describe the session and not the video', async (scene) => {
  const server = await scene.server();
  const attributes = 'data-metrics-id="intro" data-metrics-course="7" data-metrics-session-plan="pro" data-metrics-session-test="b"';
  const { page, player } = await visit(scene, `${scriptTag(server)}${videoTag('video', attributes)}`);
  await player.play();
  await player.reach(1.3);
  await player.pause();
  const shown = [[0, await position(player)]];
  const session = { plan: 'pro', test: 'b' };
  await expectShown(server, { ...intro, query: { video: { course: '7' }, session } }, shown);
  const described = await server.request('plays', { ...intro, query: { video: { 'session-plan': 'pro' } } });
  assert.deepEqual(described.views, []);

  await page.evaluate(() => window.metrics.monitor(video, { identifier: 'given', sessionData: { plan: 'free', trial: true } }));
  await player.play();
  await player.reach(2.8);
  await player.pause();
  const given = { plan: 'free', test: 'b', trial: true };
  await eventually(() => onePlay(server, { identifier: 'given', query: { session: given } }));
});

suite.test('a session that begins at another rate reports it before its first play', async (scene) => {
  const server = await scene.server();
  const { page, traffic, player } = await visit(scene, introPage(server).html);
  await setRate(page, 2);
  await player.play();
  await player.reach(3);
  for (const rate of [2.02, 0.1, 1]) {
    await page.evaluate((rate) => {
      const changed = new Promise((resolve) => video.addEventListener('ratechange', resolve, { once: true }));
      video.playbackRate = rate;
      return changed;
    }, rate);
  }
  await player.pause();
  await eventually(() => assert.equal(traffic.names().at(-1), 'pause'));
  assert.deepEqual(traffic.namesWithoutWaits().slice(0, 3), ['ratechange', 'play', 'playing']);
  const rates = traffic.events.filter(({ name }) => name === 'ratechange').map(({ rate }) => rate);
  assert.deepEqual(rates, [2, 0.1, 1], 'changes too small to matter are not reported');
  await expectShown(server, intro, [[0, await position(player)]]);

  // Another session begins at the current rate of the element.
  await page.evaluate(() => {
    video.defaultPlaybackRate = 1.5;
    video.src = '/other/video.webm';
  });
  await player.play();
  await player.reach(1);
  await player.pause();
  await eventually(() => assert.equal(traffic.names().at(-1), 'pause'));
  const first = traffic.events.findLast(({ name }) => name === 'ratechange');
  assert.equal(first.rate, 1.5);
  assert.equal(traffic.events[traffic.events.indexOf(first) + 1].name, 'play');
});

const unloaded = '<video id="video" src="/held.webm" preload="none" muted data-metrics-id="intro"></video>';

/** Plays a video without data, and sets its position once the play has begun. */
async function begin(page, at) {
  await page.evaluate(() => void video.play().catch(() => {}));
  await page.waitForTimeout(300);
  await page.evaluate((at) => (video.currentTime = at), at);
}

/** A page with a video, and its messages. */
async function visit(scene, html) {
  const page = await scene.page();
  const traffic = recordTraffic(page);
  await page.goto(await scene.site.publish('/watch', { html }));
  return { page, traffic, player: new Player(page, 'video') };
}
