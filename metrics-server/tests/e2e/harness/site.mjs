// The site that holds the videos: pages, bundles, a file with byte ranges and streams, on a port of its own,
// so that all requests of a page to the server are cross-origin, as in production.

import { build } from 'esbuild';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { basename, join } from 'node:path';
import { json } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const E2E = fileURLToPath(new URL('..', import.meta.url));

export class Site {
  #pages = new Map();
  // The responses that are held back, as functions that send the rest.
  #held = null;
  #server = createServer((request, response) => this.#answer(request, response));
  #video;
  // The directory of a stream's files.
  #stream = null;
  // The callbacks that wait for a page's POST, by its path.
  #posted = new Map();

  static async start(videoPath) {
    const site = new Site();
    site.#video = { path: videoPath, size: (await stat(videoPath)).size };
    site.#server.listen(0, '127.0.0.1');
    await once(site.#server, 'listening');
    // By name, to tell the page's address from those of connections.
    site.origin = `http://localhost:${site.#server.address().port}`;
    return site;
  }

  /**
   * Publishes a page under `path` with `html`, a <video> for each of `videos`, and `script` as a module that
   * imports the npm packages of this directory, as the author of a page writes and bundles it.
   */
  async publish(path, { html = '', videos = [], script = '' }) {
    const bundle = await build({
      stdin: { contents: `import './page/watch.mjs';\n${script}`, resolveDir: E2E, sourcefile: `${path}.mjs` },
      bundle: true,
      format: 'iife',
      logLevel: 'error',
      write: false,
    });
    const elements = videos.map((id) => `<video id="${id}" src="/video.webm" preload="auto" muted></video>`);
    // An inline script must not end its own element.
    const code = bundle.outputFiles[0].text.replaceAll('</script', '<\\/script');
    const page = `<!doctype html><meta charset="utf-8"><title>Video</title>${html}${elements.join('')}<script>${code}</script>`;
    this.#pages.set(path, page);
    return `${this.origin}${path}`;
  }

  /** The next body that is posted to `path`, as JSON. */
  posted(path) {
    return new Promise((resolve) => this.#posted.set(path, resolve));
  }

  /** Serves the files of this directory under `/stream/`. */
  share(directory) {
    this.#stream = directory;
  }

  /** Holds back pieces of a stream from number `from` on, like a bad network. */
  holdPieces(from) {
    this.#held = { from, answers: [] };
  }

  /** Stalls `/held.webm` after this part of the file, like a bad network. */
  hold(part) {
    this.#held = { part, answers: [] };
  }

  /** Sends all responses that are held back. */
  release() {
    const answers = this.#held?.answers ?? [];
    this.#held = null;
    for (const answer of answers) answer();
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #answer(request, response) {
    const { pathname } = new URL(request.url, this.origin);
    if (request.method === 'POST') return this.#take(pathname, request, response);
    if (pathname.endsWith('.webm')) return this.#sendVideo(request, response, pathname === '/held.webm' && this.#held);
    if (this.#stream && pathname.startsWith('/stream/')) return this.#sendPiece(basename(pathname), response);
    const page = this.#pages.get(pathname);
    if (page === undefined) return response.writeHead(404).end();
    // A connection of a closed page must not be reused by the next one.
    response.writeHead(200, { 'content-type': 'text/html', connection: 'close' }).end(page);
  }

  async #take(path, request, response) {
    const posted = await json(request);
    response.writeHead(204).end();
    this.#posted.get(path)?.(posted);
  }

  #sendPiece(name, response) {
    const send = async () => {
      const file = await readFile(join(this.#stream, name)).catch(() => null);
      response.writeHead(file ? 200 : 404).end(file);
    };
    const number = Number(/-(\d+)\.m4s$/.exec(name)?.[1]);
    if (number >= this.#held?.from) return this.#held.answers.push(send);
    return send();
  }

  // Chromium seeks in a file only if the server answers 206.
  #sendVideo(request, response, held) {
    const { path, size } = this.#video;
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const start = range ? Number(range[1]) : 0;
    const end = range?.[2] ? Math.min(Number(range[2]), size - 1) : size - 1;
    if (start > end) return response.writeHead(416, { 'content-range': `bytes */${size}` }).end();
    const headers = { 'content-type': 'video/webm', 'accept-ranges': 'bytes', 'content-length': end - start + 1 };
    if (range) headers['content-range'] = `bytes ${start}-${end}/${size}`;
    response.writeHead(range ? 206 : 200, headers);
    const send = (from, to, options) => {
      const file = createReadStream(path, { start: from, end: to });
      file.on('error', () => response.destroy()).pipe(response, options);
    };
    if (!held) return send(start, end);
    const last = Math.min(end, Math.floor(size * held.part));
    if (start <= last) send(start, last, { end: false });
    held.answers.push(() => (last < end ? send(Math.max(start, last + 1), end) : response.end()));
  }
}
