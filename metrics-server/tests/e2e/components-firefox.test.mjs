// The web components in Firefox, which has constructed style sheets and streams of its own.

import assert from 'node:assert/strict';
import { eventually } from './harness/eventually.mjs';
import { launchFirefox } from './harness/firefox.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';

const suite = new Suite({ launch: launchFirefox });

suite.test('in Firefox the elements show the reports of a server of another origin, in their colours', async (scene) => {
  const server = await scene.server({ METRICS_CORS_ORIGINS: scene.site.origin });
  const start = Date.now() - 60_000;
  const event = { session_id: 'a', embed_id: 'intro', key: EXAMPLE_KEY, duration: 20 };
  await server.request('events', {
    events: [
      { ...event, name: 'play', video_time: 0, timestamp: start },
      { ...event, name: 'pause', video_time: 20, timestamp: start + 20_000 },
    ],
  });
  const page = await scene.visit('/cms', {
    html: `<script type="module" src="${server.url}/metrics-components.js"></script>
      <metrics-retention identifier="intro" lang="en"></metrics-retention><metrics-plays identifier="intro" lang="de"></metrics-plays>
      <metrics-watching identifier="intro" lang="nl"></metrics-watching>`,
  });
  const inside = (element, selector, read) =>
    page.locator(element).evaluate((host, { selector, read }) => {
      const found = host.shadowRoot?.querySelector(selector);
      if (!found) return null;
      return read === 'stroke' ? getComputedStyle(found).stroke : (found.getAttribute(read) ?? found.textContent);
    }, { selector, read });
  await eventually(async () => assert.match(await inside('metrics-retention', 'svg[role=img]', 'aria-label'), /^Retention over 0:20 \(sessions: 1\): 100% /));
  await eventually(async () => assert.match(await inside('metrics-plays', 'svg[role=img]', 'aria-label'), /: insgesamt 1, /));
  await eventually(async () => assert.equal(await inside('metrics-watching', '.count', 'text'), '0kijken nu'));
  assert.equal(await inside('metrics-retention', '.mc-line', 'stroke'), 'rgb(37, 99, 235)');
});
