// The clients under comparison with the true view time. npm has one release each of `@maveio/metrics` and `@maveio/data`.

import { batchPage, channelPage } from '../clients.mjs';
import { scriptTag, videoTag } from '../script.mjs';
import { EXAMPLE_KEY } from '../server.mjs';

/**
 * Each with the page that it measures, and:
 *
 * - `isExact`: it reports every second, but for the last ones of a page that closes while its network is cut;
 * - `limitSeconds`: the largest error of a script that does one thing, and of every script if the client is exact;
 * - `sessionPerSource`: another source is another session;
 * - `needsWebsocket`: a page that closes without a websocket loses its unsent events;
 * - `marginSeconds`: a session whose view time is this close to the minimum of a play may count or not.
 */
export const CLIENTS = {
  own: {
    name: '/metrics.js',
    page: (proxy, identifier) => ({ html: `${scriptTag(proxy)}${videoTag('video', `data-metrics-id="${identifier}"`)}` }),
    isExact: true,
    limitSeconds: 0.15,
    sessionPerSource: true,
    needsWebsocket: false,
    marginSeconds: 0.15,
  },
  m015: {
    name: '@maveio/metrics 0.1.5',
    page: (proxy, identifier) => channelPage(proxy, { video: [identifier, {}] }),
    isExact: false,
    limitSeconds: 0.5,
    sessionPerSource: false,
    needsWebsocket: true,
    marginSeconds: 0.5,
  },
  d011: {
    name: '@maveio/data 0.1.1',
    page: (proxy, identifier) => batchPage(`${proxy.url}/v1/events?key=${encodeURIComponent(EXAMPLE_KEY)}`, identifier),
    isExact: false,
    limitSeconds: 0.5,
    sessionPerSource: false,
    needsWebsocket: false,
    marginSeconds: 0.5,
  },
};
