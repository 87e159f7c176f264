//! The expected session: the log of everything that happened to a viewer, in order, and the definitions applied to all
//! of it each time. Nothing is evicted, written, loaded or merged.

/// The longest disconnection during which a viewer is assumed to have watched on.
const GAP_MS_MAX: i64 = 60_000;

/// A play farther than this from the end of the segment before is a jump.
const JUMP_MS: u32 = 50;

/// A segment between two jumps that is shorter than this was scrubbed, not watched.
const SCRUB_MS_MAX: u32 = 250;

/// Something that happened to a viewer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ViewerEvent {
    Play {
        from_ms: u32,
    },
    Pause {
        to_ms: u32,
    },
    Failure,
    Seek,
    /// The connection was lost.
    Lost,
    /// The viewer is connected again.
    Back,
    Left,
}

/// The session that follows from a log.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) started_at_ms: i64,
    /// Sorted.
    pub(crate) segments: Vec<(u32, u32)>,
    pub(crate) failures: u32,
    pub(crate) seeks: u32,
    pub(crate) watching: bool,
    /// View time that is in no segment.
    pub(crate) scrubbed_ms: u64,
}

/// Everything that happened to a viewer, each entry with the server's clock then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    entries: Vec<(i64, ViewerEvent)>,
    // How many entries are known to be durable: those after them are stored together, or not at all.
    durable: usize,
}

impl Log {
    pub(crate) fn add(&mut self, now_ms: i64, viewer_event: ViewerEvent) {
        self.entries.push((now_ms, viewer_event));
    }

    /// Marks all entries as durable.
    pub(crate) fn acknowledged(&mut self) {
        self.durable = self.entries.len();
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.durable == self.entries.len()
    }

    /// Removes all entries that were not acknowledged.
    pub(crate) fn undo(&mut self) {
        self.entries.truncate(self.durable);
    }

    /// The session that follows, or `None` if nothing was played.
    pub(crate) fn outcome(&self, now_ms: i64, duration_ms: Option<u32>) -> Option<Outcome> {
        let is_play = |(_, viewer_event): &&(i64, ViewerEvent)| {
            matches!(viewer_event, ViewerEvent::Play { .. })
        };
        let started_at_ms = self.entries.iter().find(is_play)?.0;
        let mut fold = Fold { duration_ms, ..Fold::default() };
        let begun = self.entries.iter().skip_while(|entry| !is_play(entry));
        begun.for_each(|&(at_ms, viewer_event)| fold.step(at_ms, viewer_event));
        let watching = fold.open.is_some_and(|open| open.lost_ms.is_none());
        fold.close_at_estimate(now_ms);
        let mut outcome = Outcome { started_at_ms, watching, ..fold.outcome };
        outcome.segments.sort_unstable();
        Some(outcome)
    }
}

#[derive(Clone, Copy)]
struct Open {
    from_ms: u32,
    since_ms: i64,
    idle_ms: i64,
    lost_ms: Option<i64>,
    has_jumped: bool,
}

/// The segment that was closed last.
#[derive(Clone, Copy)]
struct Closed {
    from_ms: u32,
    to_ms: u32,
    has_jumped: bool,
}

#[derive(Default)]
struct Fold {
    duration_ms: Option<u32>,
    open: Option<Open>,
    last: Option<Closed>,
    outcome: Outcome,
}

impl Fold {
    fn step(&mut self, at_ms: i64, viewer_event: ViewerEvent) {
        match viewer_event {
            ViewerEvent::Play { from_ms } => {
                self.close_at_estimate(at_ms);
                let is_jump = |last: &Closed| JUMP_MS < last.to_ms.abs_diff(from_ms);
                let jumped = self.last.filter(is_jump);
                self.scrub(jumped);
                let has_jumped = jumped.is_some();
                let open = Open { from_ms, since_ms: at_ms, idle_ms: 0, lost_ms: None, has_jumped };
                self.open = Some(open);
            }
            ViewerEvent::Pause { to_ms } => {
                if let Some(open) = self.open.take() {
                    self.watched(open, to_ms);
                }
            }
            ViewerEvent::Failure => self.outcome.failures += 1,
            ViewerEvent::Seek => self.outcome.seeks += 1,
            ViewerEvent::Lost => {
                if let Some(open) = &mut self.open {
                    open.lost_ms.get_or_insert(at_ms);
                }
            }
            ViewerEvent::Back => {
                if let Some(open) = &mut self.open
                    && let Some(lost_ms) = open.lost_ms.take()
                    && GAP_MS_MAX < at_ms - lost_ms
                {
                    open.idle_ms += at_ms - lost_ms;
                }
            }
            ViewerEvent::Left => self.close_at_estimate(at_ms),
        }
    }

    fn close_at_estimate(&mut self, at_ms: i64) {
        if let Some(open) = self.open.take() {
            let until_ms = open.lost_ms.unwrap_or(at_ms);
            let ran_ms = until_ms - open.since_ms - open.idle_ms;
            let to_ms = i64::from(open.from_ms) + ran_ms;
            let end_ms = self.duration_ms.map_or(i64::MAX, i64::from);
            self.watched(open, to_ms.min(end_ms).try_into().expect("a short test"));
        }
    }

    fn watched(&mut self, open: Open, to_ms: u32) {
        let Open { from_ms, has_jumped, .. } = open;
        if from_ms < to_ms {
            self.outcome.segments.push((from_ms, to_ms));
        }
        self.last = Some(Closed { from_ms, to_ms, has_jumped });
    }

    /// Removes a short segment between two jumps: nobody watched it, but its view time counts.
    fn scrub(&mut self, last: Option<Closed>) {
        let Some(Closed { from_ms, to_ms, has_jumped: true }) = last else { return };
        if from_ms < to_ms && to_ms - from_ms < SCRUB_MS_MAX {
            let segments = &mut self.outcome.segments;
            let place = segments.iter().rposition(|segment| *segment == (from_ms, to_ms));
            segments.remove(place.expect("it was watched"));
            self.outcome.scrubbed_ms += u64::from(to_ms - from_ms);
        }
    }
}
