//! The minimum that makes a session a play.

use super::mask::Mask;
use crate::block::{Group, Groups};
use crate::query::Minimum;
use crate::scan::column::View;

/// The groups of columns that decide whether a session is a play.
pub(in crate::scan) fn minimum_groups(minimum: Minimum) -> Groups {
    let times = Groups::default().with(Group::Times);
    match minimum {
        Minimum::ViewMs(_) => times,
        Minimum::Millionths(_) => times.with(Group::Durations),
    }
}

/// Returns the sessions in range that are plays.
pub(super) fn minimum_mask(minimum: Minimum, view: &View<'_>) -> Mask {
    match minimum {
        Minimum::ViewMs(0) => Mask::All(true),
        // A separate loop has no branch per session.
        Minimum::ViewMs(minimum_ms) => {
            Mask::each((0..view.len()).map(|session| minimum_ms <= view.view_ms(session)))
        }
        Minimum::Millionths(_) => Mask::each((0..view.len()).map(is_play(minimum, view))),
    }
}

/// Returns a function that decides whether a session in range is a play.
pub(super) fn is_play(minimum: Minimum, view: &View<'_>) -> impl Fn(usize) -> bool {
    // View times alone need no durations.
    let durations = matches!(minimum, Minimum::Millionths(_)).then(|| view.durations_ms());
    move |session| {
        // A duration of 0 is unknown, and then the session is no play.
        let duration_ms = durations.as_ref().map(|(ms, codes)| ms[codes.get(session)]);
        minimum.holds(view.view_ms(session), duration_ms)
    }
}
