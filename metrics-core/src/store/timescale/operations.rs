//! The operations of the store: each runs a query on a connection for recording or for reports.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use futures_util::FutureExt as _;

use super::snapshot::TimescaleSnapshot;
use super::types::{timestamp, unix_ms};
use super::{TimescaleStore, closed, commit, ids, keys, listen, read, rewrite, schema, unused};
use crate::key::{ApiKey, SessionId};
use crate::query::instant;
use crate::store::{
    Error, Found, Instance, KeyChange, KeyId, KeyRecord, KnownVideo, OpenSession, Outcome, Rewrite,
    SessionWrite, Snapshot, Store, Unused, VideoId,
};
use crate::video::Video;

#[async_trait]
impl Store for TimescaleStore {
    async fn keys(&self) -> Result<Vec<KeyRecord>, Error> {
        self.record("list keys", |connection| keys::list(connection).boxed()).await
    }

    async fn add_key(&self, record: &KeyRecord) -> Result<bool, Error> {
        let record = record.clone();
        self.record("add a key", move |connection| {
            async move { keys::add(connection, &record).await }.boxed()
        })
        .await
    }

    async fn change_key(&self, key: &ApiKey, change: &KeyChange) -> Result<bool, Error> {
        let (key, change) = (key.clone(), change.clone());
        self.record("change a key", move |connection| {
            async move { keys::change(connection, &key, &change).await }.boxed()
        })
        .await
    }

    async fn load(&self, ids: &[SessionId]) -> Result<Vec<Option<Found>>, Error> {
        let ids = ids.to_vec();
        self.record("load sessions", move |connection| {
            async move { read::load(connection, &ids).await }.boxed()
        })
        .await
    }

    async fn commit(&self, writes: Arc<[SessionWrite]>) -> Result<Vec<Outcome>, Error> {
        let ids = Arc::clone(&self.ids);
        self.record("commit sessions", move |connection| {
            async move {
                let written = commit::sessions(connection, &ids, &writes).await;
                if written.is_err() {
                    ids.clear();
                }
                written
            }
            .boxed()
        })
        .await
    }

    async fn known_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<KnownVideo>, Error> {
        let videos = videos.to_vec();
        self.record("look up videos", move |connection| {
            async move { ids::known_videos(connection, &videos).await }.boxed()
        })
        .await
    }

    async fn count_videos(&self, keys: &[ApiKey]) -> Result<Vec<u64>, Error> {
        let keys = keys.to_vec();
        self.report("count videos", move |connection| {
            async move { ids::count_videos(connection, &keys).await }.boxed()
        })
        .await
    }

    async fn add_videos(&self, videos: &[(ApiKey, Video)]) -> Result<Vec<(KeyId, VideoId)>, Error> {
        let (ids, videos) = (Arc::clone(&self.ids), videos.to_vec());
        self.record("add videos", move |connection| {
            async move { ids::add_videos(connection, &ids, &videos).await }.boxed()
        })
        .await
    }

    async fn quiet(
        &self,
        quiet_since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<OpenSession>, Error> {
        self.record("list quiet sessions", move |connection| {
            read::quiet(connection, quiet_since, limit).boxed()
        })
        .await
    }

    async fn rewrite(&self, rewrite: Rewrite) -> Result<Outcome, Error> {
        let ids = Arc::clone(&self.ids);
        self.record("rewrite blocks", move |connection| {
            async move {
                let done = rewrite::run(connection, &rewrite).await;
                if !rewrite.import_after.is_empty() && !matches!(done, Ok(Outcome::Written)) {
                    // Another instance may have deleted videos whose ids are cached here.
                    ids.clear();
                }
                done
            }
            .boxed()
        })
        .await
    }

    async fn finalize(&self, silent_since: DateTime<Utc>, limit: u32) -> Result<u64, Error> {
        let schema = self.edition.schema().map(str::to_owned);
        self.record("finalize sessions", move |connection| {
            async move {
                let finalized = closed::finalize(connection, silent_since, limit).await?;
                if let Some(schema) = schema.filter(|_| finalized == 0)
                    && let Err(err) = closed::drop_empty_chunks(connection, &schema).await
                {
                    tracing::debug!(error = &err as &dyn std::error::Error, "kept empty chunks");
                }
                Ok(finalized)
            }
            .boxed()
        })
        .await
    }

    async fn delete_unused(&self, limit: u32) -> Result<Unused, Error> {
        let videos = self.delete_unused_videos(limit).await?;
        if 0 < videos {
            // Pages are deleted once, after all videos.
            return Ok(Unused { videos, pages: 0 });
        }
        let (mut pages, mut next) = (0, Some(0));
        while let Some(after) = next {
            let examined = self.examine_pages(after).await?;
            next = examined.next;
            pages += self
                .record("delete unused pages", move |connection| {
                    async move { unused::delete_pages(connection, &examined).await }.boxed()
                })
                .await?;
        }
        Ok(Unused { videos, pages })
    }

    async fn retention_clock(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let clock = self.record("read the retention clock", |connection| {
            unused::retention_clock(connection).boxed()
        });
        Ok(clock.await?.map(|at| instant(unix_ms(at))))
    }

    async fn set_retention_clock(
        &self,
        expected: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<Outcome, Error> {
        let ms = |at: DateTime<Utc>| timestamp(at.timestamp_millis());
        let (expected, at) = (expected.map(ms), ms(at));
        self.record("set the retention clock", move |connection| {
            unused::set_retention_clock(connection, expected, at).boxed()
        })
        .await
    }

    async fn snapshot(&self) -> Result<Box<dyn Snapshot>, Error> {
        let connection = self.reports.get().await?;
        let snapshot = TimescaleSnapshot::open(connection, self.target.clone()).await;
        Ok(Box::new(snapshot.inspect_err(|err| self.close_outdated(err))?))
    }

    async fn heartbeat(&self, instance: Instance, now: DateTime<Utc>) -> Result<(), Error> {
        self.record("record an instance", move |connection| {
            commit::heartbeat(connection, instance, now).boxed()
        })
        .await
    }

    async fn keys_changed(&self, seen: u64) -> u64 {
        listen::keys_changed(self.listening.clone(), seen).await
    }

    async fn count_sessions(&self) -> Result<u64, Error> {
        self.report("count sessions", |connection| {
            async move {
                let count = diesel::dsl::sql::<BigInt>(
                    "select (select coalesce(sum(sessions), 0) from blocks)::bigint
                        + (select count(*) from open_sessions)",
                );
                let sessions: i64 = count.get_result(connection).await?;
                Ok(sessions.unsigned_abs())
            }
            .boxed()
        })
        .await
    }

    /// The size of the whole database: chunks of a hypertable are in other schemas.
    async fn size_bytes(&self) -> Result<Option<u64>, Error> {
        self.report("read the size of the database", |connection| {
            async move {
                let size =
                    diesel::dsl::sql::<BigInt>("select pg_database_size(current_database())");
                let bytes: i64 = size.get_result(connection).await?;
                Ok(Some(bytes.unsigned_abs()))
            }
            .boxed()
        })
        .await
    }

    async fn check(&self) -> Result<(), Error> {
        self.record("write", |connection| {
            async move {
                // Changes nothing, but fails if the database cannot be written.
                let touch = diesel::delete(schema::keys::table.filter(schema::keys::id.is_null()));
                touch.execute(connection).await?;
                Ok(())
            }
            .boxed()
        })
        .await
    }
}
