//! Snapshots: a transaction on a connection for reports.

use std::time::Instant;

use async_trait::async_trait;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Nullable, Text, Timestamptz, Uuid};
use diesel_async::pooled_connection::deadpool::Object;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::columns::{OpenRow, select_open};
use super::connect::Target;
use super::error::{error_of, unavailable};
use super::pool::GRACE;
use super::prepared::Prepared;
use super::types::{Bits, timestamp};
use super::{blocks, closed, totals};
use crate::block::{Block, Groups};
use crate::key::{ApiKey, SessionId};
use crate::store::common::STATEMENT_MAX;
use crate::store::failure::Failure;
use crate::store::row::object;
use crate::store::{
    BlockId, BlockSummary, Detail, Error, INSTANCE_SILENCE_MAX, KeyId, OpenScan, OpenSession,
    Resumable, Snapshot, VideoId, VideoRecord, VideoScope, Videos,
};
use crate::totals::StoredTotals;
use crate::varint::Damaged;
use crate::video::Video;

/// An open transaction that shows the store at one moment.
pub(super) struct TimescaleSnapshot {
    // Taken on drop.
    connection: Option<Object<AsyncPgConnection>>,
    target: Target,
    state: State,
}

/// Whether the connection is in the middle of a call. If it is when the snapshot is dropped, or when another call
/// comes, the future of a call was dropped.
#[derive(Default)]
struct State {
    is_busy: bool,
}

impl TimescaleSnapshot {
    /// Begins a transaction.
    pub(super) async fn open(
        connection: Object<AsyncPgConnection>,
        target: Target,
    ) -> Result<Self, Error> {
        let mut snapshot = Self { connection: Some(connection), target, state: State::default() };
        let (connection, state) = snapshot.parts()?;
        // The first query fixes the moment of the snapshot.
        let begin = "begin isolation level repeatable read read only; select 1";
        let begun = async { Ok(connection.batch_execute(begin).await?) };
        state.run("begin to read", begun).await?;
        Ok(snapshot)
    }

    fn parts(&mut self) -> Result<(&mut AsyncPgConnection, &mut State), Error> {
        match &mut self.connection {
            Some(connection) if !self.state.is_busy => Ok((connection, &mut self.state)),
            _ => Err(unavailable("a call before was dropped before its end")),
        }
    }
}

impl State {
    /// Waits for a call, with a timeout.
    async fn run<T>(
        &mut self,
        operation: &'static str,
        call: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Error> {
        self.is_busy = true;
        let began = Instant::now();
        let Ok(done) = timeout(STATEMENT_MAX + GRACE, call).await else {
            return Err(error_of(Failure::TooLong, operation, STATEMENT_MAX));
        };
        self.is_busy = false;
        done.map_err(|failure| {
            // The driver reports only in the server's language why a statement was ended.
            let late = STATEMENT_MAX <= began.elapsed() && matches!(failure, Failure::Diesel(_));
            let failure = if late { Failure::TooLong } else { failure };
            error_of(failure, operation, STATEMENT_MAX)
        })
    }
}

impl Drop for TimescaleSnapshot {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(finish(connection, self.target.clone(), self.state.is_busy));
            }
            // Closed, with its transaction.
            Err(_) => drop(Object::take(connection)),
        }
    }
}

/// Ends the transaction, so that the next one gets a clean connection. Cancels a call whose future was dropped.
async fn finish(mut connection: Object<AsyncPgConnection>, target: Target, is_busy: bool) {
    if is_busy {
        let token = connection.cancel_token();
        drop(Object::take(connection));
        target.cancel(token).await;
        return;
    }
    let done = timeout(GRACE, connection.batch_execute("rollback")).await;
    if !matches!(done, Ok(Ok(()))) {
        drop(Object::take(connection));
    }
}

#[async_trait]
impl Snapshot for TimescaleSnapshot {
    async fn videos(
        &mut self,
        scope: &VideoScope,
        after: Option<VideoId>,
        limit: u32,
    ) -> Result<Vec<VideoRecord>, Error> {
        let (connection, state) = self.parts()?;
        state.run("list videos", videos(connection, scope, after, limit)).await
    }

    async fn open_sessions(
        &mut self,
        scan: &OpenScan,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error> {
        let (connection, state) = self.parts()?;
        state.run("list open sessions", open_sessions(connection, scan, after, limit)).await
    }

    async fn blocks(
        &mut self,
        videos: &Videos,
        from_ms: i64,
        to_ms: i64,
        after: Option<BlockId>,
        limit: u32,
    ) -> Result<Vec<BlockSummary>, Error> {
        let (connection, state) = self.parts()?;
        let summaries = blocks::summaries(connection, videos, (from_ms, to_ms), after, limit);
        state.run("list blocks", summaries).await
    }

    async fn groups(&mut self, blocks: &[BlockId], groups: Groups) -> Result<Vec<Block>, Error> {
        let (connection, state) = self.parts()?;
        state.run("read blocks", blocks::groups(connection, blocks, groups)).await
    }

    async fn resumable(
        &mut self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<Resumable>, Error> {
        let (connection, state) = self.parts()?;
        state.run("list resume state", closed::page(connection, after, limit)).await
    }

    async fn totals(
        &mut self,
        key: Option<&ApiKey>,
        first_day: i64,
        last_day: i64,
        detail: Detail,
    ) -> Result<Vec<StoredTotals>, Error> {
        let (connection, state) = self.parts()?;
        let days = (first_day, last_day);
        state.run("read totals", totals::read(connection, key, days, detail)).await
    }
}

async fn videos(
    connection: &mut AsyncPgConnection,
    scope: &VideoScope,
    after: Option<VideoId>,
    limit: u32,
) -> Result<Vec<VideoRecord>, Failure> {
    #[derive(QueryableByName)]
    struct Listed {
        #[diesel(sql_type = BigInt)]
        id: i64,
        #[diesel(sql_type = BigInt)]
        key_id: i64,
        #[diesel(sql_type = Text)]
        key: String,
        #[diesel(sql_type = Nullable<Text>)]
        identifier: Option<String>,
        #[diesel(sql_type = Nullable<Text>)]
        metadata: Option<String>,
    }
    let rows: Vec<Listed> = Prepared::new(
        "select videos.id, key_id, key, identifier, metadata::text as metadata
         from videos join keys on keys.id = key_id
         where ($1 is null or key_id = (select id from keys where key = $1))
            and ($2 is null or identifier = any($2)) and ($3 is null or $3 < videos.id)
         order by videos.id limit $4",
    )
    .bind::<Nullable<Text>, _>(scope.key.as_ref().map(|key| key.as_str()))
    .bind::<Nullable<Array<Text>>, _>(scope.identifiers.as_ref())
    .bind::<Nullable<BigInt>, _>(after.map(|video| video.0))
    .bind::<BigInt, _>(i64::from(limit))
    .load(connection)
    .await?;
    let record = |row: Listed| {
        let metadata = row.metadata.as_deref().map(object).transpose()?;
        Ok(VideoRecord {
            id: VideoId(row.id),
            key_id: KeyId(row.key_id),
            key: ApiKey::new(&row.key).map_err(|_| Damaged("a stored key is invalid"))?,
            video: Video::new(row.identifier, metadata)
                .ok_or(Damaged("a video has neither identifier nor metadata"))?,
        })
    };
    Ok(rows.into_iter().map(record).collect::<Result<_, Damaged>>()?)
}

async fn open_sessions(
    connection: &mut AsyncPgConnection,
    scan: &OpenScan,
    after: Option<SessionId>,
    limit: u32,
) -> Result<Vec<OpenSession>, Failure> {
    let (key, ids) = blocks::parts(&scan.videos);
    let alive_since = scan.watched_at.map(|at| (at - INSTANCE_SILENCE_MAX).timestamp_millis());
    let of = "($1 is null or key_id = (select id from keys where key = $1)) and ($2 is null or video_id = any($2))
        and started_at between $3 and $4 and ($5 is null or $5 < open.id)
        and ($6 is null or exists (select from instances where instances.id = instance and $6 <= seen_at))
        order by open.id limit $7";
    let rows: Vec<OpenRow> = Prepared::new(select_open(of))
        .bind::<Nullable<Text>, _>(key)
        .bind::<Nullable<Array<BigInt>>, _>(ids)
        .bind::<Timestamptz, _>(timestamp(scan.from_ms))
        .bind::<Timestamptz, _>(timestamp(scan.to_ms))
        .bind::<Nullable<Uuid>, _>(after.map(|id| Bits(*id.as_bytes())))
        .bind::<Nullable<Timestamptz>, _>(alive_since.map(timestamp))
        .bind::<BigInt, _>(i64::from(limit))
        .load(connection)
        .await?;
    Ok(rows.into_iter().map(OpenRow::open_session).collect::<Result<_, _>>()?)
}
