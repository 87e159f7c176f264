//! Totals: the summed plays of a key, per UTC day and hour, so that plays without a filter cost the same whatever the
//! history weighs.
//!
//! Each hour holds sessions by view time, in bins whose lower bounds are [`BOUNDS_S`]: a minimum view time that is one of
//! the bounds is answered exactly. Any other is answered from blocks, as are filters.
//!
//! Totals change with blocks, in one transaction: what closes is added, what is opened again or deleted is subtracted.

#[cfg(feature = "recorder")]
mod plan;

use std::collections::BTreeMap;

use crate::client::{Browser, Client, Device, Platform};
use crate::report::PlayFigures;
use crate::varint::{self, Damaged, Reader, zigzag};

#[cfg(feature = "recorder")]
pub(crate) use plan::{Cover, Plan};

/// Lower bounds of the bins, in whole seconds of view time.
pub const BOUNDS_S: [u64; 24] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1_800, 3_600,
];

/// The format of encoded totals. One that is newer is refused.
const FORMAT: u8 = 1;

pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;

/// The day that holds an instant (Unix milliseconds), since 1970-01-01 UTC.
#[must_use]
pub const fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

/// The first bin whose sessions all have at least `minimum_ms` of view time, if no bin has shorter ones as well.
#[must_use]
pub fn first_bin(minimum_ms: u64) -> Option<u8> {
    let bin = BOUNDS_S.iter().position(|bound| 1_000 * bound == minimum_ms)?;
    Some(bin as u8)
}

fn bin_of(view_ms: u64) -> u8 {
    BOUNDS_S.partition_point(|bound| 1_000 * bound <= view_ms) as u8 - 1
}

/// Sessions of one bin. Sums, which may be negative in a change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Bin {
    view_ms: i64,
    // View time less unique view time: 0 for most sessions.
    rewatched_ms: i64,
    clients: BTreeMap<Client, i64>,
}

type Bins = BTreeMap<u8, Bin>;

/// The totals of one key and day, or a change of them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DayTotals {
    // By the hour of the day.
    hours: BTreeMap<u8, Bins>,
}

/// Encoded totals of a day.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredTotals {
    /// The day, since 1970-01-01 UTC.
    pub day: i64,
    /// The sums of the whole day.
    pub sums: Vec<u8>,
    /// The sums per hour; `None` if they were not read.
    pub hours: Option<Vec<u8>>,
}

impl DayTotals {
    /// Adds a session `times` times, which may be negative.
    pub fn add(
        &mut self,
        started_at_ms: i64,
        client: Client,
        (view_ms, unique_ms): (u64, u64),
        times: i64,
    ) {
        let hour = (started_at_ms.rem_euclid(DAY_MS) / HOUR_MS) as u8;
        let bins = self.hours.entry(hour).or_default();
        let bin = bins.entry(bin_of(view_ms)).or_default();
        bin.view_ms += times * view_ms.cast_signed();
        bin.rewatched_ms += times * view_ms.saturating_sub(unique_ms).cast_signed();
        *bin.clients.entry(client).or_default() += times;
    }

    /// Adds other totals of the same key and day.
    pub fn merge(&mut self, other: &Self) {
        for (hour, bins) in &other.hours {
            merge(self.hours.entry(*hour).or_default(), bins);
        }
    }

    /// Subtracts other totals of the same key and day.
    pub fn subtract(&mut self, other: &Self) {
        let mut negative = other.clone();
        for bin in negative.hours.values_mut().flat_map(BTreeMap::values_mut) {
            bin.view_ms = -bin.view_ms;
            bin.rewatched_ms = -bin.rewatched_ms;
            bin.clients.values_mut().for_each(|sessions| *sessions = -*sessions);
        }
        self.merge(&negative);
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hours.values().flat_map(BTreeMap::values).all(Bin::is_empty)
    }

    /// Encodes the totals of `day`, or returns `None` if there are no sessions.
    #[must_use]
    pub fn encode(&self, day: i64) -> Option<StoredTotals> {
        let mut sums = Bins::new();
        let mut hours = vec![FORMAT];
        for (hour, bins) in &self.hours {
            if bins.values().all(Bin::is_empty) {
                continue;
            }
            merge(&mut sums, bins);
            hours.push(*hour);
            put_bins(bins, &mut hours);
        }
        if hours.len() == 1 {
            return None;
        }
        let mut day_sums = vec![FORMAT];
        put_bins(&sums, &mut day_sums);
        Some(StoredTotals { day, sums: day_sums, hours: Some(hours) })
    }

    /// Decodes totals with their hours.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if they are nothing that [`encode`](Self::encode) wrote.
    pub fn decode(stored: &StoredTotals) -> Result<Self, Damaged> {
        let hours = stored.hours.as_deref().ok_or(Damaged("the hours of totals were not read"))?;
        let mut totals = Self::default();
        let mut reader = reader(hours)?;
        while !reader.is_empty() {
            totals.hours.insert(reader.byte()?, take_bins(&mut reader)?);
        }
        Ok(totals)
    }

    /// Adds this change to the stored totals of `day`, and returns what replaces them: `None` if no session is left.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if what is stored cannot be decoded.
    pub fn add_to(
        &self,
        day: i64,
        stored: Option<&StoredTotals>,
    ) -> Result<Option<StoredTotals>, Damaged> {
        let mut totals = stored.map(Self::decode).transpose()?.unwrap_or_default();
        totals.merge(self);
        Ok(totals.encode(day))
    }

    /// The plays of one hour, from the bin `first` on.
    #[must_use]
    pub fn hour(&self, hour: u8, first: u8) -> PlayFigures {
        self.hours.get(&hour).map_or_else(PlayFigures::default, |bins| plays(bins, first))
    }
}

impl StoredTotals {
    /// The plays of the whole day, from the bin `first` on.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if they are nothing that [`DayTotals::encode`] wrote.
    pub fn plays(&self, first: u8) -> Result<PlayFigures, Damaged> {
        Ok(plays(&take_bins(&mut reader(&self.sums)?)?, first))
    }
}

impl Bin {
    fn is_empty(&self) -> bool {
        self.view_ms == 0 && self.rewatched_ms == 0 && self.clients.values().all(|it| *it == 0)
    }
}

fn merge(bins: &mut Bins, others: &Bins) {
    for (number, other) in others {
        let bin = bins.entry(*number).or_default();
        bin.view_ms += other.view_ms;
        bin.rewatched_ms += other.rewatched_ms;
        for (client, sessions) in &other.clients {
            *bin.clients.entry(*client).or_default() += sessions;
        }
    }
}

fn plays(bins: &Bins, first: u8) -> PlayFigures {
    let mut sum = PlayFigures::default();
    // Stored totals are never negative: every session subtracted was added before.
    let count = |sum: i64| u64::try_from(sum).unwrap_or(0);
    for bin in bins.range(first..).map(|(_, bin)| bin) {
        sum.view_ms += count(bin.view_ms);
        sum.unique_ms += count(bin.view_ms - bin.rewatched_ms);
        for (client, sessions) in &bin.clients {
            sum.add_plays(count(*sessions), 0, 0, *client);
        }
    }
    sum
}

fn put_bins(bins: &Bins, out: &mut Vec<u8>) {
    let bins = || bins.iter().filter(|(_, bin)| !bin.is_empty());
    out.push(bins().count() as u8);
    for (number, bin) in bins() {
        out.push(*number);
        varint::put(out, zigzag(bin.view_ms));
        varint::put(out, zigzag(bin.rewatched_ms));
        let clients = || bin.clients.iter().filter(|(_, sessions)| **sessions != 0);
        varint::put(out, clients().count() as u64);
        for (client, sessions) in clients() {
            out.extend([client.browser.code(), client.platform.code(), client.device.code()]);
            varint::put(out, zigzag(*sessions));
        }
    }
}

fn take_bins(reader: &mut Reader<'_>) -> Result<Bins, Damaged> {
    let mut bins = Bins::new();
    for _ in 0..reader.byte()? {
        let number = reader.byte()?;
        let mut bin = Bin { view_ms: reader.sum()?, rewatched_ms: reader.sum()?, ..Bin::default() };
        for _ in 0..reader.number()? {
            let client = Client {
                browser: Browser::from_code(reader.byte()?),
                platform: Platform::from_code(reader.byte()?),
                device: Device::from_code(reader.byte()?),
            };
            bin.clients.insert(client, reader.sum()?);
        }
        bins.insert(number, bin);
    }
    Ok(bins)
}

fn reader(bytes: &[u8]) -> Result<Reader<'_>, Damaged> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        FORMAT => Ok(reader),
        _ => Err(Damaged("totals were written by a newer version")),
    }
}
