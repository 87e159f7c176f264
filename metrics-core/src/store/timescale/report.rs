//! How reports are read: sums of whole days and hours where there are any, and sessions for the rest, which SQL sums as
//! far as it can. Those that are loose are in no sums, and in a table of their own.
//!
//! The videos of a selection are looked up first. With their ids as constants the planner knows how many sessions to
//! expect, and which parts of a compressed chunk to unpack.

use diesel::data_types::{PgInterval, PgTimestamp};
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Integer, Interval, Nullable, SmallInt, Text, Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::TryStreamExt as _;

use super::prepared::Prepared;
use super::read::{Videos, json, videos};
use super::types::{timestamp, unix_ms};
use crate::engagement::{Parts, Seconds};
use crate::interval::Segments;
use crate::query::Scan;
use crate::report::{PlayCell, SourceCell};
use crate::rollup::{Cover, Grain, Plan, PlayCells, SourceCells, Whole, load_changes, start_of};
use crate::store::failure::Failure;
use crate::store::row::{client, narrow, page};
use crate::time_bucket::Buckets;

pub(super) async fn plays(
    connection: &mut AsyncPgConnection,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Vec<PlayCell>, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        cell: PgTimestamp,
        #[diesel(sql_type = SmallInt)]
        browser: i16,
        #[diesel(sql_type = SmallInt)]
        platform: i16,
        #[diesel(sql_type = SmallInt)]
        device: i16,
        #[diesel(sql_type = BigInt)]
        plays: i64,
        #[diesel(sql_type = BigInt)]
        view_ms: i64,
        #[diesel(sql_type = BigInt)]
        unique_ms: i64,
    }
    // One snapshot: what is in the sums must not be loose as well.
    let mut snapshot = connection.build_transaction().repeatable_read().read_only();
    snapshot
        .run(async |connection| {
            let sums = scan.summed_from().map(|_| (Some(buckets), Grain::Hour));
            let found = Found::by_scope(connection, scan, sums).await?;
            let mut cells = PlayCells::new(scan.summed_from().unwrap_or_default());
            found.add_plays(connection, &mut cells).await?;
            for part in found.parts() {
                let select = format!(
                    "{CELL}, browser, platform, device, count(*) as plays,
                     sum(view_ms)::bigint as view_ms, sum(unique_ms)::bigint as unique_ms"
                );
                let query = found.sessions(&select, part, "group by 1, 2, 3, 4");
                let query = query.bind::<Interval, _>(width(scan, &buckets));
                let rows: Vec<Row> = query.load(connection).await?;
                for row in rows {
                    let client = client(row.browser.into(), row.platform.into(), row.device.into());
                    let (view_ms, unique_ms) = (narrow(row.view_ms)?, narrow(row.unique_ms)?);
                    let cell = cells.at(unix_ms(row.cell));
                    cell.add_plays(row.plays.unsigned_abs(), view_ms, unique_ms, client);
                }
            }
            Ok(cells.into_cells())
        })
        .await
}

pub(super) async fn sources(
    connection: &mut AsyncPgConnection,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Vec<SourceCell>, Failure> {
    #[derive(QueryableByName)]
    struct Day {
        #[diesel(sql_type = BigInt)]
        day: i64,
        #[diesel(sql_type = Binary)]
        sources: Vec<u8>,
    }
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        cell: PgTimestamp,
        #[diesel(sql_type = Integer)]
        source_id: i32,
        #[diesel(sql_type = BigInt)]
        plays: i64,
    }
    // One snapshot: what is in the sums must not be loose as well.
    let mut snapshot = connection.build_transaction().repeatable_read().read_only();
    snapshot
        .run(async |connection| {
            let sums = scan.summed_from().map(|_| (Some(buckets), Grain::Day));
            let found = Found::by_scope(connection, scan, sums).await?;
            let mut cells = SourceCells::new(scan.summed_from().unwrap_or_default(), buckets);
            if let Some((first_day, last_day)) = found.plan.days() {
                let rows = Prepared::new(
                    "select day, sources from rollup_sources
                 where scope = any($1) and day between $2 and $3",
                )
                .bind::<Array<BigInt>, _>(&found.scopes)
                .bind::<BigInt, _>(first_day)
                .bind::<BigInt, _>(last_day);
                let mut rows = rows.load_stream::<Day>(connection).await?;
                while let Some(Day { day, sources }) = rows.try_next().await? {
                    cells.add_day(&found.plan, day, &sources)?;
                }
            }
            for part in found.parts() {
                let select = format!("{CELL}, source_id, count(*) as plays");
                let query =
                    found.sessions(&select, part, "and source_id is not null group by 1, 2");
                let query = query.bind::<Interval, _>(width(scan, &buckets));
                let rows: Vec<Row> = query.load(connection).await?;
                for row in rows {
                    cells.add(unix_ms(row.cell), row.source_id.into(), row.plays.unsigned_abs());
                }
            }
            name_sources(connection, cells).await
        })
        .await
}

/// The cells of pages by their addresses.
async fn name_sources(
    connection: &mut AsyncPgConnection,
    cells: SourceCells,
) -> Result<Vec<SourceCell>, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        id: i64,
        #[diesel(sql_type = Text)]
        url: String,
    }
    let cells = cells.finish();
    let mut ids: Vec<i64> = cells.iter().map(|(_, source, _)| *source).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows: Vec<Row> = Prepared::new("select id, url from sources where id = any($1)")
        .bind::<Array<BigInt>, _>(ids)
        .load(connection)
        .await?;
    let mut known = std::collections::HashMap::new();
    for row in rows {
        known.insert(row.id, page(&row.url)?);
    }
    let cells = cells.into_iter().filter_map(|(at_ms, source, plays)| {
        Some(SourceCell { at_ms, source: known.get(&source)?.clone(), plays })
    });
    Ok(cells.collect())
}

pub(super) async fn parts(
    connection: &mut AsyncPgConnection,
    scan: &Scan,
    parts: u32,
) -> Result<Parts, Failure> {
    #[derive(QueryableByName)]
    struct Day {
        #[diesel(sql_type = BigInt)]
        day: i64,
        #[diesel(sql_type = BigInt)]
        end_ms: i64,
    }
    #[derive(QueryableByName)]
    struct Sums {
        #[diesel(sql_type = BigInt)]
        day: i64,
        #[diesel(sql_type = Binary)]
        places: Vec<u8>,
    }
    const WHERE: &str = "from rollup_places where video_id = any($1) and day between $2 and $3";
    // One snapshot: what is in the sums must not be loose as well.
    let mut snapshot = connection.build_transaction().repeatable_read().read_only();
    snapshot
        .run(async |connection| {
            let found = Found::by_video(connection, scan, None).await?;
            let mut end_ms = 0;
            let days = found.plan.days();
            if let Some((first_day, last_day)) = days {
                let ends: Vec<Day> = Prepared::new(format!(
                    "select day, max(end_ms) as end_ms {WHERE} group by day"
                ))
                .bind::<Array<BigInt>, _>(&found.scopes)
                .bind::<BigInt, _>(first_day)
                .bind::<BigInt, _>(last_day)
                .load(connection)
                .await?;
                for day in ends.iter().filter(|it| found.plan.cover(it.day) == Cover::Day) {
                    end_ms = end_ms.max(narrow(day.end_ms)?);
                }
            }
            found
                .each_viewing(connection, |_, segments| {
                    end_ms = end_ms.max(segments.union().end_ms());
                    Ok(())
                })
                .await?;
            let mut counted = Parts::new(end_ms, parts);
            if let Some((first_day, last_day)) = days {
                let rows = Prepared::new(format!("select day, places {WHERE}"))
                    .bind::<Array<BigInt>, _>(&found.scopes)
                    .bind::<BigInt, _>(first_day)
                    .bind::<BigInt, _>(last_day);
                let mut rows = rows.load_stream::<Sums>(connection).await?;
                while let Some(Sums { day, places }) = rows.try_next().await? {
                    if found.plan.cover(day) == Cover::Day {
                        counted.add_places(&places)?;
                    }
                }
            }
            found
                .each_viewing(connection, |_, segments| {
                    counted.add(segments);
                    Ok(())
                })
                .await?;
            Ok(counted)
        })
        .await
}

pub(super) async fn seconds(
    connection: &mut AsyncPgConnection,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Seconds, Failure> {
    #[derive(QueryableByName)]
    struct Day {
        #[diesel(sql_type = BigInt)]
        day: i64,
        #[diesel(sql_type = Nullable<Binary>)]
        seconds: Option<Vec<u8>>,
        #[diesel(sql_type = Nullable<Binary>)]
        places: Option<Vec<u8>>,
    }
    // One snapshot: what is in the sums must not be loose as well.
    let mut snapshot = connection.build_transaction().repeatable_read().read_only();
    snapshot
        .run(async |connection| {
            let found = Found::by_video(connection, scan, Some(buckets)).await?;
            let mut counted = Seconds::new(buckets);
            if let Some((first_day, last_day)) = found.plan.days() {
                let rows = Prepared::new(
                    "select day, seconds, case when seconds is null then places end as places
                 from rollup_places where video_id = any($1) and day between $2 and $3",
                )
                .bind::<Array<BigInt>, _>(&found.scopes)
                .bind::<BigInt, _>(first_day)
                .bind::<BigInt, _>(last_day);
                let mut rows = rows.load_stream::<Day>(connection).await?;
                while let Some(Day { day, seconds, places }) = rows.try_next().await? {
                    if found.plan.cover(day) != Cover::Day {
                        continue;
                    }
                    let changes = load_changes(seconds.as_deref(), places.as_deref())?;
                    counted.add_changes(start_of(day, 0), &changes)?;
                }
            }
            found
                .each_viewing(connection, |started_at_ms, segments| {
                    Ok(counted.add(started_at_ms, segments)?)
                })
                .await?;
            Ok(counted)
        })
        .await
}

/// The start of the cell that a session is in. How wide a cell is comes behind what says which sessions.
const CELL: &str = "date_bin($6, started_at, timestamptz '1970-01-01 00:00+00') as cell";

fn width(scan: &Scan, buckets: &Buckets) -> PgInterval {
    let grain = scan.grain(buckets);
    PgInterval::from_microseconds(grain.num_microseconds().unwrap_or(i64::MAX).max(1))
}

/// Where what a scan asks for is found.
struct Found<'a> {
    scan: &'a Scan,
    videos: Videos,
    // Whose sums are wanted: videos, or keys below zero.
    scopes: Vec<i64>,
    plan: Plan,
}

/// In which buckets sums are wanted, and how fine they are, if there are any that help.
type Sums = Option<(Option<Buckets>, Grain)>;

/// Sessions that are looked at, by when they started.
#[derive(Clone, Copy)]
enum Part {
    /// Those that are in the sums, where these do not say enough.
    Rolled(i64, i64),
    /// Those that are not.
    Loose(i64, i64),
}

impl<'a> Found<'a> {
    /// By the sums of keys, if all of their videos are selected.
    async fn by_scope(
        connection: &mut AsyncPgConnection,
        scan: &'a Scan,
        sums: Sums,
    ) -> Result<Self, Failure> {
        let videos = videos(connection, &scan.selection).await?;
        let scopes = match (&videos, scan.selection.is_whole_key()) {
            (Some(videos), false) => videos.iter().copied().map(i64::from).collect(),
            _ => {
                let key = scan.selection.key.as_ref().map(|key| key.as_str());
                ids(connection, "select -id as id from keys where $1 is null or key = $1", key)
                    .await?
            }
        };
        Self::by(connection, scan, videos, scopes, sums).await
    }

    /// By the sums of each video, which know where viewers began and stopped to watch.
    async fn by_video(
        connection: &mut AsyncPgConnection,
        scan: &'a Scan,
        buckets: Option<Buckets>,
    ) -> Result<Self, Failure> {
        let videos = videos(connection, &scan.selection).await?;
        let scopes = match &videos {
            Some(videos) => videos.iter().copied().map(i64::from).collect(),
            None => ids(connection, "select id from videos where $1 is null", None).await?,
        };
        // They do not know who watched for how long.
        let sums = scan.summed_from().filter(|first| *first == 0);
        let sums = sums.map(|_| (buckets, Grain::Day));
        Self::by(connection, scan, videos, scopes, sums).await
    }

    async fn by(
        connection: &mut AsyncPgConnection,
        scan: &'a Scan,
        videos: Videos,
        scopes: Vec<i64>,
        sums: Sums,
    ) -> Result<Self, Failure> {
        #[derive(QueryableByName)]
        struct Known {
            #[diesel(sql_type = Nullable<BigInt>)]
            first: Option<i64>,
            #[diesel(sql_type = Nullable<BigInt>)]
            last: Option<i64>,
        }
        let timeframe = (scan.from_ms, scan.to_ms);
        let rows_only = |videos| {
            let plan = Plan::of_rows(timeframe);
            Self { scan, videos, scopes: Vec::new(), plan }
        };
        let Some((buckets, grain)) = sums.filter(|_| timeframe.0 <= timeframe.1) else {
            return Ok(rows_only(videos));
        };
        // The ends of each scope are two steps in the index.
        let known: Known = Prepared::new(
            "select min(first) as first, max(last) as last
             from unnest($1) as scope,
                lateral (select day as first from rollup_plays it where it.scope = scope.scope
                    order by day limit 1) as earliest,
                lateral (select day as last from rollup_plays it where it.scope = scope.scope
                    order by day desc limit 1) as latest",
        )
        .bind::<Array<BigInt>, _>(&scopes)
        .get_result(connection)
        .await?;
        let ends = known.first.zip(known.last);
        let plan = ends.map(|ends| Plan::new(timeframe, buckets, grain, ends));
        Ok(Self { scan, videos, scopes, plan: plan.unwrap_or_default() })
    }

    /// Adds the plays of all days that sums are read of.
    async fn add_plays(
        &self,
        connection: &mut AsyncPgConnection,
        cells: &mut PlayCells,
    ) -> Result<(), Failure> {
        #[derive(QueryableByName)]
        struct Day {
            #[diesel(sql_type = BigInt)]
            day: i64,
            #[diesel(sql_type = Nullable<Binary>)]
            head: Option<Vec<u8>>,
            #[diesel(sql_type = Nullable<Binary>)]
            tail: Option<Vec<u8>>,
            #[diesel(sql_type = Nullable<Binary>)]
            hours: Option<Vec<u8>>,
        }
        let Some((first_day, last_day)) = self.plan.days() else { return Ok(()) };
        // What is not needed is not sent.
        let rows = Prepared::new(
            "select day, head, case when $5 then tail end as tail,
                case when head is null or day = any($4) then hours end as hours
             from rollup_plays where scope = any($1) and day between $2 and $3",
        )
        .bind::<Array<BigInt>, _>(&self.scopes)
        .bind::<BigInt, _>(first_day)
        .bind::<BigInt, _>(last_day)
        .bind::<Array<BigInt>, _>(self.plan.days_by_hour())
        .bind::<Bool, _>(cells.needs_tail());
        let mut rows = rows.load_stream::<Day>(connection).await?;
        while let Some(Day { day, head, tail, hours }) = rows.try_next().await? {
            let whole = head.as_deref().map(|head| Whole { head, tail: tail.as_deref() });
            cells.add_day(&self.plan, day, whole, hours.as_deref())?;
        }
        Ok(())
    }

    /// The sessions that are not in the sums that are read.
    fn parts(&self) -> impl Iterator<Item = Part> {
        let rolled = self.plan.rows.iter().map(|(start, end)| Part::Rolled(*start, *end));
        rolled.chain([Part::Loose(self.scan.from_ms, self.scan.to_ms)])
    }

    /// `select` over some of the sessions, which `$1` to `$5` say.
    fn sessions<'b>(&self, select: &str, part: Part, rest: &str) -> Prepared<'b> {
        let minimum_ms = i64::try_from(self.scan.minimum_view_ms).unwrap_or(i64::MAX);
        let (of, start, end) = match part {
            Part::Rolled(start, end) => ("sessions where", start, end),
            Part::Loose(start, end) => ("live_sessions where not rolled and", start, end),
        };
        let sql = format!(
            "select {select} from {of} ($1 is null or video_id = any($1)) and started_at between $2 and $3
                and $4 <= view_ms and ($5::jsonb is null or session_data @> $5::jsonb) {rest}"
        );
        Prepared::new(sql)
            .bind::<Nullable<Array<Integer>>, _>(self.videos.clone())
            .bind::<Timestamptz, _>(timestamp(start))
            .bind::<Timestamptz, _>(timestamp(end))
            .bind::<BigInt, _>(minimum_ms)
            .bind::<Nullable<Text>, _>(json(self.scan.selection.session.as_ref()))
    }

    /// Calls `view` with the start and the segments of each session that is not in the sums that are read, as they
    /// come.
    async fn each_viewing(
        &self,
        connection: &mut AsyncPgConnection,
        mut view: impl FnMut(i64, &Segments) -> Result<(), Failure> + Send,
    ) -> Result<(), Failure> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Timestamptz)]
            started_at: PgTimestamp,
            #[diesel(sql_type = Binary)]
            segments: Vec<u8>,
        }
        for part in self.parts() {
            let query = self.sessions("started_at, segments", part, "");
            let mut rows = query.load_stream::<Row>(connection).await?;
            while let Some(row) = rows.try_next().await? {
                view(unix_ms(row.started_at), &Segments::decode(&row.segments)?)?;
            }
        }
        Ok(())
    }
}

/// Numbers of rows.
async fn ids(
    connection: &mut AsyncPgConnection,
    query: &str,
    of: Option<&str>,
) -> Result<Vec<i64>, Failure> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        id: i64,
    }
    let rows = Prepared::new(query).bind::<Nullable<Text>, _>(of).load::<Row>(connection);
    Ok(rows.await?.into_iter().map(|row| row.id).collect())
}
