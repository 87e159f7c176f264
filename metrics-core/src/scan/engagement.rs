//! Engagement from columns: which parts and seconds of videos sessions watched.
//!
//! Every second is counted in one pass over the columns ([`SecondsScanner`]). Equal parts need two: they end where the
//! furthest session ended, which [`Furthest`] finds, and [`PartsScanner`] counts then.

use crate::block::{Columns, Group, Groups};
use crate::engagement::{Part, Parts, Resolution, Seconds, SecondsBucket};
use crate::interval::Segments;
use crate::query::instant;
use crate::time_bucket::Buckets;

use super::calendar::Timeline;
use super::{ScanError, SessionFilter, VideoInfo};

const SEGMENTS: Groups = Groups::NONE.with(Group::Segments);

/// Finds how far any session watched.
#[derive(Clone, Debug)]
pub struct Furthest {
    filter: SessionFilter,
    end_ms: u32,
}

impl Furthest {
    /// Starts with no session.
    #[must_use]
    pub fn new(filter: SessionFilter) -> Self {
        Self { filter, end_ms: 0 }
    }

    /// The groups of columns that are read.
    #[must_use]
    pub fn groups(&self) -> Groups {
        self.filter.groups().union(SEGMENTS)
    }

    /// Whether sessions of the video may count. Columns of other videos need not be added.
    #[must_use]
    pub fn wants_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.wants_video(video)
    }

    /// Adds sessions of a video.
    ///
    /// # Errors
    ///
    /// [`ScanError`] if the columns are damaged or lack a group.
    pub fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        each(&mut self.filter, video, columns, |segments| {
            self.end_ms = segments.iter().map(|it| it.end_ms()).fold(self.end_ms, u32::max);
        })
    }

    /// Adds the sessions that another has.
    pub fn merge(&mut self, other: &Self) {
        self.end_ms = self.end_ms.max(other.end_ms);
    }

    /// Returns how many bytes it holds: next to nothing.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
    }

    /// Where the furthest session ended, in milliseconds of video; 0 if nothing was watched.
    #[must_use]
    pub fn end_ms(&self) -> u32 {
        self.end_ms
    }
}

/// Counts the distinct viewers of equal parts.
#[derive(Clone, Debug)]
pub struct PartsScanner {
    filter: SessionFilter,
    parts: Parts,
}

impl PartsScanner {
    /// Starts to count in `parts` equal parts of `[0, end_ms)`, where no session watched beyond `end_ms`: that of
    /// [`Furthest`].
    #[must_use]
    pub fn new(filter: SessionFilter, end_ms: u32, parts: u32) -> Self {
        Self { filter, parts: Parts::new(end_ms, parts) }
    }

    /// The groups of columns that are read.
    #[must_use]
    pub fn groups(&self) -> Groups {
        self.filter.groups().union(SEGMENTS)
    }

    /// Whether sessions of the video may count. Columns of other videos need not be added.
    #[must_use]
    pub fn wants_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.wants_video(video)
    }

    /// Adds sessions of a video.
    ///
    /// # Errors
    ///
    /// [`ScanError`] if the columns are damaged or lack a group.
    pub fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        each(&mut self.filter, video, columns, |segments| self.parts.add(segments))
    }

    /// Adds the sessions that another counted in the same parts.
    pub fn merge(&mut self, other: &Self) {
        self.parts.merge(&other.parts);
    }

    /// Returns how many bytes it holds, about, and [`finish`](Self::finish) returns.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.bytes()
    }

    /// The parts in order, or nothing if nothing was watched.
    #[must_use]
    pub fn finish(&self) -> Vec<Part> {
        self.parts.finish()
    }
}

/// Counts views, viewers, exits and skips of every second, per time bucket.
#[derive(Clone, Debug)]
pub struct SecondsScanner {
    filter: SessionFilter,
    timeline: Timeline,
    seconds: Seconds,
}

impl SecondsScanner {
    /// Starts to count per bucket of the sessions' starts.
    #[must_use]
    pub fn new(filter: SessionFilter, buckets: Buckets) -> Self {
        Self { filter, timeline: Timeline::new(buckets), seconds: Seconds::new(buckets) }
    }

    /// Counts in steps of this resolution.
    #[must_use]
    pub fn with_resolution(self, resolution: Resolution) -> Self {
        Self { seconds: self.seconds.with_resolution(resolution), ..self }
    }

    /// The groups of columns that are read.
    #[must_use]
    pub fn groups(&self) -> Groups {
        self.filter.groups().union(SEGMENTS).with(Group::Durations)
    }

    /// Whether sessions of the video may count. Columns of other videos need not be added.
    #[must_use]
    pub fn wants_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.wants_video(video)
    }

    /// Adds sessions of a video.
    ///
    /// # Errors
    ///
    /// [`ScanError`] if the columns are damaged or lack a group, or if there are too many seconds.
    pub fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        let view = self.filter.view(video, columns, self.groups())?;
        let picked = self.filter.pick(&view)?;
        let (durations_ms, duration_codes) = view.durations_ms();
        let mut segments = Segments::default();
        let mut done = Ok(());
        let Self { timeline, seconds, .. } = self;
        timeline.each(
            picked.sessions.len(),
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

    /// Adds the sessions that another counted in the same buckets.
    ///
    /// # Errors
    ///
    /// [`ScanError::TooManySeconds`].
    pub fn merge(&mut self, other: &Self) -> Result<(), ScanError> {
        Ok(self.seconds.merge(&other.seconds)?)
    }

    /// Returns how many bytes it holds, about, and [`finish`](Self::finish) returns.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.seconds.bytes() + self.timeline.bytes()
    }

    /// The buckets in order, without those in which nothing was watched.
    #[must_use]
    pub fn finish(&self) -> Vec<SecondsBucket> {
        self.seconds.finish()
    }
}

/// Calls `take` with the segments of each session that counts.
fn each(
    filter: &mut SessionFilter,
    video: &VideoInfo<'_>,
    columns: &Columns,
    mut take: impl FnMut(&Segments),
) -> Result<(), ScanError> {
    let view = filter.view(video, columns, SEGMENTS)?;
    let mut segments = Segments::default();
    for session in filter.pick(&view)?.iter() {
        segments.read(view.segments(session))?;
        take(&segments);
    }
    Ok(())
}
