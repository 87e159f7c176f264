//! Converts the sessions of the version before, which had a row per session and sums per day.
//!
//! The schema of that version is renamed, so that migrations create all tables as in a new database. Sessions are
//! converted in steps, each a transaction that also writes the progress: after a crash, the next start continues. At
//! the end, the sessions are counted and the old schema is dropped. Their minutes were not recorded: each session is
//! assumed to have played from its start on for the length of its view time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Timestamptz, Uuid};
use diesel_async::{
    AsyncConnection as _, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _,
};

use super::columns::OpenRow;
use super::error::{STORE, may_pass, unusable};
use super::prepared::Prepared;
use super::rewrite;
use super::types::Bits;
use crate::block::{Row, SESSIONS_MAX};
use crate::store::changes::{Totals, blocks, finalized};
use crate::store::common::{BEFORE, STATEMENT_MAX};
use crate::store::failure::Failure;
use crate::store::{Error, KeyId, OpenSession, Rewrite, VideoId};

/// Number of sessions converted in one step.
const STEP: i64 = SESSIONS_MAX as i64;

/// The period of logging progress.
const LOGGED: Duration = Duration::from_secs(10);

/// Whether the database has tables of the version before: unchanged, or renamed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, QueryableByName)]
pub(super) struct State {
    #[diesel(sql_type = Bool)]
    pub(super) is_before: bool,
    #[diesel(sql_type = Bool)]
    pub(super) is_renamed: bool,
}

pub(super) async fn state(connection: &mut AsyncPgConnection) -> Result<State, Error> {
    diesel::sql_query(
        "select to_regclass('metrics.live_sessions') is not null
                or to_regclass('metrics.session_heads') is not null as is_before,
            to_regclass('metrics_before.sessions') is not null as is_renamed",
    )
    .get_result(connection)
    .await
    .map_err(|err| failed("list its tables", err.into()))
}

/// Renames the schema of the version before.
pub(super) async fn rename(connection: &mut AsyncPgConnection) -> Result<(), Error> {
    #[derive(QueryableByName)]
    struct Last {
        #[diesel(sql_type = Bool)]
        is_there: bool,
    }
    let last: Last = diesel::sql_query(format!(
        "select exists (select from metrics.__diesel_schema_migrations where version = '{BEFORE}') as is_there"
    ))
    .get_result(connection)
    .await
    .map_err(|err| failed("list its migrations", err.into()))?;
    if !last.is_there {
        return Err(unusable(format!(
            "its tables are older than those of the version before (without {BEFORE}): start that version once"
        )));
    }
    connection.batch_execute("alter schema metrics rename to metrics_before").await.map_err(|err| {
        unusable(format!(
            "the schema metrics cannot be renamed ({err}): start as its owner, who needs the right to create schemas"
        ))
    })
}

/// Converts all sessions that are not converted yet.
pub(super) async fn run(connection: &mut AsyncPgConnection) -> Result<(), Error> {
    take_over(connection).await.map_err(|failure| failed("convert its sessions", failure))
}

fn failed(operation: &'static str, failure: Failure) -> Error {
    failure.of(STORE, operation, STATEMENT_MAX, may_pass)
}

/// Converts everything but the closed sessions.
const FIRST: &str = "
    create table metrics.conversion (
        -- The last session taken over.
        video_id integer not null,
        started_at timestamptz not null,
        id uuid not null,
        sessions bigint not null
    );
    insert into metrics.conversion values (-2147483648, '-infinity', '00000000-0000-0000-0000-000000000000', 0);
    insert into metrics.keys overriding system value
        select id, key, created_at, disabled_at from metrics_before.keys;
    select setval('metrics.keys_id_seq', max(id)) from metrics.keys;
    insert into metrics.videos overriding system value
        select id, key_id, digest, identifier, metadata from metrics_before.videos;
    select setval('metrics.videos_id_seq', max(id)) from metrics.videos;
    insert into metrics.pages overriding system value select id, url from metrics_before.sources;
    select setval('metrics.pages_id_seq', max(id)) from metrics.pages;
    insert into metrics.instances select id, seen_at from metrics_before.instances;
    insert into metrics.closed_sessions (id, started_at, last_event_at, version, video_id, resume)
        select id, started_at, last_event_at, version, video_id, resume from metrics_before.live_sessions where rolled;
    insert into metrics.open_sessions (started_at, last_event_at, version, instance, view_ms, rebufferings, rebuffering_ms,
            failures, startup_ms, video_id, unique_ms, duration_ms, browser, platform, device, id, segments, minutes, page,
            details, session_data, resume)
        select started_at, last_event_at, version, instance, view_ms, rebufferings, rebuffering_ms, failures, startup_ms,
            video_id, unique_ms, duration_ms, browser, platform, device, live.id, segments, ''::bytea, url, details,
            session_data, resume
        from metrics_before.live_sessions live left join metrics_before.sources on sources.id = source_id
        where not rolled";

#[derive(Clone, Copy, Debug, QueryableByName)]
struct Progress {
    #[diesel(sql_type = Integer)]
    video_id: i32,
    #[diesel(sql_type = Timestamptz)]
    started_at: PgTimestamp,
    #[diesel(sql_type = Uuid)]
    id: Bits,
    #[diesel(sql_type = BigInt)]
    sessions: i64,
}

async fn take_over(connection: &mut AsyncPgConnection) -> Result<(), Failure> {
    #[derive(QueryableByName)]
    struct Begun {
        #[diesel(sql_type = Bool)]
        is_there: bool,
    }
    let begun = "select to_regclass('metrics.conversion') is not null as is_there";
    let begun: Begun = diesel::sql_query(begun).get_result(connection).await?;
    if !begun.is_there {
        connection
            .transaction(async |connection| {
                Ok::<_, Failure>(connection.batch_execute(FIRST).await?)
            })
            .await?;
    }
    let counts = counts(connection).await?;
    let total: i64 = counts.values().sum();
    let mut progress: Progress =
        diesel::sql_query("select * from metrics.conversion").get_result(connection).await?;
    let mut logged = Instant::now();
    tracing::info!(sessions = progress.sessions, total, "converting sessions");
    loop {
        let sessions = next(connection, &progress, &counts).await?;
        let Some(last) = sessions.last() else { break };
        progress.sessions += sessions.len() as i64;
        progress.video_id = last.video_id();
        (progress.started_at, progress.id) = last.cursor();
        let rows = sessions.into_iter().map(OpenRow::open_session);
        let rewrite = converted(rows.collect::<Result<_, _>>()?);
        step(connection, &rewrite, progress).await?;
        if LOGGED <= logged.elapsed() {
            logged = Instant::now();
            tracing::info!(sessions = progress.sessions, total, "converting sessions");
        }
    }
    finish(connection, total).await
}

/// Returns the number of sessions of each video.
async fn counts(connection: &mut AsyncPgConnection) -> QueryResult<BTreeMap<i32, i64>> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = Integer)]
        video_id: i32,
        #[diesel(sql_type = BigInt)]
        sessions: i64,
    }
    let counts: Vec<Count> = diesel::sql_query(
        "select video_id, count(*) as sessions from metrics_before.sessions group by video_id",
    )
    .load(connection)
    .await?;
    Ok(counts.into_iter().map(|it| (it.video_id, it.sessions)).collect())
}

/// Returns the next sessions by video, start and id: the rest of a video, then other videos.
async fn next(
    connection: &mut AsyncPgConnection,
    progress: &Progress,
    counts: &BTreeMap<i32, i64>,
) -> Result<Vec<OpenRow>, Failure> {
    let &Progress { video_id, started_at, id, .. } = progress;
    // In this form TimescaleDB reads one chunk after the other, and none beyond the limit of the step.
    let rest =
        select("video_id = $1 and $2 <= started_at and (started_at, it.id) > ($2, $3)", "$4");
    let mut rows: Vec<OpenRow> = Prepared::new(rest)
        .bind::<Integer, _>(video_id)
        .bind::<Timestamptz, _>(started_at)
        .bind::<Uuid, _>(id)
        .bind::<BigInt, _>(STEP)
        .load(connection)
        .await?;
    let missing = STEP - rows.len() as i64;
    // Up to the video that fills the step: TimescaleDB decompresses by video.
    let mut sessions = 0;
    let others = counts.range((std::ops::Bound::Excluded(video_id), std::ops::Bound::Unbounded));
    let others: Vec<i32> = others
        .take_while(|(_, count)| {
            let fits = sessions < missing;
            sessions += **count;
            fits
        })
        .map(|(video, _)| *video)
        .collect();
    if let Some(last) = others.last() {
        let next: Vec<OpenRow> = Prepared::new(select("$1 < video_id and video_id <= $2", "$3"))
            .bind::<Integer, _>(video_id)
            .bind::<Integer, _>(*last)
            .bind::<BigInt, _>(missing)
            .load(connection)
            .await?;
        rows.extend(next);
    }
    Ok(rows)
}

fn select(of: &str, limit: &str) -> String {
    format!(
        "select it.id, 1::bigint as version, key_id, video_id, started_at, last_event_at, duration_ms, view_ms, unique_ms,
            it.segments, ''::bytea as minutes, rebufferings, rebuffering_ms, failures, startup_ms, details, ''::bytea as resume, browser,
            platform, device, url as page, session_data::text as session_data, null::text as arrival
         from (
            select * from metrics_before.sessions it where {of} order by video_id, started_at, id limit {limit}
         ) it
         join metrics.videos on videos.id = video_id left join metrics.pages on pages.id = source_id
         order by video_id, started_at, it.id"
    )
}

fn converted(sessions: Vec<OpenSession>) -> Rewrite {
    let mut totals = Totals::default();
    let mut by_video: BTreeMap<(KeyId, VideoId), Vec<Row>> = BTreeMap::new();
    for session in sessions {
        let row = finalized(session.row);
        totals.add(session.key, &row, 1);
        by_video.entry((session.key, session.video)).or_default().push(row);
    }
    let mut rewrite = Rewrite { totals: totals.finish(), ..Rewrite::default() };
    for ((key, video), rows) in by_video {
        rewrite.import.extend(rows.iter().map(|row| (video, row.clone())));
        rewrite.add.extend(blocks(rows).map(|block| (key, video, block)));
    }
    rewrite
}

/// Adds sessions, and writes the progress of the conversion.
async fn step(
    connection: &mut AsyncPgConnection,
    rewrite: &Rewrite,
    progress: Progress,
) -> Result<(), Failure> {
    connection
        .transaction(async move |connection| {
            rewrite::steps(connection, rewrite).await?;
            Prepared::new(
                "update metrics.conversion set video_id = $1, started_at = $2, id = $3, sessions = $4",
            )
            .bind::<Integer, _>(progress.video_id)
            .bind::<Timestamptz, _>(progress.started_at)
            .bind::<Uuid, _>(progress.id)
            .bind::<BigInt, _>(progress.sessions)
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
}

/// Compares the number of sessions before and after, and drops the old schema.
async fn finish(connection: &mut AsyncPgConnection, total: i64) -> Result<(), Failure> {
    #[derive(QueryableByName)]
    struct Counts {
        #[diesel(sql_type = BigInt)]
        in_blocks: i64,
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let counts: Counts = diesel::sql_query(
        "select (select coalesce(sum(sessions), 0)::bigint from metrics.blocks) as in_blocks,
            (select count(*) from metrics.session_rows) as rows",
    )
    .get_result(connection)
    .await?;
    if (counts.in_blocks, counts.rows) != (total, total) {
        tracing::error!(
            before = total,
            in_blocks = counts.in_blocks,
            rows = counts.rows,
            "sessions are missing after the conversion; the schema metrics_before has all of them"
        );
        return Err(crate::varint::Damaged("the conversion lost sessions").into());
    }
    let end = "drop table metrics.conversion; drop schema metrics_before cascade";
    connection
        .transaction(async |connection| Ok::<_, Failure>(connection.batch_execute(end).await?))
        .await?;
    tracing::info!(sessions = total, "converted all sessions");
    Ok(())
}
