//! Engagement from columns: the parts and seconds of videos that sessions watched.
//!
//! Every second is counted in one pass over the columns ([`SecondsScanner`]). Equal parts need two: [`Furthest`] finds
//! the furthest position that any session watched, where the parts end, and then [`PartsScanner`] counts.

use crate::block::{Columns, Group, Groups};
use crate::engagement::{Part, Parts, Resolution, Seconds, SecondsBucket};
use crate::interval::Segments;
use crate::query::instant;
use crate::time_bucket::Buckets;

use super::Scans;
use super::calendar::Timeline;
use super::{ScanError, SessionFilter, VideoInfo};

const SEGMENTS: Groups = Groups::NONE.with(Group::Segments);

/// Finds the furthest position that any session watched.
#[derive(Clone, Debug)]
pub(crate) struct Furthest {
    filter: SessionFilter,
    end_ms: u32,
}

impl Furthest {
    /// Creates a scanner without sessions.
    #[must_use]
    pub(crate) fn new(filter: SessionFilter) -> Self {
        Self { filter, end_ms: 0 }
    }

    /// Returns the furthest position, in milliseconds of video; 0 if nothing was watched.
    #[must_use]
    pub(crate) fn end_ms(&self) -> u32 {
        self.end_ms
    }
}

impl Scans for Furthest {
    fn groups(&self) -> Groups {
        self.filter.groups().union(SEGMENTS)
    }

    fn selects_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.selects_video(video)
    }

    fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        each(&mut self.filter, video, columns, |segments| {
            self.end_ms = segments.iter().map(|it| it.end_ms()).fold(self.end_ms, u32::max);
        })
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// Counts the distinct viewers of equal parts.
#[derive(Clone, Debug)]
pub(crate) struct PartsScanner {
    filter: SessionFilter,
    parts: Parts,
}

impl PartsScanner {
    /// Creates a scanner that counts in `parts` equal parts of `[0, end_ms)`. No session may have watched beyond
    /// `end_ms`: use that of [`Furthest`].
    #[must_use]
    pub(crate) fn new(filter: SessionFilter, end_ms: u32, parts: u32) -> Self {
        Self { filter, parts: Parts::new(end_ms, parts) }
    }

    /// Returns the parts in order, or none if nothing was watched.
    #[must_use]
    pub(crate) fn finish(&self) -> Vec<Part> {
        self.parts.finish()
    }
}

impl Scans for PartsScanner {
    fn groups(&self) -> Groups {
        self.filter.groups().union(SEGMENTS)
    }

    fn selects_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.selects_video(video)
    }

    fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        each(&mut self.filter, video, columns, |segments| self.parts.add(segments))
    }

    fn bytes(&self) -> usize {
        self.parts.bytes()
    }
}

/// Counts views, viewers, exits and skips of every second, per time bucket.
#[derive(Clone, Debug)]
pub(crate) struct SecondsScanner {
    filter: SessionFilter,
    timeline: Timeline,
    seconds: Seconds,
}

impl SecondsScanner {
    /// Creates a scanner that counts per bucket of the sessions' starts.
    #[must_use]
    pub(crate) fn new(filter: SessionFilter, buckets: Buckets) -> Self {
        Self { filter, timeline: Timeline::new(buckets), seconds: Seconds::new(buckets) }
    }

    /// Sets the steps in which engagement is counted.
    #[must_use]
    pub(crate) fn with_resolution(self, resolution: Resolution) -> Self {
        Self { seconds: self.seconds.with_resolution(resolution), ..self }
    }

    /// Returns the buckets in order, without those in which nothing was watched.
    #[must_use]
    pub(crate) fn finish(&self) -> Vec<SecondsBucket> {
        self.seconds.finish()
    }
}

impl Scans for SecondsScanner {
    fn groups(&self) -> Groups {
        self.filter.groups().union(SEGMENTS).with(Group::Durations)
    }

    fn selects_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.selects_video(video)
    }

    fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        let view = self.filter.view(video, columns, self.groups())?;
        let picked = self.filter.pick(&view)?;
        let (durations_ms, duration_codes) = view.durations_ms();
        let mut segments = Segments::default();
        let mut done = Ok(());
        let Self { timeline, seconds, .. } = self;
        timeline.each(
            picked.len(),
            |at| picked.start_ms(&view, at),
            |range, run| {
                if done.is_err() {
                    return;
                }
                let mut counting = seconds.bucket(instant(run.value));
                done = picked.range(range).try_for_each(|session| {
                    segments.read(view.segments(session))?;
                    let duration_ms = durations_ms[duration_codes.get(session)];
                    Ok(counting.add(&segments, Some(duration_ms))?)
                });
            },
        );
        done
    }

    fn bytes(&self) -> usize {
        self.seconds.bytes() + self.timeline.bytes()
    }
}

/// Calls `take` with the segments of each session that counts.
fn each(
    filter: &mut SessionFilter,
    video: &VideoInfo<'_>,
    columns: &Columns,
    mut visit: impl FnMut(&Segments),
) -> Result<(), ScanError> {
    let view = filter.view(video, columns, SEGMENTS)?;
    let mut segments = Segments::default();
    for session in filter.pick(&view)?.iter() {
        segments.read(view.segments(session))?;
        visit(&segments);
    }
    Ok(())
}
