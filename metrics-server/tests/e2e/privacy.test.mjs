// No personal data reaches the disk or the log. Clients send all that a browser makes them send, the server logs at its
// most verbose level, and the test searches every byte on the disk and in the log.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { USER_AGENT } from './harness/browser.mjs';
import { batchPage, channelPage } from './harness/clients.mjs';
import { eventually, within } from './harness/eventually.mjs';
import { onePlay } from './harness/expect.mjs';
import { Player } from './harness/player.mjs';
import { introPage } from './harness/script.mjs';
import { Suite } from './harness/suite.mjs';

const OPERATOR = { METRICS_AUTH_ENABLED: 'true', METRICS_USER: 'operator', METRICS_PASSWORD: 'word-of-the-operator' };
const AUTHORIZATION = `Basic ${btoa(`${OPERATOR.METRICS_USER}:${OPERATOR.METRICS_PASSWORD}`)}`;
const ADDRESS = '203.0.113.77';
const TOKEN = 'token-of-the-visitor';

// Texts that are not JSON or that a parser's error would quote.
const BAD_FRAMES = ['frame-of-the-visitor', '"frame-of-the-visitor"', '["1", "2", "frame-of-the-visitor", "phx_join"]'];
const BAD_BATCHES = ['batch-of-the-visitor', '"batch-of-the-visitor"', '{"events": "batch-of-the-visitor"}'];

// Texts that must be found nowhere, by the request part that had them.
const TRACES = {
  'the User-Agent header': USER_AGENT,
  'a part of the User-Agent header': 'AppleWebKit',
  "the page's query": 'secret=',
  "a value of the page's query": 'query-of-the-visitor',
  'a path of the referrer': 'path-of-the-referrer',
  'the query of the referrer': 'query-of-the-referrer',
  'an e-mail address in a campaign': 'somebody@example.org',
  "the page's fragment": 'fragment-of-the-visitor',
  "the user in the page's address": 'user-of-the-visitor',
  "the password in the page's address": 'password-of-the-visitor',
  'a cookie': 'cookie-of-the-visitor',
  'an address from a proxy': ADDRESS,
  'a token in Sec-WebSocket-Protocol': TOKEN,
  'that token encoded': btoa(TOKEN).replaceAll('=', ''),
  'a frame that is no message': 'frame-of-the-visitor',
  'a batch that is not JSON': 'batch-of-the-visitor',
  'an event that is not valid': 'event-of-the-visitor',
  'the Authorization header': AUTHORIZATION.slice('Basic '.length),
  'its password': OPERATOR.METRICS_PASSWORD,
  'a wrong password': btoa('operator:guess'),
};

const suite = new Suite();

suite.test('nothing that identifies a viewer is on the disk or in the log', async (scene) => {
  const server = await scene.server({ ...OPERATOR, RUST_LOG: 'debug' });
  const authorized = { request: (path, body) => server.request(path, body, { authorization: AUTHORIZATION }) };
  const { key } = await authorized.request('keys', {});

  await watch(scene, '/by-channel', channelPage(server, { video: ['by-channel', {}] }, key));
  const endpoint = `${server.url}/v1/events?key=${encodeURIComponent(key)}`;
  await watch(scene, '/by-script', introPage(server, key));
  await watch(scene, '/by-batch', batchPage(endpoint, 'by-batch'), (page) =>
    // A busy browser may close a page before its last beacon is sent, which this test does not examine.
    page.waitForResponse((response) => response.request().method() === 'POST'),
  );
  await joinWithCredentials(scene, server, key);
  await sendNonsense(server, endpoint);
  for (const identifier of ['intro', 'by-channel', 'by-batch', 'by-phoenix']) {
    await eventually(() => onePlay(authorized, { identifier }));
  }

  // First with the write-ahead log of the running server, then with that of the stopped one.
  await expectNoTrace(scene, server, key);
  await server.stop();
  await expectNoTrace(scene, server, key);
});

async function expectNoTrace(scene, server, key) {
  const disk = await server.database.bytes();
  // The search finds data that is stored on purpose.
  for (const path of ['/by-script', '/by-channel', '/by-batch', '/by-phoenix']) {
    assert.ok(disk.includes(`${scene.site.origin}${path}`), `the page ${path} is on the disk`);
  }
  for (const text of ['referrer.example', 'stored-campaign']) assert.ok(disk.includes(text), `${text} is on the disk`);
  for (const [what, text] of Object.entries(TRACES)) {
    assert.ok(!disk.includes(text), `${what} is on the disk`);
    assert.ok(!server.log.includes(text), `${what} is in the log:\n${linesWith(server.log, text)}`);
  }
  // The pages are on `localhost`, so every numeric address is a connection's; only the server's own may occur.
  const log = server.log.replaceAll(server.address, '');
  for (const peer of ['127.0.0.1', '::1']) {
    assert.ok(!disk.includes(peer), "a viewer's address is on the disk");
    assert.ok(!log.includes(peer), `a viewer's address is in the log:\n${linesWith(log, peer)}`);
  }
  assert.ok(!server.log.includes(key), `a key is in the log:\n${linesWith(server.log, key)}`);
}

async function watch(scene, path, content, watchPage = async () => {}) {
  const page = await scene.page();
  const search = '?secret=query-of-the-visitor&utm_source=somebody%40example.org&utm_campaign=stored-campaign';
  const referer = 'https://referrer.example/path-of-the-referrer?q=query-of-the-referrer';
  await page.goto(`${await scene.site.publish(path, content)}${search}#fragment-of-the-visitor`, { referer });
  const player = new Player(page, 'video');
  const watched = watchPage(page);
  await player.play();
  await player.reach(1.5);
  await player.pause();
  await watched;
  // The rest is sent when the page closes.
  await player.play();
  await page.close();
}

// A browser removes the credentials from its own URL; another client may not.
async function joinWithCredentials(scene, server, key) {
  const script = `
    import { Socket } from 'phoenix-1.8';
    import { Client } from './page/client.mjs';
    window.client = new Client(Socket);`;
  const page = await scene.visit('/by-phoenix', { script });
  const address = new URL(page.url());
  address.username = 'user-of-the-visitor';
  address.password = 'password-of-the-visitor';
  address.search = '?secret=query-of-the-visitor';
  address.hash = 'fragment-of-the-visitor';
  const parameters = { identifier: 'by-phoenix', key, source_url: address.href };
  const events = [{ name: 'play', from: 0 }, { name: 'pause', to: 5 }, { name: 'play', from: 'event-of-the-visitor' }];
  const socketsEnded = page.evaluate(
    async ([url, parameters, options, events, frames]) => {
      const [status, response] = await window.client.join(url, parameters, options);
      if (status !== 'ok') throw new Error(`join: ${response.reason}`);
      for (const event of events) await window.client.push(event);
      for (const frame of frames) {
        const socket = new WebSocket(`${url}/websocket?vsn=2.0.0`);
        socket.onopen = () => socket.send(frame);
        await new Promise((closed) => socket.addEventListener('close', closed));
      }
    },
    [server.socketUrl, parameters, { authToken: TOKEN }, events, BAD_FRAMES],
  );
  await within(10_000, 'an end of every socket with a bad frame', socketsEnded);
}

// Logs most often quote input in errors.
async function sendNonsense(server, endpoint) {
  const headers = { cookie: 'id=cookie-of-the-visitor', 'x-forwarded-for': ADDRESS, forwarded: `for=${ADDRESS}` };
  const event = { name: 'play', session_id: 'x', embed_id: 'by-batch', video_time: 'event-of-the-visitor' };
  for (const body of [...BAD_BATCHES, JSON.stringify({ events: [event] })]) {
    await fetch(endpoint, { method: 'POST', headers, body });
  }
  const guess = { ...headers, authorization: `Basic ${btoa('operator:guess')}` };
  await fetch(`${server.url}/api/v1/keys?secret=query-of-the-visitor`, { headers: guess });
  await fetch(`${server.url}/nowhere?secret=query-of-the-visitor`, { headers });
  await upgradeAndBreak(server, headers);
}

// An upgrade with a cookie, and then bytes that are no frame.
async function upgradeAndBreak(server, headers) {
  const upgrade = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-key': btoa('sixteen bytes...'),
    'sec-websocket-version': '13',
    'user-agent': USER_AGENT,
  };
  const url = `${server.url}/socket/websocket?vsn=2.0.0&secret=query-of-the-visitor`;
  const upgradeRequest = request(url, { headers: { ...headers, ...upgrade } });
  upgradeRequest.end();
  const [, socket] = await once(upgradeRequest, 'upgrade');
  const closed = once(socket, 'close');
  socket.resume();
  socket.on('error', () => {});
  socket.end('frame-of-the-visitor');
  await closed;
}

function linesWith(log, text) {
  return log.split('\n').filter((line) => line.includes(text)).join('\n');
}
