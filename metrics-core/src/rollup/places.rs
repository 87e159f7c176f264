//! Where the viewers of a day began and stopped to watch, to the millisecond.
//!
//! How many sessions watched some of `[a, b)` cannot be added up from smaller stretches, because a session may be in
//! several of them. It can be counted all the same: as many stretches as overlap `[a, b)`, less one for each two
//! neighbours of one session that both do. Two neighbours both do if the gap between them lies inside. So the places
//! where stretches begin and end, and the gaps, are all that is needed for any `a` and `b`; and they add up over
//! sessions, days and videos.
//!
//! Segments overlap where something was watched again. What they have beside the stretches are more places where
//! something begins, and as many where something ends.

use super::{Rolled, sum_up};
use crate::engagement::Difference;
use crate::varint::{self, Damaged, Reader, zigzag};

/// Where sessions began and stopped to watch a video.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Places {
    /// Where the first stretch of a session begins, and how many do there.
    pub(crate) firsts: Counts<u32>,
    /// Where the last stretch of a session ends.
    pub(crate) lasts: Counts<u32>,
    /// The gaps inside sessions: where a stretch ends, and where the next one begins.
    pub(crate) gaps: Counts<(u32, u32)>,
    /// Where segments begin that do not begin a stretch.
    pub(crate) more_starts: Counts<u32>,
    /// Where segments end that do not end a stretch.
    pub(crate) more_ends: Counts<u32>,
}

/// Where sessions began and stopped to watch a video, as a store keeps it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoredPlaces {
    /// Where the furthest session stopped, in milliseconds of video.
    pub end_ms: u32,
    /// All places.
    pub places: Vec<u8>,
    /// What changes at each second of the video, if reading that is less work.
    pub seconds: Option<Vec<u8>>,
}

/// How often each place is there, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Counts<K> {
    counts: Vec<(K, i64)>,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self { counts: Vec::new() }
    }
}

impl<K: Copy + Ord> Counts<K> {
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (K, i64)> + '_ {
        self.counts.iter().copied()
    }

    /// Sorts, adds up what is there twice, and drops what is not there.
    fn tidy(&mut self) {
        sum_up(&mut self.counts);
        self.counts.retain(|(_, count)| *count != 0);
    }
}

impl Places {
    /// Counts a session `times` times, which may be negative. To be tidied up afterwards.
    pub(super) fn add(&mut self, session: &Rolled<'_>, times: i64) {
        let segments = session.segments;
        let stretches = segments.union();
        let mut before: Option<u32> = None;
        for stretch in stretches.iter() {
            match before {
                None => self.firsts.counts.push((stretch.start_ms(), times)),
                Some(end_ms) => self.gaps.counts.push(((end_ms, stretch.start_ms()), times)),
            }
            before = Some(stretch.end_ms());
        }
        let Some(end_ms) = before else { return };
        self.lasts.counts.push((end_ms, times));
        if segments.len() == stretches.iter().len() {
            return;
        }
        // All of the segments', less those of the stretches, which are among them.
        for segment in segments.iter() {
            self.more_starts.counts.push((segment.start_ms(), times));
            self.more_ends.counts.push((segment.end_ms(), times));
        }
        for stretch in stretches.iter() {
            self.more_starts.counts.push((stretch.start_ms(), -times));
            self.more_ends.counts.push((stretch.end_ms(), -times));
        }
    }

    /// Adds other places to these.
    pub fn merge(&mut self, other: Self) {
        let Self { firsts, lasts, gaps, more_starts, more_ends } = other;
        self.firsts.counts.extend(firsts.counts);
        self.lasts.counts.extend(lasts.counts);
        self.gaps.counts.extend(gaps.counts);
        self.more_starts.counts.extend(more_starts.counts);
        self.more_ends.counts.extend(more_ends.counts);
        self.tidy();
    }

    pub(super) fn tidy(&mut self) {
        self.gaps.tidy();
        for counts in
            [&mut self.firsts, &mut self.lasts, &mut self.more_starts, &mut self.more_ends]
        {
            counts.tidy();
        }
    }

    /// Where the furthest session stopped, in milliseconds of video.
    #[must_use]
    pub fn end_ms(&self) -> u32 {
        self.lasts.iter().rev().find(|(_, count)| 0 < *count).map_or(0, |(end_ms, _)| end_ms)
    }

    /// Where stretches begin.
    pub(crate) fn starts(&self) -> impl Iterator<Item = (u32, i64)> + '_ {
        self.firsts.iter().chain(self.gaps.iter().map(|((_, start), count)| (start, count)))
    }

    /// Where stretches end.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (u32, i64)> + '_ {
        self.lasts.iter().chain(self.gaps.iter().map(|((end, _), count)| (end, count)))
    }

    /// What a store is to keep, or nothing where nothing was watched.
    #[must_use]
    pub fn store(&self) -> Option<StoredPlaces> {
        let places = self.encode()?;
        let seconds = self.encode_seconds(places.len() / 2);
        Some(StoredPlaces { end_ms: self.end_ms(), places, seconds })
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let lists = [&self.firsts, &self.lasts, &self.more_starts, &self.more_ends];
        if lists.iter().all(|list| list.counts.is_empty()) && self.gaps.counts.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        for counts in lists {
            varint::put(&mut out, counts.counts.len() as u64);
            let mut before = 0;
            for (place, count) in counts.iter() {
                put_place(&mut out, place - before, count);
                before = place;
            }
        }
        let mut before = 0;
        for ((end, start), count) in self.gaps.iter() {
            put_place(&mut out, end - before, count);
            varint::put(&mut out, u64::from(start - end));
            before = end;
        }
        Some(out)
    }

    /// What changes at each second, if it takes no more bytes than these.
    pub(super) fn encode_seconds(&self, len_max: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut before = 0;
        for (second, difference) in self.seconds() {
            varint::put(&mut out, u64::from(second - before));
            varint::put(&mut out, zigzag(difference.views));
            varint::put(&mut out, zigzag(difference.viewers));
            before = second;
        }
        (out.len() <= len_max).then_some(out)
    }

    /// Reads the places that [`store`](Self::store) made.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if it is anything else.
    pub fn load(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut lists = Lists::new(bytes);
        let mut places = Self::default();
        for counts in
            [&mut places.firsts, &mut places.lasts, &mut places.more_starts, &mut places.more_ends]
        {
            lists.next(|place, count| counts.counts.push((place, count)))?;
        }
        lists.gaps(|gap, count| places.gaps.counts.push((gap, count)))?;
        Ok(places)
    }

    /// What changes at each second of the video, in order.
    #[must_use]
    pub fn seconds(&self) -> Vec<(u32, Difference)> {
        let viewers = |count| Difference { views: 0, viewers: count };
        let both = |count| Difference { views: count, viewers: count };
        let views = |count| Difference { views: count, viewers: 0 };
        let first = |ms: u32| ms / 1_000;
        let after = |ms: u32| ms.div_ceil(1_000);
        let mut changes: Vec<_> =
            self.starts().map(|(ms, count)| (first(ms), both(count))).collect();
        changes.extend(self.ends().map(|(ms, count)| (after(ms), both(-count))));
        changes.extend(self.more_starts.iter().map(|(ms, count)| (first(ms), views(count))));
        changes.extend(self.more_ends.iter().map(|(ms, count)| (after(ms), views(-count))));
        for ((end, start), count) in self.gaps.iter() {
            // Both neighbours are in this second.
            if first(start) < after(end) {
                changes.push((first(start), viewers(-count)));
                changes.push((first(start) + 1, viewers(count)));
            }
        }
        sum_up(&mut changes);
        changes.retain(|(_, it)| it.views != 0 || it.viewers != 0);
        changes
    }
}

/// What changes at each second, by what a store keeps of a day: of its places only where it keeps no seconds.
///
/// # Errors
///
/// [`Damaged`] if that is not what it is.
pub fn load_changes(
    seconds: Option<&[u8]>,
    places: Option<&[u8]>,
) -> Result<Vec<(u32, Difference)>, Damaged> {
    match (seconds, places) {
        (Some(seconds), _) => load_seconds(seconds),
        (None, Some(places)) => Ok(Places::load(places)?.seconds()),
        (None, None) => Ok(Vec::new()),
    }
}

fn load_seconds(bytes: &[u8]) -> Result<Vec<(u32, Difference)>, Damaged> {
    let mut reader = Reader::new(bytes);
    let mut seconds = Vec::with_capacity(bytes.len() / 3);
    let mut second = 0_u32;
    while !reader.is_empty() {
        second = second.checked_add(reader.narrow()?).ok_or(TOO_FAR)?;
        let (views, viewers) = (reader.sum()?, reader.sum()?);
        seconds.push((second, Difference { views, viewers }));
    }
    Ok(seconds)
}

const TOO_FAR: Damaged = Damaged("a place is too far");

/// Most places are there once, which takes no byte of its own.
fn put_place(out: &mut Vec<u8>, distance: u32, count: i64) {
    let once = count == 1;
    varint::put(out, u64::from(distance) << 1 | u64::from(!once));
    if !once {
        varint::put(out, zigzag(count));
    }
}

fn take_place(reader: &mut Reader<'_>, place: &mut u32) -> Result<i64, Damaged> {
    let number = reader.number()?;
    let distance = (number >> 1).try_into().map_err(|_| TOO_FAR)?;
    *place = place.checked_add(distance).ok_or(TOO_FAR)?;
    if number & 1 == 0 { Ok(1) } else { reader.sum() }
}

/// The lists of places as a store keeps them: firsts, lasts, more starts, more ends, and at the end the gaps.
///
/// For those who want to look at each place once, and not to keep it.
pub(crate) struct Lists<'a> {
    reader: Reader<'a>,
}

impl<'a> Lists<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { reader: Reader::new(bytes) }
    }

    /// Calls `see` with each place of the next list that is none of gaps, and how often it is there.
    pub(crate) fn next(&mut self, mut see: impl FnMut(u32, i64)) -> Result<(), Damaged> {
        let mut place = 0;
        for _ in 0..self.reader.number()? {
            let count = take_place(&mut self.reader, &mut place)?;
            see(place, count);
        }
        Ok(())
    }

    /// Calls `see` with each gap, and how often it is there.
    pub(crate) fn gaps(mut self, mut see: impl FnMut((u32, u32), i64)) -> Result<(), Damaged> {
        let mut end = 0;
        while !self.reader.is_empty() {
            let count = take_place(&mut self.reader, &mut end)?;
            let start = end.checked_add(self.reader.narrow()?).ok_or(TOO_FAR)?;
            see((end, start), count);
        }
        Ok(())
    }
}
