//! Writes open sessions: a batch of any size in one statement.
//!
//! The statement locks the rows of the batch in the order of ids, so that two writers of the same sessions do not
//! deadlock, and skips those whose version is not the expected one. It finds rows by their ids only, so that one plan
//! fits batches of any size.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Timestamptz, Uuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::columns::Arrays;
use super::ids::{self, Ids};
use super::prepared::Prepared;
use super::types::{Bits, timestamp};
use crate::store::common::INSTANCE_KEPT;
use crate::store::failure::Failure;
use crate::store::{Instance, KeyId, Outcome, SessionWrite, VideoId};
use crate::user_agent::UserAgentClass;

#[derive(QueryableByName)]
struct Written {
    #[diesel(sql_type = Uuid)]
    id: Bits,
}

/// Writes open sessions, except those whose version is not the expected one.
pub(super) async fn sessions(
    connection: &mut AsyncPgConnection,
    ids: &Ids,
    writes: &[SessionWrite],
) -> Result<Vec<Outcome>, Failure> {
    let new = writes.iter().filter(|write| write.expected == 0);
    let subjects = new.map(|write| (&write.subject.key, &write.subject.video));
    let videos = ids::videos(connection, ids, subjects).await?;
    let mut order: Vec<_> = writes.iter().collect();
    order.sort_unstable_by_key(|write| write.id);
    let written: Vec<Written> = statement(&order, &videos).load(connection).await?;
    let written: HashSet<Bits> = written.into_iter().map(|row| row.id).collect();
    // Their videos may have been deleted since: the next try resolves them again.
    let left_out = writes
        .iter()
        .filter(|write| write.expected == 0 && !written.contains(&Bits(*write.id.as_bytes())));
    ids.evict(left_out.map(|write| write.subject.video.digest(&write.subject.key)));
    let outcome = |write: &SessionWrite| {
        let is_written = written.contains(&Bits(*write.id.as_bytes()));
        if is_written { Outcome::Written } else { Outcome::Conflict }
    };
    Ok(writes.iter().map(outcome).collect())
}

/// The statement that writes a batch, given in the order of ids.
fn statement<'a>(
    writes: &[&'a SessionWrite],
    videos: &HashMap<Bits, (KeyId, VideoId)>,
) -> Prepared<'a> {
    let mut arrays = Arrays::default();
    let mut video_ids = Vec::with_capacity(writes.len());
    for write in writes {
        // The first write of a session has its key, video, page and user agent.
        let first = (write.expected == 0).then_some(&*write.subject);
        arrays.push(&write.stored, first.map_or_else(UserAgentClass::default, |it| it.user_agent));
        arrays.push_page(
            first.and_then(|it| it.source.as_ref()),
            first.and_then(|it| it.session_data.as_deref()),
            first.map(|it| &it.arrival),
        );
        let digest = first.map(|it| Bits(it.video.digest(&it.key)));
        video_ids.push(digest.and_then(|digest| videos.get(&digest)).map(|(_, video)| video.0));
    }
    // A subquery that locks rows is joined row by row, in order. A locked video exists until the session is committed.
    let query = Prepared::new(format!(
        "with given as materialized (
            select it.*, of_version, of_video, of_start, of_known
            from unnest({parameters}, $19, $20, $21, $22, $23)
                as it ({names}, id, expected, instance, video_id, resume)
            left join lateral (
                select version as of_version, video_id as of_video, started_at as of_start
                from open_sessions where open_sessions.id = it.id for update
            ) open on true
            left join lateral (
                select id as of_known from videos where videos.id = it.video_id for key share
            ) known on true)
         insert into open_sessions ({names}, id, version, instance, video_id, resume)
         select coalesce(of_start, started_at), last_event_at, duration_ms, view_ms, unique_ms, segments, rebufferings,
            rebuffering_ms, failures, startup_ms, details, browser, platform, device, page, session_data::jsonb, minutes,
            arrival::jsonb, id, expected + 1, instance, coalesce(of_video, video_id), resume
         from given where (expected = 0 and of_known is not null and not is_closed(id)) or (expected = of_version and of_start = started_at)
         on conflict (id) do update set last_event_at = excluded.last_event_at, duration_ms = excluded.duration_ms,
            view_ms = excluded.view_ms, unique_ms = excluded.unique_ms, segments = excluded.segments,
            minutes = excluded.minutes,
            rebufferings = excluded.rebufferings, rebuffering_ms = excluded.rebuffering_ms,
            failures = excluded.failures, startup_ms = excluded.startup_ms, details = excluded.details,
            version = excluded.version, instance = excluded.instance, resume = excluded.resume
         where open_sessions.version = excluded.version - 1
         returning id",
        parameters = Arrays::PARAMETERS,
        names = Arrays::NAMES,
    ));
    let instance = |write: &&SessionWrite| write.watched_at.map(|instance| i64::from(instance.0));
    arrays
        .bind(query)
        .bind::<Array<Uuid>, _>(writes.iter().map(|it| Bits(*it.id.as_bytes())).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(writes.iter().map(|it| it.expected.into()).collect::<Vec<i64>>())
        .bind::<Array<Nullable<BigInt>>, _>(writes.iter().map(instance).collect::<Vec<_>>())
        .bind::<Array<Nullable<BigInt>>, _>(video_ids)
        .bind::<Array<Binary>, _>(writes.iter().map(|it| &it.stored.resume[..]).collect::<Vec<_>>())
}

/// Records that an instance is alive, and deletes the rows of instances that died long ago.
pub(super) async fn heartbeat(
    connection: &mut AsyncPgConnection,
    instance: Instance,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    Prepared::new(
        "insert into instances values ($1, $2) on conflict (id) do update set seen_at = excluded.seen_at",
    )
    .bind::<BigInt, _>(i64::from(instance.0))
    .bind::<Timestamptz, _>(timestamp(now.timestamp_millis()))
    .execute(connection)
    .await?;
    let deleted = Prepared::new("delete from instances where seen_at < $1")
        .bind::<Timestamptz, _>(timestamp((now - INSTANCE_KEPT).timestamp_millis()))
        .execute(connection)
        .await?;
    if 0 < deleted {
        // In the order in which writers lock rows.
        diesel::sql_query(
            "with orphans as materialized (
                select id from open_sessions where instance is not null
                    and not exists (select from instances where instances.id = instance)
                order by id for update)
             update open_sessions open set instance = null from orphans where open.id = orphans.id",
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}
