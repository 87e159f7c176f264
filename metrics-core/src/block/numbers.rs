//! Columns of whole numbers that share the width of the largest, so that each is read without the ones before it.

use std::ops::Range;

use crate::varint::{self, Damaged, Reader, unzigzag, zigzag};

/// The largest width, in bytes. As many bytes pad the end, so that eight bytes can be read at every number.
const WIDTH_MAX: usize = size_of::<u64>();

/// A column of whole numbers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Numbers {
    len: usize,
    // The bytes per number; 0 if all numbers are 0.
    width: usize,
    // The bits of a number.
    mask: u64,
    // Lowest byte first.
    bytes: Vec<u8>,
}

impl Numbers {
    /// Returns the number of sessions.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of a session.
    #[inline]
    #[must_use]
    pub(crate) fn get(&self, session: usize) -> u64 {
        let word = self.bytes[session * self.width..].first_chunk();
        word.map_or(0, |word| u64::from_le_bytes(*word)) & self.mask
    }

    pub(super) fn of(numbers: impl Iterator<Item = u64> + Clone) -> Self {
        let bits =
            u64::BITS - numbers.clone().fold(0, |bits, number| bits | number).leading_zeros();
        let width = bits.div_ceil(u8::BITS) as usize;
        let mut bytes = Vec::new();
        let mut len = 0;
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes()[..width]);
            len += 1;
        }
        Self::new(len, width, bytes)
    }

    /// Returns the largest number, or 0 without sessions.
    pub(super) fn max(&self) -> u64 {
        (0..self.len).fold(0, |max, session| max.max(self.get(session)))
    }

    /// Creates a column of zeros.
    pub(super) fn zeros(len: usize) -> Self {
        Self::new(len, 0, Vec::new())
    }

    fn new(len: usize, width: usize, mut bytes: Vec<u8>) -> Self {
        bytes.resize(bytes.len() + WIDTH_MAX, 0);
        let unused_bits = (WIDTH_MAX - width) as u32 * u8::BITS;
        Self { len, width, mask: u64::MAX.checked_shr(unused_bits).unwrap_or(0), bytes }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.width as u8);
        out.extend_from_slice(&self.bytes[..self.len * self.width]);
    }

    pub(super) fn decode(reader: &mut Reader<'_>, len: usize) -> Result<Self, Damaged> {
        let width = usize::from(reader.byte()?);
        if WIDTH_MAX < width {
            return Err(Damaged("a number has too many bytes"));
        }
        let taken = reader.take(len * width)?;
        let mut bytes = Vec::with_capacity(taken.len() + WIDTH_MAX);
        bytes.extend_from_slice(taken);
        Ok(Self::new(len, width, bytes))
    }
}

/// The starts of sessions, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Starts {
    first_ms: i64,
    // Milliseconds since the first start, in order. Each start fits its type.
    distances_ms: Numbers,
}

impl Starts {
    /// Returns the number of sessions.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.distances_ms.len()
    }

    /// Returns when a session started, in Unix milliseconds.
    #[inline]
    #[must_use]
    pub(crate) fn get_ms(&self, session: usize) -> i64 {
        self.first_ms.wrapping_add_unsigned(self.distances_ms.get(session))
    }

    /// Returns the sessions that started from `from_ms` to `to_ms`, inclusive, in Unix milliseconds.
    #[must_use]
    pub(crate) fn between(&self, from_ms: i64, to_ms: i64) -> Range<usize> {
        let from = first(0..self.len(), |session| from_ms <= self.get_ms(session));
        let to = first(from..self.len(), |session| to_ms < self.get_ms(session));
        from..to
    }

    pub(super) fn of(starts_ms: impl Iterator<Item = i64> + Clone) -> Self {
        let first_ms = starts_ms.clone().next().unwrap_or(0);
        // Modulo 2^64: the distance between any two starts fits.
        let distances_ms = starts_ms.map(|it| it.wrapping_sub(first_ms).cast_unsigned());
        Self { first_ms, distances_ms: Numbers::of(distances_ms) }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(out, zigzag(self.first_ms));
        self.distances_ms.encode(out);
    }

    pub(super) fn decode(reader: &mut Reader<'_>, sessions: usize) -> Result<Self, Damaged> {
        let first_ms = unzigzag(reader.number()?);
        let distances_ms = Numbers::decode(reader, sessions)?;
        let (mut last, mut is_sorted) = (0, true);
        // Without an early return, the loop has no branch.
        for session in 0..sessions {
            let distance_ms = distances_ms.get(session);
            is_sorted &= last <= distance_ms;
            last = distance_ms;
        }
        if !is_sorted || first_ms.checked_add_unsigned(last).is_none() {
            return Err(Damaged("the sessions of a block are not in order"));
        }
        Ok(Self { first_ms, distances_ms })
    }
}

/// Returns the first index of `range` for which `is_beyond` holds, or the end of the range. If it holds for an index, it
/// holds for all later ones. The search takes the fewest steps near the start of the range.
pub(crate) fn first(range: Range<usize>, is_beyond: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut step) = (range.start, 1);
    // `is_beyond` holds for no index before `from`.
    while from < range.end {
        let at = (from + step - 1).min(range.end - 1);
        if is_beyond(at) {
            break;
        }
        from = at + 1;
        step *= 2;
    }
    let mut to = (from + step - 1).min(range.end);
    while from < to {
        let middle = from.midpoint(to);
        if is_beyond(middle) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were(
            numbers in prop::collection::vec(any::<u64>(), 0..20),
            shift in 0_u32..=64,
        ) {
            let numbers: Vec<_> =
                numbers.iter().map(|it| it.checked_shr(shift).unwrap_or(0)).collect();
            let column = Numbers::of(numbers.iter().copied());
            let mut bytes = Vec::new();
            column.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            let decoded = Numbers::decode(&mut reader, numbers.len()).unwrap();
            prop_assert!(reader.is_empty());
            prop_assert_eq!(&decoded, &column);
            let read: Vec<_> = (0..decoded.len()).map(|session| decoded.get(session)).collect();
            prop_assert_eq!(read, numbers);
        }

        #[test]
        fn the_first_beyond_a_boundary_is_found(from in 0_usize..40, len in 0_usize..40, boundary in 0_usize..90) {
            let range = from..from + len;
            let expected = range.clone().find(|at| boundary <= *at).unwrap_or(range.end);
            prop_assert_eq!(first(range, |at| boundary <= at), expected);
        }
    }

    #[test]
    fn starts_out_of_order_are_damage() {
        let starts = |first_ms, distances: &[u64]| {
            let starts = Starts { first_ms, distances_ms: Numbers::of(distances.iter().copied()) };
            let mut bytes = Vec::new();
            starts.encode(&mut bytes);
            Starts::decode(&mut Reader::new(&bytes), distances.len())
                .map(|decoded| decoded == starts)
        };
        assert_eq!(starts(-5, &[0, 5, 5]), Ok(true));
        assert_eq!(starts(i64::MIN, &[0, u64::MAX]), Ok(true));
        assert!(starts(-5, &[0, 5, 4]).is_err());
        assert!(starts(1, &[0, i64::MAX.cast_unsigned()]).is_err());
        assert!(Numbers::decode(&mut Reader::new(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1).is_err());
    }
}
