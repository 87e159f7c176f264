//! Rows of sessions for plain SQL, in a file beside a SQLite store: the store keeps closed sessions only in blocks.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use metrics_core::store::{
    Groups, OpenScan, Row, Snapshot, SqliteStore, Store as _, VideoId, VideoScope, Videos,
};

use crate::Failure;
use crate::store_url::sqlite;

/// The number of videos, sessions or block headers that are read at once.
const AT_ONCE: u32 = 10_000;

/// The number of blocks that are read at once.
const BLOCKS: usize = 64;

const TABLES: &str = "
    pragma journal_mode = off;
    pragma synchronous = off;
    create table videos (id integer primary key, key text not null, identifier text, metadata text);
    create table pages (id integer primary key, url text not null unique);
    create table sessions (
        video_id integer not null, started_at integer not null, page_id integer, browser integer not null,
        platform integer not null, device integer not null, view_ms integer not null, unique_ms integer not null,
        duration_ms integer, startup_ms integer, rebufferings integer not null, rebuffering_ms integer not null,
        segments blob not null);";

const INSERT: &str = "insert into sessions values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Returns the file beside a store that has a row per session, and fills it if it does not exist.
///
/// # Errors
///
/// The store cannot be read, or the file cannot be written.
pub async fn rows_of(store: &Path) -> Result<PathBuf, Failure> {
    let mut path = store.as_os_str().to_owned();
    path.push(".rows");
    let path = PathBuf::from(path);
    if path.exists() {
        return Ok(path);
    }
    let unfinished = path.with_extension("unfinished");
    if unfinished.exists() {
        std::fs::remove_file(&unfinished)?;
    }
    let mut rows = Rows::create(&unfinished)?;
    let mut snapshot = SqliteStore::open(store).await?.snapshot().await?;
    rows.fill(&mut *snapshot).await?;
    drop(rows);
    std::fs::rename(&unfinished, &path)?;
    Ok(path)
}

struct Rows {
    connection: SqliteConnection,
    pages: HashMap<String, i64>,
}

impl Rows {
    fn create(path: &Path) -> Result<Self, Failure> {
        let mut connection = sqlite(&path.to_string_lossy())?;
        connection.batch_execute(TABLES)?;
        Ok(Self { connection, pages: HashMap::new() })
    }

    async fn fill(&mut self, snapshot: &mut dyn Snapshot) -> Result<(), Failure> {
        self.connection.batch_execute("begin")?;
        let videos = snapshot.videos(&VideoScope::default(), None, u32::MAX).await?;
        for video in videos {
            diesel::sql_query("insert into videos values (?, ?, ?, ?)")
                .bind::<BigInt, _>(video.id.0)
                .bind::<Text, _>(video.key.as_str())
                .bind::<Nullable<Text>, _>(video.video.identifier())
                .bind::<Nullable<Text>, _>(video.video.metadata())
                .execute(&mut self.connection)?;
        }
        let scan =
            OpenScan { videos: Videos::All, from_ms: i64::MIN, to_ms: i64::MAX, watched_at: None };
        let mut after = None;
        loop {
            let open = snapshot.open_sessions(&scan, after, AT_ONCE).await?;
            after = open.last().map(|session| session.id);
            for session in &open {
                self.insert(session.video, &session.row)?;
            }
            if open.len() < AT_ONCE as usize {
                break;
            }
        }
        let mut after = None;
        loop {
            let summaries =
                snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, after, AT_ONCE).await?;
            after = summaries.last().map(|summary| summary.id);
            for some in summaries.chunks(BLOCKS) {
                let ids: Vec<_> = some.iter().map(|summary| summary.id).collect();
                let blocks = snapshot.groups(&ids, Groups::ALL).await?;
                for (summary, block) in some.iter().zip(blocks) {
                    for row in block.rows()? {
                        self.insert(summary.video, &row)?;
                    }
                }
            }
            if summaries.len() < AT_ONCE as usize {
                break;
            }
        }
        self.connection.batch_execute(
            "create index sessions_by_video on sessions (video_id, started_at); commit; analyze",
        )?;
        Ok(())
    }

    fn insert(&mut self, video: VideoId, row: &Row) -> Result<(), Failure> {
        let page = row.page.as_ref().map(|page| self.page(page.as_str())).transpose()?;
        let stored = &row.stored;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let small = |number: Option<u32>| number.map(i64::from);
        diesel::sql_query(INSERT)
            .bind::<BigInt, _>(video.0)
            .bind::<BigInt, _>(stored.started_at_ms)
            .bind::<Nullable<BigInt>, _>(page)
            .bind::<Integer, _>(i32::from(row.user_agent.browser.code()))
            .bind::<Integer, _>(i32::from(row.user_agent.platform.code()))
            .bind::<Integer, _>(i32::from(row.user_agent.device.code()))
            .bind::<BigInt, _>(number(stored.view_ms))
            .bind::<BigInt, _>(number(stored.unique_ms))
            .bind::<Nullable<BigInt>, _>(small(stored.duration_ms))
            .bind::<Nullable<BigInt>, _>(small(stored.counters.startup_ms))
            .bind::<BigInt, _>(i64::from(stored.counters.rebufferings))
            .bind::<BigInt, _>(number(stored.counters.rebuffering_ms))
            .bind::<Binary, _>(&stored.segments)
            .execute(&mut self.connection)?;
        Ok(())
    }

    fn page(&mut self, url: &str) -> Result<i64, Failure> {
        if let Some(id) = self.pages.get(url) {
            return Ok(*id);
        }
        let id = self.pages.len() as i64 + 1;
        diesel::sql_query("insert into pages values (?, ?)")
            .bind::<BigInt, _>(id)
            .bind::<Text, _>(url)
            .execute(&mut self.connection)?;
        self.pages.insert(url.to_owned(), id);
        Ok(id)
    }
}
