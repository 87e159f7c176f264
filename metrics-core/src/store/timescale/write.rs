//! How sessions are written: a batch in one statement, whatever its size.
//!
//! It locks the live rows of the batch in the order of ids, so that two writers of the same sessions wait for each other
//! instead of locking each other out, and leaves out those whose version is not as expected. It finds rows by nothing but
//! their ids, so that it has one plan however many there are. Columns travel as arrays, and the statement never changes:
//! each connection prepares it once.
//!
//! It writes nothing if one of the sessions is rolled up. Those are made loose first then, in a transaction.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use diesel::data_types::PgTimestamp;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{
    Array, BigInt, Binary, Integer, Nullable, SmallInt, Text, Timestamptz, Uuid,
};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

use super::ids::{Ids, source_ids, video_ids};
use super::read::{Place, at_places};
use super::types::{Bits, timestamp};
use super::{plan_anew, rollup};
use crate::source::Source;
use crate::store::failure::Failure;
use crate::store::row::narrow;
use crate::store::{Instance, LIVE, Outcome, SessionWrite};
use crate::varint::Damaged;

/// How long a dead instance is remembered. It left the count long before.
const INSTANCE_KEPT: TimeDelta = TimeDelta::hours(1);

/// Writes sessions, each unless its version is another than expected.
pub(super) async fn sessions(
    connection: &mut AsyncPgConnection,
    ids: &Ids,
    writes: &[SessionWrite],
) -> Result<Vec<Outcome>, Failure> {
    // Rows that need not be undone when the rest is: nothing shows them before there is a session.
    let new: Vec<_> = writes.iter().filter(|write| write.expected == 0).collect();
    let videos = video_ids(connection, ids, &new).await?;
    let sources = source_ids(connection, ids, &new).await?;
    let mut order: Vec<_> = writes.iter().collect();
    order.sort_unstable_by_key(|write| write.id);
    let batch = Batch::new(&order, &videos, &sources);

    // Those that began long ago may be settled, and have no live row that would say that they are there.
    let long_ago_ms = (Utc::now() - LIVE).timestamp_millis();
    let old = new.into_iter().filter(|write| write.stored.started_at_ms < long_ago_ms);
    let old: Vec<Place> = old.map(|write| place(write, &videos)).collect::<Result<_, _>>()?;
    let mut answer = None;
    if old.is_empty() {
        answer = Some(batch.write(connection).await?).filter(|answer| answer.rolled.is_empty());
    }
    let written = match answer {
        Some(answer) => answer.written,
        None => in_steps(connection, &batch, old).await?,
    };
    let outcome = |write: &SessionWrite| {
        let is_written = written.contains(&Bits(*write.id.as_bytes()));
        if is_written { Outcome::Written } else { Outcome::Conflict }
    };
    Ok(writes.iter().map(outcome).collect())
}

fn digest(write: &SessionWrite) -> Bits {
    Bits(write.subject.video.digest(&write.subject.key))
}

/// Where a session would lie that is new.
fn place(write: &SessionWrite, videos: &HashMap<Bits, i64>) -> Result<Place, Damaged> {
    let video = videos.get(&digest(write)).ok_or(Damaged("a video is not there"))?;
    let started_at = timestamp(write.stored.started_at_ms);
    Ok(Place { id: Bits(*write.id.as_bytes()), video_id: narrow(*video)?, started_at })
}

/// Writes a batch in which there may be sessions that are rolled up, or `old` ones that are settled: all of it or
/// nothing.
async fn in_steps(
    connection: &mut AsyncPgConnection,
    batch: &Batch<'_>,
    mut old: Vec<Place>,
) -> Result<HashSet<Bits>, Failure> {
    connection
        .transaction(async move |connection| {
            plan_anew(connection).await?;
            let mut answer = batch.write(connection).await?;
            if !answer.rolled.is_empty() {
                // Their rows are locked.
                loosen(connection, &answer.rolled).await?;
                answer = batch.write(connection).await?;
            }
            let mut written = answer.written;
            old.retain(|place| written.contains(&place.id));
            for settled in take_back(connection, &old).await? {
                written.remove(&settled);
            }
            Ok(written)
        })
        .await
}

/// Takes sessions that are rolled up out of the sums and has them in `live_sessions` only, with what no write changes.
async fn loosen(connection: &mut AsyncPgConnection, places: &[Place]) -> Result<(), Failure> {
    #[derive(QueryableByName)]
    struct Gone {
        #[diesel(embed)]
        session: rollup::Row,
        #[diesel(sql_type = Nullable<Text>)]
        session_data: Option<String>,
    }
    let mut gone: Vec<Gone> = Vec::with_capacity(places.len());
    let delete = format!(
        "delete from sessions where video_id = $1 and started_at = $2 and id = $3
         returning {}, session_data::text as session_data",
        rollup::COLUMNS
    );
    // One at a time: of a compressed chunk, everything is unpacked that a statement as a whole may be about.
    for place in places {
        let row = diesel::sql_query(&delete)
            .bind::<Integer, _>(place.video_id)
            .bind::<Timestamptz, _>(place.started_at)
            .bind::<Uuid, _>(place.id);
        let row = row.get_result(connection).await.optional()?;
        gone.push(row.ok_or(Damaged("a session is rolled up, but has no row"))?);
    }
    rollup::withdraw(connection, gone.iter().map(|gone| &gone.session)).await?;
    let rows = || gone.iter().map(|gone| &gone.session);
    diesel::sql_query(
        "update live_sessions live set rolled = false, source_id = it.source_id, browser = it.browser,
            platform = it.platform, device = it.device, session_data = it.session_data::jsonb
         from unnest($1, $2, $3, $4, $5, $6) as it (id, source_id, browser, platform, device, session_data)
         where live.id = it.id",
    )
    .bind::<Array<Uuid>, _>(rows().map(|row| row.id).collect::<Vec<_>>())
    .bind::<Array<Nullable<Integer>>, _>(rows().map(|row| row.source_id).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(rows().map(|row| row.browser).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(rows().map(|row| row.platform).collect::<Vec<_>>())
    .bind::<Array<SmallInt>, _>(rows().map(|row| row.device).collect::<Vec<_>>())
    .bind::<Array<Nullable<Text>>, _>(
        gone.iter().map(|gone| gone.session_data.as_deref()).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the live rows again of those that are there already, settled, and returns their ids. Afterwards, because
/// nobody rolls sessions up or settles them whose live rows are new.
async fn take_back(
    connection: &mut AsyncPgConnection,
    places: &[Place],
) -> Result<Vec<Bits>, Failure> {
    #[derive(QueryableByName)]
    struct Settled {
        #[diesel(sql_type = Uuid)]
        id: Bits,
    }
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let settled: Vec<Settled> = at_places("id", places).load(connection).await?;
    let settled: Vec<_> = settled.into_iter().map(|it| it.id).collect();
    if !settled.is_empty() {
        diesel::sql_query("delete from live_sessions where id = any($1)")
            .bind::<Array<Uuid>, _>(&settled)
            .execute(connection)
            .await?;
    }
    Ok(settled)
}

/// What became of a batch.
#[derive(Debug, Default)]
struct Answer {
    written: HashSet<Bits>,
    /// Those that are rolled up. If there are any, nothing was written.
    rolled: Vec<Place>,
}

/// A batch, a column at a time, in the order of ids.
#[derive(Debug, Default)]
struct Batch<'a> {
    ids: Vec<Bits>,
    expected: Vec<i64>,
    instances: Vec<Option<i64>>,
    videos: Vec<Option<i64>>,
    starts: Vec<PgTimestamp>,
    last_events: Vec<PgTimestamp>,
    durations: Vec<Option<i64>>,
    views: Vec<i64>,
    uniques: Vec<i64>,
    segments: Vec<&'a [u8]>,
    rebufferings: Vec<Option<i64>>,
    rebuffering_ms: Vec<Option<i64>>,
    failures: Vec<Option<i64>>,
    startups: Vec<Option<i64>>,
    details: Vec<Option<String>>,
    resumes: Vec<&'a [u8]>,
    sources: Vec<Option<i64>>,
    browsers: Vec<i16>,
    platforms: Vec<i16>,
    devices: Vec<i16>,
    session_data: Vec<Option<&'a str>>,
}

impl<'a> Batch<'a> {
    fn new(
        writes: &[&'a SessionWrite],
        videos: &HashMap<Bits, i64>,
        sources: &HashMap<Source, i64>,
    ) -> Self {
        let some = |number: i64| (number != 0).then_some(number);
        let mut it = Self::default();
        for write in writes {
            let (stored, counters) = (&write.stored, &write.stored.counters);
            it.ids.push(Bits(*write.id.as_bytes()));
            it.expected.push(write.expected.into());
            it.instances.push(write.watched_at.map(|instance| instance.0.into()));
            it.starts.push(timestamp(stored.started_at_ms));
            it.last_events.push(timestamp(stored.last_event_at_ms));
            it.durations.push(stored.duration_ms.map(i64::from));
            it.views.push(stored.view_ms as i64);
            it.uniques.push(stored.unique_ms as i64);
            it.segments.push(&stored.segments);
            it.rebufferings.push(some(counters.rebufferings.into()));
            it.rebuffering_ms.push(some(counters.rebuffering_ms as i64));
            it.failures.push(some(counters.failures.into()));
            it.startups.push(counters.startup_ms.map(i64::from));
            it.details.push(counters.details.encode());
            it.resumes.push(&stored.resume);
            // What the first write says stays.
            let first = (write.expected == 0).then_some(&*write.subject);
            let source = first.and_then(|subject| sources.get(subject.source.as_ref()?));
            let client = first.map(|subject| subject.client).unwrap_or_default();
            it.videos.push(first.and_then(|_| videos.get(&digest(write))).copied());
            it.sources.push(source.copied());
            it.browsers.push(client.browser.code().into());
            it.platforms.push(client.platform.code().into());
            it.devices.push(client.device.code().into());
            it.session_data.push(first.and_then(|subject| subject.session_data.as_deref()));
        }
        it
    }

    async fn write(&self, connection: &mut AsyncPgConnection) -> Result<Answer, Failure> {
        /// The video and the start, if the session is rolled up.
        type Row = (Bits, Option<i32>, Option<PgTimestamp>);
        let rows: Vec<Row> = self.load(connection).await?;
        let mut answer = Answer::default();
        for (id, video_id, started_at) in rows {
            match video_id.zip(started_at) {
                Some((video_id, started_at)) => {
                    answer.rolled.push(Place { id, video_id, started_at });
                }
                None => drop(answer.written.insert(id)),
            }
        }
        Ok(answer)
    }
}

impl QueryFragment<Pg> for Batch<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("with given as materialized (select it.*, of_version, of_video, of_start, rolled from unnest(");
        out.push_bind_param::<Array<Uuid>, _>(&self.ids)?;
        for numbers in [&self.expected, &self.views, &self.uniques] {
            out.push_sql(", ");
            out.push_bind_param::<Array<BigInt>, _>(numbers)?;
        }
        let optional = [
            &self.instances,
            &self.videos,
            &self.sources,
            &self.durations,
            &self.startups,
            &self.rebufferings,
            &self.rebuffering_ms,
            &self.failures,
        ];
        for numbers in optional {
            out.push_sql(", ");
            out.push_bind_param::<Array<Nullable<BigInt>>, _>(numbers)?;
        }
        for times in [&self.starts, &self.last_events] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Timestamptz>, _>(times)?;
        }
        for classes in [&self.browsers, &self.platforms, &self.devices] {
            out.push_sql(", ");
            out.push_bind_param::<Array<SmallInt>, _>(classes)?;
        }
        for bytes in [&self.segments, &self.resumes] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Binary>, _>(bytes)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.details)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.session_data)?;
        // What is locked in a subquery is not joined in any other way than one by one.
        out.push_sql(
            ") as it (id, expected, view_ms, unique_ms, instance, video_id, source_id, duration_ms, startup_ms,
                rebufferings, rebuffering_ms, failures, started_at, last_event_at, browser, platform, device, segments,
                resume, details, session_data)
                left join lateral (
                    select version as of_version, video_id as of_video, started_at as of_start, rolled
                    from live_sessions where live_sessions.id = it.id and 0 < it.expected for update
                ) live on true),
            written as (
                insert into live_sessions (id, version, instance, video_id, source_id, started_at, last_event_at, view_ms,
                    unique_ms, duration_ms, startup_ms, rebufferings, rebuffering_ms, failures, browser, platform, device,
                    segments, resume, details, session_data)
                select id, expected + 1, instance, coalesce(of_video, video_id), source_id, coalesce(of_start, started_at),
                    last_event_at, view_ms, unique_ms, duration_ms, startup_ms, rebufferings, rebuffering_ms, failures,
                    browser, platform, device, segments, resume, details, session_data::jsonb
                from given
                where (expected = 0 or expected = of_version)
                    and not exists (select from given where rolled and expected = of_version)
                on conflict (id) do update set version = excluded.version, instance = excluded.instance,
                    last_event_at = excluded.last_event_at, view_ms = excluded.view_ms, unique_ms = excluded.unique_ms,
                    duration_ms = excluded.duration_ms, startup_ms = excluded.startup_ms,
                    rebufferings = excluded.rebufferings, rebuffering_ms = excluded.rebuffering_ms,
                    failures = excluded.failures, segments = excluded.segments, resume = excluded.resume,
                    details = excluded.details
                where live_sessions.version = excluded.version - 1
                returning id)
            select id, null::integer, null::timestamptz from written
            union all select id, of_video, of_start from given where rolled and expected = of_version",
        );
        Ok(())
    }
}

impl QueryId for Batch<'_> {
    type QueryId = Batch<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Batch<'_> {
    type SqlType = (Uuid, Nullable<Integer>, Nullable<Timestamptz>);
}

/// Notes that an instance is alive, and forgets those that died long ago.
pub(super) async fn beat(
    connection: &mut AsyncPgConnection,
    instance: Instance,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    diesel::sql_query(
        "insert into instances values ($1, $2) on conflict (id) do update set seen_at = excluded.seen_at",
    )
    .bind::<BigInt, _>(i64::from(instance.0))
    .bind::<Timestamptz, _>(timestamp(now.timestamp_millis()))
    .execute(connection)
    .await?;
    let forgotten = diesel::sql_query("delete from instances where seen_at < $1")
        .bind::<Timestamptz, _>(timestamp((now - INSTANCE_KEPT).timestamp_millis()))
        .execute(connection)
        .await?;
    if 0 < forgotten {
        // In the order in which writers lock them.
        diesel::sql_query(
            "with orphans as materialized (
                select id from live_sessions where not rolled and instance is not null
                    and not exists (select from instances where instances.id = instance)
                order by id for update)
             update live_sessions live set instance = null from orphans where live.id = orphans.id",
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}
