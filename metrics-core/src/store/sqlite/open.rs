//! Opens a file: sets its options, and migrates its tables.

use std::time::{Duration, Instant};

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource as _};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::BigInt;
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::convert;
use super::fault::{cannot_open, is_locked, unusable};
use super::options::Caches;
use super::schema::keys;
use super::transaction::transaction;
use crate::store::{Error, Migrations};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// How long to wait for a lock that another process holds.
const BUSY_MS_MAX: u32 = 5_000;

/// `full` and not `normal`: with the write-ahead log, `normal` may lose the last commits when the power fails.
///
/// Sessions that are being written lie side by side: beside 100,000 others, a batch of 1,000 writes comes to 0.6 MB of
/// log and file. A checkpoint copies the log into the file after 8,192 pages (32 MB), and not after SQLite's default of
/// 1,000: then one commit in ten would make one, which writes the same pages to the file again and again, in no order,
/// and flushes three times.
///
/// Deleted data is overwritten (`secure_delete`): also rows that moved to a block, whose remains would outlive an
/// erasure of the block.
const WRITER_SETTINGS: &str = "pragma journal_mode = wal; pragma synchronous = full; \
     pragma foreign_keys = on; pragma secure_delete = on; pragma wal_autocheckpoint = 8192;";

pub(super) fn writer(
    path: &str,
    migrations: Migrations,
    caches: Caches,
) -> Result<SqliteConnection, Error> {
    create_private(path);
    let mut connection = connect(path, caches.writer_kib)?;
    if migrations == Migrations::Check {
        check(&mut connection)?;
    }
    set_up(&mut connection).map_err(|err| cannot_open(&err))?;
    if migrations == Migrations::Run {
        migrate(&mut connection)?;
    }
    touch(&mut connection).map_err(|err| cannot_open(&err))?;
    Ok(connection)
}

/// Creates the file, if it is missing, unreadable for other users of the machine: it holds keys and pages. SQLite gives
/// its log the permissions of the file. An empty file is an empty database.
fn create_private(path: &str) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;

        let mut options = std::fs::OpenOptions::new();
        let created = options.write(true).create_new(true).mode(0o600).open(path);
        // An existing file keeps its permissions; if the file cannot be created, SQLite reports the reason.
        drop(created);
    }
}

/// Applies the settings, with retries: if another process has just created the file, the change to the write-ahead log
/// fails at once instead of waiting.
fn set_up(connection: &mut SqliteConnection) -> QueryResult<()> {
    let began = Instant::now();
    loop {
        match connection.batch_execute(WRITER_SETTINGS) {
            Err(err)
                if is_locked(&err)
                    && began.elapsed() < Duration::from_millis(BUSY_MS_MAX.into()) =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

/// Writes nothing, but fails if the file cannot be written. Beginning a transaction is not enough: on a read-only file,
/// SQLite quietly begins one that reads.
pub(super) fn touch(connection: &mut SqliteConnection) -> QueryResult<()> {
    diesel::delete(keys::table.filter(keys::id.is_null())).execute(connection).map(drop)
}

pub(super) fn reader(path: &str, caches: Caches) -> Result<SqliteConnection, Error> {
    let mut connection = connect(path, caches.reader_kib)?;
    connection.batch_execute("pragma query_only = on;").map_err(|err| cannot_open(&err))?;
    Ok(connection)
}

fn connect(path: &str, cache_kib: usize) -> Result<SqliteConnection, Error> {
    let mut connection = SqliteConnection::establish(path).map_err(|err| {
        unusable(&format!(
            "the file cannot be opened ({err}): name one in an existing, writable directory"
        ))
    })?;
    connection.batch_execute(&busy_timeout()).map_err(|err| cannot_open(&err))?;
    let cache = format!("pragma cache_size = -{cache_kib};");
    connection.batch_execute(&cache).map_err(|err| cannot_open(&err))?;
    Ok(connection)
}

pub(super) fn busy_timeout() -> String {
    format!("pragma busy_timeout = {BUSY_MS_MAX};")
}

/// Rejects outdated tables, and changes nothing.
fn check(connection: &mut SqliteConnection) -> Result<(), Error> {
    // diesel would create the list of applied migrations if it is missing.
    let list = diesel::dsl::sql::<BigInt>(
        "select count(*) from sqlite_schema where name = '__diesel_schema_migrations'",
    );
    let lists: i64 = list.get_result(connection).map_err(|err| cannot_open(&err))?;
    let is_before = convert::is_before(connection).map_err(|err| cannot_open(&err))?;
    let is_renamed = convert::is_renamed(connection).map_err(|err| cannot_open(&err))?;
    if lists == 0 || is_before || is_renamed || 0 < pending(connection)? {
        return Err(unusable(
            "its tables are not up to date: start once with --migrate-only, or without --no-migrate",
        ));
    }
    Ok(())
}

/// The number of migrations that have not run yet.
fn pending(connection: &mut SqliteConnection) -> Result<usize, Error> {
    let known: Vec<Box<dyn Migration<Sqlite>>> =
        MIGRATIONS.migrations().map_err(|err| unusable(&err.to_string()))?;
    let applied = connection.applied_migrations().map_err(|err| cannot_open(&*err))?;
    if !applied.iter().all(|version| known.iter().any(|it| it.name().version() == *version)) {
        return Err(unusable(
            "a newer version has changed its tables: use that version, or another file",
        ));
    }
    Ok(known.len() - applied.len())
}

fn migrate(connection: &mut SqliteConnection) -> Result<(), Error> {
    // Two processes may start at once: the second waits for the first, and has nothing to do.
    if convert::is_before(connection).map_err(|err| cannot_open(&err))? {
        transaction(connection, "begin exclusive", |connection| {
            if convert::is_before(connection)? {
                convert::rename(connection)?;
                run_migrations(connection)?;
                convert::begin(connection)?;
            }
            Ok(())
        })
        .map_err(convert::failed)?;
    } else if 0 < pending(connection)? {
        transaction(connection, "begin exclusive", run_migrations)
            .map_err(|err| cannot_open(&err))?;
    }
    convert::run(connection)
}

pub(super) fn run_migrations(connection: &mut SqliteConnection) -> QueryResult<()> {
    let migrated = connection.run_pending_migrations(MIGRATIONS);
    migrated.map(drop).map_err(DieselError::QueryBuilderError)
}
