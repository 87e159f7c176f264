// Measures how long the overview takes to open, in a Chromium that is new each time; servers take turns.
//
// node page/opening.mjs [--runs 9] [--rest 0] [--path '/#/'] [URL ...]
//
// A browser that has just started is busy with itself for a second; with `--rest 1500` it has as many milliseconds for that.
// Without a URL, it measures the server at METRICS_SERVER with the sessions of `busy.mjs`.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { launchBrowser } from '../harness/browser.mjs';
import { createDatabase } from '../harness/database.mjs';
import { sleep } from '../harness/eventually.mjs';
import { EXAMPLE_KEY, Server } from '../harness/server.mjs';
import { busyLines } from './busy.mjs';

// In the order in which they happen: milliseconds from the beginning of the navigation.
const STAGES = {
  document: 'the document has arrived',
  scripts: 'all scripts have arrived',
  asked: 'the first report is requested',
  answers: 'the last answer of a panel has arrived',
  panels: 'every panel shows its answer',
  complete: 'and the small curves and the viewers of this moment, painted',
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '9' }, rest: { type: 'string', default: '0' }, path: { type: 'string', default: '/#/' } },
});
const cleanups = [];
const urls = positionals.length ? positionals : [await busyServer()];
try {
  const runs = urls.map(() => []);
  for (let run = 0; run < Number(values.runs); run++) {
    for (const [index, url] of urls.entries()) runs[index].push(await opened(new URL(values.path, url).href));
  }
  for (const [index, url] of urls.entries()) report(url, runs[index]);
} finally {
  for (const clean of cleanups.reverse()) await clean();
}

async function busyServer() {
  const directory = await mkdtemp(join(tmpdir(), 'metrics-opening-'));
  cleanups.push(() => rm(directory, { recursive: true }));
  const database = await createDatabase(directory);
  cleanups.push(() => database.drop());
  const server = new Server(directory, database);
  await server.start();
  cleanups.push(() => server.dispose());
  await server.command(['import', 'sessions', '-'], busyLines({ now: Date.now(), key: EXAMPLE_KEY }).join('\n'));
  return server.url;
}

async function opened(url) {
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    await page.addInitScript(observe);
    await sleep(Number(values.rest));
    await page.goto(url, { waitUntil: 'commit' });
    await page.waitForFunction(() => window.opening.complete);
    return await page.evaluate(stages);
  } finally {
    await browser.close();
  }
}

// Runs in the page, before its scripts.
function observe() {
  const opening = (window.opening = {});
  const now = () => performance.now();
  const has = (selector) => document.querySelector(selector) !== null;
  const observer = new MutationObserver(() => {
    if (!has('.videos') || has('.panel.waiting:not([hidden])')) return;
    opening.panels ??= now();
    if (has('tr[data-video] .curve:empty') || !document.querySelector('[data-metric=watching] data')?.value) return;
    observer.disconnect();
    // After the frame that shows it.
    requestAnimationFrame(() => setTimeout(() => (opening.complete = now())));
  });
  observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
}

function stages() {
  const [{ responseEnd }] = performance.getEntriesByType('navigation');
  const entries = performance.getEntriesByType('resource').filter(({ startTime }) => startTime < window.opening.complete);
  const scripts = entries.filter(({ name }) => name.endsWith('.js'));
  const reports = entries.filter(({ name }) => /\/api\/v1\/(query|videos)$/.test(name));
  const last = (list) => Math.max(...list.map(({ responseEnd }) => responseEnd));
  const answers = last(reports.filter((it) => it.responseEnd <= window.opening.panels));
  const asked = Math.min(...reports.map(({ startTime }) => startTime));
  return { document: responseEnd, scripts: last(scripts), asked, answers, ...window.opening, files: entries.length };
}

function report(url, runs) {
  console.log(`${url}: ${runs.length} runs, ${runs[0].files} files and answers\n\n| ms | median | maximum | |\n|---|--:|--:|---|`);
  for (const [name, text] of Object.entries(STAGES)) {
    const times = runs.map((run) => run[name]).sort((a, b) => a - b);
    console.log(`| ${name} | ${Math.round(times[times.length >> 1])} | ${Math.round(times.at(-1))} | ${text} |`);
  }
  console.log();
}
