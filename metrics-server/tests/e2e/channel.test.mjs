// @maveio/metrics 0.1.5, which reports through Phoenix channels, in a real page.

import assert from 'node:assert/strict';
import { channelPage } from './harness/clients.mjs';
import { eventually } from './harness/eventually.mjs';
import { counted, near, onePlay, perSecond, watching } from './harness/expect.mjs';
import { Player, length } from './harness/player.mjs';
import { Suite } from './harness/suite.mjs';

// The client reads positions four times a second, and misses up to that much at a seek.
const TOLERANCE_SECONDS = 0.7;

const suite = new Suite();

suite.test('a page that is closed while its video plays counts one play of the shown part', async (scene) => {
  const server = await scene.server();
  const selection = { identifier: 'intro' };
  const content = channelPage(server, { video: ['intro', { course: 7 }] });
  const page = await scene.visit('/watch?secret=of-the-visitor#chapter', content);
  const player = new Player(page, 'video');

  await player.play();
  await eventually(async () => assert.equal(await watching(server, selection), 1));
  await player.reach(2.5);
  await player.seek(20);
  await player.reach(23);
  const shown = await player.shown();
  await page.close();

  assert.equal(shown.length, 2, `the player showed ${JSON.stringify(shown)}`);
  await eventually(async () => assert.equal(await watching(server, selection), 0));
  const play = await eventually(() => onePlay(server, selection));
  near(play.total_view_time, length(shown), TOLERANCE_SECONDS, 'view time');
  near(play.unique_total_view_time, length(shown), TOLERANCE_SECONDS, 'unique view time');

  assert.deepEqual(counted(play, 'browser'), { chrome: 1 });
  assert.deepEqual(counted(play, 'platform'), { linux: 1 });
  assert.deepEqual(counted(play, 'device_type'), { desktop: 1 });
  assert.deepEqual(play.device, play.device_type);

  const { sources } = await server.request('sources', selection);
  const { origin, hostname } = new URL(scene.site.origin);
  const { interval, ...source } = sources[0];
  assert.equal(sources.length, 1);
  assert.deepEqual(source, { path: `${origin}/watch`, host: hostname, pathname: '/watch', views: 1 });

  const seconds = await perSecond(server, selection);
  for (const second of [0, 1, 20, 21, 22]) {
    assert.deepEqual(seconds.get(second), { views: 1, viewers: 1 }, `second ${second}`);
  }
  const strays = [...seconds.keys()].filter((second) => (second > 3 && second < 20) || second > 24);
  assert.deepEqual(strays, [], 'seconds that were never shown');
});

suite.test('pause, resume and replay are three segments of one play', async (scene) => {
  const server = await scene.server();
  const selection = { identifier: 'intro' };
  const page = await scene.visit('/watch', channelPage(server, { video: ['intro', {}] }));
  const player = new Player(page, 'video');

  await player.play();
  await player.reach(2.2);
  await player.pause();
  await player.play();
  await player.reach(3.6);
  await player.pause();
  await player.seek(0);
  await player.play();
  await player.reach(2.2);
  await player.pause();
  const shown = await player.shown();

  assert.equal(shown.length, 3, `the player showed ${JSON.stringify(shown)}`);
  const play = await eventually(async () => {
    const row = await onePlay(server, selection);
    near(row.total_view_time, length(shown), TOLERANCE_SECONDS, 'view time');
    return row;
  });
  near(play.unique_total_view_time, shown[1][1], TOLERANCE_SECONDS, 'unique view time');

  const seconds = await perSecond(server, selection);
  assert.deepEqual(seconds.get(0), { views: 2, viewers: 1 });
  assert.deepEqual(seconds.get(1), { views: 2, viewers: 1 });
  assert.deepEqual(seconds.get(3), { views: 1, viewers: 1 });
  assert.equal(await watching(server, selection), 0);
});

suite.test('two videos on one page are two plays, found by identifier and by metadata', async (scene) => {
  const server = await scene.server();
  const videos = {
    first: ['intro', { course: { id: 7, tags: ['a', 'b'] } }, { plan: 'free' }],
    // With a selector and metadata only, the client sends the metadata as the identifier too.
    second: [{ course: { id: 8 } }],
  };
  const page = await scene.visit('/course', channelPage(server, videos));
  const [first, second] = ['first', 'second'].map((id) => new Player(page, id));

  await first.play();
  await second.play();
  await eventually(async () => assert.equal(await watching(server, { query: { video: { course: {} } } }), 2));
  await first.reach(1.5);
  await first.pause();
  await second.reach(3);
  await second.pause();
  const shown = { first: length(await first.shown()), second: length(await second.shown()) };

  const selections = [
    [{ identifier: 'intro' }, shown.first],
    [{ query: { video: { course: { id: 7 } } } }, shown.first],
    [{ query: { video: { course: { tags: ['b'] } } } }, shown.first],
    [{ query: { session: { plan: 'free' } } }, shown.first],
    [{ identifier: 'intro', query: { video: { course: { id: 7 } } } }, shown.first],
    [{ query: { video: { course: { id: 8 } } } }, shown.second],
  ];
  for (const [selection, seconds] of selections) {
    await eventually(async () => {
      const play = await onePlay(server, selection);
      near(play.total_view_time, seconds, TOLERANCE_SECONDS, `view time of ${JSON.stringify(selection)}`);
    });
  }
  assert.deepEqual((await server.request('plays', { identifier: 'intro', query: { video: { course: { id: 8 } } } })).views, []);

  const { views } = await server.request('plays', { query: { video: { course: {} } } });
  assert.deepEqual(views.map((row) => row.views), [2]);
});
