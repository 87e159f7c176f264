//! The quality of sessions: a column of startup times, and a list of the few sessions with rebuffering or failures.

use super::numbers::Numbers;
use crate::session::Counters;
use crate::varint::{self, Damaged, Reader};

/// The quality of a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Quality {
    /// Milliseconds from the first play intent to the first frame, if the client reports them.
    pub(crate) startup_ms: Option<u32>,
    /// The number of rebufferings.
    pub(crate) rebufferings: u32,
    /// The length of all rebufferings, in milliseconds.
    pub(crate) rebuffering_ms: u64,
    /// The number of fatal errors.
    pub(crate) failures: u32,
}

/// The quality of each session of a block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Qualities {
    // Startup times in milliseconds plus 1; 0 is unknown.
    startups: Numbers,
    // Sorted by session.
    entries: Vec<QualityEntry>,
}

/// The rebuffering and failures of a troubled session: one with either.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct QualityEntry {
    session: usize,
    rebufferings: u32,
    rebuffering_ms: u64,
    failures: u32,
}

impl Quality {
    pub(super) fn of(counters: &Counters) -> Self {
        let Counters { rebufferings, rebuffering_ms, failures, startup_ms, .. } = *counters;
        Self { startup_ms, rebufferings, rebuffering_ms, failures }
    }

    fn is_troubled(&self) -> bool {
        self.rebufferings != 0 || self.rebuffering_ms != 0 || self.failures != 0
    }
}

impl Qualities {
    /// Returns the number of sessions.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.startups.len()
    }

    /// Returns the quality of a session.
    #[must_use]
    pub(crate) fn get(&self, session: usize) -> Quality {
        let at = self.entries.partition_point(|entry| entry.session < session);
        self.with(session, self.entries.get(at))
    }

    /// Calls `take` with the quality of each session in `sessions`, which are in order, and the item paired with it.
    pub(crate) fn each<T>(
        &self,
        sessions: impl Iterator<Item = (usize, T)>,
        mut visit: impl FnMut(Quality, T),
    ) {
        let mut entries = self.entries.iter();
        let mut entry = entries.next();
        for (session, it) in sessions {
            while entry.is_some_and(|entry| entry.session < session) {
                entry = entries.next();
            }
            visit(self.with(session, entry), it);
        }
    }

    /// Returns the milliseconds from the first play intent to the first frame of a session, if the client reports them.
    #[inline]
    #[must_use]
    pub(crate) fn startup_ms(&self, session: usize) -> Option<u32> {
        self.startups.get(session).checked_sub(1).map(|startup_ms| startup_ms as u32)
    }

    #[inline]
    fn with(&self, session: usize, entry: Option<&QualityEntry>) -> Quality {
        let startup_ms = self.startup_ms(session);
        match entry.filter(|entry| entry.session == session) {
            Some(&QualityEntry { rebufferings, rebuffering_ms, failures, .. }) => {
                Quality { startup_ms, rebufferings, rebuffering_ms, failures }
            }
            None => Quality { startup_ms, ..Quality::default() },
        }
    }

    /// Creates the qualities of sessions whose clients report none.
    pub(super) fn none(sessions: usize) -> Self {
        Self { startups: Numbers::zeros(sessions), entries: Vec::new() }
    }

    pub(super) fn of(qualities: impl Iterator<Item = Quality> + Clone) -> Self {
        let startups = qualities.clone();
        let startups = startups.map(|it| it.startup_ms.map_or(0, |ms| u64::from(ms) + 1));
        let entries = qualities.enumerate().filter(|(_, quality)| quality.is_troubled());
        let entries = entries.map(|(session, quality)| {
            let Quality { rebufferings, rebuffering_ms, failures, .. } = quality;
            QualityEntry { session, rebufferings, rebuffering_ms, failures }
        });
        Self { startups: Numbers::of(startups), entries: entries.collect() }
    }

    /// Encodes the qualities, and returns whether any session has one.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> bool {
        self.startups.encode(out);
        varint::encode(out, self.entries.len() as u64);
        let mut next = 0;
        for &QualityEntry { session, rebufferings, rebuffering_ms, failures } in &self.entries {
            for number in
                [(session - next) as u64, rebufferings.into(), rebuffering_ms, failures.into()]
            {
                varint::encode(out, number);
            }
            next = session + 1;
        }
        *self != Self::none(self.len())
    }

    pub(super) fn decode(reader: &mut Reader<'_>, sessions: usize) -> Result<Self, Damaged> {
        let startups = Numbers::decode(reader, sessions)?;
        if u64::from(u32::MAX) + 1 < startups.max() {
            return Err(Damaged("a startup time is too long"));
        }
        let len: usize = reader.number_as()?;
        if sessions < len {
            return Err(Damaged("a block has more troubled sessions than sessions"));
        }
        let (mut entries, mut next) = (Vec::with_capacity(len.min(reader.len())), 0_usize);
        for _ in 0..len {
            let session = next.saturating_add(reader.number_as()?);
            if sessions <= session {
                return Err(Damaged("a troubled session is not in the block"));
            }
            entries.push(QualityEntry {
                session,
                rebufferings: reader.number_as()?,
                rebuffering_ms: reader.number()?,
                failures: reader.number_as()?,
            });
            next = session + 1;
        }
        Ok(Self { startups, entries })
    }
}
