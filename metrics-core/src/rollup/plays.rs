//! The plays of a day: how many by view time and by what they were watched with, hour by hour.
//!
//! Mostly plays are asked for from a short view time on. So before the bins of view time, where there are many, stands
//! what they all come to, and only the bins that do not count are read, and taken away. Of a whole day the first bins
//! are kept with that and apart from the others, which then need not be read at all.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeBounds;

use super::bins::bin_of;
use super::{Cover, Plan, Rolled, start_of};
use crate::client::{Browser, Client, Device, Platform};
use crate::report::{PlayCell, PlayFigures};
use crate::varint::{self, Damaged, Reader, zigzag};

/// Plays by view time. Sums, which another such adds to or takes from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Plays {
    bins: BTreeMap<u16, Bin>,
}

/// The plays of one bin of view time.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Bin {
    // In order.
    clients: Vec<(u16, i64)>,
    view_ms: i64,
    // What was watched again, which most sessions have none of.
    again_ms: i64,
}

/// The plays of one day.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DayPlays {
    // By the hour of the day; none without plays.
    hours: BTreeMap<u8, Plays>,
}

/// The plays of one day as a store keeps them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoredPlays {
    /// All of them, hour by hour.
    pub hours: Vec<u8>,
    /// Their sums, if reading those is less work.
    pub whole: Option<StoredWhole>,
}

/// The sums of a whole day as a store keeps them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoredWhole {
    /// What all plays come to, and the bins of the shortest view times.
    pub head: Vec<u8>,
    /// The other bins.
    pub tail: Vec<u8>,
}

/// The sums of a whole day as they are read.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// As in [`StoredWhole`].
    pub head: &'a [u8],
    /// The same, where [`PlayCells::needs_tail`] says so.
    pub tail: Option<&'a [u8]>,
}

/// Plays of an hour as a store keeps them.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    // Whether what all bins come to stands before them.
    has_total: bool,
    bytes: &'a [u8],
}

/// Set in the number before plays, which is that of their hour, if they have a total.
const TOTAL: u8 = 0x20;

/// How many times as long as their total bins are at least that have one.
const TOTAL_PAYS: usize = 4;

/// Up to this bin, the bins of a whole day are in its head: a minimum view time of up to five seconds, which are most,
/// needs no others, and a row of SQLite holds that many without a page more.
const HEAD_BINS: u16 = 5;

impl DayPlays {
    /// Counts a session `times` times, which may be negative.
    pub(super) fn add(&mut self, session: &Rolled<'_>, times: i64) {
        let bins = &mut self.hours.entry(session.hour()).or_default().bins;
        let bin = bins.entry(bin_of(session.view_ms)).or_default();
        bin.add_clients(code(session.client), times);
        bin.view_ms += times * session.view_ms as i64;
        bin.again_ms += times * session.view_ms.saturating_sub(session.unique_ms) as i64;
    }

    /// What a store is to keep, or nothing where there are no plays.
    #[must_use]
    pub fn store(&self) -> Option<StoredPlays> {
        let mut out = HoursOut::default();
        self.hours.iter().for_each(|(hour, plays)| out.put(*hour, plays));
        out.finish(|| self.sum())
    }

    /// What a store is to keep once these are added to what it keeps. Only hours that change are read.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if what it keeps is not what [`store`](Self::store) made.
    pub fn add_to(&self, stored: &StoredPlays) -> Result<Option<StoredPlays>, Damaged> {
        let mut out = HoursOut::default();
        let mut changes = self.hours.iter().peekable();
        each_hour(&stored.hours, |hour, plays| {
            while let Some((earlier, more)) = changes.next_if(|(it, _)| **it < hour) {
                out.put(*earlier, more);
            }
            match changes.next_if(|(it, _)| **it == hour) {
                Some((_, more)) => {
                    let mut sum = plays.decode()?;
                    sum.merge(more);
                    out.put(hour, &sum);
                }
                None => out.copy(hour, plays),
            }
            Ok(())
        })?;
        changes.for_each(|(hour, more)| out.put(*hour, more));
        let mut sum = match &stored.whole {
            Some(whole) => whole.as_read().decode()?,
            None => Self::load(&stored.hours)?.sum(),
        };
        sum.merge(&self.sum());
        Ok(out.finish(|| sum))
    }

    /// Reads the hours that [`store`](Self::store) made.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if it is anything else.
    pub fn load(hours: &[u8]) -> Result<Self, Damaged> {
        let mut day = Self::default();
        each_hour(hours, |hour, plays| {
            day.hours.insert(hour, plays.decode()?);
            Ok(())
        })?;
        Ok(day)
    }

    fn sum(&self) -> Plays {
        let mut sum = Plays::default();
        self.hours.values().for_each(|plays| sum.merge(plays));
        sum
    }
}

/// The hours of a day as a store is to keep them, one after the other.
#[derive(Default)]
struct HoursOut {
    bytes: Vec<u8>,
    hours: u32,
}

impl HoursOut {
    /// Appends an hour, unless there is nothing in it.
    fn put(&mut self, hour: u8, plays: &Plays) {
        let (has_total, bytes) = plays.encode();
        if !bytes.is_empty() {
            self.copy(hour, Encoded { has_total, bytes: &bytes });
        }
    }

    fn copy(&mut self, hour: u8, plays: Encoded<'_>) {
        self.bytes.push(plays.head(hour));
        varint::put(&mut self.bytes, plays.bytes.len() as u64);
        self.bytes.extend(plays.bytes);
        self.hours += 1;
    }

    fn finish(self, sum: impl FnOnce() -> Plays) -> Option<StoredPlays> {
        // Of a single hour the sums would be as long.
        let whole = (1 < self.hours).then(|| sum().encode_whole());
        let whole = whole.filter(|it| 2 * (it.head.len() + it.tail.len()) <= self.bytes.len());
        (0 < self.hours).then_some(StoredPlays { hours: self.bytes, whole })
    }
}

impl Bin {
    fn add_clients(&mut self, client: u16, count: i64) {
        match self.clients.binary_search_by_key(&client, |(client, _)| *client) {
            Ok(at) => self.clients[at].1 += count,
            Err(at) => self.clients.insert(at, (client, count)),
        }
    }

    fn add(&mut self, other: &Self, times: i64) {
        self.view_ms += times * other.view_ms;
        self.again_ms += times * other.again_ms;
        other.clients.iter().for_each(|(client, count)| self.add_clients(*client, times * count));
    }

    fn is_nothing(&self) -> bool {
        self.view_ms == 0 && self.again_ms == 0 && self.clients.iter().all(|(_, count)| *count == 0)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let clients = self.clients.iter().filter(|(_, count)| *count != 0);
        varint::put(out, clients.clone().count() as u64);
        for (client, count) in clients {
            varint::put(out, u64::from(*client));
            varint::put(out, zigzag(*count));
        }
        varint::put(out, zigzag(self.view_ms));
        varint::put(out, zigzag(self.again_ms));
    }

    /// Reads one over this one, so that many can be read without new memory for each.
    fn decode(&mut self, reader: &mut Reader<'_>) -> Result<(), Damaged> {
        self.clients.clear();
        for _ in 0..reader.number()? {
            self.clients.push((reader.narrow()?, reader.sum()?));
        }
        self.view_ms = reader.sum()?;
        self.again_ms = reader.sum()?;
        Ok(())
    }
}

impl Plays {
    fn merge(&mut self, other: &Self) {
        for (at, bin) in &other.bins {
            self.bins.entry(*at).or_default().add(bin, 1);
        }
    }

    /// Reads bins to those that are there.
    fn decode(&mut self, mut reader: Reader<'_>) -> Result<(), Damaged> {
        let mut bins = Bins::default();
        while bins.next(&mut reader)? {
            self.bins.insert(bins.at, bins.bin.clone());
        }
        Ok(())
    }

    /// The bins, and whether a total stands before them.
    fn encode(&self) -> (bool, Vec<u8>) {
        let bins = self.encode_bins(..);
        let mut all = self.encode_total();
        let has_total = TOTAL_PAYS * all.len() <= bins.len();
        if has_total {
            all.extend(bins);
            (has_total, all)
        } else {
            (has_total, bins)
        }
    }

    fn encode_whole(&self) -> StoredWhole {
        let mut head = self.encode_total();
        head.extend(self.encode_bins(..HEAD_BINS));
        StoredWhole { head, tail: self.encode_bins(HEAD_BINS..) }
    }

    fn encode_total(&self) -> Vec<u8> {
        let (mut out, mut total) = (Vec::new(), Bin::default());
        self.bins.values().for_each(|bin| total.add(bin, 1));
        total.encode(&mut out);
        out
    }

    fn encode_bins(&self, range: impl RangeBounds<u16>) -> Vec<u8> {
        let (mut out, mut before) = (Vec::new(), 0);
        for (at, bin) in self.bins.range(range).filter(|(_, bin)| !bin.is_nothing()) {
            varint::put(&mut out, u64::from(at - before));
            before = *at;
            bin.encode(&mut out);
        }
        out
    }
}

impl StoredWhole {
    /// All of it, to be read.
    #[must_use]
    pub fn as_read(&self) -> Whole<'_> {
        Whole { head: &self.head, tail: Some(&self.tail) }
    }
}

impl Whole<'_> {
    /// Adds the plays from bin `first` on to `figures`.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if there are none in it, or bins are needed that were not read.
    pub fn fold(self, first: u16, figures: &mut PlayFigures) -> Result<(), Damaged> {
        let mut left = subtract(Reader::new(self.head), first)?;
        if HEAD_BINS < first {
            let tail = self.tail.ok_or(Damaged("a day is there in part"))?;
            each_before(Reader::new(tail), first, |bin| left.add(bin, -1))?;
        }
        count(&left, figures)
    }

    fn decode(self) -> Result<Plays, Damaged> {
        let mut plays = Plays::default();
        let mut head = Reader::new(self.head);
        Bin::default().decode(&mut head)?;
        plays.decode(head)?;
        plays.decode(Reader::new(self.tail.ok_or(Damaged("a day is there in part"))?))?;
        Ok(plays)
    }
}

impl Encoded<'_> {
    /// Adds the plays from bin `first` on to `figures`.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if there are none in it.
    pub fn fold(self, first: u16, figures: &mut PlayFigures) -> Result<(), Damaged> {
        let mut reader = Reader::new(self.bytes);
        if self.has_total {
            return count(&subtract(reader, first)?, figures);
        }
        let mut bins = Bins::default();
        while bins.next(&mut reader)? {
            if first <= bins.at {
                count(&bins.bin, figures)?;
            }
        }
        Ok(())
    }

    fn decode(self) -> Result<Plays, Damaged> {
        let mut reader = Reader::new(self.bytes);
        if self.has_total {
            Bin::default().decode(&mut reader)?;
        }
        let mut plays = Plays::default();
        plays.decode(reader)?;
        Ok(plays)
    }

    #[cfg(test)]
    pub(super) fn has_total(self) -> bool {
        self.has_total
    }

    /// What stands before them.
    fn head(self, hour: u8) -> u8 {
        if self.has_total { hour | TOTAL } else { hour }
    }
}

/// The total that stands before bins, less those of them that are before bin `first`.
fn subtract(mut reader: Reader<'_>, first: u16) -> Result<Bin, Damaged> {
    let mut left = Bin::default();
    left.decode(&mut reader)?;
    each_before(reader, first, |bin| left.add(bin, -1))?;
    Ok(left)
}

/// Calls `see` with each bin before `first`. What follows is not looked at.
fn each_before(
    mut reader: Reader<'_>,
    first: u16,
    mut see: impl FnMut(&Bin),
) -> Result<(), Damaged> {
    let mut bins = Bins::default();
    while 0 < first && bins.next(&mut reader)? && bins.at < first {
        see(&bins.bin);
    }
    Ok(())
}

/// The bin that was read last.
#[derive(Default)]
struct Bins {
    at: u16,
    bin: Bin,
}

impl Bins {
    /// Reads the next one, if there is one.
    fn next(&mut self, reader: &mut Reader<'_>) -> Result<bool, Damaged> {
        if reader.is_empty() {
            return Ok(false);
        }
        let distance = reader.narrow()?;
        self.at = self.at.checked_add(distance).ok_or(Damaged("a view time is too long"))?;
        self.bin.decode(reader)?;
        Ok(true)
    }
}

fn count(bin: &Bin, figures: &mut PlayFigures) -> Result<(), Damaged> {
    let natural =
        |number: i64| number.try_into().map_err(|_| Damaged("there are less than no plays"));
    for (client, plays) in &bin.clients {
        figures.add_plays(natural(*plays)?, 0, 0, client_of(*client));
    }
    figures.view_ms += natural(bin.view_ms)?;
    figures.unique_ms += natural(bin.view_ms - bin.again_ms)?;
    Ok(())
}

/// Plays per cell of time, from a bin of view time on.
#[derive(Debug)]
pub struct PlayCells {
    first_bin: u16,
    cells: HashMap<i64, PlayFigures>,
}

impl PlayCells {
    /// No plays yet; those before this bin do not count.
    #[must_use]
    pub fn new(first_bin: u16) -> Self {
        Self { first_bin, cells: HashMap::new() }
    }

    /// The cell that this instant stands for: any of a bucket, as long as it is the same for a step of time.
    pub fn at(&mut self, at_ms: i64) -> &mut PlayFigures {
        self.cells.entry(at_ms).or_default()
    }

    /// Whether the tails of whole days are needed.
    #[must_use]
    pub fn needs_tail(&self) -> bool {
        HEAD_BINS < self.first_bin
    }

    /// Adds what the plan wants of a day, of which a store keeps this. The hours need not be there for a day that has
    /// sums of the whole, unless the plan wants single hours.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if that is not what it is.
    pub fn add_day(
        &mut self,
        plan: &Plan,
        day: i64,
        whole: Option<Whole<'_>>,
        hours: Option<&[u8]>,
    ) -> Result<(), Damaged> {
        let first_bin = self.first_bin;
        let hours = hours.unwrap_or_default();
        match (plan.cover(day), whole) {
            (Cover::Day, Some(whole)) => whole.fold(first_bin, self.at(start_of(day, 0))),
            (Cover::Day, None) => {
                let figures = self.at(start_of(day, 0));
                each_hour(hours, |_, plays| plays.fold(first_bin, figures))
            }
            (Cover::Hours(wanted), _) => each_hour(hours, |hour, plays| {
                if wanted.checked_shr(hour.into()).is_none_or(|wanted| wanted & 1 == 0) {
                    return Ok(());
                }
                plays.fold(first_bin, self.at(start_of(day, hour)))
            }),
        }
    }

    /// The cells, in no order.
    #[must_use]
    pub fn into_cells(self) -> Vec<PlayCell> {
        self.cells.into_iter().map(|(at_ms, figures)| PlayCell { at_ms, figures }).collect()
    }
}

/// Calls `visit` with each hour of the day that has plays, and them, in order.
///
/// # Errors
///
/// [`Damaged`] if the bytes are not a day's hours.
pub fn each_hour<'a>(
    bytes: &'a [u8],
    mut visit: impl FnMut(u8, Encoded<'a>) -> Result<(), Damaged>,
) -> Result<(), Damaged> {
    let mut reader = Reader::new(bytes);
    let mut next = 0;
    while !reader.is_empty() {
        let head = reader.byte()?;
        let hour = head & !TOTAL;
        if !(next..24).contains(&hour) {
            return Err(Damaged("the hours of a day are not in order"));
        }
        next = hour + 1;
        let len = reader.narrow()?;
        visit(hour, Encoded { has_total: head & TOTAL != 0, bytes: reader.take(len)? })?;
    }
    Ok(())
}

// Sums that are stored tell clients apart by these bits.
const _: () = assert!(Device::ALL.len() <= 4 && Platform::ALL.len() <= 8);

/// A client as a number, small for most.
fn code(client: Client) -> u16 {
    let (device, platform, browser) =
        (client.device.code(), client.platform.code(), client.browser.code());
    u16::from(device) | u16::from(platform) << 2 | u16::from(browser) << 5
}

fn client_of(code: u16) -> Client {
    Client {
        device: Device::from_code((code & 3) as u8),
        platform: Platform::from_code((code >> 2 & 7) as u8),
        browser: Browser::from_code((code >> 5).try_into().unwrap_or(u8::MAX)),
    }
}
