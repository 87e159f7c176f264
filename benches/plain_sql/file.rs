//! The queries of a SQLite file: a statement per video, cancelled between two of them.

use std::time::Instant;

use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Double, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;
use metrics_core::Source;
use metrics_core::response::{PlaysAt, SourceAt};

use super::selection::{Grouped, Range, Sums};
use super::viewings::Viewings;
use super::{PLAIN_SQL_MAX, plays_of};
use crate::Failure;

#[derive(QueryableByName)]
pub(super) struct Number {
    #[diesel(sql_type = BigInt)]
    pub(super) number: i64,
}

/// A statement over the rows of one video: a statement over all videos could not be cancelled half way.
pub(super) fn within(
    select: &str,
    range: &Range,
    video: i64,
    rest: &str,
) -> diesel::query_builder::SqlQuery {
    let Range { from_ms, to_ms, minimum_view_ms, .. } = range;
    diesel::sql_query(format!(
        "{select} where video_id = {video} and started_at between {from_ms} and {to_ms}
         and {minimum_view_ms} <= view_ms {rest}"
    ))
}

pub(super) fn file_plays(
    connection: &mut SqliteConnection,
    range: &Range,
    videos: Vec<i64>,
) -> Result<Option<Vec<PlaysAt>>, Failure> {
    #[derive(QueryableByName)]
    struct Sum {
        #[diesel(sql_type = BigInt)]
        at_ms: i64,
        #[diesel(sql_type = Integer)]
        browser: i32,
        #[diesel(sql_type = Integer)]
        platform: i32,
        #[diesel(sql_type = Integer)]
        device: i32,
        #[diesel(sql_type = BigInt)]
        plays: i64,
        #[diesel(sql_type = BigInt)]
        view_ms: i64,
        #[diesel(sql_type = BigInt)]
        unique_ms: i64,
    }
    let began = Instant::now();
    let select = format!(
        "select started_at / {grain} * {grain} as at_ms, browser, platform, device, count(*) as plays,
         sum(view_ms) as view_ms, sum(unique_ms) as unique_ms from sessions",
        grain = range.grain_ms
    );
    let mut plays_at = Vec::new();
    for video in videos {
        let sums: Vec<Sum> =
            within(&select, range, video, "group by 1, 2, 3, 4").load(connection)?;
        plays_at.extend(sums.iter().map(|it| {
            let sums = (it.plays, it.view_ms, it.unique_ms);
            plays_of(it.at_ms, (it.browser, it.platform, it.device), sums)
        }));
        if PLAIN_SQL_MAX < began.elapsed() {
            return Ok(None);
        }
    }
    Ok(Some(plays_at))
}

pub(super) fn file_grouped(
    connection: &mut SqliteConnection,
    range: &Range,
    videos: Vec<i64>,
    by: Grouped,
) -> Result<Option<Sums>, Failure> {
    #[derive(QueryableByName)]
    struct Sum {
        #[diesel(sql_type = Nullable<Text>)]
        value: Option<String>,
        #[diesel(sql_type = Double)]
        plays: f64,
        #[diesel(sql_type = Double)]
        view_ms: f64,
        #[diesel(sql_type = Double)]
        startup_ms: f64,
        #[diesel(sql_type = Double)]
        startups: f64,
    }
    let began = Instant::now();
    let select = format!(
        "select {} as value, cast(count(*) as real) as plays, cast(sum(view_ms) as real) as view_ms,
         cast(coalesce(sum(startup_ms), 0) as real) as startup_ms, cast(count(startup_ms) as real) as startups
         from sessions",
        by.in_file()
    );
    let rest = format!("{} group by 1", range.condition());
    let mut sums = Sums::new();
    for video in videos {
        for it in within(&select, range, video, &rest).load::<Sum>(connection)? {
            let sum = sums.entry(it.value.unwrap_or_default()).or_default();
            let more = [it.plays, it.view_ms, it.startup_ms, it.startups];
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        if PLAIN_SQL_MAX < began.elapsed() {
            return Ok(None);
        }
    }
    Ok(Some(sums))
}

pub(super) fn file_sources(
    connection: &mut SqliteConnection,
    range: &Range,
    videos: Vec<i64>,
) -> Result<Option<Vec<SourceAt>>, Failure> {
    #[derive(QueryableByName)]
    struct Sum {
        #[diesel(sql_type = BigInt)]
        at_ms: i64,
        #[diesel(sql_type = Text)]
        url: String,
        #[diesel(sql_type = BigInt)]
        plays: i64,
    }
    let began = Instant::now();
    let select = format!(
        "select started_at / {grain} * {grain} as at_ms, url, count(*) as plays
         from sessions join pages on pages.id = page_id",
        grain = range.grain_ms
    );
    let mut plays_at = Vec::new();
    for video in videos {
        let sums: Vec<Sum> = within(&select, range, video, "group by 1, 2").load(connection)?;
        plays_at.extend(sums.iter().filter_map(|it| {
            let source = Source::parse(&it.url)?;
            Some(SourceAt { at_ms: it.at_ms, source, plays: it.plays.unsigned_abs() })
        }));
        if PLAIN_SQL_MAX < began.elapsed() {
            return Ok(None);
        }
    }
    Ok(Some(plays_at))
}

pub(super) fn file_viewings(
    connection: &mut SqliteConnection,
    range: &Range,
    videos: Vec<i64>,
) -> Result<Option<Viewings>, Failure> {
    #[derive(QueryableByName)]
    struct Read {
        #[diesel(sql_type = BigInt)]
        started_at: i64,
        #[diesel(sql_type = Binary)]
        segments: Vec<u8>,
        #[diesel(sql_type = Nullable<Integer>)]
        duration_ms: Option<i32>,
    }
    let began = Instant::now();
    let mut viewings = Viewings::default();
    for video in videos {
        let select = "select started_at, segments, duration_ms from sessions";
        let rows = within(select, range, video, range.condition());
        for row in rows.load_iter::<Read, DefaultLoadingMode>(connection)? {
            let row = row?;
            viewings.push(row.started_at, &row.segments, row.duration_ms);
        }
        if PLAIN_SQL_MAX < began.elapsed() {
            return Ok(None);
        }
    }
    Ok(Some(viewings))
}
