// The server under test: the built binary as a process of its own, on its own port and database.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { within } from './eventually.mjs';

const WORKSPACE = fileURLToPath(new URL('../../../../', import.meta.url));
const BINARY = resolve(WORKSPACE, process.env.METRICS_SERVER ?? 'target/debug/metrics-server');

// The key in an empty database without authentication.
export const EXAMPLE_KEY = 'HDsj3NfKQTNwn5Ix9g+cfQ==';

const START_MS = 15_000;
// The server drains for up to 10 seconds; past that it hangs.
const STOP_MS = 15_000;

const ESCAPES = /\x1b\[[0-9;]*m/g;
// With the end of its line, as a line may arrive in pieces.
const LISTENING = /\blistening\b.*?\baddress="?([^\s"]+).*\n/;

export class Server {
  #process;

  /** A server in `directory`, on `database`; the caller removes both. */
  constructor(directory, database, environment = {}) {
    this.directory = directory;
    this.database = database;
    this.environment = environment;
    // All output, over restarts.
    this.log = '';
  }

  /** Listens on any free port the first time; then on the same one, to which the clients connect. */
  async start() {
    await this.#start(this.address ?? '127.0.0.1:0');
  }

  /** Runs a command of the binary on the database, with `input` as its standard input, and expects success. */
  async command(args, input = '') {
    const child = spawn(BINARY, args, { cwd: this.directory, env: { DATABASE_URL: this.database.url, NO_COLOR: '1' }, stdio: ['pipe', 'ignore', 'pipe'] });
    let log = '';
    child.stderr.on('data', (chunk) => (log += chunk));
    child.stdin.end(input);
    const [code] = await once(child, 'close');
    if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}\n${log}`);
  }

  get url() {
    return `http://${this.address}`;
  }

  get socketUrl() {
    return `ws://${this.address}/socket`;
  }

  /** Sends SIGTERM, and waits for the end of the process. The exit code is part of the contract. */
  async stop() {
    const [code, signal] = await this.#end('SIGTERM');
    if (code !== 0) throw new Error(`SIGTERM ended with ${code ?? signal}\n${this.log}`);
  }

  /** Kills the process like a power cut or `kill -9`. */
  async kill() {
    await this.#end('SIGKILL');
  }

  /** Cleans up after a test, in any state of the server. */
  async dispose() {
    if (this.#running()) await this.kill();
  }

  /** Requests `/api/v1/<path>`, as the contract's POST with a JSON body, and expects success. */
  async request(path, body, headers = {}) {
    const response = await fetch(`${this.url}/api/v1/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`POST ${path} ${JSON.stringify(body)}: ${response.status} ${text}`);
    return JSON.parse(text);
  }

  #running() {
    return this.#process && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  async #end(signal) {
    if (!this.#running()) throw new Error(`the server had already ended\n${this.log}`);
    // Unlike `exit`, this comes after the last of the log.
    const end = once(this.#process, 'close');
    this.#process.kill(signal);
    return within(STOP_MS, `the end on ${signal}`, end);
  }

  async #start(listen) {
    if (!existsSync(BINARY)) throw new Error(`no server at ${BINARY}: cargo build -p metrics-video-server, or set METRICS_SERVER`);
    const child = spawn(BINARY, ['--listen', listen], {
      cwd: this.directory,
      // Nothing else of this process's environment: a setting in it would be one of the server's.
      env: { DATABASE_URL: this.database.url, NO_COLOR: '1', RUST_BACKTRACE: '1', RUST_LOG: 'info', ...this.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process = child;
    try {
      this.address = await within(START_MS, 'the log line "listening"', this.#announced(child));
    } catch (error) {
      child.kill('SIGKILL');
      throw new Error(`${error.message}\n${this.log}`);
    }
  }

  #announced(child) {
    const start = this.log.length;
    return new Promise((resolve, reject) => {
      const read = (chunk) => {
        this.log += chunk.toString().replace(ESCAPES, '');
        const found = LISTENING.exec(this.log.slice(start));
        if (found) resolve(found[1]);
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.on('error', reject);
      child.on('close', (code, signal) => reject(new Error(`the server ended with ${code ?? signal} before it listened`)));
    });
  }
}
