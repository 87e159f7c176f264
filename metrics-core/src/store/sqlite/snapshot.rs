//! Snapshots: a transaction on a connection that reads.

use std::sync::Arc;

use async_trait::async_trait;
use diesel::connection::{AnsiTransactionManager, TransactionManager as _};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use tokio::sync::Semaphore;

use super::fault::STORE;
use super::files::OpenFiles;
use super::pool::Reader;
use super::read::{OPEN_COLUMNS, OpenColumns, OpenRow, session_id};
use super::rewrite::totals_row_id;
use super::schema::keys;
use super::sql::{Bind, Sql};
use super::{blocking, blocks};
use crate::block::{Block, Groups};
use crate::key::{ApiKey, SessionId};
use crate::store::failure::Failure;
use crate::store::row::{column_as, object};
use crate::store::{
    BlockId, BlockSummary, Detail, Error, INSTANCE_SILENCE_MAX, KeyId, OpenScan, OpenSession,
    Resumable, Snapshot, VideoId, VideoRecord, VideoScope, Videos,
};
use crate::totals::StoredTotals;
use crate::varint::Damaged;
use crate::video::Video;

/// The largest number of open sessions of some videos that are found by their videos and sorted for every page.
const SORTED_MAX: i64 = 10_000;

/// A snapshot of an SQLite file. It ends with the first error.
pub(super) struct SqliteSnapshot {
    files: Arc<OpenFiles>,
    // One permit per running query, for all snapshots.
    running: Arc<Semaphore>,
    transaction: Option<Transaction>,
}

/// A connection in a transaction, which ends on drop.
struct Transaction(Reader);

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Ok(connection) = self.0.connection()
            && let Err(err) = AnsiTransactionManager::rollback_transaction(connection)
        {
            tracing::debug!(error = &err as &dyn std::error::Error, "a view has ended already");
        }
    }
}

impl SqliteSnapshot {
    /// Begins a transaction on `reader` that shows the file as it is now.
    pub(super) async fn begin(
        files: Arc<OpenFiles>,
        running: Arc<Semaphore>,
        reader: Reader,
    ) -> Result<Self, Error> {
        let mut snapshot = Self { files, running, transaction: Some(Transaction(reader)) };
        let begin = |connection: &mut SqliteConnection| {
            AnsiTransactionManager::begin_transaction_sql(connection, "begin")?;
            // Only a read fixes the moment of the snapshot.
            Ok(keys::table.select(keys::id).limit(1).load::<i64>(connection)?)
        };
        snapshot.read("begin a view", begin).await?;
        Ok(snapshot)
    }

    /// Runs `query` in the transaction, on a thread that may block.
    pub(super) async fn read<T: Send + 'static>(
        &mut self,
        operation: &'static str,
        query: impl FnOnce(&mut SqliteConnection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.running).acquire_owned().await;
        let permit =
            permit.map_err(|err| Error::Unavailable { store: STORE, source: err.into() })?;
        let mut transaction = self.transaction.take().ok_or_else(ended)?;
        let files = Arc::clone(&self.files);
        let (read, transaction) = blocking(operation, move || {
            let connection = transaction.0.connection()?;
            let read = query(connection);
            files.replace_reader(connection, &read);
            drop(permit);
            Ok((read?, transaction))
        })
        .await?;
        self.transaction = Some(transaction);
        Ok(read)
    }
}

fn ended() -> Error {
    Error::Unavailable {
        store: STORE,
        source: "the view ended with an error: begin another".into(),
    }
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    async fn videos(
        &mut self,
        scope: &VideoScope,
        after: Option<VideoId>,
        limit: u32,
    ) -> Result<Vec<VideoRecord>, Error> {
        let scope = scope.clone();
        self.read("list videos", move |connection| videos(connection, &scope, after, limit)).await
    }

    async fn open_sessions(
        &mut self,
        scan: &OpenScan,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error> {
        let scan = scan.clone();
        let read =
            move |connection: &mut SqliteConnection| open_sessions(connection, &scan, after, limit);
        self.read("read open sessions", read).await
    }

    async fn blocks(
        &mut self,
        videos: &Videos,
        from_ms: i64,
        to_ms: i64,
        after: Option<BlockId>,
        limit: u32,
    ) -> Result<Vec<BlockSummary>, Error> {
        let videos = videos.clone();
        let read = move |connection: &mut SqliteConnection| {
            summaries(connection, &videos, (from_ms, to_ms), after, limit)
        };
        self.read("list blocks", read).await
    }

    async fn groups(&mut self, blocks: &[BlockId], groups: Groups) -> Result<Vec<Block>, Error> {
        let selected = blocks.to_vec();
        self.read("read blocks", move |connection| blocks::groups(connection, &selected, groups))
            .await
    }

    async fn resumable(
        &mut self,
        after: Option<SessionId>,
        limit: u32,
    ) -> Result<Vec<Resumable>, Error> {
        self.read("read resume states", move |connection| resumable(connection, after, limit)).await
    }

    async fn totals(
        &mut self,
        key: Option<&ApiKey>,
        first_day: i64,
        last_day: i64,
        detail: Detail,
    ) -> Result<Vec<StoredTotals>, Error> {
        let key = key.cloned();
        let read = move |connection: &mut SqliteConnection| {
            totals(connection, key.as_ref(), (first_day, last_day), detail)
        };
        self.read("read totals", read).await
    }
}

fn videos(
    connection: &mut SqliteConnection,
    scope: &VideoScope,
    after: Option<VideoId>,
    limit: u32,
) -> Result<Vec<VideoRecord>, Failure> {
    type Columns = (BigInt, BigInt, Text, Nullable<Text>, Nullable<Text>);
    type Line = (i64, i64, String, Option<String>, Option<String>);
    let mut sql = Sql::<Columns>::new(
        "select videos.id, key_id, key, identifier, metadata from videos join keys on keys.id = key_id \
         where videos.id > ?",
        [after_id(after.map(|video| video.0))],
    );
    if let Some(key) = &scope.key {
        sql.push(" and key_id = (select id from keys where key = ?)", [key.as_str().into()]);
    }
    if let Some(identifiers) = &scope.identifiers {
        let some = " and identifier in (select value from json_each(?))";
        sql.push(some, [Bind::array(identifiers)]);
    }
    sql.push(" order by videos.id limit ?", [i64::from(limit).into()]);
    let rows: Vec<Line> = sql.load_in_time(connection)?;
    let record = |(id, key_id, key, identifier, metadata): Line| {
        let metadata = metadata.as_deref().map(object).transpose()?;
        Ok(VideoRecord {
            id: VideoId(id),
            key_id: KeyId(key_id),
            key: ApiKey::new(&key).map_err(|_| Damaged("a stored key is invalid"))?,
            video: Video::new(identifier, metadata)
                .ok_or(Damaged("a video has neither identifier nor metadata"))?,
        })
    };
    rows.into_iter().map(record).collect()
}

fn open_sessions(
    connection: &mut SqliteConnection,
    scan: &OpenScan,
    after: Option<SessionId>,
    limit: u32,
) -> Result<Vec<OpenSession>, Failure> {
    let mut sql = Sql::<OpenColumns>::new(
        format!("select {OPEN_COLUMNS} from open_sessions where started_at between ? and ?"),
        [scan.from_ms.into(), scan.to_ms.into()],
    );
    let after = after.as_ref().map_or(&[][..], |id| id.as_bytes());
    // A `+` excludes a condition from the choice of an index: without it, all rows would be sorted again for each page.
    let by_id = " and id > ?";
    match &scan.videos {
        Videos::All => sql.push(by_id, [after.into()]),
        Videos::OfKey(key) => sql
            .push(by_id, [after.into()])
            .push(" and key_id = (select id from keys where key = ?)", [key.as_str().into()]),
        Videos::These(videos) if are_few(connection, videos, SORTED_MAX)? => {
            let some = " and +id > ? and video_id in (select value from json_each(?))";
            sql.push(some, [after.into(), ids(videos)])
        }
        Videos::These(videos) => sql
            .push(by_id, [after.into()])
            .push(" and +video_id in (select value from json_each(?))", [ids(videos)]),
    };
    if let Some(now) = scan.watched_at {
        let alive_ms = (now - INSTANCE_SILENCE_MAX).timestamp_millis();
        sql.push(
            " and instance in (select id from instances where seen_at >= ?)",
            [alive_ms.into()],
        );
    }
    sql.push(" order by id limit ?", [i64::from(limit).into()]);
    let rows: Vec<OpenRow> = sql.load_in_time(connection)?;
    Ok(rows.into_iter().map(OpenRow::session).collect::<Result<_, _>>()?)
}

/// Returns whether these videos have at most `count_max` open sessions.
fn are_few(
    connection: &mut SqliteConnection,
    videos: &[VideoId],
    count_max: i64,
) -> QueryResult<bool> {
    let count: i64 = Sql::<BigInt>::new(
        "select count(*) from (select 1 from open_sessions \
         where video_id in (select value from json_each(?)) limit ?)",
        [ids(videos), (count_max + 1).into()],
    )
    .get_result(connection)?;
    Ok(count <= count_max)
}

fn summaries(
    connection: &mut SqliteConnection,
    videos: &Videos,
    (from_ms, to_ms): (i64, i64),
    after: Option<BlockId>,
    limit: u32,
) -> Result<Vec<BlockSummary>, Failure> {
    let mut sql = Sql::<blocks::SummaryRow>::new(
        "select id, key_id, video_id, sessions, first_start_ms, last_start_ms from blocks \
         where id > ? and first_start_ms <= ? and last_start_ms >= ?",
        [after_id(after.map(|block| block.0)), to_ms.into(), from_ms.into()],
    );
    match videos {
        Videos::All => {}
        Videos::OfKey(key) => {
            sql.push(" and key_id = (select id from keys where key = ?)", [key.as_str().into()]);
        }
        Videos::These(videos) => {
            sql.push(" and video_id in (select value from json_each(?))", [ids(videos)]);
        }
    }
    sql.push(" order by id limit ?", [i64::from(limit).into()]);
    let rows = sql.load_in_time(connection)?;
    Ok(rows.into_iter().map(blocks::summary).collect::<Result<_, _>>()?)
}

fn resumable(
    connection: &mut SqliteConnection,
    after: Option<SessionId>,
    limit: u32,
) -> Result<Vec<Resumable>, Failure> {
    type Columns = (Binary, BigInt, BigInt, BigInt, BigInt, Binary);
    type Line = (Vec<u8>, i64, i64, i64, i64, Vec<u8>);
    let after = after.as_ref().map_or(&[][..], |id| id.as_bytes());
    let rows: Vec<Line> = Sql::<Columns>::new(
        "select id, version, video_id, started_at, last_event_at, resume from closed_sessions \
         where id > ? order by id limit ?",
        [after.into(), i64::from(limit).into()],
    )
    .load_in_time(connection)?;
    rows.into_iter()
        .map(|(id, version, video, started_at_ms, last_event_at_ms, resume)| {
            Ok(Resumable {
                id: session_id(id)?,
                version: column_as(version)?,
                video: VideoId(video),
                started_at_ms,
                last_event_at_ms,
                resume,
            })
        })
        .collect()
}

fn totals(
    connection: &mut SqliteConnection,
    key: Option<&ApiKey>,
    (first_day, last_day): (i64, i64),
    detail: Detail,
) -> Result<Vec<StoredTotals>, Failure> {
    let mut ids = keys::table.select(keys::id).order(keys::id).into_boxed();
    if let Some(key) = key {
        ids = ids.filter(keys::key.eq(key.as_str()));
    }
    let hours = match detail {
        Detail::Days => "null",
        Detail::Hours => "hour_totals",
    };
    let mut totals = Vec::new();
    for key in ids.load(connection)?.into_iter().map(KeyId) {
        let days = Sql::<(BigInt, Binary, Nullable<Binary>)>::new(
            format!("select day, day_totals, {hours} from totals where row_id between ? and ?"),
            [totals_row_id(key, first_day).into(), totals_row_id(key, last_day).into()],
        );
        let days: Vec<(i64, Vec<u8>, Option<Vec<u8>>)> = days.load_in_time(connection)?;
        totals.extend(days.into_iter().map(|(day, sums, hours)| StoredTotals { day, sums, hours }));
    }
    Ok(totals)
}

/// The id after which a page begins.
fn after_id(after: Option<i64>) -> Bind<'static> {
    Bind::Number(after.unwrap_or(i64::MIN))
}

fn ids(videos: &[VideoId]) -> Bind<'static> {
    let ids: Vec<i64> = videos.iter().map(|video| video.0).collect();
    Bind::array(&ids)
}
