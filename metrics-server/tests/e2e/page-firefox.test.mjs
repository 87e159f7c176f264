// The page at / in Firefox.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { launchFirefox } from './harness/firefox.mjs';
import { Suite } from './harness/suite.mjs';
import { busy } from './page/screens.mjs';

const suite = new Suite({ launch: launchFirefox });
const server = busy(suite);

const text = (page, selector) => page.locator(selector).evaluate((it) => it.innerText);
const value = (page, metric) => page.locator(`.panel:not(.waiting) [data-metric=${metric}] data`).evaluate((it) => Number(it.value));

suite.test('in Firefox, every screen shows what the server knows', async (scene) => {
  const { url, request } = await server();
  const page = await scene.page();
  const complaints = [];
  page.on('pageerror', ({ message }) => complaints.push(message));
  await page.goto(`${url}/#/?period=all`);
  const { results } = await request('query', { metrics: ['plays', 'view_time'], timeframe: 'all' });
  await eventually(async () => assert.deepEqual([await value(page, 'plays'), await value(page, 'view_time')], results[0].metrics));
  await eventually(async () => assert.match(await text(page, '.pager'), /1–10 of 200/));
  await page.locator('[data-dimension=device] li button').evaluate((it) => it.click());
  await eventually(async () => assert.match(await text(page, '.chips'), /Device = Desktop/));
  await eventually(async () => assert.ok((await value(page, 'plays')) < results[0].metrics[0]));
  await page.locator('.videos tbody a').evaluate((it) => it.click());
  await eventually(async () => assert.equal(await text(page, 'h1'), 'Launch film'));
  await eventually(() => page.locator('.vs svg[role]').evaluate((it) => it.tagName));
  for (const [screen, selector, expected] of [['live', '.totals', /Watching now/], ['quality', '.impact tbody', /Chrome/], ['settings', 'ul.keys', /HDsj/]]) {
    await page.goto(`${url}/#/${screen}`);
    await eventually(async () => assert.match(await text(page, selector), expected));
  }
  await page.goto(`${url}/#/videos/nobody-knows`);
  await eventually(async () => assert.match(await text(page, '.vs-empty'), /nobody-knows/));
  assert.deepEqual(complaints, []);
});
