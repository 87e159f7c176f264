//! The embedded store: one SQLite file, nothing to install.
//!
//! One connection writes, a few read beside it (write-ahead log), each on a thread that may block. Every commit is
//! flushed to the disk before it is acknowledged (`synchronous = full`).
//!
//! A file that is full, damaged, locked or gone is a store that is away: nothing is acknowledged, and every call tries
//! again, on another connection where one may have been harmed.

mod export;
mod fault;
mod forget;
mod open;
mod place;
mod put;
mod read;
mod report;
mod rollup;
mod schema;
mod sums;
mod write;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sqlite::SqliteConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use self::fault::Fault;
use self::place::{Place, transaction};
use self::rollup::From as QuietFrom;
use self::schema::keys;
use self::write::{Batch, Ids};
use super::failure::Failure;
use super::{
    Cursor, Error, Instance, KeyRecord, KnownVideo, Loaded, Lookup, Migrations, Outcome, Page,
    SessionWrite, Store,
};
use crate::engagement::{Parts, Seconds};
use crate::key::{ApiKey, SessionId};
use crate::query::{Scan, Selection, instant};
use crate::report::{PlayCell, SourceCell};
use crate::rollup::{date_of, number_of};
use crate::session::Stored;
use crate::time_bucket::Buckets;
use crate::varint::Damaged;
use crate::video::Video;

/// How many connections read for recording: the writer loads sessions, and keys are looked at.
const UPKEEPERS: usize = 2;

/// How many reports are read at once. More would only wait for the same disk and processors.
const READERS: usize = 4;

/// How long a report may take.
const STATEMENT_MAX: Duration = Duration::from_secs(30);

/// A store in one SQLite file.
///
/// Another process may use the same file; each then waits for the other's writes.
///
/// While the disk is full, or the file is damaged, locked, or not the one at its path any more, calls fail with
/// [`Error::Unavailable`], which says what to do. What they were to write can be written again when that is mended. A
/// damaged file is known by what SQLite finds where it reads; `pragma integrity_check` reads everything.
///
/// To put back a copy, stop everything that uses the file, remove the files that end in `-wal` and `-shm` and belong
/// to it, and put the copy in its place.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use metrics_core::store::{SqliteStore, Store as _};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("metrics.db");
/// let store = SqliteStore::open(&path).await?;
/// assert_eq!(store.count_sessions().await?, 0);
/// # Ok::<(), metrics_core::store::Error>(())
/// # }).unwrap();
/// ```
pub struct SqliteStore {
    place: Arc<Place>,
    writer: Arc<Mutex<Writer>>,
    reports: Arc<Readers>,
    // For what recording needs, which must not wait for a report.
    upkeep: Arc<Readers>,
    // Where to look for sessions that are to be rolled up.
    quiet_from: std::sync::Mutex<QuietFrom>,
}

type Handle = SyncConnectionWrapper<SqliteConnection>;

struct Writer {
    handle: Handle,
    // Ids of rows that were looked up or made before.
    ids: Arc<std::sync::Mutex<Ids>>,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it if there is none, and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`] if there is no such directory, it cannot be written, the file is no SQLite database or a
    /// damaged one, or a newer version has changed its tables; [`Error::Unavailable`] if the disk is full or fails, or
    /// the file is locked.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, Migrations::Run).await
    }

    /// Opens the database at `path`, where its tables are not to be changed.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`Error::Unusable`] if the tables are to be checked and not up to date.
    pub async fn open_with(path: impl AsRef<Path>, migrations: Migrations) -> Result<Self, Error> {
        let path = path
            .as_ref()
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| unusable("its path is not UTF-8"))?;
        if path == ":memory:" || path.is_empty() {
            return Err(unusable("it needs a file; use one in a temporary directory for a test"));
        }
        let opened = tokio::task::spawn_blocking(move || {
            let mut writer = open::writer(&path, migrations)?;
            let readers = (0..READERS + UPKEEPERS)
                .map(|_| open::reader(&path))
                .collect::<Result<Vec<_>, _>>()?;
            let place = Place::of(path, &mut writer)?;
            Ok::<_, Error>((place, writer, readers))
        });
        let (place, writer, mut readers) =
            opened.await.map_err(|panic| unusable(&panic.to_string()))??;
        Ok(Self {
            place: Arc::new(place),
            writer: Arc::new(Mutex::new(Writer {
                handle: Handle::new(writer),
                ids: Arc::default(),
            })),
            upkeep: Readers::new(readers.drain(..UPKEEPERS)),
            reports: Readers::new(readers),
            quiet_from: std::sync::Mutex::new((i64::MIN, i64::MIN)),
        })
    }

    fn quiet_from(&self) -> std::sync::MutexGuard<'_, QuietFrom> {
        self.quiet_from.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `query` on a connection that reads, on a thread that may block. It runs to its end even if this future
    /// is dropped, and nobody has the connection before: else queries that nobody waits for would queue up on it, a
    /// thread each, until there are no threads left for those that record.
    async fn read<T: Send + 'static>(
        &self,
        readers: &Arc<Readers>,
        operation: &'static str,
        query: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let mut reader = readers.lend().await?;
        let handle = reader.handle.as_mut().ok_or_else(|| unusable("a connection got lost"))?;
        let place = Arc::clone(&self.place);
        let running = handle.spawn_blocking(move |connection| {
            let read = query(connection);
            place.mend_reader(connection, &read);
            Ok(read)
        });
        answer(operation, to_its_end(running, reader).await)
    }

    /// Runs `query` in a transaction on the connection that writes. The same holds for it.
    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&mut SqliteConnection, &mut Ids) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let (ids, place) = (Arc::clone(&writer.ids), Arc::clone(&self.place));
        let running = writer.handle.spawn_blocking(move |connection| {
            let mut ids = ids.lock().unwrap_or_else(PoisonError::into_inner);
            place.check()?;
            let written = transaction(connection, "begin immediate", |connection| {
                query(connection, &mut ids)
            });
            if written.is_err() {
                // Rows that were made are gone again.
                ids.clear();
            }
            place.mend_writer(connection, &written);
            if let Err(err) = place.cut_log(connection) {
                // What is written is in the log all the same.
                tracing::debug!(error = &err as &dyn std::error::Error, "the log stays long");
            }
            Ok(written)
        });
        answer(operation, to_its_end(running, writer).await)
    }
}

/// Connections that read, each lent to one query at a time.
struct Readers {
    idle: std::sync::Mutex<Vec<Handle>>,
    // One permit per connection.
    permits: Arc<Semaphore>,
}

impl Readers {
    fn new(connections: impl IntoIterator<Item = SqliteConnection>) -> Arc<Self> {
        let idle: Vec<_> = connections.into_iter().map(Handle::new).collect();
        Arc::new(Self { permits: Arc::new(Semaphore::new(idle.len())), idle: idle.into() })
    }

    async fn lend(self: &Arc<Self>) -> Result<Reader, Error> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit =
            permit.map_err(|err| Error::Unavailable { store: STORE, source: err.into() })?;
        Ok(Reader { handle: self.lock().pop(), home: Arc::clone(self), _permit: permit })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Handle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that goes home when this is dropped.
struct Reader {
    handle: Option<Handle>,
    home: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.home.lock().extend(self.handle.take());
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.read(&self.upkeep, "list keys", |connection| {
            let rows = keys::table
                .select((keys::key, keys::created_at, keys::disabled_at))
                .order((keys::created_at, keys::id))
                .load::<(String, i64, Option<i64>)>(connection)?;
            rows.into_iter()
                .map(|(key, created_at, disabled_at)| {
                    Ok(KeyRecord {
                        key: ApiKey::new(&key).map_err(|_| Damaged("a key is not one"))?,
                        created_at: instant(created_at),
                        disabled_at: disabled_at.map(instant),
                    })
                })
                .collect()
        })
        .await
    }

    async fn create_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        let key = key.clone();
        self.write("create a key", move |connection, _| {
            let added = diesel::insert_into(keys::table)
                .values((keys::key.eq(key.as_str()), keys::created_at.eq(now.timestamp_millis())))
                .on_conflict(keys::key)
                .do_nothing()
                .execute(connection)?;
            Ok(added == 1)
        })
        .await
    }

    async fn revoke_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<bool, Error> {
        let key = key.clone();
        self.write("revoke a key", move |connection, _| {
            let this = keys::table.filter(keys::key.eq(key.as_str()));
            diesel::update(this.filter(keys::disabled_at.is_null()))
                .set(keys::disabled_at.eq(now.timestamp_millis()))
                .execute(connection)?;
            Ok(diesel::select(diesel::dsl::exists(this)).get_result(connection)?)
        })
        .await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Loaded>>, Error> {
        let ids = ids.to_vec();
        self.read(&self.upkeep, "load sessions", move |connection| {
            transaction(connection, "begin", |connection| {
                ids.iter().map(|id| read::load(connection, *id)).collect()
            })
        })
        .await
    }

    async fn find(&self, lookups: &[Lookup]) -> Result<Vec<Option<Stored>>, Error> {
        let lookups = lookups.to_vec();
        self.read(&self.upkeep, "find sessions", move |connection| {
            transaction(connection, "begin", |connection| {
                lookups.iter().map(|lookup| read::find(connection, lookup)).collect()
            })
        })
        .await
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error> {
        self.write("commit sessions", move |connection, ids| {
            let mut batch = Batch::new(ids);
            let written = writes.iter().map(|write| batch.write(connection, write));
            let written = written.collect::<Result<_, _>>()?;
            sums::apply(connection, batch.change)?;
            Ok(written)
        })
        .await
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error> {
        let videos = videos.to_vec();
        self.read(&self.upkeep, "look up videos", move |connection| {
            connection.transaction(|connection| read::known_videos(connection, &videos))
        })
        .await
    }

    async fn plays(&self, scan: &Scan, buckets: Buckets) -> Result<Vec<PlayCell>, Error> {
        let scan = scan.clone();
        self.read(&self.reports, "sum plays", move |connection| {
            report::plays(connection, &scan, buckets)
        })
        .await
    }

    async fn sources(&self, scan: &Scan, buckets: Buckets) -> Result<Vec<SourceCell>, Error> {
        let scan = scan.clone();
        self.read(&self.reports, "sum sources", move |connection| {
            report::sources(connection, &scan, buckets)
        })
        .await
    }

    async fn parts(&self, scan: &Scan, parts: u32) -> Result<Parts, Error> {
        let scan = scan.clone();
        self.read(&self.reports, "count viewers", move |connection| {
            report::parts(connection, &scan, parts)
        })
        .await
    }

    async fn seconds(&self, scan: &Scan, buckets: Buckets) -> Result<Seconds, Error> {
        let scan = scan.clone();
        self.read(&self.reports, "count viewers", move |connection| {
            report::seconds(connection, &scan, buckets)
        })
        .await
    }

    async fn watching(&self, selection: &Selection, now: DateTime<Utc>) -> Result<u64, Error> {
        let selection = selection.clone();
        self.read(&self.reports, "count open segments", move |connection| {
            read::watching(connection, &selection, now)
        })
        .await
    }

    async fn roll_up(&self, quiet_since: DateTime<Utc>, at_most: u32) -> Result<u64, Error> {
        let quiet_since_ms = quiet_since.timestamp_millis();
        let from = *self.quiet_from();
        // Looked for and read beside those that record; what has changed since is left out.
        let quiet = self.read(&self.upkeep, "find quiet sessions", move |connection| {
            rollup::quiet(connection, quiet_since_ms, at_most, from)
        });
        let quiet = quiet.await?;
        let Some(after) = rollup::after(&quiet) else { return Ok(0) };
        *self.quiet_from() = after;
        self.write("roll sessions up", move |connection, _| rollup::roll_up(connection, quiet))
            .await
    }

    async fn settle(&self, silent_since: DateTime<Utc>, at_most: u32) -> Result<u64, Error> {
        let silent_since_ms = silent_since.timestamp_millis();
        self.write("settle sessions", move |connection, _| {
            rollup::settle(connection, silent_since_ms, at_most)
        })
        .await
    }

    async fn rollup_days(&self) -> Result<Option<(NaiveDate, NaiveDate)>, Error> {
        let days = self.read(&self.upkeep, "find the days", sums::days).await?;
        Ok(days.map(|(first, last)| (date_of(first), date_of(last))))
    }

    async fn check_rollups(&self, day: NaiveDate, mend: bool) -> Result<bool, Error> {
        let day = number_of(day);
        self.write("add up a day", move |connection, _| sums::check(connection, day, mend)).await
    }

    async fn beat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error> {
        self.write("note an instance", move |connection, _| write::beat(connection, instance, now))
            .await
    }

    async fn export(&self, cursor: Option<&Cursor>, limit: u32) -> Result<Page, Error> {
        let cursor = cursor.cloned();
        self.read(&self.reports, "export sessions", move |connection| {
            transaction(connection, "begin", |connection| {
                export::page(connection, cursor.as_ref(), limit)
            })
        })
        .await
    }

    async fn forget(&self, start: DateTime<Utc>) -> Result<(), Error> {
        let before_ms = start.timestamp_millis();
        let mut next = Some(i64::MIN);
        // Some at a time, so that sessions are recorded in between.
        while let Some(video) = next {
            let forget = move |connection: &mut SqliteConnection, _: &mut Ids| {
                forget::forget(connection, before_ms, video)
            };
            next = self.write("forget sessions", forget).await?;
        }
        Ok(())
    }

    async fn count_sessions(&self) -> Result<u64, Error> {
        self.read(&self.reports, "count sessions", |connection| {
            transaction(connection, "begin", read::count)
        })
        .await
    }

    async fn check(&self) -> Result<(), Error> {
        self.write("be written", |connection, _| Ok(open::touch(connection)?)).await
    }
}

/// Runs a query that is under way to its end, even if this future is dropped, and lets go of its connection then.
///
/// On a task of its own: to drop it unfinished would block the thread for as long as it takes, and panic on a runtime
/// that has one thread only.
async fn to_its_end<T: Send + 'static>(
    running: impl Future<Output = QueryResult<T>> + Send + 'static,
    connection: impl Send + 'static,
) -> QueryResult<T> {
    let ended = tokio::spawn(async move {
        let ended = running.await;
        drop(connection);
        ended
    });
    let ended = ended.await;
    ended.unwrap_or_else(|err| Err(DieselError::QueryBuilderError(err.into())))
}

const STORE: &str = "SQLite";

fn unusable(reason: &str) -> Error {
    Error::Unusable { store: STORE, reason: reason.to_owned() }
}

fn answer<T>(
    operation: &'static str,
    done: Result<Result<T, Failure>, DieselError>,
) -> Result<T, Error> {
    let done = done.map_err(Failure::Diesel).and_then(|done| done);
    done.map_err(|failure| match Fault::of_failure(&failure) {
        Some(fault) => fault.into(),
        None => failure.of(STORE, operation, STATEMENT_MAX, |_| false),
    })
}

#[cfg(test)]
mod tests;
