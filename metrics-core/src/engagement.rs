//! Which parts of a video are watched: by distinct viewers in equal parts, and by views in every second.
//!
//! Both count with difference arrays: one more where a stretch begins, one less where it ends. A session costs as
//! much as it has stretches, however long the video is.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::{DateTime, Utc};

use crate::interval::{Interval, Segments};
use crate::query::instant;
use crate::time_bucket::Buckets;

/// One of the equal parts that a video is cut into.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Part {
    /// Where it begins, in seconds of video.
    pub from: f64,
    /// Where it ends, in seconds of video.
    pub to: f64,
    /// How many sessions watched some of it.
    pub viewers: u64,
}

/// Counts the distinct viewers of `[0, end)` in equal parts.
#[derive(Clone, Debug)]
pub struct Parts {
    end_ms: u32,
    // Differences: one more than there are parts.
    viewers: Vec<i64>,
}

impl Parts {
    /// Cuts `[0, end_ms)` into `parts` equal parts that nobody has watched yet.
    #[must_use]
    pub fn new(end_ms: u32, parts: u32) -> Self {
        Self { end_ms, viewers: vec![0; parts as usize + 1] }
    }

    /// Counts one session, which counts once in every part that one of its segments overlaps.
    pub fn add(&mut self, segments: &Segments) {
        let parts = self.viewers.len() as u64 - 1;
        let end_ms = u64::from(self.end_ms);
        // Two stretches may overlap one part; the session counts there once.
        let mut counted = 0;
        for stretch in segments.ranges().filter(|stretch| stretch.start_ms() < self.end_ms) {
            let first = u64::from(stretch.start_ms()) * parts / end_ms;
            let after = (u64::from(stretch.end_ms()) * parts).div_ceil(end_ms).min(parts);
            let first = first.max(counted);
            if first < after {
                self.viewers[first as usize] += 1;
                self.viewers[after as usize] -= 1;
                counted = after;
            }
        }
    }

    /// Adds the sessions that another counted in the same parts.
    pub fn merge(&mut self, other: &Self) {
        self.viewers.iter_mut().zip(&other.viewers).for_each(|(sum, other)| *sum += other);
    }

    /// The parts in order, or nothing if nothing was watched.
    #[must_use]
    pub fn finish(&self) -> Vec<Part> {
        if self.end_ms == 0 {
            return Vec::new();
        }
        let parts = self.viewers.len() - 1;
        let border = |part: usize| {
            // One division, so that the border is as near as a float can be.
            (u64::from(self.end_ms) * part as u64) as f64 / (1_000 * parts) as f64
        };
        let mut viewers = 0;
        (0..parts)
            .map(|part| {
                viewers += self.viewers[part];
                Part { from: border(part), to: border(part + 1), viewers: count(viewers) }
            })
            .collect()
    }
}

/// One second of a video that somebody watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Second {
    /// Which second of the video: the one that begins there.
    pub second: u32,
    /// How many segments overlap it: replays count again.
    pub views: u64,
    /// How many sessions watched some of it.
    pub viewers: u64,
    /// How many sessions watched nothing beyond it: it was their last.
    pub exits: u64,
    /// How many sessions watched some of it, left out what follows, and watched something later: as often as a gap of
    /// their watched ranges begins there. What was jumped over and watched after all is no gap.
    pub skips: u64,
}

/// The watched seconds of one time bucket.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SecondsBucket {
    /// When the bucket starts.
    pub start: DateTime<Utc>,
    /// The seconds in order, without those that nobody watched.
    pub seconds: Vec<Second>,
}

/// How many seconds an answer may have, summed over its buckets: two million need 64 MB while they are counted.
pub const SECONDS_MAX: usize = 2_000_000;

/// There are more than [`SECONDS_MAX`] seconds to answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the buckets hold more than {SECONDS_MAX} seconds of video")]
pub struct TooManySeconds;

/// Counts views and viewers of every second, per time bucket of the sessions' starts.
#[derive(Clone, Debug)]
pub struct Seconds {
    buckets: Buckets,
    // The sum of the lengths below.
    len: usize,
    // As long as the furthest second needs.
    folded: BTreeMap<DateTime<Utc>, Vec<Sum>>,
}

/// What is summed for a second: how many more segments and sessions overlap it than the one before, exits and skips.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    views: i64,
    viewers: i64,
    exits: u64,
    skips: u64,
}

impl Seconds {
    /// Nothing was watched yet.
    #[must_use]
    pub fn new(buckets: Buckets) -> Self {
        Self { buckets, len: 0, folded: BTreeMap::new() }
    }

    /// Counts one session that started at `started_at_ms`, in Unix milliseconds.
    ///
    /// # Errors
    ///
    /// [`TooManySeconds`] if the answer would be too large; the session is not counted.
    pub fn add(&mut self, started_at_ms: i64, segments: &Segments) -> Result<(), TooManySeconds> {
        self.add_to(self.buckets.start_of(instant(started_at_ms)), segments)
    }

    /// Counts one session of the bucket with this start.
    ///
    /// # Errors
    ///
    /// [`TooManySeconds`] if the answer would be too large; the session is not counted.
    pub(crate) fn add_to(
        &mut self,
        bucket: DateTime<Utc>,
        segments: &Segments,
    ) -> Result<(), TooManySeconds> {
        let Some(last) = segments.ranges().last() else { return Ok(()) };
        let sums = self.room(bucket, seconds_of(last).end)?;
        for segment in segments.iter() {
            let seconds = seconds_of(segment);
            sums[seconds.start].views += 1;
            sums[seconds.end].views -= 1;
        }
        let mut counted = 0;
        for stretch in segments.ranges() {
            let seconds = seconds_of(stretch);
            let first = seconds.start.max(counted);
            if first < seconds.end {
                sums[first].viewers += 1;
                sums[seconds.end].viewers -= 1;
                counted = seconds.end;
            }
            // Stretches are not empty, so that each has a last second.
            let watched_last = &mut sums[seconds.end - 1];
            if stretch == last {
                watched_last.exits += 1;
            } else {
                watched_last.skips += 1;
            }
        }
        Ok(())
    }

    /// Adds the sessions that another counted in the same buckets.
    ///
    /// # Errors
    ///
    /// [`TooManySeconds`] if the answer would be too large; some sessions may have been added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), TooManySeconds> {
        for (bucket, others) in &other.folded {
            let Some(end) = others.len().checked_sub(1) else { continue };
            for (sum, other) in self.room(*bucket, end)?.iter_mut().zip(others) {
                sum.views += other.views;
                sum.viewers += other.viewers;
                sum.exits += other.exits;
                sum.skips += other.skips;
            }
        }
        Ok(())
    }

    /// The sums of a bucket, as many as a session needs that was watched to `end`.
    fn room(&mut self, bucket: DateTime<Utc>, end: usize) -> Result<&mut Vec<Sum>, TooManySeconds> {
        let sums = self.folded.entry(bucket).or_default();
        if sums.len() <= end {
            let longer = self.len + end + 1 - sums.len();
            if SECONDS_MAX < longer {
                return Err(TooManySeconds);
            }
            self.len = longer;
            sums.resize(end + 1, Sum::default());
        }
        Ok(sums)
    }

    /// The buckets in order, without those in which nothing was watched.
    #[must_use]
    pub fn finish(&self) -> Vec<SecondsBucket> {
        self.folded
            .iter()
            .map(|(start, sums)| {
                let (mut views, mut viewers) = (0, 0);
                let seconds = (0..).zip(sums).filter_map(|(second, sum)| {
                    views += sum.views;
                    viewers += sum.viewers;
                    let Sum { exits, skips, .. } = *sum;
                    let (views, viewers) = (count(views), count(viewers));
                    (0 < views).then_some(Second { second, views, viewers, exits, skips })
                });
                SecondsBucket { start: *start, seconds: seconds.collect() }
            })
            .collect()
    }
}

/// The whole seconds that a stretch overlaps.
fn seconds_of(stretch: Interval) -> Range<usize> {
    stretch.start_ms() as usize / 1_000..(stretch.end_ms() as usize).div_ceil(1_000)
}

fn count(sum: i64) -> u64 {
    // Never negative: every -1 comes after its +1.
    sum.try_into().unwrap_or(0)
}
