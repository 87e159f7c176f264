// Our own client, /metrics.js, in real pages: its reports match the segments that the player showed.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { counted, near, onePlay, perSecond, watching } from './harness/expect.mjs';
import { Player } from './harness/player.mjs';
import {
  TOLERANCE_SECONDS, expectShown, introPage, position, scriptTag, setRate, stalled, recordTraffic, videoTag,
} from './harness/script.mjs';
import { Suite } from './harness/suite.mjs';

// The compressed size.
const BYTES_MAX = { br: 5.375 * 1024, gzip: 5.875 * 1024 };

const suite = new Suite();
const intro = { identifier: 'intro' };

suite.test('shown video counts for any actions of the viewer until the tab is closed', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch?secret=of-the-visitor#chapter', introPage(server));
  const player = new Player(page, 'video');

  await player.play();
  await eventually(async () => assert.equal(await watching(server, intro), 1));
  await player.reach(1.5);
  await player.pause();
  await player.seek(10);
  await player.play();
  await player.reach(11);
  await player.seek(20);
  await player.reach(20.7);
  await setRate(page, 2);
  await player.reach(23);
  await player.seek(0.5);
  await player.reach(1.5);
  const shown = await player.shown();
  await page.close();

  assert.equal(shown.length, 4, `the player showed ${JSON.stringify(shown)}`);
  await expectShown(server, intro, shown);
  const seconds = await perSecond(server, intro);
  assert.deepEqual(seconds.get(0), { views: 2, viewers: 1 });
  const strays = [...seconds.keys()].filter((second) => ![0, 1, 10, 11, 20, 21, 22, 23].includes(second));
  assert.deepEqual(strays, [], 'seconds that were never shown');
  await eventually(async () => assert.equal(await watching(server, intro), 0));

  const play = await onePlay(server, intro);
  assert.deepEqual(counted(play, 'browser'), { chrome: 1 });
  const { sources } = await server.request('sources', intro);
  assert.deepEqual(sources.map(({ path }) => path), [`${scene.site.origin}/watch`]);
});

suite.test('reports follow open segments, where a page requests it', async (scene) => {
  const server = await scene.server();
  const tag = scriptTag(server).replace('data-key', 'data-live="0.5" data-key');
  const page = await scene.visit('/watch', { html: `${tag}${videoTag('video', 'data-metrics-id="intro"')}` });
  const traffic = recordTraffic(page);
  const player = new Player(page, 'video');
  await player.play();
  for (const seconds of [1.5, 3]) {
    await player.reach(seconds);
    await eventually(async () => {
      const { total_view_time: reported } = await onePlay(server, intro);
      assert.ok(reported > seconds - 1, `${reported} s of ${seconds} s are reported`);
    }, 1_000);
  }
  await player.pause();
  await eventually(() => assert.ok(traffic.names().filter((name) => name === 'timeupdate').length >= 4, traffic.names().join()));
  await expectShown(server, intro, await player.shown());
  const views = [...(await perSecond(server, intro)).values()].map((second) => second.views);
  assert.ok(views.every((count) => count === 1), `a timeupdate is no segment: ${views}`);
});

for (const [detail, expected] of [
  ['/reset/* /u/*/watch', ['/u/*/watch']], ['/u/*', ['/u/*']], ['/reset/*', ['/u/somebody/watch']], ['host', ['/']], ['none', []],
]) {
  suite.test(`data-page="${detail}" reports as much of the page`, async (scene) => {
    const server = await scene.server();
    const tag = scriptTag(server).replace('data-key', `data-page="${detail}" data-key`);
    const html = `${tag}${videoTag('video', 'data-metrics-id="intro"')}`;
    const page = await scene.visit('/u/somebody/watch?secret=of-the-visitor', { html });
    const player = new Player(page, 'video');
    await player.play();
    await player.reach(1.5);
    await player.pause();
    await expectShown(server, intro, await player.shown());
    const { sources } = await server.request('sources', intro);
    assert.deepEqual(sources.map(({ path }) => path), expected.map((path) => scene.site.origin + path));
  });
}

for (const [how, detail, hasSocket] of [['over a websocket', 'path', true], ['in batches', 'path', false], ['never', 'none', true]]) {
  suite.test(`where the viewer comes from is reported ${how} with data-page="${detail}"`, async (scene) => {
    const server = await scene.server();
    const tag = scriptTag(server).replace('data-key', `data-page="${detail}" data-key`);
    const url = await scene.site.publish('/watch', { html: `${tag}${videoTag('video', 'data-metrics-id="intro"')}` });
    const page = await scene.page();
    if (!hasSocket) await page.addInitScript(() => delete window.WebSocket);
    const sent = [];
    page.on('request', (request) => sent.push(`${request.url()} ${request.postData()}`));
    page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => sent.push(payload)));
    const search = `?secret=of-the-visitor&utm_source=letter&utm_campaign=${'may'.repeat(100)}&utm_term=unread`;
    const address = `${url}${search}`;
    await page.goto(address, { referer: 'https://www.news.example:8443/story-of-the-visitor?id=7' });
    const player = new Player(page, 'video');
    await player.play();
    await player.reach(1.5);
    await player.pause();
    await expectShown(server, intro, await player.shown());
    const valueOf = async (name) => {
      const { results } = await server.request('query', { metrics: ['plays'], dimensions: [name] });
      return results[0].dimensions[0];
    };
    const values = await Promise.all(['referrer', 'utm_source', 'utm_medium', 'utm_campaign'].map(valueOf));
    const expected = ['news.example', 'letter', null, 'may'.repeat(100).slice(0, 128)];
    assert.deepEqual(values, detail === 'none' ? [null, null, null, null] : expected);
    const told = sent.filter((text) => !text.startsWith(address)).join('\n');
    assert.doesNotMatch(told, /of-the-visitor|unread/);
  });
}

suite.test('in a frame, the referrer is the other site, or that of the page around it', async (scene) => {
  const server = await scene.server();
  const player = (identifier) => `${scriptTag(server)}${videoTag('video', `autoplay data-metrics-id="${identifier}"`)}`;
  await scene.site.publish('/list', { html: '<a href="/player">Intro</a>' });
  await scene.site.publish('/player', { html: player('embedded') });
  await scene.site.publish('/own', { html: player('own') });
  const other = scene.site.origin.replace('localhost', 'blog.localhost');
  const frame = (path) => `<iframe src="${scene.site.origin}${path}" allow="autoplay"></iframe>`;
  const source = async (path, html, address, identifier, followLink = async () => {}) => {
    await scene.site.publish(path, { html });
    const page = await scene.page();
    await page.goto(`${address}${path}?utm_source=letter&secret=of-the-visitor`, { referer: 'https://news.example/story' });
    const inner = page.frameLocator('iframe');
    await followLink(inner);
    await inner.locator('video').evaluate((video) => new Promise((resolve) => {
      video.addEventListener('timeupdate', () => 1 < video.currentTime && resolve(video.pause()));
    }));
    const filters = [['is', 'video', [identifier]]];
    return eventually(async () => {
      const { results } = await server.request('query', { metrics: ['plays'], dimensions: ['referrer', 'utm_source'], filters });
      assert.equal(results.length, 1);
      return results[0].dimensions;
    });
  };
  const click = (inner) => inner.getByRole('link').click();
  assert.deepEqual(await source('/article', frame('/list'), other, 'embedded', click), ['blog.localhost', null]);
  assert.deepEqual(await source('/watch', frame('/own'), scene.site.origin, 'own'), ['news.example', 'letter']);
});

suite.test('the language of a track that shows from the start on is reported', async (scene) => {
  const server = await scene.server();
  const track = '<track default srclang="nl" kind="subtitles" src="data:text/vtt,WEBVTT">';
  const { html } = introPage(server);
  const page = await scene.visit('/watch', { html: html.replace('</video>', `${track}</video>`) });
  const traffic = recordTraffic(page);
  await page.waitForFunction(() => video.textTracks[0].mode === 'showing');
  const player = new Player(page, 'video');
  await player.play();
  await player.pause();
  await player.play();
  await player.pause();
  const names = ['play', 'track_set', 'playing', 'pause', 'play', 'pause'];
  await eventually(() => assert.deepEqual(traffic.namesWithoutWaits(), names));
  assert.equal(traffic.events[1].language, 'nl');
});

suite.test('a wait for data is no watching, and is reported', async (scene) => {
  const server = await scene.server();
  scene.site.hold(0.3);
  const video = videoTag('video', 'data-metrics-id="intro"', '/held.webm');
  const page = await scene.visit('/watch', { html: `${scriptTag(server)}${video}` });
  const traffic = recordTraffic(page);
  const player = new Player(page, 'video');
  // A browser reads ahead: the buffer lasts for a while.
  await setRate(page, 4);
  await player.play();
  const wait = await stalled(traffic);
  assert.deepEqual(traffic.namesWithoutWaits(), ['ratechange', 'play', 'playing']);
  const stuck = await position(player);
  scene.site.release();
  await player.reach(stuck + 2);
  await player.pause();
  await eventually(() => assert.deepEqual(traffic.namesWithoutWaits(), ['ratechange', 'play', 'playing', 'pause']));
  assert.equal(traffic.events[wait + 1].name, 'rebuffering_end');
  near(traffic.events[wait].from, stuck, TOLERANCE_SECONDS, 'where it waited');
  await expectShown(server, intro, await player.shown());
});

suite.test('a tab in the background is as exact, where players report the time once a second', async (scene) => {
  const server = await scene.server();
  const { html } = introPage(server);
  // A browser without a screen has no background.
  const throttle = `<script>
    let last = 0;
    addEventListener('timeupdate', (event) => {
      if (performance.now() - last < 1_000) return event.stopImmediatePropagation();
      last = performance.now();
    }, true);
    const { setTimeout } = window;
    window.setTimeout = (act, milliseconds) => setTimeout(act, Math.max(milliseconds, 1_000));
  </script>`;
  const page = await scene.visit('/watch', { html: `${throttle}${html}` });
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(1.7);
  await setRate(page, 2);
  await player.reach(3.2);
  await player.seek(10);
  await player.reach(11.1);
  await player.seek(20);
  await player.reach(21.5);
  const shown = await player.shown();
  await page.close();
  assert.equal(shown.length, 3, `the player showed ${JSON.stringify(shown)}`);
  await expectShown(server, intro, shown);
});

suite.test('other actions of viewers are reported, with their time', async (scene) => {
  const server = await scene.server();
  const { html } = introPage(server);
  const track = '<track srclang="nl" kind="subtitles" src="data:text/vtt,WEBVTT">';
  const button = '<button onclick="video.requestFullscreen()">fill</button>';
  const page = await scene.visit('/watch', { html: `${html.replace('</video>', `${track}</video>`)}${button}` });
  const traffic = recordTraffic(page);
  const player = new Player(page, 'video');
  await player.play();
  await page.click('button');
  await eventually(() => assert.ok(traffic.names().includes('fullscreen_enter')));
  await page.evaluate(() => document.exitFullscreen());
  await eventually(() => assert.ok(traffic.names().includes('fullscreen_exit')));
  await setRate(page, 1.5);
  await page.evaluate(() => (video.textTracks[0].mode = 'showing'));
  await player.seek(10);
  await player.pause();
  await page.evaluate(() => (video.playbackRate = 1.52));
  const expected = [
    ...['play', 'playing', 'fullscreen_enter', 'fullscreen_exit', 'ratechange', 'track_set'],
    ...['pause', 'seeked', 'play', 'pause'],
  ];
  await eventually(() => assert.deepEqual(traffic.names(), expected));
  const find = (name) => traffic.events.find((event) => event.name === name);
  assert.equal(find('ratechange').rate, 1.5);
  assert.equal(find('track_set').language, 'nl');
  assert.equal(find('seeked').duration, await page.evaluate(() => video.duration));
  const timestamps = traffic.events.map(({ timestamp }) => timestamp);
  assert.deepEqual(timestamps, [...new Set(timestamps)].sort((one, other) => one - other), 'each later than the one before');
  assert.ok(Math.abs(timestamps[0] - Date.now()) < 60_000, 'by the clock of the machine');
});

suite.test('media that cannot be played is reported for each kind of source', async (scene) => {
  const server = await scene.server();
  const sources = '<source src="/missing/one.mp4"><source src="/missing/two.mp4">';
  const page = await scene.visit('/watch', {
    html: `${scriptTag(server)}<video id="one" preload="none" src="/missing/one.mp4" muted></video>
      <video id="two" preload="none" muted>${sources}</video>`,
  });
  const traffic = recordTraffic(page);
  for (const id of ['one', 'two']) {
    // With a list of sources, that promise stays pending for ever.
    await page.evaluate((id) => void document.getElementById(id).play().catch(() => {}), id);
    const expected = ['play', 'playback_failure', 'pause'];
    await eventually(() => assert.deepEqual(traffic.names().splice(id === 'one' ? 0 : 3), expected));
  }
});

suite.test('the end of a video that begins again is a replay', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', { html: `${scriptTag(server)}${videoTag('video', 'data-metrics-id="intro" loop')}` });
  const player = new Player(page, 'video');
  await player.seek(28.5);
  await player.play();
  await page.evaluate(() => new Promise((resolve) => video.addEventListener('seeked', resolve, { once: true })));
  await page.waitForFunction(() => video.currentTime > 1 && video.currentTime < 10);
  await player.pause();
  const end = await page.evaluate(() => video.duration);
  await expectShown(server, intro, [[28.5, end], [0, await position(player)]]);
});

suite.test('media is found anywhere and at any time, with its attributes', async (scene) => {
  const server = await scene.server();
  const html = `${scriptTag(server)}
    ${videoTag('one', 'data-metrics-id="one" data-metrics-course="7" data-metrics-tag="a"')}
    ${videoTag('two', 'data-metrics-course="8"')}
    ${videoTag('ignored', 'data-metrics-ignore data-metrics-id="ignored"')}
    <late-player data-metrics-id="shadow"></late-player>`;
  const page = await scene.visit('/course', { html });
  await page.evaluate(() => {
    const add = (id, root) => {
      const video = document.createElement('video');
      Object.assign(video, { id, src: '/video.webm', muted: true });
      root.append(video);
      window.watch(video);
      return video;
    };
    const holder = document.createElement('div');
    document.body.append(holder);
    add('late', holder).dataset.metricsId = 'late';
    customElements.define('late-player', class extends HTMLElement {
      constructor() {
        super();
        this.attachShadow({ mode: 'open' });
      }

      async connectedCallback() {
        await new Promise(requestAnimationFrame);
        add('shadow', this.shadowRoot);
      }
    });
  });
  await page.waitForFunction(() => window.watches.shadow);
  const players = ['one', 'two', 'ignored', 'late', 'shadow'].map((id) => new Player(page, id));
  await Promise.all(players.map((player) => player.play()));
  await Promise.all(players.map((player) => player.reach(1.3)));
  await Promise.all(players.map((player) => player.pause()));

  const selections = [
    { identifier: 'one', query: { video: { course: '7', tag: 'a' } } },
    { query: { video: { course: '8' } } },
    { identifier: 'late' },
    { identifier: 'shadow' },
  ];
  const shown = await Promise.all(players.map((player) => player.shown()));
  shown.splice(2, 1);
  for (const [index, selection] of selections.entries()) await expectShown(server, selection, shown[index]);
  const { views } = await server.request('plays', { identifier: ['one', 'late', 'shadow', 'ignored'] });
  assert.equal(views[0].views, 3, 'what is to be ignored is');
});

suite.test('media without attributes has the name of its source, and another source is another session', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', { html: `${scriptTag(server)}${videoTag('video', '', '/video.webm?token=1')}` });
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(1.2);
  const first = [[0, await position(player)]];
  await page.evaluate(() => (video.src = '/other/video.webm?token=2'));
  await player.play();
  await player.reach(1.5);
  await player.pause();
  const second = [[0, await position(player)]];
  await expectShown(server, { identifier: `${scene.site.origin}/video.webm` }, first);
  await expectShown(server, { identifier: `${scene.site.origin}/other/video.webm` }, second);
});

suite.test('with a name of its own, another source is another viewing as well', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', introPage(server));
  const player = new Player(page, 'video');
  for (const source of ['/video.webm', '/other/video.webm']) {
    await page.evaluate((source) => (video.src = source), source);
    await player.play();
    await player.reach(1.2);
  }
  await page.close();
  await eventually(async () => {
    const { views } = await server.request('plays', intro);
    assert.deepEqual(views.map((row) => row.views), [2]);
  });
});

suite.test('a page can choose the measured media, and the end', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', { html: `${scriptTag(server)}${videoTag('video', 'data-metrics-id="attribute"')}` });
  const player = new Player(page, 'video');
  await page.evaluate(() => {
    const options = { identifier: 'intro', metadata: { course: { id: 7 } }, sessionData: { plan: 'free' } };
    window.stop = window.metrics.monitor(video, options);
  });
  await player.play();
  await player.reach(1.3);
  await page.evaluate(() => window.stop());
  const shown = [[0, await position(player)]];
  await player.reach(2.5);
  await player.pause();
  await expectShown(server, { ...intro, query: { video: { course: { id: 7 } }, session: { plan: 'free' } } }, shown);
  assert.deepEqual((await server.request('plays', { identifier: 'attribute' })).views, []);
});

suite.test('media that a player feeds piece by piece, as hls.js and dash.js do, has the name of its page', async (scene) => {
  const server = await scene.server();
  const html = `${scriptTag(server)}<video id="video" muted></video><script>
    const source = new MediaSource();
    video.src = URL.createObjectURL(source);
    source.addEventListener('sourceopen', async () => {
      const buffer = source.addSourceBuffer('video/webm; codecs="vp8"');
      const file = await (await fetch('/video.webm')).arrayBuffer();
      for (let start = 0; start < file.byteLength; start += 20_000) {
        buffer.appendBuffer(file.slice(start, start + 20_000));
        await new Promise((resolve) => buffer.addEventListener('updateend', resolve, { once: true }));
      }
      source.endOfStream();
    });
  </script>`;
  const page = await scene.visit('/watch?token=1', { html });
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(1.2);
  await player.seek(10);
  await player.reach(11);
  const shown = await player.shown();
  await page.close();
  assert.equal(shown.length, 2, `the player showed ${JSON.stringify(shown)}`);
  await expectShown(server, { identifier: `${scene.site.origin}/watch` }, shown);
});

suite.test('a module measures the media that a page passes', async (scene) => {
  const server = await scene.server();
  const key = encodeURIComponent('HDsj3NfKQTNwn5Ix9g+cfQ==');
  const html = `${videoTag('video')}${videoTag('other')}<script type="module">
    import { monitor } from '${server.url}/metrics.mjs?key=${key}';
    monitor(document.querySelector('#video'), { identifier: 'intro' });
  </script>`;
  const page = await scene.visit('/watch', { html });
  const players = ['video', 'other'].map((id) => new Player(page, id));
  await Promise.all(players.map((player) => player.play()));
  await Promise.all(players.map((player) => player.reach(1.3)));
  await Promise.all(players.map((player) => player.pause()));
  await expectShown(server, intro, await players[0].shown());
  const { views } = await server.request('plays', { query: { key: 'HDsj3NfKQTNwn5Ix9g+cfQ==' } });
  assert.deepEqual(views.map((row) => row.views), [1]);
});

suite.test('a link that is followed while a video plays ends it where it was', async (scene) => {
  const server = await scene.server();
  const { html } = introPage(server);
  const page = await scene.visit('/watch', { html: `${html}<a href="/next">next</a>` });
  await scene.site.publish('/next', { html: 'next' });
  const player = new Player(page, 'video');
  await player.play();
  await setRate(page, 2);
  await player.reach(3);
  // On a busy machine the video plays on for a while before the navigation.
  await page.evaluate(() => {
    addEventListener('pagehide', () => (sessionStorage.shown = JSON.stringify(window.watches.video.shown())));
  });
  await page.click('a');
  await page.waitForURL('**/next');
  const shown = await page.evaluate(() => JSON.parse(sessionStorage.shown));
  assert.ok(shown.length === 1 && shown[0][1] >= 3, `the player showed ${JSON.stringify(shown)}`);
  await expectShown(server, intro, shown);
});

suite.test('media that plays by itself before the script is there is measured from its start', async (scene) => {
  const server = await scene.server();
  const page = await scene.visit('/watch', { html: videoTag('video', 'data-metrics-id="intro" autoplay') });
  const player = new Player(page, 'video');
  await player.reach(1);
  await page.evaluate((tag) => document.head.append(document.createRange().createContextualFragment(tag)), scriptTag(server));
  await player.reach(2);
  await player.pause();
  await expectShown(server, intro, [[0, await position(player)]]);
});

suite.test('the script is small', async (scene) => {
  const server = await scene.server();
  for (const [encoding, bytesMax] of Object.entries(BYTES_MAX)) {
    const response = await fetch(`${server.url}/metrics.js`, { method: 'HEAD', headers: { 'accept-encoding': encoding } });
    assert.equal(response.headers.get('content-encoding'), encoding);
    const bytes = Number(response.headers.get('content-length'));
    assert.ok(0 < bytes && bytes <= bytesMax, `${bytes} bytes of ${encoding}`);
  }
});
