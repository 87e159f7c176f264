//! The folds of the reports on plays, sources and engagement.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use serde_json::{Map, Value};

use super::read::{Fold, Reading, read, read_from};
use crate::block::{Coded, Columns, Group, Groups};
use crate::client::Client;
use crate::containment::contains;
use crate::engagement::{Parts, Seconds};
use crate::interval::Segments;
use crate::query::{Scan, Selection};
use crate::report::{PlayCell, PlayFigures, SourceCell};
use crate::source::Source;
use crate::store::{Detail, Error, Snapshot, Store, VideoId, VideoRecord, VideoScope};
use crate::time_bucket::Buckets;
use crate::totals::{Cover, DAY_MS, DayTotals, HOUR_MS, Plan, day_of, first_bin};

/// Sums plays per bucket.
pub(crate) async fn plays(
    store: &dyn Store,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Vec<PlayCell>, Error> {
    let fold = Counting::new(scan, Plays { buckets, cells: BTreeMap::new() });
    let mut reading = fold.filter.reading(scan);
    let mut snapshot = store.snapshot().await?;
    let mut cells = Vec::new();
    if let Some(first) = first_bin(scan.minimum_view_ms)
        && !reading.lists_videos
        && reading.scope.identifiers.is_none()
    {
        (cells, reading.closed) = summed(&mut *snapshot, scan, buckets, first).await?;
    }
    let fold = read_from(&mut *snapshot, &reading, fold).await?.inner;
    cells.extend(fold.cells.into_iter().map(|(at_ms, figures)| PlayCell { at_ms, figures }));
    Ok(cells)
}

/// Sums plays from totals, as far as they reach, and returns the stretches of time that are left to blocks.
async fn summed(
    snapshot: &mut dyn Snapshot,
    scan: &Scan,
    buckets: Buckets,
    first: u8,
) -> Result<(Vec<PlayCell>, Vec<(i64, i64)>), Error> {
    let key = scan.selection.key.as_ref();
    let frame = (day_of(scan.from_ms), day_of(scan.to_ms));
    let days = snapshot.totals(key, frame.0, frame.1, Detail::Days).await?;
    let mut numbers: Vec<i64> = days.iter().map(|totals| totals.day).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let plan = Plan::new((scan.from_ms, scan.to_ms), buckets, numbers);
    let covers: HashMap<i64, Cover> = plan.days.iter().copied().collect();
    let mut cells = Vec::new();
    for totals in days.iter().filter(|totals| covers.get(&totals.day) == Some(&Cover::Day)) {
        let figures = totals.plays(first).map_err(Error::Damaged)?;
        cells.push(PlayCell { at_ms: totals.day * DAY_MS, figures });
    }
    let by_hour = match plan.days_by_hour() {
        Some((from, to)) => snapshot.totals(key, from, to, Detail::Hours).await?,
        None => Vec::new(),
    };
    for totals in by_hour {
        let Some(Cover::Hours(hours)) = covers.get(&totals.day) else { continue };
        let day = DayTotals::decode(&totals).map_err(Error::Damaged)?;
        for hour in (0..24).filter(|hour| hours >> hour & 1 == 1) {
            let at_ms = totals.day * DAY_MS + i64::from(hour) * HOUR_MS;
            cells.push(PlayCell { at_ms, figures: day.hour(hour, first) });
        }
    }
    Ok((cells, plan.rest))
}

/// Sums plays per bucket and page, those that have a page.
pub(crate) async fn sources(
    store: &dyn Store,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Vec<SourceCell>, Error> {
    let fold = Counting::new(scan, Sources { buckets, plays: HashMap::new() });
    let reading = fold.filter.reading(scan);
    let plays = read(store, &reading, fold).await?.inner.plays.into_iter();
    Ok(plays.map(|((at_ms, source), plays)| SourceCell { at_ms, source, plays }).collect())
}

/// Counts the viewers of each of `parts` equal parts, up to the furthest position watched by any session that counts.
pub(crate) async fn parts(store: &dyn Store, scan: &Scan, parts: u32) -> Result<Parts, Error> {
    let mut snapshot = store.snapshot().await?;
    let end = Counting::new(scan, Furthest { end_ms: 0 });
    let reading = end.filter.reading(scan);
    let end_ms = read_from(&mut *snapshot, &reading, end).await?.inner.end_ms;
    let fold = Counting::new(scan, Parts::new(end_ms, parts));
    Ok(read_from(&mut *snapshot, &reading, fold).await?.inner)
}

/// Counts the views and the viewers of every second of video.
pub(crate) async fn seconds(
    store: &dyn Store,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Seconds, Error> {
    let fold = Counting::new(scan, Seconds::new(buckets));
    let reading = fold.filter.reading(scan);
    Ok(read(store, &reading, fold).await?.inner)
}

/// Counts the sessions that are watched.
pub(crate) async fn watching(
    store: &dyn Store,
    selection: &Selection,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<u64, Error> {
    let selection = selection.clone();
    let scan = Scan { selection, from_ms: i64::MIN, to_ms: i64::MAX, minimum_view_ms: 0 };
    let fold = Counting::new(&scan, Watching(0));
    let reading =
        Reading { closed: Vec::new(), watched_at: Some(now), ..fold.filter.reading(&scan) };
    Ok(read(store, &reading, fold).await?.inner.0)
}

/// Decides which sessions of a scan count.
pub(crate) struct Filter {
    selection: Selection,
    minimum_view_ms: u64,
}

impl Filter {
    pub(crate) fn new(scan: &Scan) -> Self {
        Self { selection: scan.selection.clone(), minimum_view_ms: scan.minimum_view_ms }
    }

    pub(crate) fn reading(&self, scan: &Scan) -> Reading {
        let Selection { identifiers, video, key, .. } = &self.selection;
        let frame = (scan.from_ms, scan.to_ms);
        Reading {
            scope: VideoScope { key: key.clone(), identifiers: identifiers.clone() },
            lists_videos: video.is_some() || self.selection.session.is_some(),
            closed: vec![frame],
            open: frame,
            watched_at: None,
        }
    }

    fn groups(&self) -> Groups {
        let mut groups = Groups::default();
        if 0 < self.minimum_view_ms {
            groups = groups.with(Group::Times);
        }
        if self.selection.session.is_some() { groups.with(Group::SessionData) } else { groups }
    }

    pub(crate) fn wants(&self, video: &VideoRecord) -> bool {
        holds(video.video.metadata(), self.selection.video.as_ref())
    }

    /// Calls `count` with each session that counts.
    pub(crate) fn each(
        &self,
        columns: &Columns,
        sessions: Range<usize>,
        mut count: impl FnMut(usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let data = self.selection.session.as_ref().zip(columns.session_data.as_ref());
        let data: Option<(Vec<bool>, &Coded<_>)> = data.map(|(part, data)| {
            (data.values().iter().map(|it| holds(it.as_deref(), Some(part))).collect(), data)
        });
        for session in sessions {
            let is_long =
                self.minimum_view_ms == 0 || self.minimum_view_ms <= columns.view_ms[session];
            let is_held =
                data.as_ref().is_none_or(|(held, data)| held[data.code(session) as usize]);
            if is_long && is_held {
                count(session)?;
            }
        }
        Ok(())
    }
}

/// Whether JSON contains a part. Without JSON, nothing is contained, not even an empty object.
pub(crate) fn holds(json: Option<&str>, part: Option<&Map<String, Value>>) -> bool {
    let Some(part) = part else { return true };
    let whole: Option<Value> = json.and_then(|json| serde_json::from_str(json).ok());
    whole.is_some_and(|whole| contains(&whole, &Value::Object(part.clone())))
}

/// What is counted of the sessions that count.
trait Count: Send + 'static {
    const GROUPS: &[Group];

    fn count(&mut self, columns: &Columns, session: usize) -> Result<(), Error>;
}

struct Counting<C> {
    filter: Filter,
    inner: C,
}

impl<C: Count> Counting<C> {
    fn new(scan: &Scan, inner: C) -> Self {
        Self { filter: Filter::new(scan), inner }
    }
}

impl<C: Count> Fold for Counting<C> {
    type Error = Error;

    fn groups(&self) -> Groups {
        self.filter.groups().union(C::GROUPS.iter().copied().collect())
    }

    fn wants(&mut self, video: &VideoRecord) -> bool {
        self.filter.wants(video)
    }

    fn add(
        &mut self,
        _video: VideoId,
        columns: &Columns,
        sessions: Range<usize>,
    ) -> Result<(), Error> {
        let inner = &mut self.inner;
        self.filter.each(columns, sessions, |session| inner.count(columns, session))
    }
}

struct Plays {
    buckets: Buckets,
    // By the start of the bucket.
    cells: BTreeMap<i64, PlayFigures>,
}

impl Count for Plays {
    const GROUPS: &[Group] = &[Group::Starts, Group::Times, Group::Clients];

    fn count(&mut self, columns: &Columns, session: usize) -> Result<(), Error> {
        let client = columns.clients.as_ref().map_or_else(Client::default, |it| *it.get(session));
        let at_ms = bucket_ms(&self.buckets, columns.starts_ms[session]);
        let (view_ms, unique_ms) = (columns.view_ms[session], columns.unique_ms[session]);
        self.cells.entry(at_ms).or_default().add_plays(1, view_ms, unique_ms, client);
        Ok(())
    }
}

struct Sources {
    buckets: Buckets,
    plays: HashMap<(i64, Source), u64>,
}

impl Count for Sources {
    const GROUPS: &[Group] = &[Group::Starts, Group::Pages];

    fn count(&mut self, columns: &Columns, session: usize) -> Result<(), Error> {
        if let Some(page) = columns.pages.as_ref().and_then(|pages| pages.get(session).clone()) {
            let at_ms = bucket_ms(&self.buckets, columns.starts_ms[session]);
            *self.plays.entry((at_ms, page)).or_default() += 1;
        }
        Ok(())
    }
}

struct Furthest {
    end_ms: u32,
}

impl Count for Furthest {
    const GROUPS: &[Group] = &[Group::Segments];

    fn count(&mut self, columns: &Columns, session: usize) -> Result<(), Error> {
        let segments = Segments::decode(columns.segments(session)).map_err(Error::Damaged)?;
        self.end_ms = segments.iter().map(|it| it.end_ms()).fold(self.end_ms, u32::max);
        Ok(())
    }
}

impl Count for Parts {
    const GROUPS: &[Group] = &[Group::Segments];

    fn count(&mut self, columns: &Columns, session: usize) -> Result<(), Error> {
        let segments = Segments::decode(columns.segments(session)).map_err(Error::Damaged)?;
        self.add(&segments);
        Ok(())
    }
}

impl Count for Seconds {
    const GROUPS: &[Group] = &[Group::Starts, Group::Segments];

    fn count(&mut self, columns: &Columns, session: usize) -> Result<(), Error> {
        let segments = Segments::decode(columns.segments(session)).map_err(Error::Damaged)?;
        Ok(self.add(columns.starts_ms[session], &segments)?)
    }
}

struct Watching(u64);

impl Count for Watching {
    const GROUPS: &[Group] = &[];

    fn count(&mut self, _columns: &Columns, _session: usize) -> Result<(), Error> {
        self.0 += 1;
        Ok(())
    }
}

fn bucket_ms(buckets: &Buckets, start_ms: i64) -> i64 {
    buckets.start_of(crate::query::instant(start_ms)).timestamp_millis()
}
