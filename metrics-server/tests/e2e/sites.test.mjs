// Pages of other sites cannot use the credentials of an operator who opens them.

import assert from 'node:assert/strict';
import { Suite } from './harness/suite.mjs';

const OPERATOR = { METRICS_USER: 'operator', METRICS_PASSWORD: 'open sesame' };
const CREDENTIALS = { username: OPERATOR.METRICS_USER, password: OPERATOR.METRICS_PASSWORD };
const AUTHORIZATION = `Basic ${btoa(`${CREDENTIALS.username}:${CREDENTIALS.password}`)}`;

const suite = new Suite();

/** The keys of the server. */
async function keys(server, headers) {
  const response = await fetch(`${server.url}/api/v1/keys`, { headers });
  return (await response.json()).keys.map(({ key }) => key);
}

/** A page with a form whose body is JSON for a server that ignores its type. */
function form(server, enctype) {
  const html = `<form method="post" enctype="${enctype}" action="${server.url}/api/v1/keys">
    <input name='{"key":"known","x":"' value='"}'><button>Win a prize</button></form>`;
  return { html };
}

for (const [who, environment] of [['nobody is asked for', {}], ['the visitor is logged in with', OPERATOR]]) {
  suite.test(`a form of another site creates no key, where ${who} a password`, async (scene) => {
    const server = await scene.server(environment);
    const page = await scene.page({ httpCredentials: CREDENTIALS });
    assert.equal((await page.goto(server.url)).status(), 200);
    const before = await keys(server, { authorization: AUTHORIZATION });
    for (const enctype of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
      await page.goto(await scene.site.publish('/form', form(server, enctype)));
      const answered = page.waitForResponse(`${server.url}/api/v1/keys`);
      await page.locator('button').click();
      assert.equal((await answered).status(), 403, enctype);
    }
    assert.deepEqual(await keys(server, { authorization: AUTHORIZATION }), before);
    // The server's own page can use them.
    await page.goto(server.url);
    const own = await page.evaluate(async () => {
      const headers = { 'content-type': 'application/json' };
      const response = await fetch('api/v1/keys', { method: 'POST', headers, body: '{"key":"known"}' });
      return response.status;
    });
    assert.equal(own, 201);
    assert.ok((await keys(server, { authorization: AUTHORIZATION })).includes('known'));
  });
}

suite.test('a page of another site reads nothing, unless its origin is listed, and may be left by a link', async (scene) => {
  const listed = await scene.server({ METRICS_CORS_ORIGINS: scene.site.origin });
  const server = await scene.server();
  const page = await scene.open(await scene.site.publish('/other', { html: `<a href="${server.url}/">figures</a>` }));
  const read = (url, options) =>
    page.evaluate(([url, options]) => fetch(url, options).then((it) => it.status, () => 'refused'), [url, options]);
  const report = (server) => `${server.url}/api/v1/plays?identifier=intro`;
  assert.equal(await read(report(server)), 'refused');
  assert.equal(await read(report(listed)), 200);
  // The server does not even compute a report that it would not show to the page.
  const answered = page.waitForResponse(report(server));
  await read(report(server), { mode: 'no-cors' });
  assert.equal((await answered).status(), 403);
  for (const address of [`${listed.url}/api/v1/keys`, `${listed.url}/metrics`]) {
    assert.equal(await read(address), 'refused', address);
  }
  const [opened] = await Promise.all([page.waitForNavigation(), page.locator('a').click()]);
  assert.equal(opened.status(), 200);
});

suite.test('a name that a page points at the server is not answered', async (scene) => {
  const server = await scene.server();
  const { port } = new URL(server.url);
  const page = await scene.page();
  const answer = await page.goto(`http://a.rebound.example:${port}/health/live`);
  assert.equal(answer.status(), 200, 'the name leads to the server');
  const [read, revoked] = await page.evaluate(async () => {
    const status = (path, method) => fetch(path, { method }).then((it) => it.status);
    return [await status('/api/v1/keys', 'GET'), await status('/api/v1/keys/HDsj3NfKQTNwn5Ix9g+cfQ==', 'DELETE')];
  });
  assert.deepEqual([read, revoked], [421, 421]);
  const { keys: known } = await (await fetch(`${server.url}/api/v1/keys`)).json();
  assert.ok(known.every((it) => it.disabled_at === null), JSON.stringify(known));
});
