//! Waits for data: rebuffering, the latency of seeks, and waits that were none.

use super::{Playhead, State};
use crate::session::open::{Known, Open, saturate};
use crate::session::{Counters, Moment};

/// The largest delay of a wait after the jump that caused it, in milliseconds.
const SEEK_WAIT_MS: u64 = 500;

/// A wait for data that has not ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stall {
    pub(super) since: Moment,
    // Caused by a jump.
    is_seek: bool,
}

impl Playhead {
    /// Begins a wait for data. A position that the player reports is noted.
    pub(super) fn stall(&mut self, from_ms: Option<u32>, at: Moment, counters: &mut Counters) {
        if self.stalled.is_some() {
            return;
        }
        if let (Some(from_ms), State::Playing(open)) = (from_ms, &mut self.state) {
            observe_position(open, from_ms, at, counters);
        }
        let is_seek = self.told.is_seeking
            || self.open().is_some_and(|open| {
                open.has_jumped && open.known.idle_ms == 0 && open.at.until_ms(at) <= SEEK_WAIT_MS
            });
        if is_seek {
            counters.details.seek_waits += 1;
        } else {
            counters.rebufferings += 1;
        }
        self.stalled = Some(Stall { since: at, is_seek });
    }

    /// Ends the wait for data, during which playback stood still.
    pub(super) fn flow(&mut self, at: Moment, counters: &mut Counters) {
        let Some(stall) = self.stalled else { return };
        let waited_ms = u64::from(saturate(stall.since.until_ms(at)));
        if stall.is_seek {
            counters.details.seek_wait_ms += waited_ms;
        } else {
            counters.rebuffering_ms += waited_ms;
        }
        if let Some(open) = self.open() {
            let still_ms = self.waiting_ms(&open, at);
            let mut known = open.known;
            known.idle_ms = known.idle_ms.saturating_add(still_ms);
            if !stall.is_seek {
                known.waits = known.waits.saturating_add(1);
                known.waited_ms = known.waited_ms.saturating_add(waited_ms);
            }
            self.set_open(Open { known, ..open });
        }
        self.stalled = None;
    }

    /// The part of the current wait until `now` that lies after the last known position of the open segment.
    pub(in crate::session) fn waiting_ms(&self, open: &Open, now: Moment) -> u64 {
        let Some(stall) = self.stalled else { return 0 };
        stall.since.until_ms(now).min(open.known.at.until_ms(now))
    }
}

/// Notes the position of playback, and subtracts waits during which playback moved on.
fn observe_position(open: &mut Open, position_ms: u32, at: Moment, counters: &mut Counters) {
    let Known { position_ms: before_ms, at: since, waits, waited_ms, .. } = open.known;
    if position_ms < before_ms || !open.may_reach(position_ms, at) {
        return;
    }
    let still_ms = since.until_ms(at).saturating_sub(u64::from(position_ms - before_ms));
    if 0 < waits && 2 * still_ms < waited_ms {
        counters.rebufferings = counters.rebufferings.saturating_sub(waits);
        counters.rebuffering_ms = counters.rebuffering_ms.saturating_sub(waited_ms);
    }
    open.known = Known::new(position_ms, at);
}
