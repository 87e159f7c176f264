//! Engagement against brute force: every session, every part, every second.

use std::collections::BTreeSet;

use chrono::DateTime;
use metrics_core::engagement::{Parts, Second, Seconds, TooManySeconds};
use metrics_core::interval::{Interval, Segments};
use metrics_core::time_bucket::Buckets;
use proptest::prelude::*;

/// Sessions of a short video with many odd borders.
fn sessions() -> impl Strategy<Value = Vec<Segments>> {
    let segment = (0_u32..12_000, 1_u32..4_000)
        .prop_map(|(start, len)| Interval::new(start, start + len).expect("not empty"));
    let session = prop::collection::vec(segment, 0..6).prop_map(Segments::from_iter);
    prop::collection::vec(session, 0..12)
}

/// Whether the interval and `[from, to)` share more than a point, all in units of 1/`unit` ms.
fn overlaps(interval: Interval, from: u64, to: u64, unit: u64) -> bool {
    u64::from(interval.start_ms()) * unit < to && from < u64::from(interval.end_ms()) * unit
}

/// Whether a session watched a millisecond.
fn has(session: &Segments, at_ms: u32) -> bool {
    session.iter().any(|it| it.start_ms() <= at_ms && at_ms < it.end_ms())
}

proptest! {
    #[test]
    fn every_part_counts_its_distinct_viewers(sessions in sessions(), parts in 1_u32..40) {
        let end_ms = sessions.iter().map(|it| it.union().end_ms()).max().unwrap_or(0);
        let mut counted = Parts::new(end_ms, parts);
        sessions.iter().for_each(|session| counted.add(session));

        let viewers: Vec<u64> = counted.finish().iter().map(|part| part.viewers).collect();

        let unit = u64::from(parts);
        let expected: Vec<u64> = (0..if end_ms == 0 { 0 } else { unit })
            .map(|part| {
                let (from, to) = (part * u64::from(end_ms), (part + 1) * u64::from(end_ms));
                let watched = |session: &&Segments| session.iter().any(|it| overlaps(it, from, to, unit));
                sessions.iter().filter(watched).count() as u64
            })
            .collect();
        prop_assert_eq!(viewers, expected);
    }

    #[test]
    fn every_second_counts_its_views_and_viewers(sessions in sessions()) {
        let mut counted = Seconds::new(Buckets::new("1 day".parse().unwrap()));
        sessions.iter().for_each(|session| counted.add(0, session).unwrap());

        let seconds: Vec<Second> =
            counted.finish().into_iter().flat_map(|bucket| bucket.seconds).collect();

        let seconds: Vec<_> =
            seconds.iter().map(|it| (it.second, it.views, it.viewers, it.exits, it.skips)).collect();
        // The seconds in which watched time ends: the last is an exit, any other a skip.
        let ends = |session: &Segments| {
            let ends = session.iter().map(|it| it.end_ms() - 1);
            let ends = ends.filter(|at| !has(session, at + 1)).collect::<BTreeSet<_>>();
            ends.iter().map(|at| at / 1_000).collect::<Vec<_>>()
        };
        let ends: Vec<_> = sessions.iter().map(ends).collect();
        let expected: Vec<_> = (0..20_u32)
            .map(|second| {
                let (from, to) = (1_000 * u64::from(second), 1_000 * u64::from(second + 1));
                let watched = |it: &Interval| overlaps(*it, from, to, 1);
                let viewer = |session: &&Segments| session.iter().any(|it| watched(&it));
                let views = sessions.iter().flat_map(Segments::iter).filter(watched).count() as u64;
                let exits = ends.iter().filter(|ends| ends.last() == Some(&second)).count() as u64;
                let all = ends.iter().flatten().filter(|end| **end == second).count() as u64;
                (second, views, sessions.iter().filter(viewer).count() as u64, exits, all - exits)
            })
            .filter(|second| 0 < second.1)
            .collect();
        prop_assert_eq!(seconds, expected);
    }
}

#[test]
fn borders_of_parts_are_seconds_of_video() {
    let mut parts = Parts::new(41_920, 10);
    parts.add(&[Interval::new(0, 4_192).unwrap()].into_iter().collect());
    let parts = parts.finish();
    assert_eq!((parts[0].from, parts[0].to, parts[0].viewers), (0.0, 4.192, 1));
    assert_eq!((parts[9].from, parts[9].to, parts[9].viewers), (37.728, 41.92, 0));
}

#[test]
fn seconds_are_kept_apart_by_the_bucket_of_the_start() {
    let mut seconds = Seconds::new(Buckets::new("1 hour".parse().unwrap()));
    let segments: Segments = [Interval::new(500, 1_500).unwrap()].into_iter().collect();
    seconds.add(0, &segments).unwrap();
    seconds.add(3_600_000, &segments).unwrap();
    let buckets = seconds.finish();
    let starts: Vec<_> = buckets.iter().map(|bucket| bucket.start).collect();
    assert_eq!(starts, [DateTime::UNIX_EPOCH, DateTime::from_timestamp(3_600, 0).unwrap()]);
    assert_eq!(buckets[0].seconds.len(), 2);
}

#[test]
fn an_answer_is_bounded() {
    let mut seconds = Seconds::new(Buckets::new("1 hour".parse().unwrap()));
    let week: Segments = [Interval::new(0, 604_800_000).unwrap()].into_iter().collect();
    let hours: Vec<_> = (0..4).map(|hour| seconds.add(3_600_000 * hour, &week)).collect();
    assert_eq!(hours, [Ok(()), Ok(()), Ok(()), Err(TooManySeconds)]);
}

#[test]
fn exits_and_skips_are_where_watching_ends() {
    let mut seconds = Seconds::new(Buckets::new("1 day".parse().unwrap()));
    let segment = |start, end| Interval::new(start, end).unwrap();
    // From 1.5 s to 4 s there is a jump. That from 5 s to 9 s was watched after all.
    let jumped =
        [segment(0, 1_500), segment(4_000, 5_000), segment(9_000, 9_500), segment(5_000, 9_000)];
    seconds.add(0, &jumped.into_iter().collect()).unwrap();
    let mut others = Seconds::new(Buckets::new("1 day".parse().unwrap()));
    others.add(0, &[segment(1_000, 2_000)].into_iter().collect()).unwrap();
    seconds.merge(&others).unwrap();
    let found = seconds.finish().remove(0).seconds;
    let found: Vec<_> =
        found.iter().map(|it| (it.second, it.viewers, it.exits, it.skips)).collect();
    let after = (4..9).map(|second| (second, 1, 0, 0));
    let expected: Vec<_> =
        [(0, 1, 0, 0), (1, 2, 1, 1)].into_iter().chain(after).chain([(9, 1, 1, 0)]).collect();
    assert_eq!(found, expected);
}
