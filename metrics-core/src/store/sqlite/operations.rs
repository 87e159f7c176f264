//! The operations of the store: each runs a query on a connection that reads or writes.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::snapshot::SqliteSnapshot;
use super::transaction::transaction;
use super::{SqliteStore, keys, open, read, rewrite, unused, write};
use crate::key::{ApiKey, SessionId};
use crate::query::instant;
use crate::store::{
    Error, Found, Instance, KeyChange, KeyId, KeyRecord, KnownVideo, OpenSession, Outcome, Rewrite,
    SessionWrite, Snapshot, Store, Unused, VideoId,
};
use crate::video::Video;

#[async_trait]
impl Store for SqliteStore {
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.read("list keys", keys::list).await
    }

    async fn add_key(&self, record: &KeyRecord) -> Result<bool, Error> {
        let record = record.clone();
        self.write("add a key", move |connection, _| Ok(keys::add(connection, &record)?)).await
    }

    async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Result<bool, Error> {
        let (key, change) = (key.clone(), change.clone());
        self.write("change a key", move |connection, _| {
            Ok(keys::change(connection, &key, &change)?)
        })
        .await
    }

    async fn heartbeat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error> {
        self.write("record an instance", move |connection, _| {
            write::heartbeat(connection, instance, now)
        })
        .await
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error> {
        let videos = videos.to_vec();
        self.read("look up videos", move |connection| {
            connection.transaction(|connection| read::known_videos(connection, &videos))
        })
        .await
    }

    async fn count_videos(&self, keys: &[ApiKey]) -> Result<Vec<u64>, Error> {
        let keys = keys.to_vec();
        self.report("count videos", move |connection| {
            Ok(keys
                .iter()
                .map(|key| read::count_videos(connection, key))
                .collect::<Result<_, _>>()?)
        })
        .await
    }

    async fn add_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<(KeyId, VideoId)>, Error> {
        let videos = videos.to_vec();
        self.write("add videos", move |connection, ids| {
            videos.iter().map(|(key, video)| ids.video(connection, key, video)).collect()
        })
        .await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Found>>, Error> {
        let ids = ids.to_vec();
        self.read("load sessions", move |connection| {
            transaction(connection, "begin", |connection| {
                ids.iter().map(|id| read::load(connection, *id)).collect()
            })
        })
        .await
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error> {
        self.write("commit sessions", move |connection, ids| {
            writes.iter().map(|write| write::write(connection, ids, write)).collect()
        })
        .await
    }

    async fn quiet(
        &self,
        quiet_since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error> {
        let quiet_since_ms = quiet_since.timestamp_millis();
        let from = *self.quiet_from();
        // Concurrent with recording: sessions that change meanwhile stay open.
        let (quiet, next) = self
            .read("find quiet sessions", move |connection| {
                read::quiet(connection, quiet_since_ms, limit, from)
            })
            .await?;
        *self.quiet_from() = next;
        Ok(quiet)
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Outcome, Error> {
        self.write("rewrite blocks", move |connection, _| rewrite::rewrite(connection, &rewrite))
            .await
    }

    async fn finalize(&self, silent_since: DateTime<Utc>, limit: u32) -> Result<u64, Error> {
        let silent_since_ms = silent_since.timestamp_millis();
        self.write("finalize sessions", move |connection, _| {
            Ok(rewrite::finalize(connection, silent_since_ms, limit)?)
        })
        .await
    }

    async fn delete_unused(&self, limit: u32) -> Result<Unused, Error> {
        // Concurrent with recording: there may be many videos to search.
        let videos = self
            .read("find unused videos", move |connection| unused::find(connection, limit))
            .await?;
        if videos.is_empty() {
            return Ok(Unused::default());
        }
        let videos = self.write_unchecked("delete unused videos", move |connection, ids| {
            ids.clear();
            Ok(unused::delete(connection, &videos)?)
        });
        Ok(Unused { videos: videos.await?, pages: 0 })
    }

    async fn retention_clock(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let read = |connection: &mut SqliteConnection| Ok(unused::retention_clock(connection)?);
        Ok(self.read("read the retention clock", read).await?.map(instant))
    }

    async fn set_retention_clock(
        &self,
        expected: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<Outcome, Error> {
        let (expected, at) = (expected.map(|it| it.timestamp_millis()), at.timestamp_millis());
        self.write("set the retention clock", move |connection, _| {
            Ok(unused::set_retention_clock(connection, expected, at)?)
        })
        .await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Error> {
        let reader = self.snapshots.acquire(&self.files).await?;
        let (files, running) = (Arc::clone(&self.files), Arc::clone(&self.running));
        Ok(Box::new(SqliteSnapshot::begin(files, running, reader).await?))
    }

    async fn count_sessions(&self) -> Result<u64, Error> {
        self.read("count sessions", read::count).await
    }

    async fn size_bytes(&self) -> Result<Option<u64>, Error> {
        Ok(Some(self.files.size_bytes()))
    }

    fn is_damaged(&self) -> bool {
        self.files.is_damaged()
    }

    async fn check(&self) -> Result<(), Error> {
        self.write("write", |connection, _| Ok(open::touch(connection)?)).await
    }
}
