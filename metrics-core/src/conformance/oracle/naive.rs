//! Computes the reports by brute force. Slow on purpose: code this simple is obviously right.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::viewing::{Viewing, view_ms};
use crate::query::instant;
use crate::time_bucket::Buckets;
use crate::user_agent::{Browser, Device, Platform};

/// Whether a segment overlaps `[from, to)` with positive length.
fn overlaps(segment: (u32, u32), from: u64, to: u64) -> bool {
    u64::from(segment.0) < to && from < u64::from(segment.1)
}

fn by_bucket<'a>(
    viewings: &[&'a Viewing],
    buckets: &Buckets,
) -> BTreeMap<DateTime<Utc>, Vec<&'a Viewing>> {
    let mut sorted: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for viewing in viewings {
        let start = buckets.start_of(instant(viewing.started_at_ms));
        sorted.entry(start).or_default().push(*viewing);
    }
    sorted
}

/// Per bucket: plays, view time, unique view time, and plays of every browser, platform and device.
pub(super) fn plays(viewings: &[&Viewing], buckets: &Buckets) -> Vec<(DateTime<Utc>, Vec<u64>)> {
    let totals = |viewings: &[&Viewing]| {
        let count = |counts: &dyn Fn(&Viewing) -> bool| {
            viewings.iter().filter(|viewing| counts(viewing)).count() as u64
        };
        let mut totals = vec![
            count(&|_| true),
            viewings.iter().map(|viewing| view_ms(viewing)).sum(),
            viewings.iter().map(|viewing| viewing.unique_ms).sum(),
        ];
        totals.extend(Browser::ALL.map(|class| count(&|it| it.user_agent.browser == class)));
        totals.extend(Platform::ALL.map(|class| count(&|it| it.user_agent.platform == class)));
        totals.extend(Device::ALL.map(|class| count(&|it| it.user_agent.device == class)));
        totals
    };
    let sorted = by_bucket(viewings, buckets);
    sorted.into_iter().map(|(start, viewings)| (start, totals(&viewings))).collect()
}

/// Per bucket and page: plays; the most played page first, then by address.
pub(super) fn sources(
    viewings: &[&Viewing],
    buckets: &Buckets,
) -> Vec<(DateTime<Utc>, String, u64)> {
    let mut answer = Vec::new();
    for (start, viewings) in by_bucket(viewings, buckets) {
        let pages: BTreeSet<&str> = viewings.iter().filter_map(|viewing| viewing.page).collect();
        let mut counted: Vec<_> = pages
            .into_iter()
            .map(|page| {
                let plays = viewings.iter().filter(|viewing| viewing.page == Some(page)).count();
                (start, page.to_owned(), plays as u64)
            })
            .collect();
        counted.sort_by_key(|(_, page, plays)| (u64::MAX - plays, page.clone()));
        answer.extend(counted);
    }
    answer
}

/// Where the parts end, and the distinct viewers of each.
pub(super) fn parts(viewings: &[&Viewing], parts: u32) -> (u32, Vec<u64>) {
    let ends = viewings.iter().flat_map(|viewing| viewing.segments.iter().map(|(_, to)| *to));
    let end_ms = ends.max().unwrap_or(0);
    if end_ms == 0 {
        return (0, Vec::new());
    }
    let viewers = (0..u64::from(parts)).map(|part| {
        // In units of 1/parts of a millisecond, so that every boundary is an integer.
        let (from, to) = (part * u64::from(end_ms), (part + 1) * u64::from(end_ms));
        let watched = |viewing: &&&Viewing| {
            let mut segments = viewing.segments.iter();
            segments.any(|&(start, end)| {
                u64::from(start) * u64::from(parts) < to && from < u64::from(end) * u64::from(parts)
            })
        };
        viewings.iter().filter(watched).count() as u64
    });
    (end_ms, viewers.collect())
}

type WatchedSeconds = Vec<(u32, u64, u64)>;

/// Per bucket: each second that was watched, its views and its viewers.
pub(super) fn seconds(
    viewings: &[&Viewing],
    buckets: &Buckets,
) -> Vec<(DateTime<Utc>, WatchedSeconds)> {
    let count = |viewings: &[&Viewing]| -> WatchedSeconds {
        let ends = viewings.iter().flat_map(|viewing| viewing.segments.iter().map(|(_, to)| *to));
        let last = ends.max().unwrap_or(0) / 1_000;
        (0..=last)
            .filter_map(|second| {
                let (from, to) = (1_000 * u64::from(second), 1_000 * u64::from(second + 1));
                let views = |viewing: &&&Viewing| {
                    viewing.segments.iter().filter(|it| overlaps(**it, from, to)).count() as u64
                };
                let viewers = viewings.iter().filter(|it| 0 < views(it)).count() as u64;
                let views = viewings.iter().map(|it| views(&it)).sum();
                (0 < viewers).then_some((second, views, viewers))
            })
            .collect()
    };
    let sorted = by_bucket(viewings, buckets);
    let counted = sorted.into_iter().map(|(start, viewings)| (start, count(&viewings)));
    counted.filter(|(_, seconds)| !seconds.is_empty()).collect()
}
