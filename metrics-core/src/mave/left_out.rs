//! Rows and values that an import left out, by reason.

use std::collections::BTreeMap;
use std::fmt;

use crate::containment::DEPTH_MAX;
use crate::key::KEY_BYTES_MAX;
use crate::session::SEGMENTS_MAX;
use crate::video::{IDENTIFIER_BYTES_MAX, METADATA_BYTES_MAX};

/// The maximum number of example ids per reason: enough to find the cause in the old database.
const EXAMPLES_MAX: usize = 5;

/// Why a row or a value was left out.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Reason {
    /// A key that is empty, too long, or not visible ASCII.
    InvalidKey,
    /// A session that names no key, or a key that is missing or was left out.
    NoKey,
    /// A session that names no video, or one that is missing.
    NoVideo,
    /// A session of a video that has neither an identifier nor metadata.
    UnnamedVideo,
    /// An identifier that is too long, or metadata that is no JSON object, too large, too deep, or contains U+0000. The
    /// session is imported if its video has the other of the two.
    InvalidVideo,
    /// A session in which nothing was played.
    NeverPlayed,
    /// A session without any time.
    NoTime,
    /// A play, event or duration of a missing session.
    NoSession,
    /// A segment that is negative, not a number, starts after 24 hours of video, or ends before it starts. The rest of
    /// its session is imported.
    InvalidSegment,
    /// A segment beyond the maximum of its session. The first ones are imported.
    TooManySegments,
    /// A page that is no URL. Its session is imported without the page.
    InvalidPage,
    /// Session data that is no JSON object, too large, too deep, or contains U+0000. Its session is imported without.
    InvalidSessionData,
}

impl Reason {
    /// The column of the old database that contains the example ids.
    #[must_use]
    pub const fn column(self) -> &'static str {
        match self {
            Self::InvalidKey => "keys.id",
            Self::UnnamedVideo | Self::InvalidVideo => "videos.id",
            Self::NoKey
            | Self::NoVideo
            | Self::NeverPlayed
            | Self::NoTime
            | Self::NoSession
            | Self::InvalidSegment
            | Self::TooManySegments
            | Self::InvalidPage
            | Self::InvalidSessionData => "sessions.id",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidKey => {
                write!(f, "keys that are not 1 to {KEY_BYTES_MAX} visible ASCII characters")
            }
            Self::NoKey => f.write_str("sessions without a key that can be imported"),
            Self::NoVideo => f.write_str("sessions without a video"),
            Self::UnnamedVideo => {
                f.write_str("sessions of a video that has neither an identifier nor metadata")
            }
            Self::InvalidVideo => write!(
                f,
                "sessions of a video whose identifier has more than {IDENTIFIER_BYTES_MAX} bytes, or whose \
                 metadata are not an object, have more than {METADATA_BYTES_MAX} bytes, are nested more than \
                 {DEPTH_MAX} deep or hold U+0000"
            ),
            Self::NeverPlayed => f.write_str("sessions in which nothing was played"),
            Self::NoTime => f.write_str("sessions of an unknown time"),
            Self::NoSession => {
                f.write_str("plays, events and durations of sessions that do not exist")
            }
            Self::InvalidSegment => f.write_str(
                "segments that are negative, not a number, past 24 hours, or end before they start",
            ),
            Self::TooManySegments => {
                write!(f, "segments of sessions that have more than {SEGMENTS_MAX}")
            }
            Self::InvalidPage => {
                f.write_str("sessions whose page is not a URL, imported without it")
            }
            Self::InvalidSessionData => write!(
                f,
                "sessions whose data are not an object, have more than {METADATA_BYTES_MAX} bytes, are nested \
                 more than {DEPTH_MAX} deep or hold U+0000, imported without them"
            ),
        }
    }
}

/// The rows or values that were left out for one reason. Displays as one line.
///
/// ```
/// use metrics_core::mave::{LeftOut, Reason};
///
/// let left_out = LeftOut { reason: Reason::NoVideo, count: 7, examples: vec![1, 2, 3, 5, 8] };
/// let line = "sessions without a video: 7 (sessions.id 1, 2, 3, 5, 8)";
/// assert_eq!(left_out.to_string(), line);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeftOut {
    /// The reason.
    pub reason: Reason,
    /// The number of items that the reason names, such as sessions or segments.
    pub count: u64,
    /// Some ids in the old database, from the column that [`Reason::column`] names.
    pub examples: Vec<i64>,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.count)?;
        let examples: Vec<_> = self.examples.iter().map(i64::to_string).collect();
        if examples.is_empty() {
            return Ok(());
        }
        write!(f, " ({} {})", self.reason.column(), examples.join(", "))
    }
}

/// Counts left-out items by reason.
#[derive(Debug, Default)]
pub(super) struct Tally {
    reasons: BTreeMap<Reason, LeftOut>,
}

impl Tally {
    /// Counts one item, with the id of its row, if any.
    pub(super) fn one(&mut self, reason: Reason, id: impl Into<Option<i64>>) {
        self.many(reason, 1, id);
    }

    pub(super) fn many(&mut self, reason: Reason, count: u64, id: impl Into<Option<i64>>) {
        if count == 0 {
            return;
        }
        let empty = || LeftOut { reason, count: 0, examples: Vec::new() };
        let left_out = self.reasons.entry(reason).or_insert_with(empty);
        left_out.count += count;
        let examples = &mut left_out.examples;
        examples
            .extend(id.into().filter(|id| examples.len() < EXAMPLES_MAX && !examples.contains(id)));
    }

    pub(super) fn finish(self) -> Vec<LeftOut> {
        self.reasons.into_values().collect()
    }
}
