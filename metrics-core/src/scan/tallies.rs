//! The sums of each group of sessions.

use super::ScanError;
use super::column::View;
use super::concurrency::Piece;
use super::counts::{Counts, Playing, WAITING_MIN};
use super::filter::Picked;
use super::needs::Needs;
use super::sums::{Sums, ratio};
use crate::query::Metric;

/// The largest number of distinct startup times, over all groups: they take 80 MB.
pub(crate) const VALUES_MAX: usize = 4_000_000;

/// The largest number of minutes, over all groups, at which the number of playing sessions changes. They take 64 MB.
pub(crate) const MINUTES_MAX: usize = 4_000_000;

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
        self.playing.iter().filter_map(Playing::first_minute).min()
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
            self.minutes += playing.flush();
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
        for sums in &self.sums {
            total.sums[0].merge(sums);
        }
        let mut startups = Counts::default();
        for counts in &self.startups {
            total.values += startups.merge(counts);
            total.check()?;
        }
        let mut playing = Playing::default();
        for of_group in &self.playing {
            total.minutes += playing.merge(of_group);
            total.check()?;
        }
        (total.startups, total.playing) = (vec![startups], vec![playing]);
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
