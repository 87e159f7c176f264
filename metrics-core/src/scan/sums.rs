//! Sums of the sessions of a group, and the metrics computed from them.

use super::ScanError;
use super::column::View;
use super::concurrency::Piece;
use super::filter::{Picked, minimum_groups};
use crate::block::{Group, Groups, Quality};
use crate::engagement::{mean_share, share};
use crate::query::{Metric, Minimum};

/// The largest number of distinct startup times, over all groups: they take 80 MB.
pub const VALUES_MAX: usize = 4_000_000;

/// The largest number of minutes, over all groups, at which the number of playing sessions changes. They take 64 MB.
pub const MINUTES_MAX: usize = 4_000_000;

/// The least number of startup times of a group that wait to be counted: sorting them in bulk is faster.
const WAITING_MIN: usize = 64;

/// The sums that a query needs, so that nothing else is read or summed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Needs {
    /// Whether any metric counts sessions that started in the period.
    pub(super) starts: bool,
    /// Whether any metric counts minutes.
    pub(super) minutes: bool,
    /// Whether every metric is over plays only.
    pub(super) plays_only: bool,
    /// Whether any metric is over plays.
    pub(super) plays: bool,
    durations: bool,
    view_of_sessions: bool,
    quality: bool,
    percentiles: bool,
}

impl Needs {
    pub(super) fn of(metrics: &[Metric]) -> Self {
        let any = |wanted: &[Metric]| metrics.iter().any(|metric| wanted.contains(metric));
        Self {
            starts: metrics.iter().any(|metric| !metric.is_by_minute()),
            minutes: metrics.iter().any(|metric| metric.is_by_minute()),
            plays_only: metrics.iter().all(|metric| metric.is_over_plays()),
            plays: metrics.iter().any(|metric| metric.is_over_plays()),
            durations: any(&[
                Metric::AveragePercentageViewed,
                Metric::Completions,
                Metric::CompletionRate,
                Metric::AverageDuration,
            ]),
            view_of_sessions: any(&[
                Metric::Sessions,
                Metric::RebufferingRatio,
                Metric::ExitsBeforeStart,
                Metric::ExitBeforeStartRate,
            ]),
            quality: any(&[
                Metric::StartupTimeP50,
                Metric::StartupTimeP95,
                Metric::StartupTimeAverage,
                Metric::RebufferingRatio,
                Metric::RebufferingCount,
                Metric::RebufferedSessionRate,
                Metric::Failures,
                Metric::FailureRate,
                Metric::ExitsBeforeStart,
                Metric::ExitBeforeStartRate,
            ]),
            percentiles: any(&[Metric::StartupTimeP50, Metric::StartupTimeP95]),
        }
    }

    /// The groups of columns that must be read.
    pub(super) fn groups(&self, minimum: Minimum) -> Groups {
        let needed = [
            (self.plays || self.view_of_sessions, Group::Times),
            (self.durations, Group::Durations),
            (self.quality, Group::Quality),
            (self.minutes, Group::Minutes),
        ];
        let groups = if self.plays { minimum_groups(minimum) } else { Groups::default() };
        needed
            .into_iter()
            .filter(|(is_needed, _)| *is_needed)
            .map(|(_, group)| group)
            .fold(groups, Groups::with)
    }
}

/// The sums of each group, by its number.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies {
    sums: Vec<Sums>,
    // Empty unless percentiles are needed.
    startups: Vec<Counts>,
    // The distinct values of all `startups`.
    values: usize,
    // Empty unless minutes are needed.
    playing: Vec<Playing>,
    // The distinct minutes of all `playing`.
    minutes: usize,
}

/// The sums of a group. A sum that would overflow stays at the largest number.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Sums {
    plays: u64,
    view_ms: u64,
    unique_ms: u64,
    // Of plays with a known duration: their number, the sum of durations, and the sum of the shares watched.
    known: u64,
    duration_ms: u64,
    shares: u128,
    completions: u64,
    // All sessions, and those with view time.
    attempts: u64,
    sessions: u64,
    startups: u64,
    startup_ms: u64,
    // Sessions that report rebuffering, and their view time.
    reported: u64,
    reported_view_ms: u64,
    rebuffered: u64,
    rebufferings: u64,
    rebuffering_ms: u64,
    failed: u64,
    exits: u64,
}

impl Tallies {
    /// Adds sums until there are `groups` groups.
    pub(super) fn grow(&mut self, groups: usize, needs: &Needs) {
        if self.sums.len() < groups {
            self.sums.resize_with(groups, Sums::default);
        }
        if needs.percentiles && self.startups.len() < groups {
            self.startups.resize_with(groups, Counts::default);
        }
        if needs.minutes && self.playing.len() < groups {
            self.playing.resize_with(groups, Playing::default);
        }
    }

    /// Returns the approximate number of bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        let count = size_of::<(u32, u64)>();
        // As many values wait as are counted, at least `WAITING_MIN`.
        let waiting = WAITING_MIN * size_of::<u32>();
        let startups = self.startups.len() * (size_of::<Counts>() + waiting);
        let playing = self.playing.len() * (size_of::<Playing>() + 2 * waiting);
        let counted = (self.values + self.minutes) * (count + size_of::<u32>());
        self.sums.len() * size_of::<Sums>() + startups + playing + counted
    }

    /// Adds the sessions picked, each to the group of its slot, whether they are plays or not.
    pub(super) fn add_sessions(
        &mut self,
        view: &View<'_>,
        picked: &Picked,
        slots: &[u32],
        needs: &Needs,
    ) -> Result<(), ScanError> {
        for slot in slots {
            self.sums[*slot as usize].attempts += 1;
        }
        if needs.view_of_sessions {
            for (session, slot) in picked.iter().zip(slots) {
                self.sums[*slot as usize].sessions += u64::from(0 < view.view_ms(session));
            }
        }
        let sessions =
            || picked.iter().zip(slots).map(|(session, slot)| (session, (session, *slot)));
        if needs.quality {
            view.qualities(sessions(), |quality, (session, slot)| {
                // View times are not read if no metric needs them.
                let view_ms = if needs.view_of_sessions { view.view_ms(session) } else { 0 };
                self.sums[slot as usize].add_quality(&quality, view_ms);
            });
        }
        if needs.percentiles {
            view.qualities(sessions(), |quality, (_, slot)| {
                if let Some(startup_ms) = quality.startup_ms {
                    self.values += self.startups[slot as usize].add(startup_ms);
                }
            });
            return self.check();
        }
        Ok(())
    }

    /// Adds the plays picked, each to the group of its slot.
    pub(super) fn add_plays(
        &mut self,
        view: &View<'_>,
        picked: &Picked,
        slots: &[u32],
        needs: &Needs,
    ) {
        for (session, slot) in picked.iter().zip(slots) {
            let sums = &mut self.sums[*slot as usize];
            sums.plays += 1;
            sums.view_ms = sums.view_ms.saturating_add(view.view_ms(session));
            sums.unique_ms = sums.unique_ms.saturating_add(view.unique_ms(session));
        }
        if !needs.durations {
            return;
        }
        let (durations_ms, codes) = view.durations_ms();
        let sessions = picked.iter().zip(slots);
        codes.each(sessions.map(|(session, slot)| (session, (session, slot))), |code, it| {
            let (session, slot) = it;
            if durations_ms[code] != 0 {
                let unique_ms = view.unique_ms(session);
                self.sums[*slot as usize].add_duration(durations_ms[code], unique_ms);
            }
        });
    }

    /// Adds runs of minutes, each to the group of its slot.
    pub(super) fn add_minutes(&mut self, pieces: &[Piece], slots: &[u32]) -> Result<(), ScanError> {
        for (piece, slot) in pieces.iter().zip(slots) {
            self.minutes += self.playing[*slot as usize].add(piece);
        }
        self.check()
    }

    /// Fails if the counted values exceed the memory limit.
    fn check(&self) -> Result<(), ScanError> {
        if VALUES_MAX < self.values {
            return Err(ScanError::TooManyValues);
        }
        if MINUTES_MAX < self.minutes { Err(ScanError::TooManyMinutes) } else { Ok(()) }
    }

    /// Returns the first minute at which a session of any group plays. All values must be counted.
    pub(super) fn first_minute(&self) -> Option<u32> {
        let firsts = self.playing.iter().filter_map(|playing| playing.starts.counted.first());
        firsts.map(|(minute, _)| *minute).min()
    }

    /// Adds the sums of `other`, each to the group of its slot.
    pub(super) fn merge(&mut self, other: &Self, slots: &[u32]) -> Result<(), ScanError> {
        for (sums, slot) in other.sums.iter().zip(slots) {
            self.sums[*slot as usize].merge(sums);
        }
        for (counts, slot) in other.startups.iter().zip(slots) {
            self.values += self.startups[*slot as usize].merge(counts);
            self.check()?;
        }
        for (playing, slot) in other.playing.iter().zip(slots) {
            self.minutes += self.playing[*slot as usize].merge(playing);
            self.check()?;
        }
        Ok(())
    }

    /// Counts the values that wait to be counted. Must be called before metrics are read.
    ///
    /// # Errors
    ///
    /// [`ScanError::TooManyValues`] or [`ScanError::TooManyMinutes`].
    pub(super) fn flush(&mut self) -> Result<(), ScanError> {
        for counts in &mut self.startups {
            self.values += counts.flush();
        }
        for playing in &mut self.playing {
            self.minutes += playing.starts.flush() + playing.ends.flush();
        }
        self.check()
    }

    /// The sums of all groups together.
    ///
    /// # Errors
    ///
    /// [`ScanError::TooManyValues`] or [`ScanError::TooManyMinutes`].
    pub(super) fn total(&self) -> Result<Self, ScanError> {
        let mut total = Self { sums: vec![Sums::default()], ..Self::default() };
        if !self.startups.is_empty() {
            total.startups.push(Counts::default());
        }
        if !self.playing.is_empty() {
            total.playing.push(Playing::default());
        }
        total.merge(self, &vec![0; self.sums.len()])?;
        total.flush()?;
        Ok(total)
    }

    /// Returns a metric of a group whose time has this number of minutes, or `None` if it does not apply. Without a
    /// group, returns the metric of no session.
    pub(super) fn metric(&self, metric: Metric, group: Option<u32>, minutes: u64) -> Option<f64> {
        let playing = group.and_then(|group| self.playing.get(group as usize));
        match metric {
            Metric::PeakConcurrent => return Some(playing.map_or(0, Playing::peak) as f64),
            Metric::AverageConcurrent => {
                return ratio(playing.map_or(0, |playing| playing.minutes), minutes);
            }
            _ => {}
        }
        let (nothing, no_counts) = (Sums::default(), Counts::default());
        let sums = group.and_then(|group| self.sums.get(group as usize)).unwrap_or(&nothing);
        let startups = group.and_then(|group| self.startups.get(group as usize));
        sums.metric(metric, startups.unwrap_or(&no_counts))
    }
}

impl Sums {
    fn add_duration(&mut self, duration_ms: u32, unique_ms: u64) {
        self.shares = self.shares.saturating_add(share(unique_ms, duration_ms));
        let duration_ms = u64::from(duration_ms);
        self.known += 1;
        self.duration_ms = self.duration_ms.saturating_add(duration_ms);
        // 95 % are 19 of 20 parts.
        self.completions += u64::from(19 * duration_ms <= unique_ms.saturating_mul(20));
    }

    fn add_quality(&mut self, quality: &Quality, view_ms: u64) {
        let Quality { startup_ms, rebufferings, rebuffering_ms, failures } = *quality;
        self.failed += u64::from(0 < failures);
        self.exits += u64::from(view_ms == 0 && startup_ms.is_none() && failures == 0);
        if let Some(startup_ms) = startup_ms {
            self.startups += 1;
            self.startup_ms = self.startup_ms.saturating_add(startup_ms.into());
        }
        let has_rebuffered = 0 < rebufferings || 0 < rebuffering_ms;
        if startup_ms.is_some() || has_rebuffered {
            self.reported += 1;
            self.reported_view_ms = self.reported_view_ms.saturating_add(view_ms);
            self.rebuffered += u64::from(has_rebuffered);
            self.rebufferings = self.rebufferings.saturating_add(rebufferings.into());
            self.rebuffering_ms = self.rebuffering_ms.saturating_add(rebuffering_ms);
        }
    }

    fn merge(&mut self, other: &Self) {
        for (sum, other) in self.each().into_iter().zip(other.clone().each()) {
            *sum = sum.saturating_add(*other);
        }
        self.shares = self.shares.saturating_add(other.shares);
    }

    /// All sums but `shares`, which is wider.
    fn each(&mut self) -> [&mut u64; 17] {
        let Self { plays, view_ms, unique_ms, known, duration_ms, shares: _, completions, .. } =
            self;
        let Self { attempts, sessions, startups, startup_ms, reported, reported_view_ms, .. } =
            self;
        let Self { rebuffered, rebufferings, rebuffering_ms, failed, exits, .. } = self;
        [
            plays,
            view_ms,
            unique_ms,
            known,
            duration_ms,
            completions,
            attempts,
            sessions,
            startups,
            startup_ms,
            reported,
            reported_view_ms,
            rebuffered,
            rebufferings,
            rebuffering_ms,
            failed,
            exits,
        ]
    }

    fn metric(&self, metric: Metric, startups: &Counts) -> Option<f64> {
        let number = |number: u64| Some(number as f64);
        let seconds = |ms: u64| ms as f64 / 1_000.0;
        let percentile = |percent| startups.percentile(percent).map(|ms| seconds(ms.into()));
        match metric {
            Metric::Plays => number(self.plays),
            Metric::Sessions => number(self.sessions),
            Metric::ViewTime => Some(seconds(self.view_ms)),
            Metric::UniqueViewTime => Some(seconds(self.unique_ms)),
            Metric::AverageViewDuration => mean_s(self.view_ms, self.plays),
            Metric::AveragePercentageViewed => mean_share(self.shares, self.known),
            Metric::Completions => number(self.completions),
            Metric::CompletionRate => ratio(self.completions, self.known),
            Metric::RewatchRate => ratio(self.view_ms.saturating_sub(self.unique_ms), self.view_ms),
            Metric::AverageDuration => mean_s(self.duration_ms, self.known),
            Metric::StartupTimeP50 => percentile(50),
            Metric::StartupTimeP95 => percentile(95),
            Metric::StartupTimeAverage => mean_s(self.startup_ms, self.startups),
            Metric::RebufferingRatio => {
                let all_ms = self.rebuffering_ms.saturating_add(self.reported_view_ms);
                ratio(self.rebuffering_ms, all_ms)
            }
            Metric::RebufferingCount => number(self.rebufferings),
            Metric::RebufferedSessionRate => ratio(self.rebuffered, self.reported),
            Metric::Failures => number(self.failed),
            Metric::FailureRate => ratio(self.failed, self.attempts),
            Metric::ExitsBeforeStart => number(self.exits),
            Metric::ExitBeforeStartRate => ratio(self.exits, self.attempts),
            // Concurrency is no sum over sessions.
            Metric::PeakConcurrent | Metric::AverageConcurrent => None,
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (0 < whole).then(|| part as f64 / whole as f64)
}

/// The mean in seconds, of a sum of milliseconds.
fn mean_s(sum_ms: u64, number: u64) -> Option<f64> {
    (0 < number).then(|| sum_ms as f64 / (1_000.0 * number as f64))
}

/// The minutes at which sessions of a group start and stop playing.
#[derive(Clone, Debug, Default)]
struct Playing {
    starts: Counts,
    ends: Counts,
    // The total of all sessions' minutes.
    minutes: u64,
}

impl Playing {
    /// Adds a run of minutes, and returns the number of new distinct minutes.
    fn add(&mut self, piece: &Piece) -> usize {
        self.minutes += u64::from(piece.end - piece.first);
        self.starts.add(piece.first) + self.ends.add(piece.end)
    }

    fn merge(&mut self, other: &Self) -> usize {
        self.minutes += other.minutes;
        self.starts.merge(&other.starts) + self.ends.merge(&other.ends)
    }

    /// Returns the largest number of sessions at one minute. All values must be counted.
    fn peak(&self) -> u64 {
        let (mut ends, mut ended) = (self.ends.counted.iter().peekable(), 0);
        let (mut started, mut peak) = (0, 0);
        for (minute, count) in &self.starts.counted {
            while let Some((_, count)) = ends.next_if(|(end, _)| end <= minute) {
                ended += count;
            }
            started += count;
            peak = peak.max(started - ended);
        }
        peak
    }
}

/// The number of occurrences of each value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Counts {
    // Invariant: sorted by distinct values.
    counted: Vec<(u32, u64)>,
    waiting: Vec<u32>,
}

impl Counts {
    /// Adds a value, and returns the number of additional distinct values.
    fn add(&mut self, value: u32) -> usize {
        self.waiting.push(value);
        if self.waiting.len() < self.counted.len().max(WAITING_MIN) {
            return 0;
        }
        self.flush()
    }

    /// Counts the values that wait, and returns the number of additional distinct values.
    fn flush(&mut self) -> usize {
        if self.waiting.is_empty() {
            return 0;
        }
        self.waiting.sort_unstable();
        let waiting = self.waiting.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64));
        let waiting: Vec<_> = waiting.collect();
        self.waiting.clear();
        self.take(&waiting)
    }

    fn merge(&mut self, other: &Self) -> usize {
        let more = self.take(&other.counted);
        other.waiting.iter().map(|value| self.add(*value)).sum::<usize>() + more
    }

    /// Adds counts that are sorted by distinct values, and returns the number of additional distinct values.
    fn take(&mut self, others: &[(u32, u64)]) -> usize {
        let before = self.counted.len();
        self.counted.extend_from_slice(others);
        // The sort merges these two ordered runs.
        self.counted.sort_by_key(|(value, _)| *value);
        self.counted.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                earlier.1 += later.1;
            }
            is_same
        });
        self.counted.len() - before
    }

    /// The value of the nearest rank. All values must be counted.
    fn percentile(&self, percent: u64) -> Option<u32> {
        let number: u64 = self.counted.iter().map(|(_, count)| count).sum();
        let rank = (number * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let found = self.counted.iter().find(|(_, count)| {
            seen += count;
            rank <= seen
        });
        found.map(|(value, _)| *value)
    }
}
