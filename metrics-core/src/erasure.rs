//! Which sessions an erasure deletes, and how many they are.

use crate::key::SessionId;
use crate::query::{Dimension, Filter, Operator, Scan, Selection};

/// The sessions that an erasure deletes.
///
/// ```
/// use metrics_core::upkeep::Erasure;
/// use metrics_core::{ApiKey, Selection};
///
/// let key = ApiKey::generate();
/// let erasure = Erasure::of(Selection::key(key)).on_page("https://example.com/reset/");
/// # assert_eq!(erasure.session, None);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Erasure {
    /// The sessions, by every criterion of reports.
    pub scan: Scan,
    /// Only the session with this id.
    pub session: Option<SessionId>,
    /// The largest number of sessions to delete; `None` for any number.
    pub at_most: Option<u64>,
    /// Start (Unix milliseconds) from which sessions are new: only the first pass deletes new sessions, those that
    /// exist by then. Viewers who keep beginning sessions would otherwise keep the erasure busy.
    pub new_from_ms: i64,
}

impl Erasure {
    /// Selects all sessions of a selection, whenever they started.
    #[must_use]
    pub fn of(selection: Selection) -> Self {
        let scan = Scan { selection, from_ms: i64::MIN, to_ms: i64::MAX, minimum_view_ms: 0 };
        Self { scan, session: None, at_most: None, new_from_ms: i64::MAX }
    }

    /// Selects only sessions that started from `from_ms` to `to_ms`, inclusive, in Unix milliseconds.
    #[must_use]
    pub fn during(mut self, from_ms: i64, to_ms: i64) -> Self {
        (self.scan.from_ms, self.scan.to_ms) = (from_ms, to_ms);
        self
    }

    /// Selects only sessions on pages whose URL (scheme, host, port and path) starts with `prefix`.
    #[must_use]
    pub fn on_page(mut self, prefix: impl Into<String>) -> Self {
        let page = Filter::Dimension {
            dimension: Dimension::Page,
            operator: Operator::StartsWith,
            values: vec![Some(prefix.into())],
        };
        let filter = std::mem::take(&mut self.scan.selection.filter);
        self.scan.selection.filter = Filter::And(vec![filter, page]);
        self
    }

    /// Selects only the session with this id.
    #[must_use]
    pub fn of_session(self, id: SessionId) -> Self {
        Self { session: Some(id), ..self }
    }

    /// Deletes at most `sessions` sessions.
    #[must_use]
    pub fn at_most(self, sessions: u64) -> Self {
        Self { at_most: Some(sessions), ..self }
    }

    /// Treats sessions that start from `start_ms` (Unix milliseconds) on as new: those that exist at first are deleted,
    /// and those that begin during the erasure are not.
    #[must_use]
    pub fn new_from(self, start_ms: i64) -> Self {
        Self { new_from_ms: start_ms, ..self }
    }

    /// Selects all sessions that started before `start_ms` (Unix milliseconds), if any could have.
    pub(crate) fn before(start_ms: i64) -> Option<Self> {
        let last_ms = start_ms.checked_sub(1)?;
        Some(Self::of(Selection::default()).during(i64::MIN, last_ms))
    }
}

/// The number of sessions that were selected or deleted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Selected {
    /// Their number.
    pub sessions: u64,
    /// The start of the first of them, in Unix milliseconds.
    pub first_start_ms: Option<i64>,
}

impl Selected {
    pub(crate) fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.count(0, other.first_start_ms);
    }

    pub(crate) fn count(&mut self, sessions: u64, first_start_ms: Option<i64>) {
        self.sessions += sessions;
        let starts = [self.first_start_ms, first_start_ms];
        self.first_start_ms = starts.into_iter().flatten().min();
    }
}
