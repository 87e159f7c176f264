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
use crate::query::{Scan, Selection};
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

/// In which buckets sums are wanted, and how fine they are.
pub(super) type Sums = (Option<Buckets>, Grain);

/// Whether a selection means all videos of one key, or of every key.
fn is_whole(selection: &Selection) -> bool {
    !limits_videos(selection) || selection.is_whole_key()
}

/// The sums of each video say where viewers began and stopped to watch, but not who watched for how long.
pub(super) fn of_each_video(scan: &Scan, buckets: Option<Buckets>) -> Option<Sums> {
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
    /// Its columns. The first and the last day are two steps in the index.
    fn columns(scope: &str) -> String {
        let day = format!("select day from rollup_plays where scope = {scope} order by day");
        format!("{scope} as scope, ({day} limit 1) as first, ({day} desc limit 1) as last")
    }

    /// Those of videos where their days are of no interest.
    const VIDEO: &str = "id as scope, null::bigint as first, null::bigint as last";

    /// The keys of a selection of all their videos.
    async fn keys(
        connection: &AsyncPgConnection,
        selection: &Selection,
    ) -> Result<Vec<Self>, Failure> {
        let columns = Self::columns("-keys.id");
        let keys =
            Prepared::new(format!("select {columns} from keys where $1 is null or key = $1"))
                .bind::<Nullable<Text>, _>(selection.key.as_ref().map(|key| key.as_str()));
        Ok(keys.load(&mut &*connection).await?)
    }

    /// The videos of a selection.
    async fn videos(
        connection: &AsyncPgConnection,
        selection: &Selection,
        columns: &str,
    ) -> Result<Vec<Self>, Failure> {
        Ok(of_videos(columns, selection).load(&mut &*connection).await?)
    }

    /// How a scan is answered by the sums of these.
    fn plan(scopes: &[Self], scan: &Scan, (buckets, grain): Sums) -> Plan {
        let first = scopes.iter().filter_map(|it| it.first).min();
        let last = scopes.iter().filter_map(|it| it.last).max();
        let timeframe = (scan.from_ms, scan.to_ms);
        let ends = first.zip(last);
        ends.map(|ends| Plan::new(timeframe, buckets, grain, ends)).unwrap_or_default()
    }
}

impl<'a> Found<'a> {
    /// By the sums of keys, if all of their videos are selected.
    pub(super) async fn by_scope(
        connection: &AsyncPgConnection,
        scan: &'a Scan,
        sums: Option<Sums>,
    ) -> Result<Self, Failure> {
        let selection = &scan.selection;
        let Some(wanted) = sums.filter(|_| is_whole(selection)) else {
            return Self::by_video(connection, scan, sums).await;
        };
        let keys = Scope::keys(connection, selection);
        let (videos, keys) = try_join(videos(connection, selection), keys).await?;
        let plan = Scope::plan(&keys, scan, wanted);
        Ok(Self { scan, videos, scopes: keys.iter().map(|it| it.scope).collect(), plan })
    }

    /// By the sums of each video.
    pub(super) async fn by_video(
        connection: &AsyncPgConnection,
        scan: &'a Scan,
        sums: Option<Sums>,
    ) -> Result<Self, Failure> {
        let selection = &scan.selection;
        let Some(sums) = sums else {
            let plan = Plan::of_rows((scan.from_ms, scan.to_ms));
            let videos = videos(connection, selection).await?;
            return Ok(Self { scan, videos, scopes: Vec::new(), plan });
        };
        let (found, plan) = if is_whole(selection) {
            // Keys have sums of the days of all their videos, which may be many.
            let found = Scope::videos(connection, selection, Scope::VIDEO);
            let (found, keys) = try_join(found, Scope::keys(connection, selection)).await?;
            (found, Scope::plan(&keys, scan, sums))
        } else {
            let columns = Scope::columns("videos.id");
            let found = Scope::videos(connection, selection, &columns).await?;
            let plan = Scope::plan(&found, scan, sums);
            (found, plan)
        };
        let ids = || found.iter().map(|it| narrow(it.scope)).collect::<Result<_, _>>();
        let videos = limits_videos(selection).then(ids).transpose()?;
        Ok(Self { scan, videos, scopes: found.iter().map(|it| it.scope).collect(), plan })
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
