//! The sessions of a block that count.

use std::ops::Range;

use super::mask::Mask;
use super::minimum::is_play;
use crate::query::Minimum;
use crate::scan::column::View;

/// Sessions in range, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::scan) struct Picked {
    sessions: Vec<u32>,
}

impl Picked {
    /// Returns the sessions of a mask, out of `sessions` sessions.
    pub(super) fn of(mask: &Mask, sessions: usize) -> Self {
        let sessions = match mask {
            Mask::All(true) => return Self::all(sessions),
            Mask::All(false) => Vec::new(),
            Mask::Each(mask) => {
                // Every index is written, and the next one overwrites it unless it counts: no branch can be
                // mispredicted.
                let mut picked = vec![0; mask.len() + 1];
                let mut len = 0;
                for (session, holds) in (0..).zip(mask) {
                    picked[len] = session;
                    len += usize::from(*holds);
                }
                picked.truncate(len);
                picked
            }
        };
        Self { sessions }
    }

    /// Selects all of this number of sessions.
    pub(in crate::scan) fn all(sessions: usize) -> Self {
        Self { sessions: (0..sessions as u32).collect() }
    }

    pub(in crate::scan) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(in crate::scan) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(in crate::scan) fn iter(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.sessions.iter().map(|session| *session as usize)
    }

    /// Returns a range of the sessions.
    pub(in crate::scan) fn range(&self, range: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        self.sessions[range].iter().map(|session| *session as usize)
    }

    /// Returns the start of one of the sessions, in Unix milliseconds.
    pub(in crate::scan) fn start_ms(&self, view: &View<'_>, at: usize) -> i64 {
        view.start_ms(self.sessions[at] as usize)
    }

    /// Returns the sessions that are plays, and their groups; `slots` are the groups of all sessions.
    pub(in crate::scan) fn plays(
        &self,
        minimum: Minimum,
        view: &View<'_>,
        slots: &[u32],
    ) -> (Self, Vec<u32>) {
        let is_play = is_play(minimum, view);
        let both = self.sessions.iter().zip(slots);
        let (sessions, slots) = both.filter(|(session, _)| is_play(**session as usize)).unzip();
        (Self { sessions }, slots)
    }
}
