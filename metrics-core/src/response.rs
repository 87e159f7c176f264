//! The responses of the older reports, and how plays become buckets.
//!
//! `fold_plays` and `fold_sources` sum plays into the buckets of a report.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::query::instant;
use crate::source::Source;
use crate::time_bucket::Buckets;
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};

/// Totals of plays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PlayTotals {
    /// Number of plays.
    pub plays: u64,
    /// Their view time in milliseconds: replays count again.
    pub view_ms: u64,
    /// Their unique view time in milliseconds: replays count once.
    pub unique_ms: u64,
    browsers: [u64; Browser::ALL.len()],
    platforms: [u64; Platform::ALL.len()],
    devices: [u64; Device::ALL.len()],
}

impl PlayTotals {
    /// Counts plays with one user agent. The view times are sums over all of them.
    pub fn add_plays(
        &mut self,
        plays: u64,
        view_ms: u64,
        unique_ms: u64,
        user_agent: UserAgentClass,
    ) {
        self.plays += plays;
        self.view_ms += view_ms;
        self.unique_ms += unique_ms;
        self.browsers[usize::from(user_agent.browser.code())] += plays;
        self.platforms[usize::from(user_agent.platform.code())] += plays;
        self.devices[usize::from(user_agent.device.code())] += plays;
    }

    /// Adds the totals of other plays.
    pub fn add(&mut self, other: &Self) {
        self.plays += other.plays;
        self.view_ms += other.view_ms;
        self.unique_ms += other.unique_ms;
        add_each(&mut self.browsers, &other.browsers);
        add_each(&mut self.platforms, &other.platforms);
        add_each(&mut self.devices, &other.devices);
    }

    /// Returns the number of plays with `browser`.
    #[must_use]
    pub fn browser(&self, browser: Browser) -> u64 {
        self.browsers[usize::from(browser.code())]
    }

    /// Returns the number of plays with `platform`.
    #[must_use]
    pub fn platform(&self, platform: Platform) -> u64 {
        self.platforms[usize::from(platform.code())]
    }

    /// Returns the number of plays with `device`.
    #[must_use]
    pub fn device(&self, device: Device) -> u64 {
        self.devices[usize::from(device.code())]
    }
}

fn add_each(sums: &mut [u64], others: &[u64]) {
    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
}

/// The plays that started at one instant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlaysAt {
    /// When they started, in Unix milliseconds: any instant of their bucket.
    pub at_ms: i64,
    /// Its plays.
    pub totals: PlayTotals,
}

/// The plays of one time bucket.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct PlaysBucket {
    /// The start of the bucket.
    pub start: DateTime<Utc>,
    /// Its plays.
    pub totals: PlayTotals,
}

/// Sums plays into buckets, in order. `also` are starts of buckets to include even if they are empty.
pub fn fold_plays(
    plays_at: impl IntoIterator<Item = PlaysAt>,
    buckets: &Buckets,
    also: impl IntoIterator<Item = DateTime<Utc>>,
) -> Vec<PlaysBucket> {
    let mut folded: BTreeMap<DateTime<Utc>, PlayTotals> =
        also.into_iter().map(|start| (start, PlayTotals::default())).collect();
    for plays in plays_at.into_iter().filter(|plays| 0 < plays.totals.plays) {
        folded.entry(buckets.start_of(instant(plays.at_ms))).or_default().add(&plays.totals);
    }
    folded.into_iter().map(|(start, totals)| PlaysBucket { start, totals }).collect()
}

/// The plays on one page that started at one instant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SourceAt {
    /// When they started, in Unix milliseconds: any instant of their bucket.
    pub at_ms: i64,
    /// The page.
    pub source: Source,
    /// Number of plays.
    pub plays: u64,
}

/// The plays on one page in one time bucket.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SourceBucket {
    /// The start of the bucket.
    pub start: DateTime<Utc>,
    /// The page.
    pub source: Source,
    /// Number of plays.
    pub plays: u64,
}

/// Sums plays into buckets: by time, then the most played page first, then by URL.
pub fn fold_sources(
    plays_at: impl IntoIterator<Item = SourceAt>,
    buckets: &Buckets,
) -> Vec<SourceBucket> {
    let mut folded: BTreeMap<(DateTime<Utc>, Source), u64> = BTreeMap::new();
    for plays in plays_at {
        *folded.entry((buckets.start_of(instant(plays.at_ms)), plays.source)).or_default() +=
            plays.plays;
    }
    let mut answer: Vec<_> = folded
        .into_iter()
        .map(|((start, source), plays)| SourceBucket { start, source, plays })
        .collect();
    answer.sort_by(|a, b| {
        (a.start, b.plays, a.source.as_str()).cmp(&(b.start, a.plays, b.source.as_str()))
    });
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plays_at(at_ms: i64, plays: u64) -> PlaysAt {
        PlaysAt { at_ms, totals: PlayTotals { plays, ..PlayTotals::default() } }
    }

    #[test]
    fn plays_are_summed_per_bucket_and_empty_buckets_are_omitted() {
        let buckets = Buckets::new("1 second".parse().unwrap());
        let folded =
            fold_plays([plays_at(2_000, 1), plays_at(0, 2), plays_at(2_500, 4)], &buckets, []);
        let seen: Vec<_> =
            folded.iter().map(|it| (it.start.timestamp(), it.totals.plays)).collect();
        assert_eq!(seen, [(0, 2), (2, 5)]);

        let also = buckets.starts(instant(0), instant(2_500));
        let folded = fold_plays([plays_at(2_000, 1)], &buckets, also);
        let seen: Vec<_> =
            folded.iter().map(|it| (it.start.timestamp(), it.totals.plays)).collect();
        assert_eq!(seen, [(0, 0), (1, 0), (2, 1)]);
    }

    #[test]
    fn sources_are_sorted_by_time_then_plays_then_address() {
        let buckets = Buckets::new("1 second".parse().unwrap());
        let plays_at = |at_ms, path, plays| SourceAt {
            at_ms,
            source: Source::parse(&format!("http://a/{path}")).unwrap(),
            plays,
        };
        let plays_at = [
            plays_at(1_000, "z", 9),
            plays_at(0, "b", 1),
            plays_at(0, "a", 1),
            plays_at(0, "c", 1),
            plays_at(5, "c", 1),
        ];
        let folded = fold_sources(plays_at, &buckets);
        let seen: Vec<_> = folded.iter().map(|it| (it.source.pathname(), it.plays)).collect();
        assert_eq!(seen, [("/c", 2), ("/a", 1), ("/b", 1), ("/z", 9)]);
    }
}
