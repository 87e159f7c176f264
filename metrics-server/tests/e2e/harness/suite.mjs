// The resources that a file of tests shares (browser, site, video), and those of each test (server, database, browser
// contexts), which are made on demand and removed after the test.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { launchBrowser } from './browser.mjs';
import { createDatabase } from './database.mjs';
import { makeStream, makeVideo } from './media.mjs';
import { Proxy } from './proxy.mjs';
import { Server } from './server.mjs';
import { Site } from './site.mjs';

const TEST_MS = 60_000;

export class Suite {
  /**
   * Called at the top of a test file. `launch` starts the browser, and `streams` adds a stream to the site; the other
   * options are those of Chromium.
   */
  constructor({ launch = launchBrowser, streams = false, ...options } = {}) {
    before(async () => {
      this.directory = await temporaryDirectory();
      this.browser = await launch(options);
      this.site = await Site.start(await makeVideo(this.directory));
      if (streams) this.site.share(await makeStream(this.directory));
    });
    // For what several tests share: its resources last until the end of the file.
    this.lasting = new Scene(this);
    after(async () => {
      await this.lasting.clear();
      await this.browser?.close();
      await this.site?.stop();
      if (this.directory) await remove(this.directory);
    });
  }

  /** Defines a test. `run` gets a `Scene`; if it fails, the traffic and the logs are printed. */
  test(sentence, run, timeout = TEST_MS) {
    test(sentence, { timeout }, async () => {
      const scene = new Scene(this);
      const failures = [];
      await run(scene).catch((error) => {
        console.log(scene.protocol());
        failures.push(error);
      });
      await scene.clear().catch((error) => failures.push(error));
      if (failures.length > 0) throw failures[0];
    });
  }
}

class Scene {
  #suite;
  #cleanups = [];
  #traffic = [];
  #servers = [];

  constructor(suite) {
    this.#suite = suite;
  }

  get site() {
    return this.#suite.site;
  }

  get browser() {
    return this.#suite.browser;
  }

  /** A server with an empty database, on which `prepare` may run commands before it starts. */
  async server(environment, prepare = () => {}) {
    const directory = await temporaryDirectory();
    this.#cleanups.push(() => remove(directory));
    const database = await createDatabase(directory);
    this.#cleanups.push(() => database.drop());
    const server = new Server(directory, database, environment);
    this.#servers.push(server);
    this.#cleanups.push(() => server.dispose());
    await prepare(server);
    await server.start();
    return server;
  }

  /** A proxy in front of a server (see `Proxy`). */
  async proxy(server, options) {
    const proxy = await Proxy.start(server, options);
    this.#cleanups.push(() => proxy.stop());
    return proxy;
  }

  /** Publishes a page (see `Site.publish`) and opens it in a new browser context. */
  async visit(address, content) {
    const { pathname, search, hash } = new URL(address, this.site.origin);
    const url = await this.site.publish(pathname, content);
    return this.open(`${url}${search}${hash}`);
  }

  /** Opens a page in a new browser context. */
  async open(url) {
    const page = await this.page();
    await page.goto(url);
    return page;
  }

  /** Opens an empty page in a new browser context with `options`. */
  async page(options) {
    const context = await this.#suite.browser.newContext(options);
    this.#cleanups.push(() => context.close());
    const page = await context.newPage();
    this.#listen(page);
    return page;
  }

  /** The traffic of pages and the logs of servers, for a failed test. */
  protocol() {
    return [...this.#traffic, ...this.#servers.map((server) => server.log)].join('\n');
  }

  /** Runs all cleanups, last first, even if one of them fails. */
  async clear() {
    let failure;
    // A failed test may still hold back responses that the next one needs.
    this.site?.release();
    for (const cleanup of this.#cleanups.reverse()) {
      try {
        await cleanup();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure) throw failure;
  }

  #listen(page) {
    const start = performance.now();
    const note = (what, text) => {
      const seconds = ((performance.now() - start) / 1000).toFixed(2);
      this.#traffic.push(`${seconds} ${what} ${text}`);
    };
    page.on('console', (message) => note(message.type(), message.text()));
    page.on('pageerror', (error) => note('error', error.message));
    page.on('request', (request) => note('request', `${request.method()} ${request.url()} ${request.postData() ?? ''}`));
    page.on('response', (response) => note('response', `${response.status()} ${response.url()}`));
    page.on('websocket', (socket) => {
      note('socket', socket.url());
      socket.on('framesent', ({ payload }) => note('>', payload));
      socket.on('framereceived', ({ payload }) => note('<', payload));
      socket.on('close', () => note('socket', 'closed'));
    });
  }
}

function temporaryDirectory() {
  return mkdtemp(join(tmpdir(), 'metrics-e2e-'));
}

function remove(directory) {
  return rm(directory, { recursive: true, force: true });
}
