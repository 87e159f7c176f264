// A database of its own for every server, on the store that METRICS_TEST_STORE names: `sqlite`, which is
// the default, or `timescale`, on the TimescaleDB at METRICS_TEST_TIMESCALE_URL.

import { randomBytes } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import postgres from 'postgres';

/** An empty one. Where it is a file, it is in `directory`, which must be empty and is the caller's. */
export async function createDatabase(directory) {
  const store = process.env.METRICS_TEST_STORE ?? 'sqlite';
  if (store === 'sqlite') return new FileDatabase(directory);
  if (store === 'timescale') return ServerDatabase.create('METRICS_TEST_TIMESCALE_URL');
  throw new Error(`METRICS_TEST_STORE is ${store} and not sqlite or timescale`);
}

class FileDatabase {
  #directory;

  constructor(directory) {
    this.#directory = directory;
  }

  /** As DATABASE_URL has it. */
  get url() {
    return `sqlite:${join(this.#directory, 'metrics.db')}`;
  }

  /** All that is in it: its files, the write-ahead log among them. */
  async bytes() {
    const names = await readdir(this.#directory);
    return Buffer.concat(await Promise.all(names.map((name) => readFile(join(this.#directory, name)))));
  }

  /** It goes with its directory. */
  async drop() {}
}

class ServerDatabase {
  #server;
  #name = `metrics_e2e_${randomBytes(8).toString('hex')}`;

  constructor(server) {
    this.#server = server;
  }

  static async create(variable) {
    const server = process.env[variable];
    if (!server) throw new Error(`${variable} is not set: scripts/timescaledb up prints one`);
    const database = new ServerDatabase(server);
    // From the template that nobody is ever connected to: another one cannot be copied while somebody is.
    await connected(server, (sql) => sql`create database ${sql(database.#name)} template template0`);
    return database;
  }

  get url() {
    const url = new URL(this.#server);
    url.pathname = this.#name;
    return url.href;
  }

  /** All that is in it: every cell of every table, bytes as they are and anything else as text. */
  bytes() {
    return connected(this.url, (sql) =>
      // As it is at one moment.
      sql.begin('isolation level repeatable read read only', async (sql) => {
        const cells = [];
        for (const { query } of await sql.unsafe(QUERIES)) {
          for (const row of await sql.unsafe(query).values()) cells.push(...row);
        }
        return Buffer.concat(cells.flatMap((cell) => [Buffer.from(cell ?? ''), Buffer.from('\n')]));
      }),
    );
  }

  /** Whoever is still connected to it. */
  async drop() {
    await connected(this.#server, (sql) => sql`drop database ${sql(this.#name)} with (force)`);
  }
}

// A query for each table, but for those that the server or an extension brings along.
const QUERIES = `
  select format('select %s from %I.%I', string_agg(
    format(case data_type when 'bytea' then '%I' else '%I::text' end, column_name), ', '
  ), table_schema, table_name) as query
  from information_schema.columns join information_schema.tables using (table_schema, table_name)
  where table_type = 'BASE TABLE' and table_schema !~ '^(pg_|information_schema|_?timescaledb)'
  group by table_schema, table_name`;

/** What `work` comes to, over a connection of its own. */
async function connected(url, work) {
  const sql = postgres(url, { max: 1 });
  try {
    return await work(sql);
  } finally {
    await sql.end();
  }
}
