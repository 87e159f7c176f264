//! How reports are read: sums of whole days and hours where there are any, and sessions one by one for the rest.
//!
//! Sessions are folded as they come, so a report needs memory for its answer only.

use std::collections::HashMap;

use diesel::connection::DefaultLoadingMode;
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite::SqliteConnection;

use super::place::transaction;
use super::read::Filter;
use super::schema::{keys, rollup_places, rollup_plays, rollup_sources, sources};
use super::sums::{at, ends};
use crate::engagement::{Parts, Seconds};
use crate::interval::Segments;
use crate::query::Scan;
use crate::report::{PlayCell, SourceCell};
use crate::rollup::{
    Cover, Grain, Plan, PlayCells, Scope, SourceCells, Whole, load_changes, start_of,
};
use crate::source::Source;
use crate::store::failure::Failure;
use crate::store::row::{client, narrow, page};
use crate::time_bucket::Buckets;

pub(super) fn plays(
    connection: &mut SqliteConnection,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Vec<PlayCell>, Failure> {
    let mut cells = PlayCells::new(scan.summed_from().unwrap_or_default());
    let grain_ms = scan.grain(&buckets).num_milliseconds().max(1);
    transaction(connection, "begin", |connection| {
        let sums = scan.summed_from().map(|_| (Some(buckets), Grain::Hour));
        let mut found = Found::by_scope(connection, scan, sums)?;
        let by_hour = serde_json::to_string(&found.plan.days_by_hour()).unwrap_or_default();
        for (scope, (first_day, last_day)) in found.days() {
            // What is not needed is not read.
            let hours = sql::<Nullable<Binary>>(
                "case when head is null or day in (select value from json_each(",
            );
            let hours = hours.bind::<Text, _>(&by_hour).sql(")) then hours end");
            let tail = sql::<Nullable<Binary>>(if cells.needs_tail() { "tail" } else { "null" });
            let rows = rollup_plays::table
                .filter(rollup_plays::at.between(at(scope, first_day), at(scope, last_day)))
                .select((rollup_plays::day, rollup_plays::head, tail, hours));
            type Columns = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);
            for row in rows.load_iter::<Columns, DefaultLoadingMode>(connection)? {
                let (day, head, tail, hours) = row?;
                let whole = head.as_deref().map(|head| Whole { head, tail: tail.as_deref() });
                cells.add_day(&found.plan, day, whole, hours.as_deref())?;
            }
        }
        const COLUMNS: &str = "view_ms, unique_ms, browser, platform, device, null, null";
        found.each_session(connection, COLUMNS, |it| {
            let client = client(it.browser, it.platform, it.device);
            let cell = cells.at(it.started_at.div_euclid(grain_ms) * grain_ms);
            cell.add_plays(1, narrow(it.view_ms)?, narrow(it.unique_ms)?, client);
            Ok(())
        })
    })?;
    Ok(cells.into_cells())
}

pub(super) fn sources(
    connection: &mut SqliteConnection,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Vec<SourceCell>, Failure> {
    let mut cells = SourceCells::new(scan.summed_from().unwrap_or_default(), buckets);
    transaction(connection, "begin", |connection| {
        let sums = scan.summed_from().map(|_| (Some(buckets), Grain::Day));
        let mut found = Found::by_scope(connection, scan, sums)?;
        for (scope, (first_day, last_day)) in found.days() {
            let rows = rollup_sources::table
                .filter(rollup_sources::at.between(at(scope, first_day), at(scope, last_day)))
                .select((rollup_sources::day, rollup_sources::sources));
            for row in rows.load_iter::<(i64, Vec<u8>), DefaultLoadingMode>(connection)? {
                let (day, plays) = row?;
                cells.add_day(&found.plan, day, &plays)?;
            }
        }
        found.each_session(connection, "0, 0, 0, 0, 0, source_id, null", |it| {
            if let Some(source) = it.source_id {
                cells.add(it.started_at, source, 1);
            }
            Ok(())
        })?;
        name_sources(connection, cells)
    })
}

/// The cells of pages by their addresses.
fn name_sources(
    connection: &mut SqliteConnection,
    cells: SourceCells,
) -> Result<Vec<SourceCell>, Failure> {
    let cells = cells.finish();
    let mut known: HashMap<i64, Source> = HashMap::new();
    let mut answer = Vec::with_capacity(cells.len());
    for (at_ms, source_id, plays) in cells {
        let source = match known.get(&source_id) {
            Some(source) => source.clone(),
            None => {
                let url: String =
                    sources::table.find(source_id).select(sources::url).get_result(connection)?;
                let source = page(&url)?;
                known.insert(source_id, source.clone());
                source
            }
        };
        answer.push(SourceCell { at_ms, source, plays });
    }
    Ok(answer)
}

pub(super) fn parts(
    connection: &mut SqliteConnection,
    scan: &Scan,
    parts: u32,
) -> Result<Parts, Failure> {
    transaction(connection, "begin", |connection| {
        let mut found = Found::by_video(connection, scan, None)?;
        let mut end_ms = 0;
        for (video, (first_day, last_day)) in found.days() {
            let ends = rollup_places::table
                .filter(rollup_places::at.between(at(video, first_day), at(video, last_day)))
                .select((rollup_places::day, rollup_places::end_ms));
            for (day, day_end_ms) in ends.load::<(i64, i64)>(connection)? {
                if found.plan.cover(day) == Cover::Day {
                    end_ms = end_ms.max(narrow(day_end_ms)?);
                }
            }
        }
        found.each_viewing(connection, |_, segments| {
            end_ms = end_ms.max(segments.union().end_ms());
            Ok(())
        })?;
        let mut counted = Parts::new(end_ms, parts);
        for (video, (first_day, last_day)) in found.days() {
            let rows = rollup_places::table
                .filter(rollup_places::at.between(at(video, first_day), at(video, last_day)))
                .select((rollup_places::day, rollup_places::places));
            for row in rows.load_iter::<(i64, Vec<u8>), DefaultLoadingMode>(connection)? {
                let (day, places) = row?;
                if found.plan.cover(day) == Cover::Day {
                    counted.add_places(&places)?;
                }
            }
        }
        found.each_viewing(connection, |_, segments| {
            counted.add(segments);
            Ok(())
        })?;
        Ok(counted)
    })
}

pub(super) fn seconds(
    connection: &mut SqliteConnection,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Seconds, Failure> {
    let mut counted = Seconds::new(buckets);
    transaction(connection, "begin", |connection| {
        let mut found = Found::by_video(connection, scan, Some(buckets))?;
        for (video, (first_day, last_day)) in found.days() {
            // What is not needed is not read.
            let places = sql::<Nullable<Binary>>("case when seconds is null then places end");
            let rows = rollup_places::table
                .filter(rollup_places::at.between(at(video, first_day), at(video, last_day)))
                .select((rollup_places::day, rollup_places::seconds, places));
            type Columns = (i64, Option<Vec<u8>>, Option<Vec<u8>>);
            for row in rows.load_iter::<Columns, DefaultLoadingMode>(connection)? {
                let (day, seconds, places) = row?;
                if found.plan.cover(day) != Cover::Day {
                    continue;
                }
                let changes = load_changes(seconds.as_deref(), places.as_deref())?;
                counted.add_changes(start_of(day, 0), &changes)?;
            }
        }
        found.each_viewing(connection, |started_at_ms, segments| {
            Ok(counted.add(started_at_ms, segments)?)
        })
    })?;
    Ok(counted)
}

/// Where what a scan asks for is found.
struct Found<'a> {
    scan: &'a Scan,
    filter: Filter<'a>,
    videos: Vec<i64>,
    // Whose sums are wanted: videos, or a key below zero.
    scopes: Vec<i64>,
    plan: Plan,
}

/// In which buckets sums are wanted, and how fine they are, if there are any that help.
type Sums = Option<(Option<Buckets>, Grain)>;

/// A session that is looked at; what was not asked for is 0.
#[derive(Queryable)]
struct Session {
    started_at: i64,
    view_ms: i64,
    unique_ms: i64,
    browser: i32,
    platform: i32,
    device: i32,
    source_id: Option<i64>,
    segments: Option<Vec<u8>>,
}

impl<'a> Found<'a> {
    /// By the sums of the key, if all of its videos are selected.
    fn by_scope(
        connection: &mut SqliteConnection,
        scan: &'a Scan,
        sums: Sums,
    ) -> Result<Self, Failure> {
        Self::by(connection, scan, sums, scan.selection.is_whole_key())
    }

    /// By the sums of each video, which know where viewers began and stopped to watch.
    fn by_video(
        connection: &mut SqliteConnection,
        scan: &'a Scan,
        buckets: Option<Buckets>,
    ) -> Result<Self, Failure> {
        // They do not know who watched for how long.
        let sums = scan.summed_from().filter(|first| *first == 0);
        let sums = sums.map(|_| (buckets, Grain::Day));
        Self::by(connection, scan, sums, false)
    }

    /// By the sums of the key, or else by those of each video.
    fn by(
        connection: &mut SqliteConnection,
        scan: &'a Scan,
        sums: Sums,
        of_key: bool,
    ) -> Result<Self, Failure> {
        let filter = Filter::new(&scan.selection);
        let videos = filter.videos(connection)?;
        let timeframe = (scan.from_ms, scan.to_ms);
        let Some((buckets, grain)) = sums else {
            let plan = Plan::of_rows(timeframe);
            return Ok(Self { scan, filter, videos, scopes: Vec::new(), plan });
        };
        // Where a key has no sums, none of its videos has.
        let key = key_scope(connection, scan)?;
        let summed = key.map_or_else(|| videos.clone(), |key| vec![key]);
        let scopes = if of_key { summed.clone() } else { videos.clone() };
        let mut known: Option<(i64, i64)> = None;
        for scope in summed {
            if let Some((first, last)) = ends(connection, scope)? {
                let (earliest, latest) = known.unwrap_or((first, last));
                known = Some((earliest.min(first), latest.max(last)));
            }
        }
        let plan = known.map(|known| Plan::new(timeframe, buckets, grain, known));
        let plan = plan.unwrap_or_default();
        Ok(Self { scan, filter, videos, scopes, plan })
    }

    /// Of which scopes, and from which day to which, sums are to be read.
    fn days(&self) -> Vec<(i64, (i64, i64))> {
        let days = self.plan.days();
        self.scopes.iter().filter_map(|scope| Some((*scope, days?))).collect()
    }

    /// Calls `see` with each session that is not in the sums that are read.
    fn each_session(
        &mut self,
        connection: &mut SqliteConnection,
        columns: &str,
        mut see: impl FnMut(Session) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for (start, end) in self.plan.rows.clone() {
            self.each_row(connection, (columns, "sessions"), (start, end), &mut see)?;
        }
        let timeframe = (self.scan.from_ms, self.scan.to_ms);
        self.each_row(connection, (columns, "loose_sessions"), timeframe, &mut see)
    }

    /// The rows of a table.
    fn each_row(
        &mut self,
        connection: &mut SqliteConnection,
        (columns, table): (&str, &str),
        (start, end): (i64, i64),
        see: &mut impl FnMut(Session) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let videos = serde_json::to_string(&self.videos).unwrap_or_default();
        let data = if self.scan.selection.session.is_some() { "session_data" } else { "null" };
        // All videos in one statement, and each by a step in the table.
        let rows = sql::<Columns>(&format!("select {data}, started_at, {columns} from json_each("))
            .bind::<Text, _>(videos)
            .sql(&format!(
                ") as video cross join {table} on video_id = video.value where view_ms >= "
            ))
            .bind::<BigInt, _>(i64::try_from(self.scan.minimum_view_ms).unwrap_or(i64::MAX))
            .sql(" and started_at between ")
            .bind::<BigInt, _>(start)
            .sql(" and ")
            .bind::<BigInt, _>(end);
        for row in rows.load_iter::<(Option<String>, Session), DefaultLoadingMode>(connection)? {
            let (data, session) = row?;
            if self.filter.takes(data)? {
                see(session)?;
            }
        }
        Ok(())
    }

    /// The same for those who want to know what was watched.
    fn each_viewing(
        &mut self,
        connection: &mut SqliteConnection,
        mut view: impl FnMut(i64, &Segments) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.each_session(connection, "0, 0, 0, 0, 0, null, segments", |session| {
            let segments = Segments::decode(session.segments.as_deref().unwrap_or_default())?;
            view(session.started_at, &segments)
        })
    }
}

/// The scope of the selected key, if one is and it is there.
fn key_scope(connection: &mut SqliteConnection, scan: &Scan) -> QueryResult<Option<i64>> {
    let Some(key) = &scan.selection.key else { return Ok(None) };
    let id = keys::table.filter(keys::key.eq(key.as_str())).select(keys::id);
    let id: Option<i64> = id.get_result(connection).optional()?;
    Ok(id.map(|id| Scope::Key(id).code()))
}

/// What is selected of each session: its data, and what is to be seen of it.
type Columns = (Nullable<Text>, Seen);

type Seen = (BigInt, BigInt, BigInt, Integer, Integer, Integer, Nullable<BigInt>, Nullable<Binary>);
