//! Sessions with their events in any order, and with or without a store in between.
//!
//! Unit tests next to the code check the metrics rule by rule; these tests check that order and restarts do not change
//! them.

use metrics_core::PlayerEvent;
use metrics_core::event::{Action, Rendition};
use metrics_core::session::{Minutes, Moment, Reach, Session, Viewed};
use proptest::prelude::*;

/// How many marks about playback a session keeps in order.
const WINDOW: usize = 32;

const START_MS: i64 = 1_700_000_000_000;

/// Anything that a player may report, at a second of the video.
fn action() -> impl Strategy<Value = Action> {
    (0_u8..16, 0_u32..90).prop_map(|(kind, second)| {
        let second = f64::from(second);
        match kind {
            0..=2 => Action::Play { from: second },
            3..=5 => Action::Pause { to: second },
            6 => Action::RebufferingStart { from: None },
            7 => Action::RebufferingStart { from: Some(second) },
            8 | 9 => Action::RebufferingEnd,
            10 | 11 => Action::Playing,
            12 => Action::PlaybackFailure,
            13 => Action::Seeked,
            14 => Action::TrackSet { language: Some(format!("language {second}")) },
            _ => {
                let mut rendition = Rendition::default();
                rendition.height = Some(second as u32);
                Action::SourceSet(rendition)
            }
        }
    })
}

/// The events of one session in the order in which they happened, each at its own time by the player's clock.
fn events() -> impl Strategy<Value = Vec<PlayerEvent>> {
    let duration = prop_oneof![3 => Just(None), 1 => Just(Some(60.0)), 1 => Just(Some(30.0))];
    let event = (action(), duration, 1_i64..20_000);
    prop::collection::vec(event, 0..WINDOW).prop_map(|events| {
        let mut clock_ms = 10;
        let mut all = vec![PlayerEvent::play(3.0).with_timestamp(clock_ms)];
        for (action, duration, pass_ms) in events {
            clock_ms += pass_ms;
            let mut event = PlayerEvent::new(action).with_timestamp(clock_ms);
            event.duration = duration;
            all.push(event);
        }
        all
    })
}

/// The session of these events, which are received one after the other.
fn arrive(events: &[PlayerEvent]) -> Session {
    let mut session: Option<Session> = None;
    for (received_ms, event) in (START_MS..).zip(events) {
        let at = Moment { timestamp_ms: event.timestamp_ms, ..Moment::received(received_ms) };
        let event = event.check(0).expect("valid");
        match &mut session {
            Some(session) => _ = session.apply(&event, at),
            None => session = Session::begin(&event, at),
        }
    }
    session.expect("it begins with a play")
}

fn is_play(event: &PlayerEvent) -> bool {
    matches!(event.action, Action::Play { .. })
}

/// Some play first, because a session begins with the first play that arrives.
fn a_play_first(events: &mut [PlayerEvent]) {
    let play = events.iter().position(is_play).expect("there is one");
    events[..=play].rotate_right(1);
}

/// An action of a connected viewer, and a restart of the server that may follow.
#[derive(Clone, Debug)]
struct ViewerStep {
    action: Action,
    after_ms: i64,
    restart: Option<Restart>,
}

/// How a server ended, and how long the viewer was disconnected.
#[derive(Clone, Debug)]
struct Restart {
    // The server was stopped, and closed the connection before it wrote; else it only wrote and vanished.
    stopped: bool,
    gap_ms: i64,
}

fn viewer_step() -> impl Strategy<Value = ViewerStep> {
    // A viewer who is back within a minute is assumed to have watched on.
    let restart =
        (any::<bool>(), 0_i64..60_000).prop_map(|(stopped, gap_ms)| Restart { stopped, gap_ms });
    (action(), 1_i64..20_000, prop::option::of(restart))
        .prop_map(|(action, after_ms, restart)| ViewerStep { action, after_ms, restart })
}

/// The result of a session with all restarts, or with none.
fn view(turns: &[ViewerStep], skew_ms: Option<i64>, restarts: bool) -> Viewed {
    let mut now_ms = START_MS;
    let moment = |now_ms| Moment {
        timestamp_ms: skew_ms.map(|skew_ms| now_ms + skew_ms),
        ..Moment::received(now_ms)
    };
    let check = |action: &Action, at: Moment| {
        let mut event = PlayerEvent::new(action.clone());
        event.timestamp_ms = at.timestamp_ms;
        event.check(0).expect("valid")
    };
    let at = moment(now_ms);
    let mut session = Session::begin(&check(&Action::Play { from: 3.0 }, at), at).expect("a play");
    session.apply(&check(&Action::Playing, at), at);
    let mut waiting = false;
    for ViewerStep { action, after_ms, restart } in turns {
        now_ms += after_ms;
        session.apply(&check(action, moment(now_ms)), moment(now_ms));
        waiting = match action {
            Action::RebufferingStart { .. } => true,
            Action::RebufferingEnd => false,
            _ => waiting,
        };
        // The start of a wait for data is not stored.
        let Some(Restart { stopped, gap_ms }) = restart.clone().filter(|_| !waiting) else {
            continue;
        };
        if restarts {
            if stopped {
                session.lose(Moment::received(now_ms));
            }
            let reach =
                if stopped { Reach::LastEvent } else { Reach::Until(Moment::received(now_ms)) };
            session = Session::load(&session.snapshot(reach)).expect("it was just stored");
            session.resume(Moment::received(now_ms + gap_ms));
        }
        now_ms += gap_ms;
    }
    session.viewed(Reach::Until(Moment::received(now_ms)))
}

/// Removes the minutes. They depend on the arrival of the first event, and minutes that a checkpoint assumed stay.
fn totals(mut viewed: Viewed) -> Viewed {
    viewed.minutes = Minutes::default();
    viewed
}

proptest! {
    #[test]
    fn any_order_of_arrival_comes_to_the_same(
        (events, mut shuffled) in events().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
        again in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..8),
    ) {
        a_play_first(&mut shuffled);
        for (which, place) in again {
            let event = shuffled[which.index(shuffled.len())].clone();
            shuffled.insert(1 + place.index(shuffled.len()), event);
        }
        let (expected, found) = (arrive(&events), arrive(&shuffled));
        let both = [&found, &expected].map(|session| totals(session.viewed(Reach::LastEvent)));
        prop_assert_eq!(&both[0], &both[1]);
        prop_assert_eq!(found.duration_ms(), expected.duration_ms());
    }

    #[test]
    fn a_viewer_who_stays_notices_no_restart_of_a_server(
        turns in prop::collection::vec(viewer_step(), 0..80),
        skew_ms in prop::option::of(-100_000_000_i64..100_000_000),
    ) {
        let both = [true, false].map(|restarts| totals(view(&turns, skew_ms, restarts)));
        prop_assert_eq!(&both[0], &both[1]);
    }

    #[test]
    fn events_that_come_again_after_a_restart_change_nothing(
        (events, again) in events().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
    ) {
        let stored = arrive(&events).snapshot(Reach::LastEvent);
        let mut session = Session::load(&stored).expect("it was just stored");
        for event in &again {
            let at = Moment { timestamp_ms: event.timestamp_ms, ..Moment::received(START_MS + 100_000) };
            prop_assert!(!session.apply(&event.check(0).expect("valid"), at));
        }
        prop_assert_eq!(session.snapshot(Reach::LastEvent), stored);
    }
}
