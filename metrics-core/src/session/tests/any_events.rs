//! Any events: the order of arrival against the order of time, and numbers that no event makes absurd.

use super::*;
use proptest::prelude::*;

/// One event of a player with a clock: its action, and its time by that clock.
fn reported() -> impl Strategy<Value = (bool, u32, i64)> {
    (any::<bool>(), 0_u32..100, 1_i64..20)
}

proptest! {
    #[test]
    fn the_order_of_arrival_does_not_matter(
        reported in prop::collection::vec(reported(), 1..12),
        shuffle in any::<prop::sample::Index>(),
        swaps in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..12),
        again in any::<prop::sample::Index>(),
    ) {
        let mut clock_ms = 0;
        let mut events = vec![PlayerEvent::play(0.0).with_timestamp(0)];
        for (plays, second, pass) in reported {
            clock_ms += 1_000 * pass;
            let seconds = f64::from(second);
            let event = if plays { PlayerEvent::play(seconds) } else { PlayerEvent::pause(seconds) };
            events.push(event.with_timestamp(clock_ms));
        }
        let apply = |events: &[PlayerEvent]| {
            let at = |event: &PlayerEvent| Moment {
                timestamp_ms: event.timestamp_ms,
                ..Moment::received(START_MS)
            };
            let (first, rest) = events.split_first().unwrap();
            let mut session = Session::begin(&first.check(0).unwrap(), at(first)).unwrap();
            for event in rest {
                session.apply(&event.check(0).unwrap(), at(event));
            }
            session.viewed(Reach::LastEvent)
        };
        let expected = apply(&events);

        let mut shuffled = events.clone();
        let rest = &mut shuffled[1..];
        for (a, b) in swaps {
            rest.swap(a.index(rest.len()), b.index(rest.len()));
        }
        shuffled.insert(1 + shuffle.index(events.len()), events[again.index(events.len())].clone());

        prop_assert_eq!(apply(&shuffled), expected);
    }

    #[test]
    fn no_events_make_an_implausible_number(
        inputs in prop::collection::vec((0_i64..200, 0_u8..8, 0.0_f64..1e12, any::<bool>()), 0..60),
    ) {
        let inputs: Vec<_> = inputs
            .into_iter()
            .map(|(second, kind, seconds, stamped)| {
                let mut event = match kind {
                    0 | 1 => PlayerEvent::play(seconds % 90.0),
                    2 => PlayerEvent::pause(seconds % 90.0),
                    3 => PlayerEvent::pause(seconds).with_duration(60.0),
                    4 => PlayerEvent::new(Action::RebufferingStart { from: None }),
                    5 => PlayerEvent::new(Action::RebufferingEnd),
                    6 => return (second, Lose),
                    _ => return (second, Resume),
                };
                event.timestamp_ms = stamped.then_some(second * 997 % 1_000);
                (second, Input::Event(event))
            })
            .collect();
        let mut all = vec![(0, play(0.0))];
        all.extend(inputs);
        let session = run(&all);
        let stored = session.snapshot(Reach::Until(Moment::received(START_MS + 300_000)));
        prop_assert!(stored.unique_ms <= stored.view_ms);
        prop_assert!(stored.unique_ms <= u64::from(crate::event::POSITION_MS_MAX));
        let loaded = Session::load(&stored).unwrap();
        let again = loaded.snapshot(Reach::LastEvent);
        prop_assert_eq!(again.segments, stored.segments);
        prop_assert_eq!(again.counters, stored.counters);
    }
}
