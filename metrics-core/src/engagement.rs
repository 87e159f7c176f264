//! Counts engagement: distinct viewers of equal parts of a video, and views of every second or step.
//!
//! Both count with difference arrays: plus one where a segment begins, minus one where it ends. The cost of a session
//! grows with its segments, not with the length of the video.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use chrono::{DateTime, Utc};

use crate::event::POSITION_MS_MAX;
use crate::interval::Segments;
use crate::time::instant;
use crate::time_bucket::Buckets;

/// One of the equal parts that a video is cut into.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Part {
    /// Its start, in seconds of video.
    pub from: f64,
    /// Its end, in seconds of video.
    pub to: f64,
    /// Number of sessions that watched some of it.
    pub viewers: u64,
}

/// Counts the distinct viewers of `[0, end)` in equal parts.
#[derive(Clone, Debug)]
pub struct Parts {
    end_ms: u32,
    // Differences, with one entry more than there are parts.
    viewers: Vec<i64>,
}

impl Parts {
    /// Cuts `[0, end_ms)` into `parts` equal parts without viewers.
    #[must_use]
    pub fn new(end_ms: u32, parts: u32) -> Self {
        Self { end_ms, viewers: vec![0; parts as usize + 1] }
    }

    /// Counts one session, once in every part that one of its segments overlaps.
    pub fn add(&mut self, segments: &Segments) {
        let parts = self.viewers.len() as u64 - 1;
        let end_ms = u64::from(self.end_ms);
        // Two watched ranges may overlap one part; the session counts there once.
        let mut counted = 0;
        for range in segments.ranges().filter(|range| range.start_ms() < self.end_ms) {
            let first = u64::from(range.start_ms()) * parts / end_ms;
            let after = (u64::from(range.end_ms()) * parts).div_ceil(end_ms).min(parts);
            let first = first.max(counted);
            if first < after {
                self.viewers[first as usize] += 1;
                self.viewers[after as usize] -= 1;
                counted = after;
            }
        }
    }

    /// Returns the approximate number of bytes in memory, with the result of [`finish`](Self::finish).
    #[cfg(feature = "recorder")]
    pub(crate) fn bytes(&self) -> usize {
        self.viewers.len() * (size_of::<i64>() + size_of::<Part>())
    }

    /// The parts in order, or none if nothing was watched.
    #[must_use]
    pub fn finish(&self) -> Vec<Part> {
        if self.end_ms == 0 {
            return Vec::new();
        }
        let parts = self.viewers.len() - 1;
        let boundary = |part: usize| {
            // One division, so that the boundary is as near as a float can be.
            (u64::from(self.end_ms) * part as u64) as f64 / (1_000 * parts) as f64
        };
        let mut viewers = 0;
        (0..parts)
            .map(|part| {
                viewers += self.viewers[part];
                Part { from: boundary(part), to: boundary(part + 1), viewers: count(viewers) }
            })
            .collect()
    }
}

/// The engagement with one watched second, or step, of a video.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Second {
    /// The index of the second or step, from 0 on.
    pub second: u32,
    /// Number of segments that overlap it: replays count again.
    pub views: u64,
    /// Number of sessions that watched some of it.
    pub viewers: u64,
    /// Number of sessions that watched nothing beyond it: it was their last.
    pub exits: u64,
    /// Number of sessions that watched some of it, skipped the next, and watched something later: once per gap of their
    /// watched ranges that begins there. Video that was jumped over and watched later is no gap.
    pub skips: u64,
}

/// The watched seconds of one time bucket.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SecondsBucket {
    /// The start of the bucket.
    pub start: DateTime<Utc>,
    /// The number of sessions with watched ranges; the retention of a second is its viewers per session. In steps of
    /// the duration, sessions without a known duration do not count.
    pub sessions: u64,
    /// The duration that most of these sessions report, in milliseconds; the longest, if several are equally frequent.
    pub duration_ms: Option<u32>,
    /// Mean of unique view time / duration over the sessions with a known duration, where 1 is all of a video.
    pub average_percentage_viewed: Option<f64>,
    /// The watched seconds in order.
    pub seconds: Vec<Second>,
}

/// The width of the steps in which engagement is counted.
///
/// ```
/// use metrics_core::engagement::Resolution;
///
/// assert_eq!("100 steps".parse(), Ok(Resolution::Steps(100)));
/// assert_eq!("0.5".parse(), Ok(Resolution::Ms(500)));
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// Steps of this number of milliseconds of video, 100 or more.
    Ms(u32),
    /// This number of equal steps of the duration that each session reports, 1 to 10,000; these compare videos of
    /// several lengths. Sessions without a known duration do not count.
    Steps(u32),
}

/// The shortest and the longest step, in milliseconds of video.
const STEP_MS: RangeInclusive<u32> = 100..=POSITION_MS_MAX;

/// The fewest and the most steps of a duration.
const STEPS: RangeInclusive<u32> = 1..=10_000;

impl Default for Resolution {
    /// Steps of one second.
    fn default() -> Self {
        Self::Ms(1_000)
    }
}

impl FromStr for Resolution {
    type Err = ResolutionError;

    fn from_str(text: &str) -> Result<Self, ResolutionError> {
        let text = text.trim();
        let resolution = match text.strip_suffix("steps").or_else(|| text.strip_suffix("step")) {
            Some(steps) => {
                let steps = steps.trim().parse().ok();
                steps.filter(|steps| STEPS.contains(steps)).map(Self::Steps)
            }
            None => {
                let ms = text.parse::<f64>().ok().map(|seconds| (seconds * 1_000.0).round());
                let ms = ms.filter(|ms| (0.0..=f64::from(u32::MAX)).contains(ms));
                ms.map(|ms| ms as u32).filter(|ms| STEP_MS.contains(ms)).map(Self::Ms)
            }
        };
        resolution.ok_or(ResolutionError)
    }
}

/// The error of a text that is no [`Resolution`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "must be a number of seconds from 0.1 to 86400, or 1 to 10000 steps of the duration, like \"100 steps\""
)]
pub struct ResolutionError;

impl Resolution {
    /// Returns the steps that a segment overlaps, or `None` if they depend on a duration that is unknown.
    fn steps_of(self, range: Range<u32>, duration_ms: Option<u32>) -> Option<Range<usize>> {
        let (start_ms, end_ms) = (u64::from(range.start), u64::from(range.end));
        let steps = match self {
            // Division by a constant is several times as fast.
            Self::Ms(1_000) => start_ms / 1_000..end_ms.div_ceil(1_000),
            Self::Ms(ms) => start_ms / u64::from(ms)..end_ms.div_ceil(u64::from(ms)),
            Self::Steps(steps) => {
                let (steps, duration_ms) = (u64::from(steps), u64::from(duration_ms?));
                // Players round positions: a position slightly past the duration is in the last step.
                let first = (start_ms * steps / duration_ms).min(steps - 1);
                first..(end_ms * steps).div_ceil(duration_ms).clamp(first + 1, steps)
            }
        };
        Some(steps.start as usize..steps.end as usize)
    }
}

/// The largest number of seconds in a response, summed over its buckets: two million take 64 MB while they are counted.
pub const SECONDS_MAX: usize = 2_000_000;

/// The response would have more than [`SECONDS_MAX`] seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the buckets hold more than {SECONDS_MAX} seconds of video")]
pub struct TooManySeconds;

/// Counts views and viewers of every second, per time bucket of the sessions' starts.
#[derive(Clone, Debug)]
pub struct Seconds {
    buckets: Buckets,
    resolution: Resolution,
    // The number of seconds and durations in all buckets below.
    len: usize,
    folded: BTreeMap<DateTime<Utc>, Bucket>,
}

/// The totals of a bucket.
#[derive(Clone, Debug, Default)]
struct Bucket {
    // As long as the furthest second requires.
    seconds: Vec<Sum>,
    sessions: u64,
    // The number of sessions per reported duration.
    durations: BTreeMap<u32, u64>,
    // The duration reported last, and the number of sessions since it changed: most sessions of a video report the same.
    latest: (u32, u64),
    // Sum of the shares of these sessions, in units of `1 / COMPLETE`.
    shares: u128,
}

/// The sums of a second: the changes of segments and sessions from the second before, exits and skips.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    views: i64,
    viewers: i64,
    exits: u64,
    skips: u64,
}

impl Seconds {
    /// Creates counts of no session.
    #[must_use]
    pub fn new(buckets: Buckets) -> Self {
        Self { buckets, resolution: Resolution::default(), len: 0, folded: BTreeMap::new() }
    }

    /// Sets the steps in which engagement is counted.
    #[must_use]
    pub fn with_resolution(self, resolution: Resolution) -> Self {
        Self { resolution, ..self }
    }

    /// Counts one session that started at `started_at_ms`, in Unix milliseconds, of a video of this duration; 0 is
    /// unknown.
    ///
    /// # Errors
    ///
    /// [`TooManySeconds`] if the report would be too large. The counts are invalid then.
    pub fn add(
        &mut self,
        started_at_ms: i64,
        segments: &Segments,
        duration_ms: Option<u32>,
    ) -> Result<(), TooManySeconds> {
        let start = self.buckets.start_of(instant(started_at_ms));
        self.bucket(start).add(segments, duration_ms)
    }

    /// Returns the bucket with this start, ready to count sessions.
    pub(crate) fn bucket(&mut self, start: DateTime<Utc>) -> Counting<'_> {
        let Self { resolution, len, folded, .. } = self;
        Counting { resolution: *resolution, len, bucket: folded.entry(start).or_default() }
    }

    /// Returns the approximate number of bytes in memory, with the result of [`finish`](Self::finish).
    #[cfg(feature = "recorder")]
    pub(crate) fn bytes(&self) -> usize {
        let of_seconds = self.len * (size_of::<Sum>() + size_of::<Second>());
        of_seconds + self.folded.len() * (size_of::<Bucket>() + size_of::<SecondsBucket>())
    }

    /// Returns the buckets in order, without those in which nothing was watched.
    #[must_use]
    pub fn finish(&self) -> Vec<SecondsBucket> {
        let watched = self.folded.iter().filter(|(_, bucket)| 0 < bucket.sessions);
        watched.map(|(start, bucket)| bucket.finish(*start)).collect()
    }
}

/// Counts sessions of one bucket.
pub(crate) struct Counting<'a> {
    resolution: Resolution,
    len: &'a mut usize,
    bucket: &'a mut Bucket,
}

impl Counting<'_> {
    /// Counts one session of a video of this duration; 0 is unknown.
    ///
    /// # Errors
    ///
    /// [`TooManySeconds`] if the report would be too large. The counts are invalid then.
    pub(crate) fn add(
        &mut self,
        segments: &Segments,
        duration_ms: Option<u32>,
    ) -> Result<(), TooManySeconds> {
        let resolution = self.resolution;
        let duration_ms = duration_ms.filter(|ms| *ms != 0);
        let Some(first) = segments.iter().next() else { return Ok(()) };
        let end_ms = segments.iter().fold(0, |end_ms, segment| segment.end_ms().max(end_ms));
        let Some(all) = resolution.steps_of(first.start_ms()..end_ms, duration_ms) else {
            return Ok(());
        };
        let steps = |range| resolution.steps_of(range, duration_ms).unwrap_or_default();
        let sums = self.seconds_up_to(all.end)?;
        let (mut counted, mut unique_ms) = (0, 0);
        let mut range = first.start_ms()..first.start_ms();
        let mut count_range = |sums: &mut [Sum], range: Range<u32>| {
            let seconds = steps(range.clone());
            let first = seconds.start.max(counted);
            if first < seconds.end {
                sums[first].viewers += 1;
                sums[seconds.end].viewers -= 1;
                counted = seconds.end;
            }
            unique_ms += u64::from(range.end - range.start);
            seconds.end - 1
        };
        for segment in segments.iter() {
            let seconds = steps(segment.start_ms()..segment.end_ms());
            sums[seconds.start].views += 1;
            sums[seconds.end].views -= 1;
            if segment.start_ms() <= range.end {
                range.end = range.end.max(segment.end_ms());
            } else {
                let last = count_range(sums, range);
                sums[last].skips += 1;
                range = segment.start_ms()..segment.end_ms();
            }
        }
        let last = count_range(sums, range);
        sums[last].exits += 1;
        self.bucket.sessions += 1;
        let Some(duration_ms) = duration_ms else { return Ok(()) };
        self.bucket.shares = self.bucket.shares.saturating_add(share(unique_ms, duration_ms));
        self.duration(duration_ms)
    }

    /// Counts a session with this duration.
    fn duration(&mut self, duration_ms: u32) -> Result<(), TooManySeconds> {
        let Bucket { durations, latest, .. } = &mut *self.bucket;
        if latest.0 == duration_ms {
            latest.1 += 1;
            return Ok(());
        }
        let before = durations.len();
        if 0 < latest.1 {
            *durations.entry(latest.0).or_default() += latest.1;
        }
        *latest = (duration_ms, 1);
        *self.len += durations.len() - before;
        if SECONDS_MAX < *self.len { Err(TooManySeconds) } else { Ok(()) }
    }

    /// Returns the seconds of the bucket, at least those up to `end`.
    fn seconds_up_to(&mut self, end: usize) -> Result<&mut [Sum], TooManySeconds> {
        let sums = &mut self.bucket.seconds;
        if sums.len() <= end {
            let longer = *self.len + end + 1 - sums.len();
            if SECONDS_MAX < longer {
                return Err(TooManySeconds);
            }
            *self.len = longer;
            sums.resize(end + 1, Sum::default());
        }
        Ok(sums)
    }
}

impl Bucket {
    /// The number of sessions per reported duration.
    fn durations(&self) -> BTreeMap<u32, u64> {
        let mut durations = self.durations.clone();
        if 0 < self.latest.1 {
            *durations.entry(self.latest.0).or_default() += self.latest.1;
        }
        durations
    }

    fn finish(&self, start: DateTime<Utc>) -> SecondsBucket {
        let (mut views, mut viewers) = (0, 0);
        let seconds = (0..).zip(&self.seconds).filter_map(|(second, sum)| {
            views += sum.views;
            viewers += sum.viewers;
            let Sum { exits, skips, .. } = *sum;
            let (views, viewers) = (count(views), count(viewers));
            (0 < views).then_some(Second { second, views, viewers, exits, skips })
        });
        let seconds = seconds.collect();
        let durations = self.durations();
        let known: u64 = durations.values().sum();
        let reported_most = durations.iter().max_by_key(|(_, sessions)| **sessions);
        SecondsBucket {
            start,
            sessions: self.sessions,
            duration_ms: reported_most.map(|(duration_ms, _)| *duration_ms),
            average_percentage_viewed: mean_share(self.shares, known),
            seconds,
        }
    }
}

/// The number of units of a complete video. It is decimal, so that a share of 0.475 is exact.
const COMPLETE: u64 = 1_000_000_000;

/// Returns `unique_ms` as a share of the video, rounded to units of `1 / COMPLETE`: sums of integers do not depend on the
/// order. The duration must not be 0.
pub(crate) fn share(unique_ms: u64, duration_ms: u32) -> u128 {
    let half = duration_ms / 2;
    // Division of 64 bits is several times as fast as that of 128.
    if unique_ms <= u64::from(u32::MAX) {
        return u128::from((unique_ms * COMPLETE + u64::from(half)) / u64::from(duration_ms));
    }
    let parts = u128::from(unique_ms) * u128::from(COMPLETE) + u128::from(half);
    parts / u128::from(duration_ms)
}

/// Returns the mean of `number` shares, where 1 is all of a video.
pub(crate) fn mean_share(shares: u128, number: u64) -> Option<f64> {
    (0 < number).then(|| shares as f64 / (COMPLETE as f64 * number as f64))
}

fn count(sum: i64) -> u64 {
    // Never negative: every -1 comes after its +1.
    sum.try_into().unwrap_or(0)
}
