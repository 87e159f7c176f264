// The page as tests see it, and a busy server that the tests of a file share.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { EXAMPLE_KEY } from '../harness/server.mjs';
import { busyLines } from './busy.mjs';

const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

let source;

/** A server with 10,000 sessions of 200 videos in a year. */
export async function busyServer(scene) {
  const lines = busyLines({ now: Date.now(), key: EXAMPLE_KEY });
  const server = await scene.server({}, (it) => it.command(['import', 'sessions', '-'], lines.join('\n')));
  return { url: server.url, request: (path, body) => server.request(path, body) };
}

/** A function that returns such a server, which all tests of a file share; the first call makes it. */
export function busy(suite) {
  let made;
  return () => (made ??= busyServer(suite.lasting));
}

/** Waits until every panel has its answer. */
export const answered = async (page) => {
  await page.waitForFunction(() => document.querySelector('.panel, .vs') && !document.querySelector('.panel.waiting:not([hidden]), .vs .waiting'));
};

/** The value of a tile. */
export const figure = (page, metric) => page.locator(`.panel:not(.waiting) [data-metric=${metric}] data`).evaluate((data) => Number(data.value));

/** The titles in the table of videos. */
export const rows = (page) => page.locator('.videos:not(.waiting) tbody th a').allInnerTexts();

export const chips = async (page) => (await page.locator('.chips .turn').allInnerTexts()).map((text) => text.replace(/\s+/g, ' '));

/** The violations that axe finds, in short. */
export async function accessibility(page) {
  source ??= await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  await page.evaluate(source);
  const { violations } = await page.evaluate((values) => window.axe.run(document, { runOnly: { type: 'tag', values } }), RULES);
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('; ')}`);
}

/** Collects the errors and the requests of a page. */
export function listen(page) {
  const recorded = { complaints: [], origins: new Set(), loads: 0 };
  const sizes = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) recorded.complaints.push(message.text());
  });
  page.on('pageerror', (error) => recorded.complaints.push(error.message));
  page.on('request', (request) => {
    recorded.origins.add(new URL(request.url()).origin);
    recorded.loads += request.isNavigationRequest();
  });
  page.on('websocket', (socket) => recorded.origins.add(new URL(socket.url()).origin));
  page.on('requestfinished', (request) => {
    const { pathname } = new URL(request.url());
    if (pathname.startsWith('/api/') || pathname.endsWith('.webm')) return;
    sizes.push(request.sizes().then(({ responseBodySize }) => responseBodySize));
  });
  recorded.bytes = async () => (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  return recorded;
}
