//! The minutes at which a session played. Reports count concurrent sessions from them.

use crate::varint::{Damaged, NibbleReader, Nibbles};

/// The length of a minute, in milliseconds.
pub const MINUTE_MS: i64 = 60_000;

/// The time after the start of a session in which its minutes count: 24 hours, in minutes.
///
/// All sessions that play in a period therefore started in it or at most this time before it.
pub const SPAN_MINUTES: u16 = 24 * 60;

/// The largest number of runs of minutes of a session. Beyond it, the two closest runs become one.
pub const RUNS_MAX: usize = 64;

/// The whole minutes of Unix time at which a segment of a session was open: instants of 60,000 ms times a whole number.
///
/// A segment is open from its `play` to its `pause`, waits for data included. A segment that ended without a `pause`
/// was open as long as playback can have gone on: never past the end of the video, and not during an absence of more
/// than a minute. Where segments were corrected, joined or removed later, every minute at which one of them was open
/// counts, and so does every minute at which a stored segment was assumed to be open.
///
/// Minutes are kept as runs, relative to the start of the session; minutes after [`SPAN_MINUTES`] are dropped. If there
/// are more than [`RUNS_MAX`] runs, the two with the fewest minutes between them are joined.
///
/// A segment begins when its `play` arrives by the server's clock. Its length follows the player's clock if both of its
/// ends have a timestamp. Events that arrive late all at once, such as those of a page that was offline, count as if
/// the first of them had happened at its arrival.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Minutes {
    // Invariant: in order, not empty, not adjacent; at most `RUNS_MAX`, none beyond `SPAN_MINUTES`.
    runs: Vec<MinuteRun>,
}

/// Consecutive minutes, counted from the first whole minute at or after the start of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MinuteRun {
    pub(crate) first: u16,
    /// The first minute after the run.
    pub(crate) end: u16,
}

impl Minutes {
    /// Makes the minutes of a session that played from its start on, for the length of its view time. They are assumed
    /// for sessions that were recorded without minutes.
    #[must_use]
    pub fn of_view(started_at_ms: i64, view_ms: u64) -> Self {
        let mut minutes = Self::default();
        let until_ms = started_at_ms.saturating_add_unsigned(view_ms);
        minutes.insert(started_at_ms, started_at_ms, until_ms);
        minutes
    }

    /// Adds the minutes in `[from_ms, until_ms)`, in Unix milliseconds, to those of a session that started at
    /// `started_at_ms`.
    pub fn insert(&mut self, started_at_ms: i64, from_ms: i64, until_ms: i64) {
        let start = minute_from(started_at_ms);
        let offset = |at_ms| (minute_from(at_ms) - start).clamp(0, SPAN_MINUTES.into()) as u16;
        let new = MinuteRun { first: offset(from_ms), end: offset(until_ms) };
        if new.first < new.end {
            self.join(new);
        }
    }

    fn join(&mut self, new: MinuteRun) {
        // The runs that overlap or touch the new one become one with it.
        let first = self.runs.partition_point(|old| old.end < new.first);
        let last = self.runs.partition_point(|old| old.first <= new.end);
        let joined = self.runs[first..last].iter().fold(new, |all, old| MinuteRun {
            first: all.first.min(old.first),
            end: all.end.max(old.end),
        });
        self.runs.splice(first..last, [joined]);
        if RUNS_MAX < self.runs.len() {
            let gaps = self.runs.windows(2).map(|pair| pair[1].first - pair[0].end);
            let closest = gaps.enumerate().min_by_key(|(_, gap)| *gap).map_or(0, |(at, _)| at);
            let after = self.runs.remove(closest + 1);
            self.runs[closest].end = after.end;
        }
    }

    /// Returns the number of minutes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.iter().map(|run| usize::from(run.end - run.first)).sum()
    }

    /// Returns true if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Iterates over the minutes in order, as minutes since 1970, of a session that started at `started_at_ms`.
    pub fn iter(&self, started_at_ms: i64) -> impl Iterator<Item = i64> + '_ {
        runs_from(started_at_ms, &self.runs).flat_map(|(first, end)| first..end)
    }

    #[cfg(feature = "recorder")]
    pub(crate) fn runs(&self) -> &[MinuteRun] {
        &self.runs
    }

    /// Makes minutes of the runs in a block.
    #[cfg(feature = "recorder")]
    pub(crate) fn of_runs(runs: &[MinuteRun]) -> Self {
        Self { runs: runs.to_vec() }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<MinuteRun>()
    }

    /// Encodes the minutes: one byte for none, and for up to 31 from the first one after the start on.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1);
        encode(&self.runs, &mut Nibbles::new(&mut out));
        out
    }

    /// Decodes bytes of [`encode`](Self::encode).
    ///
    /// # Errors
    ///
    /// [`Damaged`] if the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = NibbleReader::new(bytes);
        let mut runs = Vec::new();
        decode(&mut reader, &mut runs)?;
        if !reader.is_over() {
            return Err(Damaged("minutes are longer than their runs"));
        }
        Ok(Self { runs })
    }
}

/// Appends the length of the run that begins at the first minute after the start, which may be 0; then, of each run
/// after it, its distance from the end of the run before, and its length. The lowest bit of a length is 1 if
/// another run follows.
pub(crate) fn encode(runs: &[MinuteRun], out: &mut Nibbles<'_>) {
    let has_first = runs.first().is_some_and(|run| run.first == 0);
    let others = &runs[usize::from(has_first)..];
    let mut before = if has_first { runs[0].end } else { 0 };
    encode_len(out, before, !others.is_empty());
    for (index, run) in others.iter().enumerate() {
        out.encode((run.first - before).into());
        encode_len(out, run.end - run.first, index + 1 < others.len());
        before = run.end;
    }
}

fn encode_len(out: &mut Nibbles<'_>, len: u16, is_followed: bool) {
    out.encode(u32::from(len) << 1 | u32::from(is_followed));
}

/// Decodes runs that [`encode`] encoded, and appends them.
pub(crate) fn decode(
    reader: &mut NibbleReader<'_>,
    runs: &mut Vec<MinuteRun>,
) -> Result<(), Damaged> {
    let from = runs.len();
    let mut first = 0;
    loop {
        let number = reader.number()?;
        let (len, is_followed) = (number >> 1, number & 1 == 1);
        // Only the run at the start may be empty.
        if len == 0 && 0 < first {
            return Err(Damaged("a run of minutes is empty"));
        }
        let end = len + first;
        if u32::from(SPAN_MINUTES) < end {
            return Err(Damaged("a minute is too late"));
        }
        if 0 < len {
            runs.push(MinuteRun { first: first as u16, end: end as u16 });
        }
        if RUNS_MAX < runs.len() - from {
            return Err(Damaged("there are too many runs of minutes"));
        }
        if !is_followed {
            return Ok(());
        }
        let gap = reader.number()?;
        if gap == 0 {
            return Err(Damaged("runs of minutes are not apart"));
        }
        first = end + gap;
    }
}

/// Returns the first minute of each run and the first one after it, as minutes since 1970.
pub(crate) fn runs_from(
    started_at_ms: i64,
    runs: &[MinuteRun],
) -> impl Iterator<Item = (i64, i64)> + '_ {
    let start = minute_from(started_at_ms);
    runs.iter().map(move |run| (start + i64::from(run.first), start + i64::from(run.end)))
}

/// Returns the number of the first whole minute at or after an instant.
pub(crate) fn minute_from(at_ms: i64) -> i64 {
    at_ms.div_euclid(MINUTE_MS) + i64::from(at_ms.rem_euclid(MINUTE_MS) != 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn minutes(ranges: &[(i64, i64)], started_at_ms: i64) -> Minutes {
        let mut minutes = Minutes::default();
        for (from, until) in ranges {
            minutes.insert(started_at_ms, *from, *until);
        }
        minutes
    }

    #[test]
    fn usual_sessions_take_one_byte() {
        let start_ms = 90_000;
        assert_eq!(Minutes::default().encode(), [0]);
        // 1:30 to 2:30, where 2:00 is the first minute after the start.
        assert_eq!(Minutes::of_view(start_ms, 60_000).encode(), [2]);
        assert_eq!(Minutes::of_view(start_ms, 31 * 60_000).encode().len(), 1);
        assert_eq!(Minutes::of_view(start_ms, 32 * 60_000).encode().len(), 2);
        // A pause over two minutes takes a byte more.
        let paused = minutes(&[(90_000, 150_000), (290_000, 310_000)], start_ms);
        assert_eq!(paused.iter(start_ms).collect::<Vec<_>>(), [2, 5]);
        assert_eq!(paused.encode(), [0x23, 2]);
    }

    #[test]
    fn instants_are_in_and_ends_are_not() {
        for (from, until, expected) in [
            (60_000, 120_000, &[1][..]),
            (60_000, 120_001, &[1, 2]),
            (60_001, 120_000, &[]),
            (60_001, 120_001, &[2]),
            (0, 60_000, &[]),
            (300_000, 60_000, &[]),
            // Before the start.
            (i64::MIN, 60_001, &[1]),
        ] {
            let found = minutes(&[(from, until)], 30_000);
            assert_eq!(found.iter(30_000).collect::<Vec<_>>(), expected, "{from} {until}");
        }
    }

    #[test]
    fn a_day_after_the_start_nothing_counts() {
        for start_ms in [0, 1, 59_999] {
            let found = minutes(&[(start_ms, i64::MAX)], start_ms);
            assert_eq!(found.len(), 1_440);
            let last_ms = found.iter(start_ms).last().unwrap() * MINUTE_MS;
            assert!(last_ms < start_ms + 24 * 3_600_000);
        }
        assert_eq!(Minutes::of_view(i64::MAX, u64::MAX).len(), 0);
        assert_eq!(Minutes::of_view(i64::MIN, u64::MAX).len(), 1_440);
    }

    #[test]
    fn runs_beyond_the_limit_are_joined_where_they_are_closest() {
        let mut found = Minutes::default();
        for run in 0..RUNS_MAX as i64 {
            found.insert(0, 5 * run * MINUTE_MS, (5 * run + 1) * MINUTE_MS);
        }
        assert_eq!(found.len(), RUNS_MAX);
        found.insert(0, 2 * MINUTE_MS, 3 * MINUTE_MS);
        assert_eq!(found.runs().len(), RUNS_MAX);
        assert_eq!(found.iter(0).take(5).collect::<Vec<_>>(), [0, 1, 2, 5, 10]);
        assert_eq!(Minutes::decode(&found.encode()), Ok(found));
    }

    #[test]
    fn refusals_name_the_fault() {
        for (bytes, expected) in [
            (&[][..], "it ends too early"),
            (&[0x11], "it ends too early"),
            (&[0x01, 2], "runs of minutes are not apart"),
            (&[0x11, 0], "a run of minutes is empty"),
            (&[0, 0], "minutes are longer than their runs"),
            (&[0x20], "minutes are longer than their runs"),
            // 1,441 minutes: 2,882 is 5502 in base 8.
            (&[0x8a, 0x5d], "a minute is too late"),
            (&[0xff; 5], "a number has too many half bytes"),
        ] {
            assert_eq!(Minutes::decode(bytes), Err(Damaged(expected)), "{bytes:?}");
        }
        assert_eq!(Minutes::decode(&[0x88, 0x5d]).map(|minutes| minutes.len()), Ok(1_440));
    }

    proptest! {
        #[test]
        fn minutes_are_those_of_a_set(
            start_ms in -200_000_i64..200_000,
            ranges in prop::collection::vec((-100_000_i64..4_000_000, 0_i64..400_000), 0..40),
        ) {
            let ranges: Vec<_> =
                ranges.iter().map(|(from, len)| (*from, from + len)).collect();
            let found = minutes(&ranges, start_ms);
            let is_in = |minute: &i64| {
                let at_ms = minute * MINUTE_MS;
                start_ms <= at_ms && ranges.iter().any(|(from, until)| (*from..*until).contains(&at_ms))
            };
            let expected: BTreeSet<_> = (-10..200).filter(is_in).collect();
            prop_assert_eq!(found.iter(start_ms).collect::<BTreeSet<_>>(), expected);
            prop_assert_eq!(Minutes::decode(&found.encode()), Ok(found));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(minutes) = Minutes::decode(&bytes) {
                prop_assert!(minutes.runs().len() <= RUNS_MAX);
                prop_assert_eq!(Minutes::decode(&minutes.encode()), Ok(minutes));
            }
        }
    }
}
