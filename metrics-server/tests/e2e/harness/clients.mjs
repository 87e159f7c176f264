// The setup of each published client as the author of a page does it.

import { EXAMPLE_KEY } from './server.mjs';

/** `@maveio/metrics` on the videos of a page: `videos` maps an element's id to the client's arguments. */
export function channelPage(server, videos, key = EXAMPLE_KEY) {
  const config = JSON.stringify({ socketPath: server.socketUrl, apiKey: key });
  const monitors = Object.entries(videos).map(([id, args]) => `new Metrics(${list([`#${id}`, ...args])}).monitor();`);
  const script = `import { Metrics } from '@maveio/metrics';\nMetrics.config = ${config};\n${monitors.join('\n')}`;
  return { videos: Object.keys(videos), script };
}

/** `@maveio/data`, which posts batches to `endpoint`, on one video. */
export function batchPage(endpoint, embedId) {
  const config = JSON.stringify({ apiEndpoint: endpoint });
  const script = `
    import { Metrics } from '@maveio/data';
    Metrics.config = ${config};
    new Metrics('#video', ${JSON.stringify(embedId)}).monitor();`;
  return { videos: ['video'], script };
}

function list(values) {
  return values.map((value) => JSON.stringify(value)).join(', ');
}
