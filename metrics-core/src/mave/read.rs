//! Reads one snapshot of the old database, in the order of its sessions.
//!
//! Sessions and the rows that belong to them come from cursors with the same order that advance together. So each
//! table is read once, with or without an index, and only a small part of it is in memory at a time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use diesel::QueryableByName;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{Array, BigInt, Double, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};

use super::columns::{Columns, Queries, TABLES};
use super::left_out::{Reason, Tally};
use super::watched::Line;
use crate::session::SEGMENTS_MAX;
use crate::store::{Error, connect_to_other};

/// The number of sessions that are read, and then written, at once.
const SESSIONS_AT_ONCE: usize = 1_000;

/// The number of rows of another table that are read at once.
const LINES_AT_ONCE: usize = 5_000;

/// The maximum number of rows per session and table: twice the number that can make segments.
const LINES_MAX: usize = 4 * SEGMENTS_MAX;

/// The timeout of a query: the first result comes only after a table of any size is sorted.
const ANSWER_MAX: Duration = Duration::from_secs(3_600);

const STORE: &str = "the mave database";

pub(super) async fn connect(url: &str) -> Result<AsyncPgConnection, Error> {
    connect_to_other(url).await.map_err(|err| match err {
        Error::Unavailable { source, .. } => Error::Unavailable { store: STORE, source },
        Error::Unusable { reason, .. } => Error::Unusable { store: STORE, reason },
        other => other,
    })
}

#[derive(QueryableByName)]
struct ColumnRow {
    #[diesel(sql_type = Text)]
    table_schema: String,
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    column_name: String,
    #[diesel(sql_type = Text)]
    data_type: String,
}

/// The schema of the tables, and the queries that read them.
#[derive(Debug)]
pub(super) struct Plan {
    schema: String,
    queries: Queries,
}

/// Finds the schema of the tables. A store may be in the same database; the columns of its tables differ.
pub(super) async fn plan(connection: &mut AsyncPgConnection) -> Result<Plan, Error> {
    let query = diesel::sql_query(
        "select table_schema::text, table_name::text, column_name::text, data_type::text \
         from information_schema.columns \
         where table_schema = any(current_schemas(false)) and table_name = any($1) \
         order by array_position(current_schemas(false), table_schema::name)",
    );
    let query = query.bind::<Array<Text>, _>(TABLES.as_slice());
    let rows: Vec<ColumnRow> = answer("list columns", query.load(connection)).await?;
    let mut missing = "keys.id".to_owned();
    for schema in rows.chunk_by(|a, b| a.table_schema == b.table_schema) {
        let mut columns = Columns::default();
        for row in schema {
            let ColumnRow { table_name, column_name, data_type, .. } = row;
            columns.add(table_name.clone(), column_name.clone(), data_type.clone());
        }
        match columns.queries() {
            Ok(queries) => return Ok(Plan { schema: schema[0].table_schema.clone(), queries }),
            Err(column) => missing = column,
        }
    }
    Err(Error::Unusable {
        store: STORE,
        reason: format!(
            "it has no column {missing} that this user may read: \
             name the database of a mave/metrics server, and a user who may read its tables"
        ),
    })
}

/// A key of the old database.
#[derive(QueryableByName)]
pub(super) struct OldKey {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) key: Option<String>,
    #[diesel(sql_type = Nullable<Double>)]
    pub(super) inserted_at_ms: Option<f64>,
    #[diesel(sql_type = Nullable<Double>)]
    pub(super) disabled_at_ms: Option<f64>,
}

/// A video of the old database.
#[derive(QueryableByName)]
pub(super) struct OldVideo {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) key_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) identifier: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) metadata: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) source_uri: Option<String>,
}

/// A session of the old database.
#[derive(Default, QueryableByName)]
pub(super) struct OldSession {
    #[diesel(sql_type = BigInt)]
    pub(super) id: i64,
    #[diesel(sql_type = Nullable<Double>)]
    pub(super) at_ms: Option<f64>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) browser: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) platform: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) device: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) uri_host: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) uri_path: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) metadata: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) key_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) video_id: Option<i64>,
}

#[derive(QueryableByName)]
struct LineRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    session_id: Option<i64>,
    #[diesel(sql_type = Nullable<Double>)]
    at_ms: Option<f64>,
    #[diesel(sql_type = BigInt)]
    order_id: i64,
    #[diesel(sql_type = Nullable<Text>)]
    kind: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    from: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    to: Option<String>,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// One snapshot of the old database, in a read-only transaction that ends when the snapshot is dropped.
pub(super) struct Snapshot {
    connection: AsyncPgConnection,
    queries: Queries,
    plays: Lines,
    events: Lines,
    durations: Lines,
}

/// The rows that belong to one session, per table and ordered by time.
#[derive(Default)]
pub(super) struct SessionLines {
    pub(super) plays: Vec<Line>,
    pub(super) events: Vec<Line>,
    pub(super) durations: Vec<Line>,
}

impl Snapshot {
    /// Begins a transaction that ends with the connection.
    pub(super) async fn begin(
        mut connection: AsyncPgConnection,
        plan: Plan,
    ) -> Result<Self, Error> {
        // Plain SQL: diesel supports neither cursors nor columns that are discovered at run time. The planner must
        // expect that all rows are fetched; the time between two fetches is unlimited, for a slow new store.
        let begin = format!(
            "begin transaction isolation level repeatable read, read only; \
             set local statement_timeout = '{}s'; set local idle_in_transaction_session_timeout = 0; \
             set local cursor_tuple_fraction = 1",
            ANSWER_MAX.as_secs(),
        );
        answer("begin to read", connection.batch_execute(&begin)).await?;
        let set = diesel::sql_query("select set_config('search_path', quote_ident($1), true)");
        let set = set.bind::<Text, _>(plan.schema);
        answer("begin to read", set.execute(&mut connection)).await?;
        let queries = plan.queries;
        let mut declare = declaration("old_sessions", &queries.sessions);
        let mut lines = |name: &'static str, query: Option<&String>| {
            declare.extend(query.map(|query| declaration(name, query)));
            Lines { name, rows: VecDeque::new(), ended: query.is_none() }
        };
        let plays = lines("old_plays", queries.plays.as_ref());
        let events = lines("old_events", queries.events.as_ref());
        let durations = lines("old_durations", queries.durations.as_ref());
        answer("begin to read", connection.batch_execute(&declare)).await?;
        Ok(Self { connection, queries, plays, events, durations })
    }

    /// All keys.
    pub(super) async fn keys(&mut self) -> Result<Vec<OldKey>, Error> {
        let query = diesel::sql_query(self.queries.keys.as_str());
        answer("read keys", query.load(&mut self.connection)).await
    }

    /// The number of sessions.
    pub(super) async fn count(&mut self) -> Result<u64, Error> {
        let query = diesel::sql_query(self.queries.count.as_str());
        let count: Count = answer("count sessions", query.get_result(&mut self.connection)).await?;
        Ok(count.count.unsigned_abs())
    }

    /// The next sessions, ordered by id; empty after the last.
    pub(super) async fn sessions(&mut self) -> Result<Vec<OldSession>, Error> {
        let query = diesel::sql_query(format!("fetch {SESSIONS_AT_ONCE} from old_sessions"));
        answer("read sessions", query.load(&mut self.connection)).await
    }

    /// The videos of these sessions, by id.
    pub(super) async fn videos(
        &mut self,
        sessions: &[OldSession],
    ) -> Result<HashMap<i64, OldVideo>, Error> {
        let mut ids: Vec<i64> = sessions.iter().filter_map(|session| session.video_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let query = format!("{} where videos.id = any($1)", self.queries.videos);
        let query = diesel::sql_query(query).bind::<Array<BigInt>, _>(ids);
        let videos: Vec<OldVideo> = answer("read videos", query.load(&mut self.connection)).await?;
        Ok(videos.into_iter().map(|video| (video.id, video)).collect())
    }

    /// The rows of a session. Each call must name a later session than the call before.
    pub(super) async fn lines(
        &mut self,
        session_id: i64,
        left_out: &mut Tally,
    ) -> Result<SessionLines, Error> {
        let connection = &mut self.connection;
        Ok(SessionLines {
            plays: self.plays.of(connection, session_id, left_out).await?,
            events: self.events.of(connection, session_id, left_out).await?,
            durations: self.durations.of(connection, session_id, left_out).await?,
        })
    }

    /// Counts the remaining rows, which belong to no session.
    pub(super) async fn finish(mut self, left_out: &mut Tally) -> Result<(), Error> {
        for lines in [&mut self.plays, &mut self.events, &mut self.durations] {
            lines.finish(&mut self.connection, left_out).await?;
        }
        Ok(())
    }
}

/// A cursor over the rows of a table, ordered by session.
struct Lines {
    name: &'static str,
    rows: VecDeque<LineRow>,
    ended: bool,
}

impl Lines {
    async fn of(
        &mut self,
        connection: &mut AsyncPgConnection,
        session_id: i64,
        left_out: &mut Tally,
    ) -> Result<Vec<Line>, Error> {
        let mut lines = Vec::new();
        while let Some(row) = self.next(connection, session_id).await? {
            let line = Line {
                at_ms: row.at_ms,
                order_id: row.order_id,
                kind: row.kind,
                from: row.from,
                to: row.to,
            };
            if row.session_id != Some(session_id) {
                left_out.one(Reason::NoSession, row.session_id);
            } else if lines.len() < LINES_MAX {
                lines.push(line);
            } else if line.begins_segment() {
                left_out.one(Reason::TooManySegments, session_id);
            }
        }
        Ok(lines)
    }

    /// The next row, unless it belongs to a session after `session_id`.
    async fn next(
        &mut self,
        connection: &mut AsyncPgConnection,
        session_id: i64,
    ) -> Result<Option<LineRow>, Error> {
        self.fill(connection).await?;
        let due = |row: &LineRow| row.session_id.is_some_and(|id| id <= session_id);
        if self.rows.front().is_some_and(due) { Ok(self.rows.pop_front()) } else { Ok(None) }
    }

    async fn finish(
        &mut self,
        connection: &mut AsyncPgConnection,
        left_out: &mut Tally,
    ) -> Result<(), Error> {
        self.fill(connection).await?;
        while !self.rows.is_empty() {
            for row in self.rows.drain(..) {
                left_out.one(Reason::NoSession, row.session_id);
            }
            self.fill(connection).await?;
        }
        Ok(())
    }

    /// Fetches rows if none are buffered.
    async fn fill(&mut self, connection: &mut AsyncPgConnection) -> Result<(), Error> {
        if self.rows.is_empty() && !self.ended {
            let query = diesel::sql_query(format!("fetch {LINES_AT_ONCE} from {}", self.name));
            let rows: Vec<LineRow> =
                answer("read watched segments", query.load(connection)).await?;
            self.ended = rows.len() < LINES_AT_ONCE;
            self.rows = rows.into();
        }
        Ok(())
    }
}

fn declaration(cursor: &str, query: &str) -> String {
    format!("declare {cursor} no scroll cursor for {query};")
}

/// Waits for a result. Errors name a remedy for the operator.
async fn answer<T>(
    operation: &'static str,
    query: impl Future<Output = Result<T, DieselError>>,
) -> Result<T, Error> {
    let timed_out = || Error::TimedOut { store: STORE, seconds: ANSWER_MAX.as_secs() };
    let answered = tokio::time::timeout(ANSWER_MAX, query).await.map_err(|_| timed_out())?;
    answered.map_err(|err| {
        let source = err.to_string();
        if source.contains("statement timeout") {
            timed_out()
        } else if may_pass(&err) {
            Error::Unavailable { store: STORE, source: err.into() }
        } else {
            Error::Rejected { store: STORE, operation, source: err.into() }
        }
    })
}

/// Whether an error is temporary. Diesel exposes no error code, only a message.
fn may_pass(err: &DieselError) -> bool {
    match err {
        DieselError::DatabaseError(
            DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::SerializationFailure,
            _,
        ) => true,
        DieselError::DatabaseError(_, info) => info.message().starts_with("terminating connection"),
        _ => false,
    }
}
