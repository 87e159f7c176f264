//! The same reports by plain SQL over the rows of sessions, as a baseline.
//!
//! The videos of a selection are looked up first, as in the stores. Each query is cancelled after [`PLAIN_SQL_MAX`].

mod file;
mod selection;
mod viewings;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;
use futures_util::TryStreamExt as _;
use metrics_core::Source;
use metrics_core::response::{PlayTotals, PlaysAt, SourceAt};
use metrics_core::user_agent::{self, Browser, Device, Platform};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::Failure;
use crate::rows::rows_of;
use crate::store_url::{StoreUrl, postgres, sqlite};
use file::{Number, file_grouped, file_plays, file_sources, file_viewings, within};

pub use selection::{Grouped, MOBILE, Range, Sums, Videos};
pub use viewings::Viewings;

/// The time limit of a query.
pub const PLAIN_SQL_MAX: Duration = Duration::from_secs(60);

/// A connection for plain SQL.
pub enum PlainSql {
    /// To a file.
    File(Arc<Mutex<SqliteConnection>>),
    /// To a database.
    Database(Client),
}

impl std::fmt::Debug for PlainSql {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Straight").finish_non_exhaustive()
    }
}

impl PlainSql {
    /// Opens a separate connection to a store's database.
    ///
    /// # Errors
    ///
    /// The database does not open.
    pub async fn open(store_url: &StoreUrl) -> Result<Self, Failure> {
        Ok(match store_url {
            StoreUrl::Sqlite(path) => {
                let rows = rows_of(path).await?;
                Self::File(Arc::new(sqlite(&rows.to_string_lossy())?.into()))
            }
            StoreUrl::Postgres(url) => {
                let client = postgres(url).await?;
                let limit = format!("set statement_timeout = {}", PLAIN_SQL_MAX.as_millis());
                client.batch_execute(&limit).await?;
                client.batch_execute(SESSIONS).await?;
                Self::Database(client)
            }
        })
    }

    /// Returns the plays per bucket, or `None` after the time limit.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub async fn plays(&self, range: &Range) -> Result<Option<Vec<PlaysAt>>, Failure> {
        match self {
            Self::File(_) => self.in_file(range, file_plays).await,
            Self::Database(_) => {
                let sums = "date_bin($4::text::interval, started_at, timestamptz 'epoch'), browser, platform, device,
                    count(*), sum(view_ms)::bigint, sum(unique_ms)::bigint from sessions";
                let rows = self.in_database(range, sums, "group by 1, 2, 3, 4").await?;
                Ok(rows.map(|rows| rows.iter().map(plays_of_row).collect()))
            }
        }
    }

    /// Returns the plays per bucket and page, or `None` after the time limit.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub async fn sources(&self, range: &Range) -> Result<Option<Vec<SourceAt>>, Failure> {
        match self {
            Self::File(_) => self.in_file(range, file_sources).await,
            Self::Database(_) => {
                // Looks up the URL per group instead of per session: PostgreSQL plans a join as if few sessions had a
                // page.
                let sums = "date_bin($4::text::interval, started_at, timestamptz 'epoch'),
                    (select url from pages where pages.id = page_id), count(*) from sessions";
                let group = "and page_id is not null group by 1, page_id";
                let rows = self.in_database(range, sums, group).await?;
                let source_of = |row: &Row| {
                    Some(SourceAt {
                        at_ms: unix_ms(row.get(0)),
                        source: Source::parse(row.get(1))?,
                        plays: row.get::<_, i64>(2).unsigned_abs(),
                    })
                };
                Ok(rows.map(|rows| rows.iter().filter_map(source_of).collect()))
            }
        }
    }

    /// Returns all segments, or `None` after the time limit.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub async fn viewings(&self, range: &Range) -> Result<Option<Viewings>, Failure> {
        let Self::Database(client) = self else { return self.in_file(range, file_viewings).await };
        let videos = self.ids(client, range.videos).await?;
        let began = Instant::now();
        let (from, to) = (time(range.from_ms), time(range.to_ms));
        let given: [&(dyn ToSql + Sync); 4] = [&videos, &from, &to, &range.minimum_view_ms];
        let sql = format!(
            "select started_at, segments, duration_ms from sessions
             where video_id = any($1::bigint[]::integer[]) and started_at between $2 and $3 and $4 <= view_ms {}",
            range.condition()
        );
        let rows = client.query_raw(&sql, given);
        let mut rows = std::pin::pin!(rows.await?);
        let mut viewings = Viewings::default();
        while let Some(row) = rows.try_next().await? {
            viewings.push(unix_ms(row.get(0)), row.get(1), row.get(2));
            if PLAIN_SQL_MAX < began.elapsed() {
                return Ok(None);
            }
        }
        Ok(Some(viewings))
    }

    /// Returns the sums by group, or `None` after the time limit.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub async fn grouped(&self, range: &Range, by: Grouped) -> Result<Option<Sums>, Failure> {
        match self {
            Self::File(_) => {
                let grouped = move |connection: &mut SqliteConnection, range: &Range, videos| {
                    file_grouped(connection, range, videos, by)
                };
                self.in_file(range, grouped).await
            }
            Self::Database(_) => {
                // The width of buckets is a parameter of every statement.
                let select = format!(
                    "{}, count(*)::float8, sum(view_ms)::float8, coalesce(sum(startup_ms), 0)::float8,
                     count(startup_ms)::float8, $4::text is null from sessions",
                    by.in_database()
                );
                let rest = format!("{} group by 1", range.condition());
                let rows = self.in_database(range, &select, &rest).await?;
                let sums = |row: &Row| {
                    let value: Option<String> = row.get(0);
                    (value.unwrap_or_default(), [1, 2, 3, 4].map(|column| row.get(column)))
                };
                Ok(rows.map(|rows| rows.iter().map(sums).collect()))
            }
        }
    }

    /// Returns the number of sessions in the range.
    ///
    /// # Errors
    ///
    /// The database fails.
    pub async fn rows(&self, range: &Range) -> Result<i64, Failure> {
        match self {
            Self::File(_) => {
                let rows = self.in_file(range, |connection, range, videos| {
                    let mut rows = 0;
                    for video in videos {
                        let some: Number =
                            within("select count(*) as number from sessions", range, video, "")
                                .get_result(connection)?;
                        rows += some.number;
                    }
                    Ok(Some(rows))
                });
                Ok(rows.await?.unwrap_or_default())
            }
            Self::Database(client) => {
                let videos = self.ids(client, range.videos).await?;
                let sql = "select count(*) from sessions
                    where video_id = any($1::bigint[]::integer[]) and started_at between $2 and $3";
                let (from, to) = (time(range.from_ms), time(range.to_ms));
                Ok(client.query_one(sql, &[&videos, &from, &to]).await?.get(0))
            }
        }
    }

    /// Returns the start of the last session of the most watched video, in Unix milliseconds. An index makes this fast.
    ///
    /// # Errors
    ///
    /// The database fails, or there are no sessions.
    pub async fn last_start_ms(&self) -> Result<i64, Failure> {
        let condition = Videos::Ranked(0).condition(self);
        let sql =
            format!("from sessions where video_id = (select id from videos where {condition})");
        match self {
            Self::File(connection) => {
                let connection = Arc::clone(connection);
                tokio::task::spawn_blocking(move || {
                    let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                    let sql = format!("select max(started_at) as number {sql}");
                    let last: Number = diesel::sql_query(sql).get_result(&mut *connection)?;
                    Ok(last.number)
                })
                .await?
            }
            Self::Database(client) => {
                let sql = format!("select max(started_at) {sql}");
                Ok(unix_ms(client.query_one(&sql, &[]).await?.get(0)))
            }
        }
    }

    /// Runs `query` on a thread that may block, with the ids of the videos.
    async fn in_file<T: Send + 'static>(
        &self,
        range: &Range,
        query: impl FnOnce(&mut SqliteConnection, &Range, Vec<i64>) -> Result<Option<T>, Failure>
        + Send
        + 'static,
    ) -> Result<Option<T>, Failure> {
        let Self::File(connection) = self else { return Err("it is no file".into()) };
        let (connection, range) = (Arc::clone(connection), range.clone());
        let condition = range.videos.condition(self);
        tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let sql = format!("select id as number from videos where {condition}");
            let videos: Vec<Number> = diesel::sql_query(sql).load(&mut *connection)?;
            query(&mut connection, &range, videos.into_iter().map(|it| it.number).collect())
        })
        .await?
    }

    async fn in_database(
        &self,
        range: &Range,
        select: &str,
        rest: &str,
    ) -> Result<Option<Vec<Row>>, Failure> {
        let Self::Database(client) = self else { return Err("it is no database".into()) };
        let videos = self.ids(client, range.videos).await?;
        let sql = format!(
            "select {select} where video_id = any($1::bigint[]::integer[]) and started_at between $2 and $3 and $5 <= view_ms {rest}"
        );
        let (from, to) = (time(range.from_ms), time(range.to_ms));
        let grain = format!("{} milliseconds", range.grain_ms);
        let began = Instant::now();
        let rows = client.query(&sql, &[&videos, &from, &to, &grain, &range.minimum_view_ms]).await;
        match rows {
            Err(_) if PLAIN_SQL_MAX <= began.elapsed() => Ok(None),
            rows => Ok(Some(rows?)),
        }
    }

    async fn ids(&self, client: &Client, videos: Videos) -> Result<Vec<i64>, Failure> {
        let sql = format!("select id from videos where {}", videos.condition(self));
        Ok(client.query(&sql, &[]).await?.iter().map(|row| row.get(0)).collect())
    }
}

/// A temporary view of all sessions, open ones included.
const SESSIONS: &str = "create temporary view sessions as
    select video_id, started_at, page_id, browser, platform, device, view_ms, unique_ms, duration_ms, startup_ms,
        coalesce(rebufferings, 0) as rebufferings, coalesce(rebuffering_ms, 0) as rebuffering_ms, segments
    from metrics.session_rows
    union all
    select video_id, started_at, (select id from metrics.pages where url = page), browser, platform, device, view_ms,
        unique_ms, duration_ms, startup_ms, coalesce(rebufferings, 0), coalesce(rebuffering_ms, 0), segments
    from metrics.open_sessions";

fn plays_of_row(row: &Row) -> PlaysAt {
    let classes: [i16; 3] = [row.get(1), row.get(2), row.get(3)];
    let [browser, platform, device] = classes.map(i32::from);
    plays_of(unix_ms(row.get(0)), (browser, platform, device), (row.get(4), row.get(5), row.get(6)))
}

fn plays_of(at_ms: i64, classes: (i32, i32, i32), sums: (i64, i64, i64)) -> PlaysAt {
    let code = |class: i32| u8::try_from(class).unwrap_or_default();
    let client = user_agent::UserAgentClass {
        browser: Browser::from_code(code(classes.0)),
        platform: Platform::from_code(code(classes.1)),
        device: Device::from_code(code(classes.2)),
    };
    let (plays, view_ms, unique_ms) = sums;
    let mut totals = PlayTotals::default();
    totals.add_plays(
        plays.unsigned_abs(),
        view_ms.unsigned_abs(),
        unique_ms.unsigned_abs(),
        client,
    );
    PlaysAt { at_ms, totals }
}

fn time(unix_ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms.unsigned_abs())
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
