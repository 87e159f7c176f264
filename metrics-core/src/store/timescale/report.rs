//! How reports are read: sums of whole days and hours where there are any, and sessions for the rest, which SQL sums as
//! far as it can. Those that are loose are in no sums, and in a table of their own.

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{
    Array, BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text, Timestamptz,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::TryStreamExt as _;
use futures_util::future::try_join;

use super::found::{CELL, Found, of_each_video};
use super::prepared::Prepared;
use super::types::unix_ms;
use crate::engagement::{Parts, Seconds};
use crate::query::Scan;
use crate::report::{PlayCell, SourceCell};
use crate::rollup::{Cover, Grain, PlayCells, SourceCells, Whole, load_changes, start_of};
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
            let connection = &*connection;
            let sums = scan.summed_from().map(|_| (Some(buckets), Grain::Hour));
            let found = Found::by_scope(connection, scan, sums).await?;
            let mut cells = PlayCells::new(scan.summed_from().unwrap_or_default());
            let sums = add_plays(connection, &found, &mut cells);
            let select = format!(
                "{CELL}, browser, platform, device, count(*) as plays,
                 sum(view_ms)::bigint as view_ms, sum(unique_ms)::bigint as unique_ms"
            );
            let rows = found.by_cell::<Row>(connection, &select, "group by 1, 2, 3, 4", buckets);
            let ((), rows) = try_join(sums, rows).await?;
            for row in rows {
                let client = client(row.browser.into(), row.platform.into(), row.device.into());
                let (view_ms, unique_ms) = (narrow(row.view_ms)?, narrow(row.unique_ms)?);
                let cell = cells.at(unix_ms(row.cell));
                cell.add_plays(row.plays.unsigned_abs(), view_ms, unique_ms, client);
            }
            Ok(cells.into_cells())
        })
        .await
}

/// Adds the plays of all days that sums are read of.
async fn add_plays(
    connection: &AsyncPgConnection,
    found: &Found<'_>,
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
    let Some((first_day, last_day)) = found.plan.days() else { return Ok(()) };
    // What is not needed is not sent.
    let rows = Prepared::new(
        "select day, head, case when $5 then tail end as tail,
            case when head is null or day = any($4) then hours end as hours
         from rollup_plays where scope = any($1) and day between $2 and $3",
    )
    .bind::<Array<BigInt>, _>(&found.scopes)
    .bind::<BigInt, _>(first_day)
    .bind::<BigInt, _>(last_day)
    .bind::<Array<BigInt>, _>(found.plan.days_by_hour())
    .bind::<Bool, _>(cells.needs_tail());
    let mut rows = rows.load_stream::<Day>(&mut &*connection).await?;
    while let Some(Day { day, head, tail, hours }) = rows.try_next().await? {
        let whole = head.as_deref().map(|head| Whole { head, tail: tail.as_deref() });
        cells.add_day(&found.plan, day, whole, hours.as_deref())?;
    }
    Ok(())
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
            let connection = &*connection;
            let sums = scan.summed_from().map(|_| (Some(buckets), Grain::Day));
            let found = Found::by_scope(connection, scan, sums).await?;
            let mut cells = SourceCells::new(scan.summed_from().unwrap_or_default(), buckets);
            let sums = async {
                let Some((first_day, last_day)) = found.plan.days() else { return Ok(()) };
                let rows = Prepared::new(
                    "select day, sources from rollup_sources
                 where scope = any($1) and day between $2 and $3",
                )
                .bind::<Array<BigInt>, _>(&found.scopes)
                .bind::<BigInt, _>(first_day)
                .bind::<BigInt, _>(last_day);
                let mut rows = rows.load_stream::<Day>(&mut &*connection).await?;
                while let Some(Day { day, sources }) = rows.try_next().await? {
                    cells.add_day(&found.plan, day, &sources)?;
                }
                Ok(())
            };
            let select = format!("{CELL}, source_id, count(*) as plays");
            let rest = "and source_id is not null group by 1, 2";
            let rows = found.by_cell::<Row>(connection, &select, rest, buckets);
            let ((), rows) = try_join(sums, rows).await?;
            for row in rows {
                cells.add(unix_ms(row.cell), row.source_id.into(), row.plays.unsigned_abs());
            }
            name_sources(connection, cells).await
        })
        .await
}

/// The cells of pages by their addresses.
async fn name_sources(
    connection: &AsyncPgConnection,
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
        .load(&mut &*connection)
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
    struct Sums {
        #[diesel(sql_type = BigInt)]
        day: i64,
        #[diesel(sql_type = Binary)]
        places: Vec<u8>,
    }
    // One snapshot: what is in the sums must not be loose as well.
    let mut snapshot = connection.build_transaction().repeatable_read().read_only();
    snapshot
        .run(async |connection| {
            let connection = &*connection;
            let found = Found::by_video(connection, scan, of_each_video(scan, None)).await?;
            let ends = try_join(summed_end_ms(connection, &found), found.viewings(connection));
            let (summed_ms, (viewed_ms, few)) = ends.await?;
            let mut counted = Parts::new(viewed_ms.max(summed_ms), parts);
            if let Some((first_day, last_day)) = found.plan.days() {
                let rows = Prepared::new(
                    "select day, places from rollup_places where video_id = any($1) and day between $2 and $3",
                )
                .bind::<Array<BigInt>, _>(&found.scopes)
                .bind::<BigInt, _>(first_day)
                .bind::<BigInt, _>(last_day);
                let mut rows = rows.load_stream::<Sums>(&mut &*connection).await?;
                while let Some(Sums { day, places }) = rows.try_next().await? {
                    if found.plan.cover(day) == Cover::Day {
                        counted.add_places(&places)?;
                    }
                }
            }
            if let Some(few) = few {
                few.iter().for_each(|segments| counted.add(segments));
                return Ok(counted);
            }
            found
                .each_viewing(connection, |_, segments| {
                    counted.add(&segments);
                    Ok(())
                })
                .await?;
            Ok(counted)
        })
        .await
}

/// Where the furthest session ends that is in the sums.
async fn summed_end_ms(connection: &AsyncPgConnection, found: &Found<'_>) -> Result<u32, Failure> {
    #[derive(QueryableByName)]
    struct Day {
        #[diesel(sql_type = BigInt)]
        day: i64,
        #[diesel(sql_type = BigInt)]
        end_ms: i64,
    }
    let mut end_ms = 0;
    let Some((first_day, last_day)) = found.plan.days() else { return Ok(end_ms) };
    let days: Vec<Day> = Prepared::new(
        "select day, max(end_ms) as end_ms from rollup_places
         where video_id = any($1) and day between $2 and $3 group by day",
    )
    .bind::<Array<BigInt>, _>(&found.scopes)
    .bind::<BigInt, _>(first_day)
    .bind::<BigInt, _>(last_day)
    .load(&mut &*connection)
    .await?;
    for day in days.iter().filter(|it| found.plan.cover(it.day) == Cover::Day) {
        end_ms = end_ms.max(narrow(day.end_ms)?);
    }
    Ok(end_ms)
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
            let connection = &*connection;
            let sums = of_each_video(scan, Some(buckets));
            let found = Found::by_video(connection, scan, sums).await?;
            let mut counted = Seconds::new(buckets);
            if let Some((first_day, last_day)) = found.plan.days() {
                let rows = Prepared::new(
                    "select day, seconds, case when seconds is null then places end as places
                 from rollup_places where video_id = any($1) and day between $2 and $3",
                )
                .bind::<Array<BigInt>, _>(&found.scopes)
                .bind::<BigInt, _>(first_day)
                .bind::<BigInt, _>(last_day);
                let mut rows = rows.load_stream::<Day>(&mut &*connection).await?;
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
                    Ok(counted.add(started_at_ms, &segments)?)
                })
                .await?;
            Ok(counted)
        })
        .await
}
