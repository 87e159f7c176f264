//! A column of few distinct values: a dictionary, and a code per session.

use std::collections::HashMap;
use std::hash::Hash;

use crate::varint::{self, Damaged, Reader};

/// A column whose values are kept once each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Coded<T> {
    // Invariant: not empty, unless the column is.
    values: Vec<T>,
    codes: Codes,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Codes {
    // Every session has the first value.
    One,
    // Invariant: each is the index of a value.
    Many(Vec<u32>),
}

/// A value of a dictionary, to and from bytes.
pub(super) trait Value: Clone + Eq + Hash + Sized {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads what [`put`](Self::put) wrote.
    fn take(reader: &mut Reader<'_>) -> Result<Self, Damaged>;
}

impl<T> Coded<T> {
    /// The distinct values, by their codes.
    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The code of a session's value.
    #[must_use]
    pub fn code(&self, session: usize) -> u32 {
        match &self.codes {
            Codes::One => 0,
            Codes::Many(codes) => codes[session],
        }
    }

    /// The codes of all sessions, or `None` if each has the first value.
    #[must_use]
    pub fn codes(&self) -> Option<&[u32]> {
        match &self.codes {
            Codes::One => None,
            Codes::Many(codes) => Some(codes),
        }
    }

    /// The value of a session.
    #[must_use]
    pub fn get(&self, session: usize) -> &T {
        &self.values[self.code(session) as usize]
    }

    /// A column in which every session has `value`.
    pub(super) fn all(value: T) -> Self {
        Self { values: vec![value], codes: Codes::One }
    }
}

#[expect(private_bounds, reason = "only blocks encode and decode columns")]
impl<T: Value> Coded<T> {
    pub(super) fn of(column: impl Iterator<Item = T>) -> Self {
        let mut known: HashMap<T, u32> = HashMap::new();
        let mut values = Vec::new();
        let codes: Vec<u32> = column
            .map(|value| {
                *known.entry(value).or_insert_with_key(|value| {
                    values.push(value.clone());
                    values.len() as u32 - 1
                })
            })
            .collect();
        let codes = if values.len() < 2 { Codes::One } else { Codes::Many(codes) };
        Self { values, codes }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, self.values.len() as u64);
        self.values.iter().for_each(|value| value.put(out));
        let Codes::Many(codes) = &self.codes else { return };
        if self.values.len() <= 256 {
            out.extend(codes.iter().map(|code| *code as u8));
        } else {
            codes.iter().for_each(|code| varint::put(out, u64::from(*code)));
        }
    }

    pub(super) fn take(reader: &mut Reader<'_>, sessions: usize) -> Result<Self, Damaged> {
        let len: usize = reader.narrow()?;
        if sessions < len || (len == 0) != (sessions == 0) {
            return Err(Damaged("a dictionary has too many values or none"));
        }
        let values = (0..len).map(|_| T::take(reader)).collect::<Result<Vec<_>, _>>()?;
        let codes = match len {
            0 | 1 => return Ok(Self { values, codes: Codes::One }),
            2..=256 => reader.take(sessions)?.iter().map(|code| u32::from(*code)).collect(),
            _ => (0..sessions).map(|_| reader.narrow()).collect::<Result<Vec<u32>, _>>()?,
        };
        // All are looked at: without an early return, a processor compares several at once.
        if codes.iter().fold(0, |max, code| max.max(*code)) as usize >= len {
            return Err(Damaged("a code has no value"));
        }
        Ok(Self { values, codes: Codes::Many(codes) })
    }
}
