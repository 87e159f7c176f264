//! Blocks: the columns of many closed sessions of one video, encoded.
//!
//! A closed session has no open segment and is quiet. Stores keep closed sessions in blocks and do not interpret their
//! content: the code here encodes, decodes, merges and searches them, so every store gives the same results.
//!
//! # Format
//!
//! A block is a list of sessions, sorted by start and then by row id. It is kept as up to [`Group::ALL`] byte strings,
//! one per [`Group`] of columns that reports read together. Each string begins with the byte [`FORMAT`]:
//!
//! | group | content |
//! |---|---|
//! | [`Starts`](Group::Starts) | the first start in Unix milliseconds, then the column of distances to it |
//! | [`Times`](Group::Times) | the columns of view time, and of view time less unique view time, in milliseconds |
//! | [`UserAgents`](Group::UserAgents) | dictionary of browser, platform and device |
//! | [`Durations`](Group::Durations) | dictionary of durations in milliseconds plus 1; 0 is unknown |
//! | [`Segments`](Group::Segments) | the column of lengths in bytes, then per session [`Segments::encode`](crate::interval::Segments::encode) |
//! | [`Pages`](Group::Pages) | dictionary of texts: pages |
//! | [`SessionData`](Group::SessionData) | dictionary of texts: canonical JSON |
//! | [`Quality`](Group::Quality) | the column of startup times in milliseconds plus 1, where 0 is unknown; then the number of troubled sessions, and per such session the number of other sessions since the one before it, rebufferings and their time in milliseconds, failures |
//! | [`Languages`](Group::Languages) | dictionary of texts: languages of tracks |
//! | [`Details`](Group::Details) | per session the distance from start to last event, a number of flags, and the counters flagged |
//! | [`RowIds`](Group::RowIds) | per session 8 bytes |
//! | [`Minutes`](Group::Minutes) | per session its runs, in half bytes of three bits and one that says whether more follow: see [`Minutes`](crate::session::Minutes::encode) |
//! | [`Arrivals`](Group::Arrivals) | a dictionary of texts per [`ArrivalPart`](crate::arrival::ArrivalPart), in the order of their numbers |
//!
//! A column starts with the width of its numbers in bytes (that of the largest number, 0 to 8); each number follows,
//! lowest byte first. So a report decodes only the numbers of selected sessions. Other numbers are in LEB128, signed
//! ones zigzag-encoded. A text is its length in bytes plus 1 and then itself, or 0 for none. A dictionary is the number
//! of its values, the values in order of their first use, and, if there are several, a code per session: one byte each
//! up to 256 values, LEB128 beyond. A block omits a group in which no session has a value, if [`Group::is_optional`].

mod arrivals;
mod coded;
mod columns;
mod detail;
mod encode;
mod numbers;
mod quality;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use self::coded::{Coded, Codes};
pub(crate) use self::columns::Columns;
pub(crate) use self::numbers::first;
pub(crate) use self::quality::Quality;
use crate::arrival::Arrival;
use crate::key::SessionId;
use crate::session::Stored;
use crate::source::Source;
use crate::user_agent::UserAgentClass;

/// The format of encoded groups. A newer format is rejected.
const FORMAT: u8 = 2;

/// The largest number of sessions in a block: its columns fit a processor's cache, and rewriting it takes milliseconds.
pub(crate) const SESSIONS_MAX: usize = 16_384;

/// Columns that are encoded, stored and read together.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Group {
    /// Starts of sessions.
    Starts = 0,
    /// View time and unique view time.
    Times = 1,
    /// Browser, platform and device.
    UserAgents = 2,
    /// Duration of the video.
    Durations = 3,
    /// Segments that were watched.
    Segments = 4,
    /// The page that embeds the video.
    Pages = 5,
    /// Session data that the page gave.
    SessionData = 6,
    /// Startup time, rebuffering and failures.
    Quality = 7,
    /// The language of the track chosen last.
    Languages = 8,
    /// The last event, and counters that reports rarely need.
    Details = 9,
    /// Row ids.
    RowIds = 10,
    /// The minutes at which sessions played, which only concurrency needs.
    Minutes = 11,
    /// Referrer, campaign and country.
    Arrivals = 12,
}

impl Group {
    /// Every group, by its number.
    pub const ALL: [Self; 13] = [
        Self::Starts,
        Self::Times,
        Self::UserAgents,
        Self::Durations,
        Self::Segments,
        Self::Pages,
        Self::SessionData,
        Self::Quality,
        Self::Languages,
        Self::Details,
        Self::RowIds,
        Self::Minutes,
        Self::Arrivals,
    ];

    /// Returns the name: the column of a store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starts => "starts",
            Self::Times => "times",
            Self::UserAgents => "user_agents",
            Self::Durations => "durations",
            Self::Segments => "segments",
            Self::Pages => "pages",
            Self::SessionData => "session_data",
            Self::Quality => "quality",
            Self::Languages => "languages",
            Self::Details => "details",
            Self::RowIds => "row_ids",
            Self::Minutes => "minutes",
            Self::Arrivals => "arrivals",
        }
    }

    /// Returns whether a block omits the group if no session has a value.
    #[must_use]
    pub(crate) const fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Pages
                | Self::SessionData
                | Self::Quality
                | Self::Languages
                | Self::Minutes
                | Self::Arrivals
        )
    }
}

/// A set of groups.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Groups(u16);

impl Groups {
    /// No group.
    pub const NONE: Self = Self(0);

    /// Every group: complete sessions.
    pub const ALL: Self = Self((1 << Group::ALL.len()) - 1);

    /// Returns the set with `group` in it.
    #[must_use]
    pub const fn with(self, group: Group) -> Self {
        Self(self.0 | 1 << group as u16)
    }

    /// Returns the groups that are in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether `group` is in the set.
    #[must_use]
    pub const fn has(self, group: Group) -> bool {
        self.0 & 1 << group as u16 != 0
    }

    /// The groups in the set, by their numbers.
    pub fn iter(self) -> impl Iterator<Item = Group> {
        Group::ALL.into_iter().filter(move |group| self.has(*group))
    }
}

impl FromIterator<Group> for Groups {
    fn from_iter<T: IntoIterator<Item = Group>>(groups: T) -> Self {
        groups.into_iter().fold(Self::default(), Self::with)
    }
}

/// Distinguishes sessions of one video that started in the same millisecond: the first 64 bits of the session's id.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RowId(pub u64);

impl From<SessionId> for RowId {
    fn from(id: SessionId) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// A closed session in a block. Its key and video are those of the block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    /// Distinguishes it from others with the same start.
    pub id: RowId,
    /// The page that embeds the video, if it is known.
    pub page: Option<Source>,
    /// Browser, platform and device.
    pub user_agent: UserAgentClass,
    /// The session data that the page gave: canonical JSON of an object.
    pub session_data: Option<Arc<str>>,
    /// Referrer, campaign and country.
    pub arrival: Arrival,
    /// The session, without its resume state ([`Stored::finalized`]).
    pub stored: Stored,
}

impl Row {
    /// Returns the approximate number of bytes in memory.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        let Self { page, session_data, arrival, stored, .. } = self;
        size_of::<Self>()
            + page.as_ref().map_or(0, |page| page.as_str().len())
            + session_data.as_deref().map_or(0, str::len)
            + arrival.bytes()
            + stored.segments.len()
            + stored.resume.len()
    }

    /// The sort key of sessions in a block.
    #[must_use]
    pub(crate) fn order(&self) -> (i64, RowId) {
        (self.stored.started_at_ms, self.id)
    }
}

/// An encoded block, without its id in a store.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Block {
    /// Number of sessions.
    pub sessions: u32,
    /// The first start, in Unix milliseconds.
    pub first_start_ms: i64,
    /// The last start, in Unix milliseconds.
    pub last_start_ms: i64,
    /// The encoded groups, by number; `None` for one that was omitted or not read.
    pub groups: [Option<Vec<u8>>; Group::ALL.len()],
}

impl Block {
    /// The bytes of a group, if it is present.
    #[must_use]
    pub fn group(&self, group: Group) -> Option<&[u8]> {
        self.groups[group as usize].as_deref()
    }

    /// Returns the number of bytes of all groups.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.groups.iter().flatten().map(Vec::len).sum()
    }
}
