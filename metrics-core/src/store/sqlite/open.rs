//! How a file is opened: its settings, and its tables brought up to date.

use std::time::{Duration, Instant};

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource as _};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::BigInt;
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::fault::cannot_open;
use super::schema::keys;
use super::transaction::transaction;
use super::{Caches, Error, Migrations, convert, unusable};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// How long to wait for a lock that another process holds.
const BUSY_MS_MAX: u32 = 5_000;

/// `full` and not `normal`: with the write-ahead log, `normal` may lose the last commits when the power fails.
///
/// Sessions that are written at the moment lie side by side: beside 100,000 others, a batch of 1,000 writes comes to 0.6 MB
/// of log and file. The log is taken over into the file after 8,192 pages (32 MB), and not after the 1,000 that SQLite
/// means, because then a commit in ten would do it: write the same pages to the file again and again, in no order, and
/// flush three times.
///
/// What is deleted is overwritten (`secure_delete`): also rows that moved to a block, whose remains would outlive an
/// erasure of that.
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

/// Creates the file, if there is none, such that no other user of the machine can read it: it holds keys and pages. SQLite
/// gives its log the permissions of the file. An empty file is an empty database.
fn create_private(path: &str) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;

        let mut options = std::fs::OpenOptions::new();
        let created = options.write(true).create_new(true).mode(0o600).open(path);
        // If it is there already, its permissions stay; if it cannot be created, SQLite says why.
        drop(created);
    }
}

/// Where another process has just made the file, the change to the write-ahead log fails at once instead of waiting.
fn set_up(connection: &mut SqliteConnection) -> QueryResult<()> {
    let began = Instant::now();
    loop {
        match connection.batch_execute(WRITER_SETTINGS) {
            Err(err)
                if err.to_string().contains("locked")
                    && began.elapsed() < Duration::from_millis(BUSY_MS_MAX.into()) =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}

/// Writes nothing, but fails where nothing can be written. To begin a transaction is not enough: on a file that can
/// only be read, SQLite quietly begins one that reads.
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
            "the file cannot be opened ({err}): \
             name one in a directory that exists and can be written"
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

/// Refuses tables that are not up to date, and changes nothing.
fn check(connection: &mut SqliteConnection) -> Result<(), Error> {
    // diesel would make the list of what was done, if there is none.
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

/// How many migrations are still to be run.
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
    // Two processes may start at once: the second waits for the first, and finds nothing to do.
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
