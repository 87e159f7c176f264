//! Sums against what they are sums of.

use proptest::prelude::*;

use super::*;
use crate::client::{Browser, Device, Platform};
use crate::engagement::{Parts, Seconds};
use crate::interval::Interval;
use crate::report::PlayFigures;
use crate::time_bucket::{Buckets, Width};

const DAY: i64 = 19_000;

#[derive(Clone, Debug)]
struct Viewing {
    source: Option<i64>,
    started_at_ms: i64,
    client: Client,
    segments: Segments,
}

impl Viewing {
    fn rolled(&self) -> Rolled<'_> {
        Rolled {
            video: 7,
            key: 3,
            source: self.source,
            started_at_ms: self.started_at_ms,
            client: self.client,
            view_ms: self.segments.len_ms(),
            unique_ms: self.segments.union().len_ms(),
            segments: &self.segments,
        }
    }
}

/// Positions near each other, on borders of seconds and beside them, so that stretches touch and overlap.
fn position() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0_u32..5_000,
        2 => (0_u32..8).prop_map(|second| 1_000 * second),
        1 => (1_u32..8, 0_u32..3).prop_map(|(second, beside)| 1_000 * second + beside - 1),
        1 => 0_u32..200_000,
    ]
}

fn viewing() -> impl Strategy<Value = Viewing> {
    let segments = prop::collection::vec((position(), position()), 0..8).prop_map(|pairs| {
        pairs.into_iter().filter_map(|(a, b)| Interval::new(a.min(b), a.max(b))).collect()
    });
    // Mostly the same, and in the same hours, so that an hour has more bins of view time than clients.
    let classes = prop_oneof![4 => Just((1, 1, 1)), 1 => (0_u8..8, 0_u8..6, 0_u8..4)];
    let offset_ms = prop_oneof![0..2 * HOUR_MS, 0..DAY_MS];
    (prop::option::of(1_i64..5), offset_ms, classes, segments).prop_map(
        |(source, offset_ms, (browser, platform, device), segments)| Viewing {
            source,
            started_at_ms: DAY * DAY_MS + offset_ms,
            client: Client {
                browser: Browser::from_code(browser),
                platform: Platform::from_code(platform),
                device: Device::from_code(device),
            },
            segments,
        },
    )
}

fn viewings() -> impl Strategy<Value = Vec<Viewing>> {
    prop::collection::vec(viewing(), 0..30)
}

fn sum(viewings: &[Viewing]) -> Change {
    let mut change = Change::default();
    viewings.iter().for_each(|viewing| change.add(&viewing.rolled()));
    change.tidy();
    change
}

/// What a store would keep of the day after it was told of `some` and then of `more`.
fn stored(some: &[Viewing], more: &Change) -> Bytes {
    let mut sums = sum(some);
    let plays = |scope: &Scope| {
        let (before, more) = (sums.plays.get(&(*scope, DAY)), more.plays.get(&(*scope, DAY)));
        match (before.and_then(DayPlays::store), more) {
            (Some(stored), Some(more)) => more.add_to(&stored).expect("it was stored"),
            (None, more) => more.and_then(DayPlays::store),
            (stored, None) => stored,
        }
    };
    let scopes = [Scope::Video(7), Scope::Key(3)];
    let plays = scopes.iter().filter_map(|scope| Some((*scope, plays(scope)?))).collect();
    for (at, sources) in &more.sources {
        let stored = sums.sources.remove(at).and_then(|sources| sources.store());
        let mut then =
            stored.map_or_else(DaySources::default, |it| DaySources::load(&it).expect("stored"));
        then.merge(sources.clone());
        sums.sources.insert(*at, then);
    }
    for (at, places) in &more.places {
        let stored = sums.places.remove(at).and_then(|places| places.store());
        let mut then =
            stored.map_or_else(Places::default, |it| Places::load(&it.places).expect("stored"));
        then.merge(places.clone());
        sums.places.insert(*at, then);
    }
    let (_, sources, places) = bytes(&sums);
    (plays, sources, places)
}

type Bytes = (Vec<(Scope, StoredPlays)>, Vec<(Scope, Vec<u8>)>, Vec<StoredPlaces>);

fn bytes(sums: &Change) -> Bytes {
    let plays = sums.plays.iter().filter_map(|((scope, _), it)| Some((*scope, it.store()?)));
    let sources = sums.sources.iter().filter_map(|((scope, _), it)| Some((*scope, it.store()?)));
    let places = sums.places.values().filter_map(Places::store);
    (plays.collect(), sources.collect(), places.collect())
}

#[test]
fn an_hour_has_a_total_where_it_saves_reading() {
    let watched = |seconds: u32| Viewing {
        source: None,
        started_at_ms: DAY * DAY_MS,
        client: Client {
            browser: Browser::from_code(1),
            platform: Platform::from_code(1),
            device: Device::from_code(1),
        },
        segments: Interval::new(0, 1_000 * seconds).into_iter().collect(),
    };
    let len = |viewings: &[Viewing]| {
        let plays = sum(viewings).plays.remove(&(Scope::Key(3), DAY)).expect("plays");
        let hours = plays.store().expect("plays").hours;
        let mut total = None;
        each_hour(&hours, |_, hour| {
            total = Some(hour.has_total());
            Ok(())
        })
        .expect("it was stored");
        (total, hours.len())
    };
    let many: Vec<_> = (1..40).map(watched).collect();
    let (has_total, many_len) = len(&many);
    assert_eq!(has_total, Some(true));
    let (has_total, few_len) = len(&many[..3]);
    assert_eq!(has_total, Some(false));
    // About a byte for each number.
    assert!(many_len < 39 * 9 && few_len < 3 * 9, "{many_len} and {few_len} bytes");
}

proptest! {
    #[test]
    fn sums_are_the_same_in_any_order_and_in_pieces(all in viewings(), at in 0_usize..30) {
        let (some, more) = all.split_at(at.min(all.len()));
        prop_assert_eq!(stored(some, &sum(more)), bytes(&sum(&all)));
        prop_assert_eq!(stored(more, &sum(some)), bytes(&sum(&all)));
    }

    #[test]
    fn what_is_taken_out_leaves_nothing(some in viewings(), more in viewings()) {
        let all = [&some[..], &more].concat();
        let mut less = Change::default();
        more.iter().for_each(|viewing| less.remove(&viewing.rolled()));
        less.tidy();
        prop_assert_eq!(stored(&all, &less), bytes(&sum(&some)));
    }

    #[test]
    fn plays_are_summed_from_any_bin_on(all in viewings(), minimum_s in 0_u64..70) {
        let minimum_ms = 1_000 * if minimum_s < 60 { minimum_s } else { 60 * (minimum_s - 59) };
        let first = first_bin(minimum_ms).expect("an edge");
        let mut expected: BTreeMap<u8, PlayFigures> = BTreeMap::new();
        let mut expected_sum = PlayFigures::default();
        for viewing in all.iter().map(Viewing::rolled).filter(|it| minimum_ms <= it.view_ms) {
            let figures = expected.entry(viewing.hour()).or_default();
            for figures in [figures, &mut expected_sum] {
                figures.add_plays(1, viewing.view_ms, viewing.unique_ms, viewing.client);
            }
        }
        for plays in sum(&all).plays.values() {
            let stored = plays.store().expect("plays");
            let (mut hours, mut whole) = (BTreeMap::new(), PlayFigures::default());
            each_hour(&stored.hours, |hour, plays| {
                let mut figures = PlayFigures::default();
                plays.fold(first, &mut figures)?;
                whole.add(&figures);
                if 0 < figures.plays {
                    hours.insert(hour, figures);
                }
                Ok(())
            }).expect("it was stored");
            prop_assert_eq!(&hours, &expected);
            prop_assert_eq!(&whole, &expected_sum);
            if let Some(day) = stored.whole {
                let mut figures = PlayFigures::default();
                day.as_read().fold(first, &mut figures).expect("it was stored");
                prop_assert_eq!(&figures, &expected_sum);
                // What a report is told that it need not read, it need not.
                if !PlayCells::new(first).needs_tail() {
                    let (head, mut figures) = (&day.head[..], PlayFigures::default());
                    Whole { head, tail: None }.fold(first, &mut figures).expect("it is in the head");
                    prop_assert_eq!(&figures, &expected_sum);
                }
            }
        }
    }

    #[test]
    fn pages_are_counted_from_any_bin_on(all in viewings(), minimum_s in 0_u64..60) {
        let mut expected: BTreeMap<i64, u64> = BTreeMap::new();
        for viewing in all.iter().map(Viewing::rolled).filter(|it| 1_000 * minimum_s <= it.view_ms) {
            viewing.source.into_iter().for_each(|it| *expected.entry(it).or_default() += 1);
        }
        for sources in sum(&all).sources.values() {
            let mut counted = BTreeMap::new();
            let stored = sources.store().expect("plays");
            fold_sources(&stored, first_bin(1_000 * minimum_s).expect("an edge"), |source, plays| {
                counted.insert(source, plays);
            }).expect("it was stored");
            prop_assert_eq!(&counted, &expected);
        }
    }

    #[test]
    fn places_count_viewers_as_sessions_do(all in viewings(), parts in 1_u32..40) {
        let sums = sum(&all);
        let end_ms = all.iter().map(|it| it.segments.union().end_ms()).max().unwrap_or(0);
        let mut expected = Parts::new(end_ms, parts);
        all.iter().for_each(|it| expected.add(&it.segments));
        let mut counted = Parts::new(end_ms, parts);
        let mut end = 0;
        for places in sums.places.values() {
            end = end.max(places.end_ms());
            let places = places.store().expect("places").places;
            counted.add_places(&places).expect("it was stored");
        }
        prop_assert_eq!(end, end_ms);
        prop_assert_eq!(counted.finish(), expected.finish());
    }

    #[test]
    fn places_count_seconds_as_sessions_do(all in viewings()) {
        let buckets = Buckets::new(Width::YEAR);
        let mut expected = Seconds::new(buckets);
        for it in &all {
            expected.add(it.started_at_ms, &it.segments).expect("few seconds");
        }
        let (mut counted, mut stored) = (Seconds::new(buckets), Seconds::new(buckets));
        for ((_, day), places) in &sum(&all).places {
            let changes = places.seconds();
            counted.add_changes(start_of(*day, 0), &changes).expect("few seconds");
            // Also of few sessions, of which they would not be stored.
            let bytes = places.encode_seconds(1_000_000).expect("much shorter");
            let changes = load_changes(Some(&bytes), None).expect("stored");
            stored.add_changes(start_of(*day, 0), &changes).expect("few seconds");
        }
        prop_assert_eq!(counted.finish(), expected.finish());
        prop_assert_eq!(stored.finish(), expected.finish());
    }

    #[test]
    fn damaged_sums_are_refused_and_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        // Whatever is read can be stored, and is the same then.
        if let Ok(plays) = DayPlays::load(&bytes)
            && let Some(stored) = plays.store()
        {
            prop_assert_eq!(DayPlays::load(&stored.hours).and_then(|it| it.store().ok_or(NONE)), Ok(stored));
        }
        if let Ok(sources) = DaySources::load(&bytes)
            && let Some(stored) = sources.store()
        {
            prop_assert_eq!(DaySources::load(&stored).and_then(|it| it.store().ok_or(NONE)), Ok(stored));
        }
        let mut counted = Parts::new(5_000, 3);
        prop_assert_eq!(counted.add_places(&bytes).is_ok(), Places::load(&bytes).is_ok());
        let parts = counted.finish();
        prop_assert_eq!(parts.len(), 3);
    }

    #[test]
    fn a_plan_covers_each_instant_once(
        from_ms in -3 * DAY_MS..3 * DAY_MS,
        len_ms in -HOUR_MS..4 * DAY_MS,
        at_ms in -4 * DAY_MS..8 * DAY_MS,
        width in prop::sample::select(vec!["15 minutes", "1 hour", "90 minutes", "1 day", "1 month"]),
        zone in prop::sample::select(vec!["", "Europe/Amsterdam", "Asia/Kolkata", "America/New_York"]),
        grain in prop::sample::select(vec![Grain::Day, Grain::Hour]),
    ) {
        // Around the end of summer time in Europe.
        let base = 19_659 * DAY_MS;
        let (from_ms, to_ms, at_ms) = (base + from_ms, base + from_ms + len_ms, base + at_ms);
        let mut buckets = Buckets::new(width.parse().expect("a width"));
        if !zone.is_empty() {
            buckets = buckets.in_timezone(zone.parse().expect("a zone"));
        }
        let known = (day_of(base) - 1, day_of(base) + 2);
        let plan = Plan::new((from_ms, to_ms), Some(buckets), grain, known);
        let day = day_of(at_ms);
        let hour = (at_ms.rem_euclid(DAY_MS) / HOUR_MS) as u8;
        let (summed, cell_ms) = match plan.cover(day) {
            Cover::Day => (true, start_of(day, 0)),
            Cover::Hours(hours) => (hours >> hour & 1 == 1, start_of(day, hour)),
        };
        let looked_at = plan.rows.iter().filter(|(start, end)| (*start..=*end).contains(&at_ms)).count();
        prop_assert_eq!(plan.looks_at(at_ms), looked_at == 1);
        let is_by_hour = matches!(plan.cover(day), Cover::Hours(1..));
        prop_assert_eq!(plan.days_by_hour().contains(&day), is_by_hour);
        let is_among = plan.days().is_some_and(|(first, last)| (first..=last).contains(&day));
        prop_assert!(is_among || plan.cover(day) == Cover::Hours(0));
        let is_known = (known.0..=known.1).contains(&day);
        let wanted = is_known && (from_ms..=to_ms).contains(&at_ms);
        prop_assert_eq!(usize::from(summed) + looked_at, usize::from(wanted));
        if summed {
            let start_of = |at| buckets.start_of(crate::query::instant(at));
            prop_assert_eq!(start_of(cell_ms), start_of(at_ms));
        }
    }
}

const NONE: Damaged = Damaged("nothing");
use crate::varint::Damaged;
