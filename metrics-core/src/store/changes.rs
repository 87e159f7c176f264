//! Rows into blocks and changes of totals: all that writes blocks does it in these ways.

use std::collections::BTreeMap;

use super::KeyId;
use crate::block::{Block, Row, SESSIONS_MAX};
use crate::totals::{DayTotals, day_of};

/// Returns a row in the form of a block, without resume state.
pub(crate) fn finalized(mut row: Row) -> Row {
    row.stored = row.stored.finalized();
    row
}

/// Returns blocks of about the same size that hold `rows`, each with its own range of time.
pub(crate) fn blocks(mut rows: Vec<Row>) -> impl Iterator<Item = Block> {
    rows.sort_by_key(Row::order);
    let count = rows.len().div_ceil(SESSIONS_MAX).max(1);
    let size = rows.len().div_ceil(count);
    std::iter::from_fn(move || {
        if rows.is_empty() {
            return None;
        }
        let rest = rows.split_off(size.min(rows.len()));
        Some(Block::encode(std::mem::replace(&mut rows, rest)))
    })
}

/// Changes of totals, per key and day.
#[derive(Debug, Default)]
pub(crate) struct Totals(BTreeMap<(KeyId, i64), DayTotals>);

impl Totals {
    /// Adds a session `times` times, which may be negative.
    pub(crate) fn add(&mut self, key: KeyId, row: &Row, times: i64) {
        let stored = &row.stored;
        let day = self.0.entry((key, day_of(stored.started_at_ms))).or_default();
        day.add(stored.started_at_ms, row.user_agent, (stored.view_ms, stored.unique_ms), times);
    }

    pub(crate) fn finish(self) -> Vec<(KeyId, i64, DayTotals)> {
        self.0.into_iter().map(|((key, day), totals)| (key, day, totals)).collect()
    }
}
