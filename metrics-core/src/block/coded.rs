//! A column of few distinct values: a dictionary, and a code per session.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use crate::varint::{self, Damaged, Reader};

/// The largest number of values whose codes are single bytes.
const BYTES_MAX: usize = 256;

/// A column that keeps each distinct value once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Coded<T> {
    // Invariant: not empty, unless the column is.
    values: Vec<T>,
    // Invariant: each is the index of a value.
    codes: Codes<'static>,
}

/// The codes of sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Codes<'a> {
    /// Every session has the first value.
    One,
    /// Codes of up to 256 values.
    Bytes(Cow<'a, [u8]>),
    /// Codes of more values.
    Words(Cow<'a, [u32]>),
}

impl Codes<'_> {
    /// Returns the code of a session.
    #[must_use]
    pub(crate) fn get(&self, session: usize) -> usize {
        match self {
            Self::One => 0,
            Self::Bytes(codes) => codes[session].into(),
            Self::Words(codes) => codes[session] as usize,
        }
    }

    /// Calls `take` with the code of each session in `sessions`, and the item paired with it.
    pub(crate) fn each<T>(
        &self,
        sessions: impl Iterator<Item = (usize, T)>,
        mut visit: impl FnMut(usize, T),
    ) {
        match self {
            Self::One => sessions.for_each(|(_, it)| visit(0, it)),
            Self::Bytes(codes) => sessions.for_each(|(at, it)| visit(codes[at].into(), it)),
            Self::Words(codes) => sessions.for_each(|(at, it)| visit(codes[at] as usize, it)),
        }
    }

    /// Returns the codes of a range of sessions.
    fn slice(&self, range: Range<usize>) -> Codes<'_> {
        match self {
            Self::One => Codes::One,
            Self::Bytes(codes) => Codes::Bytes(Cow::Borrowed(&codes[range])),
            Self::Words(codes) => Codes::Words(Cow::Borrowed(&codes[range])),
        }
    }

    /// Returns the number of codes, unless all sessions share the first value.
    fn len(&self) -> Option<usize> {
        match self {
            Self::One => None,
            Self::Bytes(codes) => Some(codes.len()),
            Self::Words(codes) => Some(codes.len()),
        }
    }
}

/// A value of a dictionary, with its encoding.
pub(super) trait Value: Clone + Eq + Hash + Sized {
    /// Appends the value.
    fn encode(&self, out: &mut Vec<u8>);

    /// Decodes the output of [`encode`](Self::encode).
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged>;
}

impl<T> Coded<T> {
    /// The distinct values, by their codes.
    #[must_use]
    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }

    /// Returns the codes of a range of sessions.
    #[must_use]
    pub(crate) fn codes(&self, range: Range<usize>) -> Codes<'_> {
        self.codes.slice(range)
    }

    /// Returns whether the column has this number of sessions.
    pub(crate) fn is_of(&self, sessions: usize) -> bool {
        self.codes.len().is_none_or(|len| len == sessions)
    }

    /// The value of a session.
    #[must_use]
    pub(crate) fn get(&self, session: usize) -> &T {
        &self.values[self.codes.get(session)]
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
        let codes = match values.len() {
            0 | 1 => Codes::One,
            2..=BYTES_MAX => Codes::Bytes(codes.iter().map(|code| *code as u8).collect()),
            _ => Codes::Words(codes.into()),
        };
        Self { values, codes }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(out, self.values.len() as u64);
        self.values.iter().for_each(|value| value.encode(out));
        match &self.codes {
            Codes::One => {}
            Codes::Bytes(codes) => out.extend_from_slice(codes),
            Codes::Words(codes) => {
                codes.iter().for_each(|code| varint::encode(out, (*code).into()));
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>, sessions: usize) -> Result<Self, Damaged> {
        let len: usize = reader.number_as()?;
        if sessions < len || (len == 0) != (sessions == 0) {
            return Err(Damaged("a dictionary has too many values or none"));
        }
        let values = (0..len).map(|_| T::decode(reader)).collect::<Result<Vec<_>, _>>()?;
        // Without an early return, a processor compares several codes at once.
        let (codes, last) = match len {
            0 | 1 => (Codes::One, 0),
            2..=BYTES_MAX => {
                let codes = reader.take(sessions)?;
                let last = codes.iter().fold(0, |last, code| last.max(*code));
                (Codes::Bytes(codes.to_vec().into()), last.into())
            }
            _ => {
                let codes = (0..sessions).map(|_| reader.number_as());
                let codes = codes.collect::<Result<Vec<u32>, _>>()?;
                let last = codes.iter().fold(0, |last, code| last.max(*code));
                (Codes::Words(codes.into()), last as usize)
            }
        };
        if 1 < len && len <= last {
            return Err(Damaged("a code has no value"));
        }
        Ok(Self { values, codes })
    }
}

/// Appends the length of a text plus 1 and the text, or 0 for none.
pub(super) fn encode_text(text: Option<&str>, out: &mut Vec<u8>) {
    varint::encode(out, text.map_or(0, |text| text.len() as u64 + 1));
    out.extend_from_slice(text.unwrap_or_default().as_bytes());
}

pub(super) fn decode_text<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a str>, Damaged> {
    let len: usize = reader.number_as()?;
    let Some(len) = len.checked_sub(1) else { return Ok(None) };
    let text = std::str::from_utf8(reader.take(len)?);
    Ok(Some(text.map_err(|_| Damaged("a text is not UTF-8"))?))
}
