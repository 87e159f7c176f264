//! Intervals of video time: one, a session's list of segments, and their union.
//!
//! A viewer who rewinds watches some seconds twice. *View time* counts those twice: it is the sum of the [`Segments`].
//! *Unique view time* counts them once: it is the length of their union, an [`IntervalSet`].
//!
//! Positions are whole milliseconds from the start of the video. Intervals are half-open, `[start, end)`: intervals
//! `[0, 1000)` and `[1000, 2000)` neither overlap nor leave a gap.
//!
//! ```
//! use metrics_core::interval::{Interval, Segments};
//!
//! let mut segments = Segments::default();
//! segments.insert(Interval::new(0, 4_000).unwrap());
//! segments.insert(Interval::new(2_000, 6_000).unwrap()); // Rewound by two seconds.
//! assert_eq!(segments.len_ms(), 8_000);
//! assert_eq!(segments.union().len_ms(), 6_000);
//! ```

use crate::varint::{self, Damaged};

/// A non-empty, half-open interval of video time: `[start_ms, end_ms)`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Interval {
    // Invariant: start_ms < end_ms.
    start_ms: u32,
    end_ms: u32,
}

impl Interval {
    /// The interval `[start_ms, end_ms)`, or `None` if it is empty.
    #[must_use]
    pub const fn new(start_ms: u32, end_ms: u32) -> Option<Self> {
        if start_ms < end_ms { Some(Self { start_ms, end_ms }) } else { None }
    }

    /// The first millisecond inside.
    #[must_use]
    pub const fn start_ms(self) -> u32 {
        self.start_ms
    }

    /// The first millisecond after it.
    #[must_use]
    pub const fn end_ms(self) -> u32 {
        self.end_ms
    }

    /// Its length, in milliseconds.
    #[must_use]
    pub const fn len_ms(self) -> u32 {
        self.end_ms - self.start_ms
    }
}

/// A set of milliseconds of video time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct IntervalSet {
    // Invariant: sorted, and a gap of at least 1 ms between neighbours.
    intervals: Vec<Interval>,
}

impl IntervalSet {
    /// Adds every millisecond of `new` to the set.
    pub fn insert(&mut self, new: Interval) {
        // The run of old intervals that overlap or touch `new` becomes one interval with it.
        let first = self.intervals.partition_point(|old| old.end_ms < new.start_ms);
        let last = self.intervals.partition_point(|old| old.start_ms <= new.end_ms);
        let merged = self.intervals[first..last].iter().fold(new, |all, old| Interval {
            start_ms: all.start_ms.min(old.start_ms),
            end_ms: all.end_ms.max(old.end_ms),
        });
        self.intervals.splice(first..last, [merged]);
    }

    /// The intervals, in order, with a gap between neighbours.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Interval> + ExactSizeIterator + '_ {
        self.intervals.iter().copied()
    }

    /// Number of milliseconds in the set.
    #[must_use]
    pub fn len_ms(&self) -> u64 {
        self.iter().map(|range| u64::from(range.len_ms())).sum()
    }

    /// The end of the last interval, or 0 for the empty set.
    #[must_use]
    pub fn end_ms(&self) -> u32 {
        self.intervals.last().map_or(0, |last| last.end_ms)
    }

    /// Returns true if the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }
}

impl FromIterator<Interval> for IntervalSet {
    fn from_iter<T: IntoIterator<Item = Interval>>(intervals: T) -> Self {
        let mut set = Self::default();
        intervals.into_iter().for_each(|interval| set.insert(interval));
        set
    }
}

/// The segments of one session, replays included: the same segment may occur many times.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Segments {
    // Invariant: sorted.
    segments: Vec<Interval>,
}

impl Segments {
    /// Adds a segment.
    pub fn insert(&mut self, new: Interval) {
        // Most viewers move forward, so this is a push most of the time.
        let at = self.segments.partition_point(|old| *old <= new);
        self.segments.insert(at, new);
    }

    /// Removes one segment that equals `old`, and returns whether there was one.
    pub fn remove(&mut self, old: Interval) -> bool {
        self.segments.binary_search(&old).map(|at| self.segments.remove(at)).is_ok()
    }

    /// The segments, by start and then by end.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Interval> + ExactSizeIterator + '_ {
        self.segments.iter().copied()
    }

    /// Number of segments.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Returns true if there is no segment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The sum of the segments' lengths: the view time.
    #[must_use]
    pub fn len_ms(&self) -> u64 {
        self.iter().map(|segment| u64::from(segment.len_ms())).sum()
    }

    /// The watched ranges: every millisecond that is in some segment.
    #[must_use]
    pub fn union(&self) -> IntervalSet {
        IntervalSet { intervals: self.ranges().collect() }
    }

    /// The watched ranges in order, with a gap between neighbours.
    pub fn ranges(&self) -> impl Iterator<Item = Interval> + '_ {
        let mut segments = self.segments.iter().copied().peekable();
        std::iter::from_fn(move || {
            let mut range = segments.next()?;
            while let Some(next) = segments.next_if(|next| next.start_ms <= range.end_ms) {
                range.end_ms = range.end_ms.max(next.end_ms);
            }
            Some(range)
        })
    }

    /// Encodes the segments as two numbers each: the distance of the start from the start before, and the length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(6 * self.len());
        let mut before_ms = 0;
        for segment in self.iter() {
            varint::encode(&mut out, u64::from(segment.start_ms - before_ms));
            varint::encode(&mut out, u64::from(segment.len_ms()));
            before_ms = segment.start_ms;
        }
        out
    }

    /// Decodes the output of [`encode`](Self::encode).
    ///
    /// # Errors
    ///
    /// [`Damaged`] if the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut segments = Self::default();
        segments.read(bytes)?;
        Ok(segments)
    }

    /// Replaces these segments by decoded output of [`encode`](Self::encode), reusing memory.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if the bytes are anything else.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        self.segments.clear();
        let mut reader = varint::Reader::new(bytes);
        let mut start_ms = 0_u32;
        while !reader.is_empty() {
            start_ms = start_ms
                .checked_add(reader.number_as()?)
                .ok_or(Damaged("a segment starts too late"))?;
            let end_ms = start_ms.checked_add(reader.number_as()?);
            let segment = end_ms
                .and_then(|end_ms| Interval::new(start_ms, end_ms))
                .ok_or(Damaged("a segment is empty or too long"))?;
            if self.segments.last().is_some_and(|last| segment < *last) {
                return Err(Damaged("the segments are not in order"));
            }
            self.segments.push(segment);
        }
        Ok(())
    }
}

impl Extend<Interval> for Segments {
    fn extend<T: IntoIterator<Item = Interval>>(&mut self, segments: T) {
        segments.into_iter().for_each(|segment| self.insert(segment));
    }
}

impl FromIterator<Interval> for Segments {
    fn from_iter<T: IntoIterator<Item = Interval>>(segments: T) -> Self {
        let mut segments: Vec<Interval> = segments.into_iter().collect();
        segments.sort_unstable();
        Self { segments }
    }
}
