//! The plays of a day by page: how many by view time.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::bins::bin_of;
use super::{Cover, Plan, Rolled, start_of, sum_up};
use crate::query::instant;
use crate::time_bucket::Buckets;
use crate::varint::{self, Damaged, Reader, zigzag};

/// The plays of one day by page, as the store numbers its pages. Sessions without a page are not among them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DaySources {
    sources: BTreeMap<i64, BTreeMap<u16, i64>>,
}

impl DaySources {
    /// Counts a session `times` times, which may be negative.
    pub(super) fn add(&mut self, session: &Rolled<'_>, times: i64) {
        if let Some(source) = session.source {
            let bins = self.sources.entry(source).or_default();
            *bins.entry(bin_of(session.view_ms)).or_default() += times;
        }
    }

    /// Adds other plays to these.
    pub fn merge(&mut self, other: Self) {
        for (source, bins) in other.sources {
            let sum = self.sources.entry(source).or_default();
            for (bin, plays) in bins {
                *sum.entry(bin).or_default() += plays;
            }
        }
    }

    /// What a store is to keep, or nothing where there are no plays.
    #[must_use]
    pub fn store(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut before = 0;
        for (source, bins) in &self.sources {
            let mut plays = Vec::new();
            let mut before_bin = 0;
            for (bin, count) in bins.iter().filter(|(_, count)| **count != 0) {
                varint::put(&mut plays, u64::from(bin - before_bin));
                before_bin = *bin;
                varint::put(&mut plays, zigzag(*count));
            }
            if !plays.is_empty() {
                varint::put(&mut out, zigzag(source - before));
                before = *source;
                varint::put(&mut out, plays.len() as u64);
                out.extend(plays);
            }
        }
        (!out.is_empty()).then_some(out)
    }

    /// Reads what [`store`](Self::store) made.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if it is anything else.
    pub fn load(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut sources = BTreeMap::new();
        each_source(bytes, |source, plays| {
            let bins: &mut BTreeMap<_, _> = sources.entry(source).or_default();
            each_bin(plays, |bin, count| *bins.entry(bin).or_default() = count)
        })?;
        Ok(Self { sources })
    }
}

/// Calls `add` with each page and how many plays it has from bin `first` on.
///
/// # Errors
///
/// [`Damaged`] if the bytes are not a day's plays by page.
pub fn fold_sources(
    bytes: &[u8],
    first: u16,
    mut add: impl FnMut(i64, u64),
) -> Result<(), Damaged> {
    each_source(bytes, |source, plays| {
        let mut sum = 0;
        each_bin(plays, |bin, count| sum += if first <= bin { count } else { 0 })?;
        let sum = sum.try_into().map_err(|_| Damaged("there are less than no plays"))?;
        if 0 < sum {
            add(source, sum);
        }
        Ok(())
    })
}

/// Plays per bucket of time and page, from a bin of view time on.
#[derive(Debug)]
pub struct SourceCells {
    first_bin: u16,
    buckets: Buckets,
    cells: HashMap<DateTime<Utc>, SourceCell>,
}

/// The plays of one bucket.
#[derive(Debug)]
struct SourceCell {
    // An instant of the bucket: the first that was asked for.
    at_ms: i64,
    // A page and how many plays, each page once and in order.
    sums: Vec<(i64, u64)>,
    // More of the same, in no order.
    more: Vec<(i64, u64)>,
}

impl SourceCells {
    /// No plays yet; those before this bin do not count.
    #[must_use]
    pub fn new(first_bin: u16, buckets: Buckets) -> Self {
        Self { first_bin, buckets, cells: HashMap::new() }
    }

    /// Adds plays of sessions that started in the bucket of this instant.
    pub fn add(&mut self, at_ms: i64, source: i64, plays: u64) {
        self.cell(at_ms).more.push((source, plays));
    }

    /// Adds a day, of which a store keeps this, if all of it is wanted.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if that is not what it is.
    pub fn add_day(&mut self, plan: &Plan, day: i64, plays: &[u8]) -> Result<(), Damaged> {
        if plan.cover(day) != Cover::Day {
            return Ok(());
        }
        let first_bin = self.first_bin;
        let cell = self.cell(start_of(day, 0));
        // Pages come in order: two lists in order are merged in one pass, and there are many days of a bucket.
        let mut merged = Vec::with_capacity(cell.sums.len());
        let mut sums = cell.sums.iter().copied().peekable();
        fold_sources(plays, first_bin, |source, plays| {
            while let Some(before) = sums.next_if(|(other, _)| *other < source) {
                merged.push(before);
            }
            let same = sums.next_if(|(other, _)| *other == source);
            merged.push((source, plays + same.map_or(0, |(_, plays)| plays)));
        })?;
        merged.extend(sums);
        cell.sums = merged;
        Ok(())
    }

    /// An instant of each bucket, a page, and how many plays it has there, in no order.
    #[must_use]
    pub fn finish(self) -> Vec<(i64, i64, u64)> {
        let mut answer = Vec::new();
        for SourceCell { at_ms, mut sums, more } in self.cells.into_values() {
            sums.extend(more);
            sum_up(&mut sums);
            answer.extend(sums.into_iter().map(|(source, plays)| (at_ms, source, plays)));
        }
        answer
    }

    fn cell(&mut self, at_ms: i64) -> &mut SourceCell {
        let bucket = self.buckets.start_of(instant(at_ms));
        let new = || SourceCell { at_ms, sums: Vec::new(), more: Vec::new() };
        self.cells.entry(bucket).or_insert_with(new)
    }
}

fn each_source(
    bytes: &[u8],
    mut visit: impl FnMut(i64, &[u8]) -> Result<(), Damaged>,
) -> Result<(), Damaged> {
    let mut reader = Reader::new(bytes);
    let mut source = 0_i64;
    while !reader.is_empty() {
        let distance = reader.sum()?;
        source = source.checked_add(distance).ok_or(Damaged("there is no such page"))?;
        let len = reader.narrow()?;
        visit(source, reader.take(len)?)?;
    }
    Ok(())
}

fn each_bin(bytes: &[u8], mut visit: impl FnMut(u16, i64)) -> Result<(), Damaged> {
    let mut reader = Reader::new(bytes);
    let mut bin = 0_u16;
    while !reader.is_empty() {
        bin = bin.checked_add(reader.narrow()?).ok_or(Damaged("a view time is too long"))?;
        visit(bin, reader.sum()?);
    }
    Ok(())
}
