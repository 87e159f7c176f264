//! The union of intervals, against a model that is obviously right: a set of milliseconds.

use std::collections::BTreeSet;

use metrics_core::interval::{Interval, IntervalSet, Segments};
use proptest::prelude::*;

/// Short intervals in a short video, so that they often overlap, touch and nest.
fn interval() -> impl Strategy<Value = Interval> {
    (0_u32..100, 1_u32..20).prop_map(|(start, len)| Interval::new(start, start + len).unwrap())
}

fn intervals() -> impl Strategy<Value = Vec<Interval>> {
    prop::collection::vec(interval(), 0..30)
}

fn milliseconds(intervals: impl IntoIterator<Item = Interval>) -> BTreeSet<u32> {
    intervals.into_iter().flat_map(|it| it.start_ms()..it.end_ms()).collect()
}

proptest! {
    #[test]
    fn union_holds_exactly_the_milliseconds_inserted(intervals in intervals()) {
        let model = milliseconds(intervals.iter().copied());
        let set: IntervalSet = intervals.iter().copied().collect();
        prop_assert_eq!(&milliseconds(set.iter()), &model);
        prop_assert_eq!(set.len_ms() as usize, model.len());
        prop_assert_eq!(set.end_ms(), model.last().map_or(0, |last| last + 1));
    }

    #[test]
    fn union_is_sorted_with_gaps(intervals in intervals()) {
        let set: Vec<_> = intervals.into_iter().collect::<IntervalSet>().iter().collect();
        prop_assert!(set.windows(2).all(|pair| pair[0].end_ms() < pair[1].start_ms()));
    }

    #[test]
    fn union_of_segments_is_the_same_set(intervals in intervals()) {
        let segments: Segments = intervals.iter().copied().collect();
        prop_assert_eq!(segments.union(), intervals.into_iter().collect());
    }

    #[test]
    fn segments_keep_replays_in_any_order(intervals in intervals()) {
        let all: Segments = intervals.iter().copied().collect();
        let mut one_by_one = Segments::default();
        intervals.iter().rev().for_each(|it| one_by_one.insert(*it));
        prop_assert_eq!(&one_by_one, &all);
        prop_assert_eq!(all.len(), intervals.len());
        prop_assert_eq!(all.len_ms(), intervals.iter().map(|it| u64::from(it.len_ms())).sum::<u64>());
        for it in intervals {
            prop_assert!(one_by_one.remove(it));
        }
        prop_assert!(one_by_one.is_empty());
    }

    #[test]
    fn encoded_segments_are_decoded(intervals in intervals()) {
        let segments: Segments = intervals.into_iter().collect();
        prop_assert_eq!(Segments::decode(&segments.encode()), Ok(segments));
    }

    #[test]
    fn decoding_never_panics_and_keeps_the_order(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(segments) = Segments::decode(&bytes) {
            let again: Segments = segments.iter().collect();
            prop_assert_eq!(again, segments);
        }
    }
}

#[test]
fn nothing_is_no_interval() {
    assert!(Interval::new(5, 5).is_none());
    assert!(Interval::new(6, 5).is_none());
}
