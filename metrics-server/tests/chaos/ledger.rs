//! A record of the events and acknowledgements of every viewer, and the check of the database against it.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics_core::interval::Segments;
use metrics_core::key::SessionId;
use metrics_core::recorder::CHECKPOINT;
use metrics_core::session::Stored;
use metrics_core::store::{RowId, Store};
use metrics_core::{ApiKey, export};

/// The distance between the start positions of two pairs, in milliseconds of video: longer than any pair can play.
pub(crate) const STRIDE_MS: u32 = 1_000_000;

/// The largest difference between two clocks that both count one span in milliseconds.
const ROUNDING: Duration = Duration::from_millis(50);

/// How long a busy machine may take to start a checkpoint that is due, and to commit it.
const BUSY: Duration = Duration::from_secs(5);

/// The server assumes that a viewer without a connection watches on for a minute; a gap shorter than this is within
/// that minute.
const SURELY_NO_GAP: Duration = Duration::from_secs(50);

/// The times at which an event was sent and acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EventTimes {
    /// When the page first sent the event, or buffered it without a connection.
    pub(crate) sent: Option<Instant>,
    /// When it was acknowledged.
    pub(crate) acknowledged: Option<Instant>,
}

/// A play and the pause after it, at positions that no other pair has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) from_ms: u32,
    pub(crate) to_ms: u32,
    pub(crate) play: EventTimes,
    pub(crate) pause: EventTimes,
}

/// Events that the ledger only counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) sent: u32,
    pub(crate) acknowledged: u32,
}

/// The record of one session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sheet {
    pub(crate) session: String,
    pub(crate) video: usize,
    pub(crate) page: usize,
    /// Whether the page sends every event again until it is acknowledged.
    pub(crate) repeats: bool,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) seeks: Count,
    pub(crate) failures: Count,
    /// When the viewer was connected and joined.
    pub(crate) connected: Vec<(Instant, Option<Instant>)>,
    /// When the viewer disappeared for good, in the middle of the last pair.
    pub(crate) abandoned: Option<Instant>,
}

/// When the server could write: it ran, and the database was available.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    spans: Mutex<Vec<(Instant, Option<Instant>)>>,
}

impl Timeline {
    pub(crate) fn able(&self) {
        lock(&self.spans).push((Instant::now(), None));
    }

    pub(crate) fn unable(&self) {
        if let Some((_, end)) = lock(&self.spans).last_mut() {
            end.get_or_insert_with(Instant::now);
        }
    }

    /// The latest time after which the server could write and the viewer was `connected` for a checkpoint interval and
    /// `BUSY`, before `end`.
    fn checkpoint_before(&self, end: Instant, connected: &[(Instant, Option<Instant>)]) -> Instant {
        let mut left = CHECKPOINT + BUSY;
        let spans = lock(&self.spans).clone();
        for (able, unable) in spans.iter().rev() {
            for (joined, lost) in connected.iter().rev() {
                let start = *able.max(joined);
                let stop = unable.unwrap_or(end).min(lost.unwrap_or(end)).min(end);
                let span = stop.saturating_duration_since(start);
                if left <= span {
                    return stop - left;
                }
                left -= span;
            }
        }
        spans.first().map_or(end, |(able, _)| *able)
    }
}

/// One session as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredSession {
    pub(crate) segments: Vec<(u32, u32)>,
    seeks: u32,
    failures: u32,
    clamped: u32,
    /// View time of short segments between two jumps, which are not stored as segments.
    scrubbed_ms: u64,
}

/// The minimum length of a segment between two jumps; a shorter one is scrubbing.
const SCRUB_MS_MAX: u32 = 250;

impl StoredSession {
    fn of(stored: &Stored) -> Self {
        let segments = Segments::decode(&stored.segments).unwrap();
        let details = &stored.counters.details;
        assert_eq!(stored.view_ms, segments.len_ms() + details.outside_ms());
        Self {
            segments: segments.iter().map(|it| (it.start_ms(), it.end_ms())).collect(),
            seeks: details.seeks,
            failures: stored.counters.failures,
            clamped: details.clamped,
            scrubbed_ms: details.scrubbed_ms,
        }
    }

    /// The end of the only segment that begins at `from_ms`.
    fn end_of(&self, from_ms: u32) -> Option<u32> {
        let mut found = self.segments.iter().filter(|(from, _)| *from == from_ms);
        let end_ms = found.next().map(|(_, to_ms)| *to_ms);
        assert!(found.next().is_none(), "a segment is there twice: {self:?}");
        end_ms
    }
}

/// All sessions of a database, by their ids.
pub(crate) async fn everything(store: &dyn Store) -> HashMap<RowId, StoredSession> {
    let (mut all, mut cursor) = (HashMap::new(), None);
    loop {
        let page = export::page(store, None, cursor, 1_000).await.unwrap();
        for record in page.records {
            let twice = all.insert(record.id, StoredSession::of(&record.stored));
            assert!(twice.is_none(), "a session is there twice");
        }
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

impl Sheet {
    /// Checks that all acknowledged events are stored unchanged.
    fn check_acknowledged(&self, stored: Option<&StoredSession>) {
        let mut scrubbed_ms = 0;
        for pair in self.pairs.iter().filter(|pair| pair.play.acknowledged.is_some()) {
            let stored = stored.unwrap_or_else(|| panic!("lost although acknowledged: {self:?}"));
            let end_ms = stored.end_of(pair.from_ms);
            let len_ms = pair.to_ms.saturating_sub(pair.from_ms);
            if pair.pause.acknowledged.is_some() && end_ms.is_none() && len_ms < SCRUB_MS_MAX {
                scrubbed_ms += u64::from(len_ms);
            } else if pair.pause.acknowledged.is_some() {
                assert_eq!(end_ms, Some(pair.to_ms), "{pair:?} of {self:?}\nis {stored:?}");
            }
        }
        let stored_scrubbed_ms = stored.map_or(0, |stored| stored.scrubbed_ms);
        assert!(scrubbed_ms <= stored_scrubbed_ms, "{self:?}\nis {stored:?}");
        let counted = stored.map_or((0, 0), |stored| (stored.seeks, stored.failures));
        assert!(self.seeks.acknowledged <= counted.0, "{self:?}\nis {stored:?}");
        assert!(self.failures.acknowledged <= counted.1, "{self:?}\nis {stored:?}");
    }

    /// Checks that all acknowledged events are stored, and nothing else than events that may be.
    fn check(&self, stored: &StoredSession, timeline: &Timeline, is_shared: bool) {
        self.check_acknowledged(Some(stored));
        for (from_ms, _) in &stored.segments {
            let known = self.pairs.iter().any(|pair| pair.from_ms == *from_ms);
            assert!(known, "{from_ms} was never played in {self:?}\nis {stored:?}");
        }
        for (index, pair) in self.pairs.iter().enumerate() {
            if pair.pause.acknowledged.is_some() {
                continue;
            }
            assert!(!self.repeats, "{pair:?} is not over: {self:?}");
            let end_ms = stored.end_of(pair.from_ms);
            let paused = pair.pause.sent.is_some() && end_ms == Some(pair.to_ms);
            let bounds = self.bounds(index, timeline, is_shared);
            let ran_ms = u128::from(end_ms.map_or(0, |end_ms| end_ms - pair.from_ms));
            let scrubbed = end_ms.is_none()
                && 0 < stored.scrubbed_ms
                && *bounds.start() < u128::from(SCRUB_MS_MAX);
            assert!(
                paused || scrubbed || bounds.contains(&ran_ms),
                "{pair:?} ran {ran_ms} ms and not {bounds:?} in {self:?}\nis {stored:?}"
            );
        }
        let counted = (stored.seeks, stored.failures);
        let sent = (self.seeks.sent, self.failures.sent);
        assert!(counted.0 <= sent.0 && counted.1 <= sent.1, "{self:?}\nis {stored:?}");
        assert!(!self.repeats || counted == sent, "{self:?}\nis {stored:?}");
        // No pause is sent before its play.
        if !is_shared || self.pairs.iter().all(|pair| pair.pause.acknowledged.is_some()) {
            assert_eq!(stored.clamped, 0, "{self:?}\nis {stored:?}");
        }
    }

    /// The minimum and maximum length of a pair whose pause was not acknowledged, in milliseconds.
    fn bounds(&self, index: usize, timeline: &Timeline, is_shared: bool) -> RangeInclusive<u128> {
        let pair = &self.pairs[index];
        let later = &self.pairs[index + 1..];
        let begun = pair.play.sent.expect("every play is sent");
        let closed =
            later.iter().find_map(|pair| pair.play.acknowledged).unwrap_or_else(Instant::now);
        // A suspended server may read a play from a connection that ended, after another server recorded more events
        // than a session keeps in order.
        let may_come_late = is_shared
            && pair.play.acknowledged.is_none()
            && self
                .connected
                .iter()
                .any(|(_, lost)| lost.is_some_and(|lost| begun <= lost && lost <= closed));
        let closed = if may_come_late { Instant::now() } else { closed };
        let longest = closed.duration_since(begun) + ROUNDING;
        let shortest = match (pair.play.acknowledged, later.first(), self.abandoned) {
            (Some(acknowledged), Some(next), _) => {
                let next = next.play.sent.expect("every play is sent");
                let near = next.duration_since(begun) < SURELY_NO_GAP;
                if near { next.saturating_duration_since(acknowledged) } else { Duration::ZERO }
            }
            (Some(acknowledged), None, Some(gone)) => timeline
                .checkpoint_before(gone, &self.connected)
                .saturating_duration_since(acknowledged),
            _ => Duration::ZERO,
        };
        shortest.saturating_sub(ROUNDING).as_millis()..=longest.as_millis()
    }
}

/// The records of all sessions.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) key: ApiKey,
    /// Whether several servers share the database.
    is_shared: bool,
    sheets: Mutex<Vec<Arc<Mutex<Sheet>>>>,
}

/// A stored session that passed the check.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) video: usize,
    pub(crate) page: usize,
    pub(crate) segments: Vec<(u32, u32)>,
    pub(crate) scrubbed_ms: u64,
}

impl Ledger {
    pub(crate) fn new(key: ApiKey, servers: usize) -> Self {
        Self { key, is_shared: 1 < servers, sheets: Mutex::default() }
    }

    /// Adds a sheet for one more session.
    pub(crate) fn open(&self, sheet: Sheet) -> Arc<Mutex<Sheet>> {
        let sheet = Arc::new(Mutex::new(sheet));
        lock(&self.sheets).push(Arc::clone(&sheet));
        sheet
    }

    pub(crate) fn snapshot(&self) -> Vec<Sheet> {
        lock(&self.sheets).iter().map(|sheet| lock(sheet).clone()).collect()
    }

    /// Checks that all events acknowledged so far are stored; other events may arrive meanwhile.
    pub(crate) async fn check_acknowledged(&self, store: &dyn Store) {
        let sheets = self.snapshot();
        let stored = everything(store).await;
        for sheet in &sheets {
            sheet.check_acknowledged(
                stored.get(&RowId::from(SessionId::new(&self.key, &sheet.session))),
            );
        }
    }

    /// Checks, once all viewers are done, that the database holds the expected sessions and nothing else.
    pub(crate) async fn check(&self, store: &dyn Store, timeline: &Timeline) -> Vec<Checked> {
        let sheets = self.snapshot();
        let mut stored = everything(store).await;
        assert_eq!(stored.len(), sheets.len());
        assert_eq!(store.count_sessions().await.unwrap(), sheets.len() as u64);
        let mut checked = Vec::new();
        for sheet in &sheets {
            let stored = stored.remove(&RowId::from(SessionId::new(&self.key, &sheet.session)));
            let stored = stored.unwrap_or_else(|| panic!("lost: {sheet:?}"));
            sheet.check(&stored, timeline, self.is_shared);
            let StoredSession { segments, scrubbed_ms, .. } = stored;
            checked.push(Checked { video: sheet.video, page: sheet.page, segments, scrubbed_ms });
        }
        checked
    }

    /// Counts of sessions, events and connections as text.
    pub(crate) fn summary(&self) -> String {
        let sheets = self.snapshot();
        let mut sums = BTreeMap::new();
        let mut add = |name: &'static str, count: usize| *sums.entry(name).or_insert(0) += count;
        for sheet in &sheets {
            let event_times = || sheet.pairs.iter().flat_map(|pair| [pair.play, pair.pause]);
            let counts = [sheet.seeks, sheet.failures];
            let sent = counts.iter().map(|count| count.sent as usize).sum::<usize>();
            let acknowledged =
                counts.iter().map(|count| count.acknowledged as usize).sum::<usize>();
            add("sessions", 1);
            add("events", event_times().filter(|times| times.sent.is_some()).count() + sent);
            add(
                "acknowledged",
                event_times().filter(|times| times.acknowledged.is_some()).count() + acknowledged,
            );
            add("connections", sheet.connected.len());
            add("abandoned", usize::from(sheet.abandoned.is_some()));
        }
        sums.iter().map(|(name, sum)| format!("{sum} {name}")).collect::<Vec<_>>().join(", ")
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
