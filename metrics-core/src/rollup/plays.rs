//! The plays of a day: how many by view time and by what they were watched with, hour by hour.

use std::collections::{BTreeMap, HashMap};

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
    pub whole: Option<Vec<u8>>,
}

impl DayPlays {
    /// Counts a session `times` times, which may be negative.
    pub(super) fn add(&mut self, session: &Rolled<'_>, times: i64) {
        let bins = &mut self.hours.entry(session.hour()).or_default().bins;
        let bin = bins.entry(bin_of(session.view_ms)).or_default();
        bin.add_clients(code(session.client), times);
        bin.view_ms += times * session.view_ms as i64;
        bin.again_ms += times * session.view_ms.saturating_sub(session.unique_ms) as i64;
    }

    /// Adds other plays to these.
    pub fn merge(&mut self, other: Self) {
        for (hour, plays) in other.hours {
            self.hours.entry(hour).or_default().merge(&plays);
        }
    }

    /// What a store is to keep, or nothing where there are no plays.
    #[must_use]
    pub fn store(&self) -> Option<StoredPlays> {
        let mut hours = Vec::new();
        let mut sum = Plays::default();
        for (hour, plays) in &self.hours {
            let bytes = plays.encode();
            if !bytes.is_empty() {
                hours.push(*hour);
                varint::put(&mut hours, bytes.len() as u64);
                hours.extend(bytes);
                if 1 < self.hours.len() {
                    sum.merge(plays);
                }
            }
        }
        // Of a single hour they would be as long.
        let many = (1 < self.hours.len()).then(|| sum.encode());
        let whole = many.filter(|whole| 2 * whole.len() <= hours.len());
        (!hours.is_empty()).then_some(StoredPlays { hours, whole })
    }

    /// Reads what [`store`](Self::store) made.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if it is anything else.
    pub fn load(hours: &[u8]) -> Result<Self, Damaged> {
        let mut day = Self::default();
        each_hour(hours, |hour, bytes| {
            day.hours.insert(hour, Plays::decode(bytes)?);
            Ok(())
        })?;
        Ok(day)
    }
}

impl Bin {
    fn add_clients(&mut self, client: u16, count: i64) {
        match self.clients.binary_search_by_key(&client, |(client, _)| *client) {
            Ok(at) => self.clients[at].1 += count,
            Err(at) => self.clients.insert(at, (client, count)),
        }
    }
}

impl Plays {
    fn merge(&mut self, other: &Self) {
        for (at, bin) in &other.bins {
            let sum = self.bins.entry(*at).or_default();
            sum.view_ms += bin.view_ms;
            sum.again_ms += bin.again_ms;
            bin.clients.iter().for_each(|(client, count)| sum.add_clients(*client, *count));
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut before = 0;
        for (at, bin) in &self.bins {
            let clients: Vec<_> = bin.clients.iter().filter(|(_, count)| *count != 0).collect();
            if clients.is_empty() && bin.view_ms == 0 && bin.again_ms == 0 {
                continue;
            }
            varint::put(&mut out, u64::from(at - before));
            before = *at;
            varint::put(&mut out, clients.len() as u64);
            for (client, count) in clients {
                varint::put(&mut out, u64::from(*client));
                varint::put(&mut out, zigzag(*count));
            }
            varint::put(&mut out, zigzag(bin.view_ms));
            varint::put(&mut out, zigzag(bin.again_ms));
        }
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut plays = Self::default();
        each_bin(bytes, |at, bin| {
            plays.bins.insert(at, bin.clone());
        })?;
        Ok(plays)
    }
}

/// Adds the plays of `bytes` from bin `first` on to `figures`: a day's sums, or an hour.
///
/// # Errors
///
/// [`Damaged`] if that is not what they are.
pub fn fold_plays(bytes: &[u8], first: u16, figures: &mut PlayFigures) -> Result<(), Damaged> {
    let mut counted = Ok(());
    each_bin(bytes, |at, bin| {
        if first <= at && counted.is_ok() {
            counted = count(bin, figures);
        }
    })?;
    counted
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
        whole: Option<&[u8]>,
        hours: Option<&[u8]>,
    ) -> Result<(), Damaged> {
        let first_bin = self.first_bin;
        let hours = hours.unwrap_or_default();
        match (plan.cover(day), whole) {
            (Cover::Day, Some(whole)) => fold_plays(whole, first_bin, self.at(start_of(day, 0))),
            (Cover::Day, None) => {
                let figures = self.at(start_of(day, 0));
                each_hour(hours, |_, plays| fold_plays(plays, first_bin, figures))
            }
            (Cover::Hours(wanted), _) => each_hour(hours, |hour, plays| {
                if wanted.checked_shr(hour.into()).is_none_or(|wanted| wanted & 1 == 0) {
                    return Ok(());
                }
                fold_plays(plays, first_bin, self.at(start_of(day, hour)))
            }),
        }
    }

    /// The cells, in no order.
    #[must_use]
    pub fn into_cells(self) -> Vec<PlayCell> {
        self.cells.into_iter().map(|(at_ms, figures)| PlayCell { at_ms, figures }).collect()
    }
}

/// Calls `visit` with each hour of the day that has plays, and them.
///
/// # Errors
///
/// [`Damaged`] if the bytes are not a day's hours.
pub fn each_hour(
    bytes: &[u8],
    mut visit: impl FnMut(u8, &[u8]) -> Result<(), Damaged>,
) -> Result<(), Damaged> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let hour = reader.byte()?;
        let len = reader.narrow()?;
        visit(hour, reader.take(len)?)?;
    }
    Ok(())
}

fn each_bin(bytes: &[u8], mut visit: impl FnMut(u16, &Bin)) -> Result<(), Damaged> {
    let mut reader = Reader::new(bytes);
    let mut at = 0_u16;
    let mut bin = Bin::default();
    while !reader.is_empty() {
        at = at.checked_add(reader.narrow()?).ok_or(Damaged("a view time is too long"))?;
        bin.clients.clear();
        for _ in 0..reader.number()? {
            bin.clients.push((reader.narrow()?, reader.sum()?));
        }
        bin.view_ms = reader.sum()?;
        bin.again_ms = reader.sum()?;
        visit(at, &bin);
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
