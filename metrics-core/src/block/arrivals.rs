//! The columns of where viewers come from: a dictionary per part. One of all parts would have a value per combination.

use std::sync::Arc;

use super::Row;
use super::coded::Coded;
use crate::arrival::{Arrival, ArrivalPart};
use crate::varint::{Damaged, Reader};

/// A column per part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Arrivals {
    // By the numbers of parts.
    parts: [Coded<Option<Arc<str>>>; ArrivalPart::ALL.len()],
}

impl Arrivals {
    /// The columns of some sessions.
    pub(super) fn of(rows: &[Row]) -> Self {
        if rows.iter().all(|row| row.arrival == Arrival::default()) && !rows.is_empty() {
            return Self::none();
        }
        let part = |part| Coded::of(rows.iter().map(move |row| row.arrival.value(part).cloned()));
        Self { parts: ArrivalPart::ALL.map(part) }
    }

    /// The columns of sessions without a value.
    pub(super) fn none() -> Self {
        Self { parts: ArrivalPart::ALL.map(|_| Coded::all(None)) }
    }

    /// The column of a part.
    pub(crate) fn part(&self, part: ArrivalPart) -> &Coded<Option<Arc<str>>> {
        &self.parts[part as usize]
    }

    /// Returns whether the columns have this number of sessions.
    pub(crate) fn are_of(&self, sessions: usize) -> bool {
        self.parts.iter().all(|column| column.is_of(sessions))
    }

    pub(super) fn get(&self, session: usize) -> Arrival {
        Arrival::of_values(ArrivalPart::ALL.map(|part| self.part(part).get(session).clone()))
    }

    /// Encodes the columns, and returns whether any session has a value.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> bool {
        self.parts.iter().for_each(|column| column.encode(out));
        self.parts.iter().any(|column| column.values().iter().any(Option::is_some))
    }

    pub(super) fn decode(reader: &mut Reader<'_>, sessions: usize) -> Result<Self, Damaged> {
        let mut arrivals = Self::none();
        for column in &mut arrivals.parts {
            *column = Coded::decode(reader, sessions)?;
        }
        Ok(arrivals)
    }
}
