//! Whole numbers in as few bytes as they need (LEB128), the alphabet of the compact columns.
//!
//! A number below 128 takes one byte, and a position in a video of four hours four. Decoding never trusts its input:
//! any program may have written a database file.

/// The error of a compact column that cannot be decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a compact column is damaged: {0}")]
pub struct Damaged(pub(crate) &'static str);

/// The bound of sums: a million sessions that last a day each are 2^47 milliseconds.
#[cfg(feature = "recorder")]
const SUM_MAX: u64 = 1 << 50;

/// Appends `number`.
pub(crate) fn encode(out: &mut Vec<u8>, mut number: u64) {
    while 0x80 <= number {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Moves the sign into the lowest bit, so that positive and negative numbers near zero are short.
pub(crate) fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Reads compact numbers from the front of a slice.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Number of bytes left.
    #[cfg(feature = "recorder")]
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next number.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<u64, Damaged> {
        // Most numbers are short.
        match *self.rest {
            [one @ 0..0x80, ref rest @ ..] => {
                self.rest = rest;
                return Ok(one.into());
            }
            [one, two @ 0..0x80, ref rest @ ..] => {
                self.rest = rest;
                return Ok(u64::from(one & 0x7f) | u64::from(two) << 7);
            }
            _ => {}
        }
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && 1 < bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Damaged("a number has too many bytes"))
    }

    /// Takes the next number, which may be negative, and must be small enough to be added to many others.
    #[cfg(feature = "recorder")]
    pub(crate) fn signed(&mut self) -> Result<i64, Damaged> {
        let sum = unzigzag(self.number()?);
        if sum.unsigned_abs() < SUM_MAX { Ok(sum) } else { Err(Damaged("a sum is too large")) }
    }

    /// Takes the next number, which must fit into `T`.
    #[inline]
    pub(crate) fn number_as<T: TryFrom<u64>>(&mut self) -> Result<T, Damaged> {
        self.number()?.try_into().map_err(|_| Damaged("a number is too large"))
    }

    /// Takes one byte.
    pub(crate) fn byte(&mut self) -> Result<u8, Damaged> {
        let (&first, rest) = self.rest.split_first().ok_or(Damaged("it ends too early"))?;
        self.rest = rest;
        Ok(first)
    }

    /// Takes this many bytes.
    #[cfg(feature = "recorder")]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Damaged> {
        let (first, rest) = self.rest.split_at_checked(len).ok_or(Damaged("it ends too early"))?;
        self.rest = rest;
        Ok(first)
    }

    /// Takes four bytes as a number.
    pub(crate) fn u32_le(&mut self) -> Result<u32, Damaged> {
        let (first, rest) = self.rest.split_first_chunk().ok_or(Damaged("it ends too early"))?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*first))
    }
}

/// Appends numbers in half bytes of three bits each, lowest bits first: a number below 8 takes half a byte.
#[derive(Debug)]
pub(crate) struct Nibbles<'a> {
    out: &'a mut Vec<u8>,
    // Whether the upper half of the last byte is free.
    is_half: bool,
}

impl<'a> Nibbles<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, is_half: false }
    }

    pub(crate) fn encode(&mut self, mut number: u32) {
        while 8 <= number {
            self.push(number as u8 & 7 | 8);
            number >>= 3;
        }
        self.push(number as u8);
    }

    fn push(&mut self, nibble: u8) {
        match self.out.last_mut().filter(|_| self.is_half) {
            Some(last) => *last |= nibble << 4,
            None => self.out.push(nibble),
        }
        self.is_half = !self.is_half;
    }
}

/// Decodes the output of [`Nibbles`].
#[derive(Debug)]
pub(crate) struct NibbleReader<'a> {
    bytes: &'a [u8],
    // Number of half bytes read.
    read: usize,
}

impl<'a> NibbleReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, read: 0 }
    }

    /// Takes the next number, which must be below 2^30.
    pub(crate) fn number(&mut self) -> Result<u32, Damaged> {
        let mut number = 0;
        for shift in (0..30).step_by(3) {
            let byte = *self.bytes.get(self.read / 2).ok_or(Damaged("it ends too early"))?;
            let nibble = byte >> (self.read % 2 * 4) & 15;
            self.read += 1;
            number |= u32::from(nibble & 7) << shift;
            if nibble < 8 {
                return Ok(number);
            }
        }
        Err(Damaged("a number has too many half bytes"))
    }

    /// Returns whether nothing remains but the free half of the last byte.
    pub(crate) fn is_over(&self) -> bool {
        let last = self.bytes.last().copied().unwrap_or(0);
        let is_padded = self.read.is_multiple_of(2) || last >> 4 == 0;
        self.read.div_ceil(2) == self.bytes.len() && is_padded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn written_rows_are_read(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|&number| encode(&mut bytes, number));
            let mut reader = Reader::new(&bytes);
            for &number in &numbers {
                prop_assert_eq!(reader.number(), Ok(number));
            }
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn half_bytes_are_numbers(numbers in prop::collection::vec((0_u32..1 << 30, 0_u32..30), 0..20)) {
            let numbers: Vec<_> = numbers.iter().map(|(number, shift)| number >> shift).collect();
            let mut bytes = Vec::new();
            let mut nibbles = Nibbles::new(&mut bytes);
            numbers.iter().for_each(|number| nibbles.encode(*number));
            let mut reader = NibbleReader::new(&bytes);
            for number in &numbers {
                prop_assert_eq!(reader.number(), Ok(*number));
            }
            prop_assert!(reader.is_over());
        }

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut reader = Reader::new(&bytes);
            while reader.number().is_ok() {}
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_damage() {
        assert!(Reader::new(&[0xff; 10]).number().is_err());
        let mut bytes = Vec::new();
        encode(&mut bytes, u64::from(u32::MAX) + 1);
        assert!(Reader::new(&bytes).number_as::<u32>().is_err());
    }
}
