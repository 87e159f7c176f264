//! Alerts: when one fires, and when it is resolved. No I/O and no clock.

use serde::{Deserialize, Serialize};

/// The bounds of a value, with a gap between them in which nothing changes, so that a value at the threshold does not
/// fire again and again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bounds {
    /// Fires above the first number, and resolves at the second or below.
    Above(f64, f64),
    /// Fires below the first number, and resolves at the second or above.
    Below(f64, f64),
}

/// A value compared with its bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Fires,
    Resolves,
    /// Nothing changes: the value is in the gap, or unknown.
    Neither,
}

/// The state of an alert, which survives restarts.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Alert {
    /// The minute of Unix time at which it fired, if it did.
    pub(super) fired_at: Option<i64>,
}

/// A change of an alert, with the minute at which it fired.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    Fired(i64),
    Resolved(i64),
}

impl Bounds {
    pub(super) fn judge(self, value: f64) -> Verdict {
        let (fires, resolves) = match self {
            Self::Above(threshold, resolve) => (threshold < value, value <= resolve),
            Self::Below(threshold, resolve) => (value < threshold, resolve <= value),
        };
        if fires {
            Verdict::Fires
        } else if resolves {
            Verdict::Resolves
        } else {
            Verdict::Neither
        }
    }
}

impl Alert {
    /// Takes a verdict of this minute. An alert fires once, and then resolves once.
    pub(super) fn step(&mut self, verdict: Verdict, minute: i64) -> Option<Change> {
        match (self.fired_at, verdict) {
            (None, Verdict::Fires) => {
                self.fired_at = Some(minute);
                Some(Change::Fired(minute))
            }
            (Some(fired_at), Verdict::Resolves) => {
                self.fired_at = None;
                Some(Change::Resolved(fired_at))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_alert_fires_once_and_resolves_beyond_the_gap() {
        let bounds = Bounds::Above(0.05, 0.03);
        let mut alert = Alert::default();
        let values = [0.05, 0.06, 0.2, 0.04, 0.031, 0.03, 0.0, 0.04, 0.051];
        let changes: Vec<_> = (0..)
            .zip(values)
            .map(|(minute, value)| alert.step(bounds.judge(value), minute))
            .collect();
        let (fired, resolved) = (Change::Fired(1), Change::Resolved(1));
        let none = None::<Change>;
        assert_eq!(
            changes,
            [
                none,
                Some(fired),
                none,
                none,
                none,
                Some(resolved),
                none,
                none,
                Some(Change::Fired(8))
            ]
        );
    }

    #[test]
    fn an_alert_below_is_the_mirror_of_one_above() {
        let bounds = Bounds::Below(10.0, 12.0);
        for (value, verdict) in [
            (9.9, Verdict::Fires),
            (10.0, Verdict::Neither),
            (11.9, Verdict::Neither),
            (12.0, Verdict::Resolves),
        ] {
            assert_eq!(bounds.judge(value), verdict, "{value}");
            assert_eq!(Bounds::Above(-10.0, -12.0).judge(-value), verdict, "{value}");
        }
    }

    proptest! {
        #[test]
        fn firing_and_resolving_alternate(values in prop::collection::vec(0_u8..100, 0..200)) {
            let mut alert = Alert::default();
            let changes = (0..).zip(values).filter_map(|(minute, value)| {
                alert.step(Bounds::Above(60.0, 40.0).judge(value.into()), minute)
            });
            let mut fired_at = None;
            for change in changes {
                match change {
                    Change::Fired(at) => prop_assert_eq!(fired_at.replace(at), None),
                    Change::Resolved(at) => prop_assert_eq!(fired_at.take(), Some(at)),
                }
            }
        }
    }
}
