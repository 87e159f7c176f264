//! Where the answer to a report lies: which days have sums, and which sessions are to be looked at beside them.
//!
//! The videos of a selection are looked up first. With their ids as constants the planner knows how many sessions to
//! expect, and which parts of a compressed chunk to unpack.
//!
//! What does not depend on one another is asked for at once. The server still answers one after the other, but without
//! waiting in between.

use diesel::data_types::{PgInterval, PgTimestamp};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Interval, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::future::try_join;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::prepared::Prepared;
use super::read::{Videos, json, limits_videos, of_videos, videos};
use super::types::{timestamp, unix_ms};
use crate::interval::Segments;
use crate::query::Scan;
use crate::rollup::{Grain, Plan};
use crate::store::failure::Failure;
use crate::store::row::narrow;
use crate::time_bucket::Buckets;

/// The start of the cell that a session is in. How wide a cell is comes behind what says which sessions.
pub(super) const CELL: &str = "date_bin($6, started_at, timestamptz '1970-01-01 00:00+00') as cell";

fn width(scan: &Scan, buckets: &Buckets) -> PgInterval {
    let grain = scan.grain(buckets);
    PgInterval::from_microseconds(grain.num_microseconds().unwrap_or(i64::MAX).max(1))
}

/// How many parts are asked for before the first is answered: mostly there are these, both ends of a timeframe and what
/// is loose.
const AHEAD: usize = 3;

/// How many sessions are kept at most where they are needed a second time. More are read again, so that a report needs
/// no memory for all that it looks at.
const KEPT_MAX: usize = 10_000;

/// Where what a scan asks for is found.
pub(super) struct Found<'a> {
    scan: &'a Scan,
    videos: Videos,
    // Whose sums are wanted: videos, or keys below zero.
    pub(super) scopes: Vec<i64>,
    pub(super) plan: Plan,
}

/// In which buckets sums are wanted, and how fine they are, if there are any that help.
pub(super) type Sums = Option<(Option<Buckets>, Grain)>;

/// The sums of each video say where viewers began and stopped to watch, but not who watched for how long.
pub(super) fn of_each_video(scan: &Scan, buckets: Option<Buckets>) -> Sums {
    scan.summed_from().filter(|first| *first == 0).map(|_| (buckets, Grain::Day))
}

/// Sessions that are looked at, by when they started.
#[derive(Clone, Copy)]
enum Part {
    /// Those that are in the sums, where these do not say enough.
    Rolled(i64, i64),
    /// Those that are not.
    Loose(i64, i64),
}

/// Whose sums there are, and of which days.
#[derive(QueryableByName)]
struct Scope {
    #[diesel(sql_type = BigInt)]
    scope: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    first: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
}

impl Scope {
    /// Its columns. Its first and last day are two steps in the index.
    fn columns(scope: &str) -> String {
        let day = format!("select day from rollup_plays where scope = {scope} order by day");
        format!("{scope} as scope, ({day} limit 1) as first, ({day} desc limit 1) as last")
    }
}

impl<'a> Found<'a> {
    /// By the sums of keys, if all of their videos are selected.
    pub(super) async fn by_scope(
        connection: &AsyncPgConnection,
        scan: &'a Scan,
        sums: Sums,
    ) -> Result<Self, Failure> {
        let selection = &scan.selection;
        if sums.is_none() || limits_videos(selection) && !selection.is_whole_key() {
            return Self::by_video(connection, scan, sums).await;
        }
        let columns = Scope::columns("-keys.id");
        let keys =
            Prepared::new(format!("select {columns} from keys where $1 is null or key = $1"))
                .bind::<Nullable<Text>, _>(selection.key.as_ref().map(|key| key.as_str()));
        let keys = async { Ok(keys.load(&mut &*connection).await?) };
        let (videos, keys) = try_join(videos(connection, selection), keys).await?;
        Ok(Self::of(scan, videos, &keys, sums))
    }

    /// By the sums of each video.
    pub(super) async fn by_video(
        connection: &AsyncPgConnection,
        scan: &'a Scan,
        sums: Sums,
    ) -> Result<Self, Failure> {
        let selection = &scan.selection;
        if sums.is_none() {
            return Ok(Self::of(scan, videos(connection, selection).await?, &[], sums));
        }
        let columns = Scope::columns("videos.id");
        let found = of_videos(&columns, selection).load::<Scope>(&mut &*connection).await?;
        let ids = || found.iter().map(|it| narrow(it.scope)).collect::<Result<_, _>>();
        let videos = limits_videos(selection).then(ids).transpose()?;
        Ok(Self::of(scan, videos, &found, sums))
    }

    fn of(scan: &'a Scan, videos: Videos, scopes: &[Scope], sums: Sums) -> Self {
        let timeframe = (scan.from_ms, scan.to_ms);
        let plan = match sums {
            None => Plan::of_rows(timeframe),
            Some((buckets, grain)) => {
                let first = scopes.iter().filter_map(|it| it.first).min();
                let last = scopes.iter().filter_map(|it| it.last).max();
                let ends = first.zip(last);
                ends.map(|ends| Plan::new(timeframe, buckets, grain, ends)).unwrap_or_default()
            }
        };
        Self { scan, videos, scopes: scopes.iter().map(|it| it.scope).collect(), plan }
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

    /// `select` by cell over the sessions that are not in the sums that are read.
    pub(super) async fn by_cell<R>(
        &self,
        connection: &AsyncPgConnection,
        select: &str,
        rest: &str,
        buckets: Buckets,
    ) -> Result<Vec<R>, Failure>
    where
        R: QueryableByName<Pg> + Send + 'static,
    {
        let parts = self.parts().map(|part| {
            let query = self.sessions(select, part, rest);
            let query = query.bind::<Interval, _>(width(self.scan, &buckets));
            async move { query.load::<R>(&mut &*connection).await }
        });
        Ok(stream::iter(parts).buffered(AHEAD).try_concat().await?)
    }

    /// Calls `view` with the start and the segments of each session that is not in the sums that are read, as they
    /// come.
    pub(super) async fn each_viewing(
        &self,
        connection: &AsyncPgConnection,
        mut view: impl FnMut(i64, Segments) -> Result<(), Failure> + Send,
    ) -> Result<(), Failure> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Timestamptz)]
            started_at: PgTimestamp,
            #[diesel(sql_type = Binary)]
            segments: Vec<u8>,
        }
        let parts = stream::iter(self.parts()).map(|part| {
            let query = self.sessions("started_at, segments", part, "");
            async move { query.load_stream::<Row>(&mut &*connection).await }
        });
        let mut rows = parts.buffered(AHEAD).try_flatten();
        while let Some(row) = rows.try_next().await? {
            view(unix_ms(row.started_at), Segments::decode(&row.segments)?)?;
        }
        Ok(())
    }

    /// Where the furthest of the sessions ends that are not in the sums that are read, and the segments of each, unless
    /// there are many.
    pub(super) async fn viewings(
        &self,
        connection: &AsyncPgConnection,
    ) -> Result<(u32, Option<Vec<Segments>>), Failure> {
        let (mut end_ms, mut kept) = (0, Some(Vec::new()));
        self.each_viewing(connection, |_, segments| {
            end_ms = segments.union().end_ms().max(end_ms);
            if let Some(few) = kept.as_mut().filter(|few| few.len() < KEPT_MAX) {
                few.push(segments);
            } else {
                kept = None;
            }
            Ok(())
        })
        .await?;
        Ok((end_ms, kept))
    }
}
