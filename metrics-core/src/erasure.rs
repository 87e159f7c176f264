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
    /// The sessions, by everything that reports can select.
    pub scan: Scan,
    /// Only the session with this id.
    pub session: Option<SessionId>,
    /// How many sessions are deleted at most; `None` for any number.
    pub at_most: Option<u64>,
    /// Sessions that started from then on (Unix milliseconds) are deleted by the first pass only, which deletes those that
    /// are there. Viewers who begin one after the other would keep the erasure busy.
    pub new_from_ms: i64,
}

impl Erasure {
    /// Selects all sessions of a selection, whenever they started.
    #[must_use]
    pub fn of(selection: Selection) -> Self {
        let scan = Scan { selection, from_ms: i64::MIN, to_ms: i64::MAX, minimum_view_ms: 0 };
        Self { scan, session: None, at_most: None, new_from_ms: i64::MAX }
    }

    /// Selects only sessions that started from `from_ms` to `to_ms`, both Unix milliseconds and included.
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

    /// Deletes no more than so many sessions.
    #[must_use]
    pub fn at_most(self, sessions: u64) -> Self {
        Self { at_most: Some(sessions), ..self }
    }

    /// Takes sessions that start from `start_ms` (Unix milliseconds) on for new: those of them that are there are deleted,
    /// and not those that begin while the others are deleted.
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

/// How many sessions were selected or deleted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Selected {
    /// How many.
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
