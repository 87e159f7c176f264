//! The minutes of any actions of a viewer, against a stop watch.

use super::*;
use proptest::prelude::*;

/// An action of a viewer.
#[derive(Clone, Copy, Debug)]
enum ViewerAction {
    Play {
        percent: u32,
    },
    Pause,
    Lose,
    Resume,
    Leave,
    /// The session is stored, and loaded by another server.
    Reload,
}

/// The seconds in which a viewer played, measured by a stop watch.
#[derive(Debug, Default)]
struct StopWatch {
    ranges: Vec<(i64, i64)>,
    // The start of playback, the position at the start, and the end of the video.
    open: Option<(i64, i64, i64)>,
    lost: Option<i64>,
}

impl StopWatch {
    /// Plays until `now`, until the connection was lost or until the video ended, and returns the position there.
    fn stop(&mut self, now: i64) -> Option<i64> {
        let (since, from, to) = self.open.take()?;
        let until = self.lost.take().unwrap_or(now).min(since + to - from);
        self.ranges.push((since, until));
        Some(from + until - since)
    }

    fn resume(&mut self, now: i64) {
        let Some(lost) = self.lost.take() else { return };
        if let Some((since, from, to)) = self.open.filter(|_| 60 < now - lost) {
            let until = lost.min(since + to - from);
            self.ranges.push((since, until));
            self.open = Some((now, from + until - since, to));
        }
    }

    fn minutes(&self) -> Vec<i64> {
        let at = |second: i64| START_MS + 1_000 * second;
        let (first, last) = (START_MS / MINUTE_MS, START_MS / MINUTE_MS + 2_000);
        let is_in = |minute: &i64| {
            let at_ms = minute * MINUTE_MS;
            self.ranges.iter().any(|(from, until)| (at(*from)..at(*until)).contains(&at_ms))
        };
        (first..last).filter(is_in).collect()
    }
}

/// Applies one action to a session and to the stop watch.
fn apply(
    session: &mut Session,
    watch: &mut StopWatch,
    viewer_action: ViewerAction,
    now: i64,
    duration: u32,
) {
    let at = Moment::received(START_MS + 1_000 * now);
    let seconds = f64::from(duration);
    match viewer_action {
        ViewerAction::Play { percent } => {
            watch.stop(now);
            let from = duration * percent / 100;
            watch.open = Some((now, from.into(), duration.into()));
            let play = PlayerEvent::play(f64::from(from)).with_duration(seconds);
            session.apply(&play.check(0).unwrap(), at);
        }
        // A disconnected player cannot report.
        ViewerAction::Pause if watch.lost.is_none() => {
            let Some(to) = watch.stop(now) else { return };
            let pause = PlayerEvent::pause(to as f64).with_duration(seconds);
            session.apply(&pause.check(0).unwrap(), at);
        }
        ViewerAction::Lose => {
            watch.lost = watch.lost.or(watch.open.map(|_| now));
            session.lose(at);
        }
        ViewerAction::Resume => {
            watch.resume(now);
            session.resume(at);
        }
        ViewerAction::Leave => {
            watch.stop(now);
            session.leave(at);
        }
        ViewerAction::Reload => {
            watch.lost = watch.lost.or(watch.open.map(|_| now));
            *session = Session::load(&session.snapshot(Reach::Until(at))).unwrap();
        }
        ViewerAction::Pause => {}
    }
}

fn viewer_action() -> impl Strategy<Value = (ViewerAction, i64)> {
    let viewer_actions = prop_oneof![
        3 => (0_u32..100).prop_map(|percent| ViewerAction::Play { percent }),
        2 => Just(ViewerAction::Pause),
        2 => Just(ViewerAction::Lose),
        2 => Just(ViewerAction::Resume),
        1 => Just(ViewerAction::Leave),
        1 => Just(ViewerAction::Reload),
    ];
    (viewer_actions, prop_oneof![0_i64..70, 0_i64..400, 0_i64..5_000])
}

proptest! {
    #[test]
    fn minutes_are_those_of_a_stop_watch(
        viewer_actions in prop::collection::vec(viewer_action(), 0..20),
        duration in prop_oneof![30_u32..300, 300_u32..8_000],
        rest in 0_i64..400,
    ) {
        let mut watch = StopWatch { open: Some((0, 0, duration.into())), ..StopWatch::default() };
        let play = PlayerEvent::play(0.0).with_duration(duration.into());
        let mut session = Session::begin(&play.check(0).unwrap(), Moment::received(START_MS)).unwrap();
        let mut now = 0;
        for (viewer_action, after) in viewer_actions {
            now += after;
            apply(&mut session, &mut watch, viewer_action, now, duration);
        }
        now += rest;
        watch.stop(now);
        let viewed = session.viewed(Reach::Until(Moment::received(START_MS + 1_000 * now)));
        let day_later = START_MS / MINUTE_MS + 1 + i64::from(SPAN_MINUTES);
        let expected: Vec<_> = watch.minutes().into_iter().filter(|it| *it < day_later).collect();
        prop_assert_eq!(viewed.minutes.iter(START_MS).collect::<Vec<_>>(), expected);
    }
}
