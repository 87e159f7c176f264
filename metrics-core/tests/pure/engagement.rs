//! Engagement against brute force: every session, every part, every second.

use std::collections::BTreeSet;

use chrono::DateTime;
use metrics_core::engagement::{Parts, Resolution, Seconds, TooManySeconds};
use metrics_core::interval::{Interval, Segments};
use metrics_core::time_bucket::Buckets;
use proptest::prelude::*;

/// Sessions of a short video with many odd boundaries.
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
    fn every_step_counts_its_views_and_viewers(reported in reported(), resolution in resolution()) {
        let mut counted = Seconds::new(Buckets::new("1 day".parse().unwrap()));
        counted = counted.with_resolution(resolution);
        reported.iter().for_each(|(it, duration_ms)| counted.add(0, it, *duration_ms).unwrap());
        // A duration of 0 is unknown.
        let reported: Vec<_> = reported.into_iter().map(|(it, ms)| (it, ms.filter(|ms| 0 < *ms))).collect();
        let bucket = counted.finish().pop();

        let seconds = bucket.iter().flat_map(|bucket| &bucket.seconds);
        let seconds: Vec<_> =
            seconds.map(|it| (it.second, it.views, it.viewers, it.exits, it.skips)).collect();
        let steps = if let Resolution::Steps(steps) = resolution { steps } else { 160 };
        let expected: Vec<_> = (0..steps)
            .map(|step| {
                let (mut views, mut viewers, mut exits, mut skips) = (0, 0, 0, 0);
                for (session, duration_ms) in &reported {
                    let Some((from, to, unit)) = bounds(resolution, step, *duration_ms) else { continue };
                    let number = session.iter().filter(|it| overlaps(*it, from, to, unit)).count();
                    views += number as u64;
                    viewers += u64::from(0 < number);
                    // The ends of watched ranges: the last is an exit, any other a skip.
                    let ends = ends(session);
                    for (index, end) in ends.iter().enumerate() {
                        let last = Interval::new(*end, end + 1).unwrap();
                        let is_there = overlaps(last, from, to, unit);
                        let goes_on = to < u64::from(end + 1) * unit;
                        exits += u64::from(is_there && !goes_on && index + 1 == ends.len());
                        skips += u64::from(is_there && !goes_on && index + 1 < ends.len());
                    }
                }
                (step, views, viewers, exits, skips)
            })
            .filter(|second| 0 < second.1)
            .collect();
        prop_assert_eq!(seconds, expected);

        let counts = |reported: &&(Segments, Option<u32>)| {
            let is_known = reported.1.is_some() || matches!(resolution, Resolution::Ms(_));
            is_known && 0 < reported.0.len_ms()
        };
        let counting: Vec<_> = reported.iter().filter(counts).collect();
        prop_assert_eq!(bucket.as_ref().map_or(0, |it| it.sessions), counting.len() as u64);
        let known: Vec<_> = counting.iter().filter_map(|it| Some((&it.0, it.1?))).collect();
        let number = |duration_ms| known.iter().filter(|it| it.1 == duration_ms).count();
        let most = known.iter().map(|it| it.1).max_by_key(|ms| (number(*ms), *ms));
        prop_assert_eq!(bucket.as_ref().and_then(|it| it.duration_ms), most);
        let shares = known.iter().map(|it| it.0.union().len_ms() as f64 / f64::from(it.1));
        let mean = shares.sum::<f64>() / known.len() as f64;
        match bucket.and_then(|it| it.average_percentage_viewed) {
            Some(found) => prop_assert!((found - mean).abs() < 1e-8, "{found} {mean}"),
            None => prop_assert!(known.is_empty()),
        }
    }
}

/// Sessions, each with the duration that it reports.
fn reported() -> impl Strategy<Value = Vec<(Segments, Option<u32>)>> {
    let duration_ms =
        prop::option::of(prop::sample::select(vec![0, 1, 700, 9_001, 16_000, 40_000]));
    sessions().prop_flat_map(move |sessions| {
        let number = sessions.len();
        let durations = prop::collection::vec(duration_ms.clone(), number);
        durations.prop_map(move |durations| sessions.iter().cloned().zip(durations).collect())
    })
}

fn resolution() -> impl Strategy<Value = Resolution> {
    prop_oneof![
        Just(Resolution::default()),
        prop::sample::select(vec![100, 1_500, 7_000]).prop_map(Resolution::Ms),
        (1_u32..30).prop_map(Resolution::Steps),
    ]
}

/// Returns the start and end of a step, in units of 1/n ms, and n; `None` if the duration is unknown.
fn bounds(resolution: Resolution, step: u32, duration_ms: Option<u32>) -> Option<(u64, u64, u64)> {
    let (length, unit) = match resolution {
        Resolution::Ms(ms) => (ms.into(), 1),
        Resolution::Steps(steps) => (u64::from(duration_ms?), u64::from(steps)),
    };
    // The last step includes everything past the duration.
    let is_last = matches!(resolution, Resolution::Steps(steps) if step + 1 == steps);
    let from = u64::from(step) * length;
    Some((from, if is_last { u64::MAX } else { from + length }, unit))
}

/// Returns the last millisecond of each watched range of a session.
fn ends(session: &Segments) -> Vec<u32> {
    let ends = session.iter().map(|it| it.end_ms() - 1);
    let ends = ends.filter(|at| !has(session, at + 1)).collect::<BTreeSet<_>>();
    ends.into_iter().collect()
}

#[test]
fn a_resolution_is_seconds_or_steps() {
    for (text, expected) in [
        ("1", Some(Resolution::Ms(1_000))),
        (" 0.25 ", Some(Resolution::Ms(250))),
        ("100 steps", Some(Resolution::Steps(100))),
        ("1step", Some(Resolution::Steps(1))),
        ("0.05", None),
        ("86401", None),
        ("0 steps", None),
        ("10001 steps", None),
        ("-1 steps", None),
        ("steps", None),
        ("NaN", None),
        ("", None),
    ] {
        assert_eq!(text.parse().ok(), expected, "{text:?}");
    }
}

#[test]
fn boundaries_of_parts_are_seconds_of_video() {
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
    seconds.add(0, &segments, None).unwrap();
    seconds.add(3_600_000, &segments, None).unwrap();
    let buckets = seconds.finish();
    let starts: Vec<_> = buckets.iter().map(|bucket| bucket.start).collect();
    assert_eq!(starts, [DateTime::UNIX_EPOCH, DateTime::from_timestamp(3_600, 0).unwrap()]);
    assert_eq!(buckets[0].seconds.len(), 2);
}

#[test]
fn an_answer_is_bounded() {
    let mut seconds = Seconds::new(Buckets::new("1 hour".parse().unwrap()));
    let week: Segments = [Interval::new(0, 604_800_000).unwrap()].into_iter().collect();
    let hours: Vec<_> = (0..4).map(|hour| seconds.add(3_600_000 * hour, &week, None)).collect();
    assert_eq!(hours, [Ok(()), Ok(()), Ok(()), Err(TooManySeconds)]);
}

#[test]
fn exits_and_skips_are_where_watching_ends() {
    let mut seconds = Seconds::new(Buckets::new("1 day".parse().unwrap()));
    let segment = |start, end| Interval::new(start, end).unwrap();
    // From 1.5 s to 4 s there is a jump. That from 5 s to 9 s was watched after all.
    let jumped =
        [segment(0, 1_500), segment(4_000, 5_000), segment(9_000, 9_500), segment(5_000, 9_000)];
    seconds.add(0, &jumped.into_iter().collect(), None).unwrap();
    seconds.add(0, &[segment(1_000, 2_000)].into_iter().collect(), None).unwrap();
    let found = seconds.finish().remove(0).seconds;
    let found: Vec<_> =
        found.iter().map(|it| (it.second, it.viewers, it.exits, it.skips)).collect();
    let after = (4..9).map(|second| (second, 1, 0, 0));
    let expected: Vec<_> =
        [(0, 1, 0, 0), (1, 2, 1, 1)].into_iter().chain(after).chain([(9, 1, 1, 0)]).collect();
    assert_eq!(found, expected);
}
