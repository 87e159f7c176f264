// The npm package of our own client, as the author of a page installs, checks and bundles it.

import { build } from 'esbuild';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { eventually } from './harness/eventually.mjs';
import { onePlay } from './harness/expect.mjs';
import { Player } from './harness/player.mjs';
import { expectShown, recordTraffic, videoTag } from './harness/script.mjs';
import { EXAMPLE_KEY } from './harness/server.mjs';
import { Suite } from './harness/suite.mjs';

const DIST = fileURLToPath(new URL('../../../scripts/dist', import.meta.url));
const TSC = fileURLToPath(new URL('node_modules/typescript/bin/tsc', import.meta.url));
const README = new URL('../../../scripts/npm/README.md', import.meta.url);
const SOURCE = new URL('../../src/script/metrics.js', import.meta.url);

// Each line after a `@ts-expect-error` must be an error.
const USES = `
import { start, type Metrics, type Options, type StartOptions, type Stop } from 'metrics-video';

const everything: StartOptions = { server: 'https://metrics.example.com', key: 'k', live: 5, manual: true, page: 'host' };
const metrics: Metrics = start(everything);
const options: Options = { identifier: 7, metadata: { course: { id: 7 } }, sessionData: { plan: 'free' }, key: 'k' };
const stop: Stop = metrics.monitor(document.querySelector('video')!, options);
stop();
start({ server: '/analytics' }).monitor(new Audio())();
// @ts-expect-error
start();
// @ts-expect-error
start({ key: 'k' });
// @ts-expect-error
start({ server: 'https://metrics.example.com', kee: 'k' });
// @ts-expect-error
metrics.monitor('#video');
// @ts-expect-error
window.metrics;
// @ts-expect-error
import { monitor } from 'metrics-video';
`;

const suite = new Suite();
const intro = { identifier: 'intro' };
const execute = promisify(execFile);
let project;

before(async () => {
  project = await mkdtemp(join(tmpdir(), 'metrics-e2e-'));
  await execute(DIST, ['npm'], { env: { ...process.env, CARGO_TARGET_DIR: project } });
  const artefacts = join(project, 'dist/artefacts');
  const [tarball, ...others] = await readdir(artefacts);
  assert.deepEqual(others, [], 'the package alone is left');
  await writeFile(join(project, 'package.json'), '{ "private": true, "type": "module" }');
  await execute('npm', ['install', '--offline', '--no-audit', '--no-fund', join(artefacts, tarball)], { cwd: project });
});

after(() => project && rm(project, { recursive: true }));

/** A script element with a bundle of this module, which imports the package. */
async function bundled(contents) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: project },
    bundle: true,
    minify: true,
    format: 'iife',
    logLevel: 'error',
    write: false,
  });
  return `<script>${outputFiles[0].text.replaceAll('</script', '<\\/script')}</script>`;
}

/** A call of `start` for this server, with more options. */
function startFor(server, options = {}) {
  return `start(${JSON.stringify({ server: server.url, key: EXAMPLE_KEY, ...options })})`;
}

test('the package says what it is, and holds the served script', async () => {
  const folder = join(project, 'node_modules/metrics-video');
  const about = JSON.parse(await readFile(join(folder, 'package.json')));
  const workspace = await readFile(new URL('../../../Cargo.toml', import.meta.url), 'utf8');
  assert.equal(about.version, /^version = "(.+)"$/m.exec(workspace)[1]);
  const files = ['LICENSE-APACHE', 'LICENSE-MIT', 'README.md', 'metrics.d.ts', 'metrics.js', 'package.json'];
  assert.deepEqual((await readdir(folder)).sort(), files);
  const code = await readFile(join(folder, 'metrics.js'), 'utf8');
  assert.ok(code.startsWith(await readFile(SOURCE, 'utf8')), 'there is a second implementation');
});

test('the types fit what a page does with the package', async () => {
  await mkdir(join(project, 'types'));
  await writeFile(join(project, 'types/page.ts'), USES);
  for (const resolution of [['esnext', 'bundler'], ['nodenext', 'nodenext']]) {
    const [module, moduleResolution] = resolution;
    const options = ['--noEmit', '--strict', '--target', 'es2022', '--module', module, '--moduleResolution', moduleResolution];
    await execute(process.execPath, [TSC, ...options, 'types/page.ts'], { cwd: project }).catch(({ stdout }) => {
      throw new Error(`${resolution}: ${stdout}`);
    });
  }
});

test('a server that renders pages may import it, where there is no document', async () => {
  const program = `import { start } from 'metrics-video'; console.log(typeof start)`;
  const { stdout } = await execute(process.execPath, ['--input-type=module', '--eval', program], { cwd: project });
  assert.equal(stdout, 'function\n');
});

test('a bundle that imports it and does not start it has nothing of it', async () => {
  assert.equal((await bundled(`import 'metrics-video';`)).replaceAll(/\s/g, ''), '<script>(()=>{})();</script>');
});

suite.test('a bundle measures the media of its page, as the README of the package shows', async (scene) => {
  const server = await scene.server();
  const [, shown] = /```js\n(.+?)```/s.exec(await readFile(README, 'utf8'));
  const script = await bundled(shown.replace('https://metrics.example.com', server.url));
  const page = await scene.visit('/watch', { html: `${videoTag('video', 'data-metrics-id="intro"')}${script}` });
  const player = new Player(page, 'video');
  await player.play();
  await player.reach(1.5);
  await player.pause();
  await expectShown(server, intro, await player.shown());
  const { sources } = await server.request('sources', intro);
  assert.deepEqual(sources.map(({ path }) => path), [`${scene.site.origin}/watch`]);
});

suite.test('started twice it counts once, and options do what attributes do', async (scene) => {
  const server = await scene.server();
  const script = await bundled(`import { start } from 'metrics-video';
    const metrics = ${startFor(server, { live: 0.5, manual: true, page: 'none' })};
    if (${startFor(server)} !== metrics) throw new Error('another start');
    metrics.monitor(document.querySelector('#video'), { identifier: 'intro' });`);
  const videos = `${videoTag('video')}${videoTag('other', 'data-metrics-id="other"')}`;
  const page = await scene.visit('/watch', { html: `${videos}${script}` });
  const traffic = recordTraffic(page);
  const [player, other] = ['video', 'other'].map((id) => new Player(page, id));
  await other.play();
  await player.play();
  await player.reach(1.5);
  await eventually(() => assert.ok(traffic.names().includes('timeupdate'), traffic.names().join()));
  await player.pause();
  await expectShown(server, intro, await player.shown());
  await onePlay(server, intro);
  assert.deepEqual((await server.request('sources', intro)).sources, []);
  assert.equal(traffic.joins.length, 1, 'media that nobody asked for is measured');
});
