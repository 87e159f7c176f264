// A reverse proxy in front of the server, as operators run one. It can refuse websockets, add headers that are hard to
// set in a browser, delay messages, cut connections, repeat a GET until the server responds, and record the messages of
// clients.

import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { connect } from 'node:net';
import { Frames } from './frames.mjs';

const REPEAT_MS = 100;

export class Proxy {
  #server = createServer((incoming, answer) => this.#pass(incoming, answer));
  #websockets = new Set();
  #isSevered = false;
  #lastSocket = 0;
  // The number of POST requests, beacons included.
  posts = 0;
  /** The number of open websockets. */
  channels = 0;
  /** Receives each message of a client as it arrives: {kind: 'open' | 'frame' | 'close' | 'post', socket, text}. */
  record = () => {};

  static async start(target, { refuseWebsockets = false, repeats = false, headers = {}, delayMs = 0 } = {}) {
    const proxy = new Proxy();
    Object.assign(proxy, { target, repeats, headers, delayMs });
    proxy.#server.on('connection', (socket) => proxy.#isSevered && socket.destroy());
    proxy.#server.on('upgrade', (incoming, socket, head) => {
      if (refuseWebsockets) return socket.end('HTTP/1.1 403 Forbidden\r\nconnection: close\r\n\r\n');
      proxy.#upgrade(incoming, socket, head);
    });
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    proxy.url = `http://127.0.0.1:${proxy.#server.address().port}`;
    return proxy;
  }

  get socketUrl() {
    return `${this.url.replace('http', 'ws')}/socket`;
  }

  /** Whether connections are refused. */
  get isSevered() {
    return this.#isSevered;
  }

  /** Cuts all websockets, without a close frame. */
  cut() {
    for (const socket of this.#websockets) socket.destroy();
  }

  /** Cuts all connections and refuses new ones until `restore`, like an unavailable network. */
  sever() {
    this.#isSevered = true;
    this.cut();
    this.#server.closeAllConnections();
  }

  restore() {
    this.#isSevered = false;
  }

  async stop() {
    this.cut();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #pass(incoming, answer) {
    const { hostname, port } = new URL(this.target.url);
    const headers = { ...incoming.headers, ...this.headers };
    if (incoming.method === 'POST') this.#recordPost(incoming);
    const passed = request({ hostname, port, path: incoming.url, method: incoming.method, headers }, (response) => {
      answer.writeHead(response.statusCode, response.headers);
      response.pipe(answer);
    });
    const isRepeated = this.repeats && incoming.method === 'GET';
    passed.on('error', () => {
      if (isRepeated && !answer.destroyed) setTimeout(() => this.#pass(incoming, answer), REPEAT_MS);
      else answer.destroy();
    });
    answer.on('close', () => passed.destroy());
    if (isRepeated) passed.end();
    else incoming.pipe(passed);
  }

  #recordPost(incoming) {
    this.posts += 1;
    const chunks = [];
    incoming.on('data', (chunk) => chunks.push(chunk));
    incoming.on('end', () => this.record({ kind: 'post', text: Buffer.concat(chunks).toString() }));
  }

  #recordWebsocket(socket) {
    const number = ++this.#lastSocket;
    const record = (message) => this.record({ ...message, socket: number });
    const frames = new Frames();
    this.channels += 1;
    record({ kind: 'open' });
    socket.on('data', (chunk) => frames.read(chunk).forEach((text) => record({ kind: 'frame', text })));
    socket.on('close', () => {
      this.channels -= 1;
      record({ kind: 'close' });
    });
  }

  /** Forwards bytes after the delay; bytes in transit when a connection is cut are lost. */
  #carry(from, to) {
    const later = (act) => setTimeout(() => to.destroyed || act(), this.delayMs);
    from.on('data', (chunk) => later(() => to.write(chunk)));
    from.on('end', () => later(() => to.end()));
  }

  #upgrade(incoming, socket, head) {
    const { hostname, port } = new URL(this.target.url);
    const passed = connect(Number(port), hostname, () => {
      const headers = Object.entries({ ...incoming.headers, ...this.headers });
      const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`);
      passed.write(`GET ${incoming.url} HTTP/1.1\r\n${lines.join('')}\r\n`);
      passed.write(head);
      this.#recordWebsocket(socket);
      this.#carry(passed, socket);
      this.#carry(socket, passed);
    });
    for (const [one, other] of [[socket, passed], [passed, socket]]) {
      this.#websockets.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        this.#websockets.delete(one);
        other.destroy();
      });
    }
  }
}
