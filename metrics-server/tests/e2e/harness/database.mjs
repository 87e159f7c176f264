// A database of its own for every server, on the store that METRICS_TEST_STORE names: `sqlite`, which is
// the default, or `timescale`, on the TimescaleDB at METRICS_TEST_TIMESCALE_URL.

import { randomBytes } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import postgres from 'postgres';

/** Creates an empty database. A file is in `directory`, which must be empty; the caller removes it. */
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

  /** The value of DATABASE_URL. */
  get url() {
    return `sqlite:${join(this.#directory, 'metrics.db')}`;
  }

  /** The contents of all its files, including the write-ahead log. */
  async bytes() {
    const names = await readdir(this.#directory);
    return Buffer.concat(await Promise.all(names.map((name) => readFile(join(this.#directory, name)))));
  }

  /** Does nothing: the caller removes the directory. */
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
    // template0 never has connections: a template with connections cannot be copied.
    await connected(server, (sql) => sql`create database ${sql(database.#name)} template template0`);
    return database;
  }

  get url() {
    const url = new URL(this.#server);
    url.pathname = this.#name;
    return url.href;
  }

  /** The contents of every cell of every table, bytes unchanged and other types as text. */
  bytes() {
    return connected(this.url, (sql) =>
      // A snapshot of one moment.
      sql.begin('isolation level repeatable read read only', async (sql) => {
        const cells = [];
        for (const { query } of await sql.unsafe(QUERIES)) {
          for (const row of await sql.unsafe(query).values()) cells.push(...row);
        }
        return Buffer.concat(cells.flatMap((cell) => [Buffer.from(cell ?? ''), Buffer.from('\n')]));
      }),
    );
  }

  /** Drops the database, and closes the connections to it. */
  async drop() {
    await connected(this.#server, (sql) => sql`drop database ${sql(this.#name)} with (force)`);
  }
}

// A query for each table, except those of the server itself or of an extension.
const QUERIES = `
  select format('select %s from %I.%I', string_agg(
    format(case data_type when 'bytea' then '%I' else '%I::text' end, column_name), ', '
  ), table_schema, table_name) as query
  from information_schema.columns join information_schema.tables using (table_schema, table_name)
  where table_type = 'BASE TABLE' and table_schema !~ '^(pg_|information_schema|_?timescaledb)'
  group by table_schema, table_name`;

/** Runs `work` over a connection of its own, and returns its result. */
async function connected(url, work) {
  const sql = postgres(url, { max: 1 });
  try {
    return await work(sql);
  } finally {
    await sql.end();
  }
}
