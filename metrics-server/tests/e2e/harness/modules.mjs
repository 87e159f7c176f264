// The modules of the page, in this process: their maths need no browser.

import { build } from 'esbuild';
import { fileURLToPath } from 'node:url';

/** The exports of a module in `src/page`, with all that it imports. */
export async function pageModule(name) {
  const entry = fileURLToPath(new URL(`../../../src/page/${name}`, import.meta.url));
  const bundle = await build({ entryPoints: [entry], bundle: true, format: 'esm', logLevel: 'error', write: false });
  return import(`data:text/javascript;base64,${Buffer.from(bundle.outputFiles[0].contents).toString('base64')}`);
}

/** The answer to a request for a single module of the page by its path on a server; `main.js` is empty. */
export function moduleAt(path) {
  const isMain = path === '/page/main.js';
  const file = fileURLToPath(new URL(`../../../src${path}`, import.meta.url));
  return { contentType: 'text/javascript', ...(isMain ? { body: '' } : { path: file }) };
}

/** Numbers from 0 to 1 that are the same in each run. */
export function randomFrom(seed) {
  let state = seed;
  return () => (state = (state * 16_807) % 2_147_483_647) / 2_147_483_647;
}
