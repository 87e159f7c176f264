// The types of our own client accept valid arguments and reject others, as checked by a page's author.

import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const TSC = fileURLToPath(new URL('node_modules/typescript/bin/tsc', import.meta.url));
const TYPES = fileURLToPath(new URL('../../src/script/metrics.d.ts', import.meta.url));

// Each line after a `@ts-expect-error` must be an error.
const USES = `
import { metrics, monitor, type Options, type Stop } from './metrics.js';

const media = new Audio();
const options: Options = { identifier: 7, metadata: { course: { id: 7 } }, sessionData: { plan: 'free' }, key: 'k' };
const stop: Stop = monitor(media, options);
stop();
metrics.monitor(media)();
window.metrics.monitor(document.querySelector('video')!, { identifier: 'intro' });
// @ts-expect-error
monitor('#video');
// @ts-expect-error
monitor(media, { metadata: 'intro' });
// @ts-expect-error
monitor(media, { indentifier: 'intro' });
// @ts-expect-error
stop('now');
`;

test('the types fit the use of the script by a page', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'metrics-e2e-'));
  try {
    await writeFile(join(directory, 'metrics.d.ts'), await readFile(TYPES));
    await writeFile(join(directory, 'page.ts'), USES);
    const options = ['--noEmit', '--strict', '--target', 'es2022', '--module', 'esnext', '--moduleResolution', 'bundler'];
    const checked = promisify(execFile)(process.execPath, [TSC, ...options, 'page.ts'], { cwd: directory });
    await checked.catch(({ stdout }) => {
      throw new Error(stdout);
    });
  } finally {
    await rm(directory, { recursive: true });
  }
});
