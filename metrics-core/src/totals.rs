//! Totals: the summed plays of a key, per UTC day and hour, so that plays without a filter cost the same however long
//! the history is.
//!
//! Each hour holds sessions by view time, in bins whose lower bounds are [`BOUNDS_S`]: a minimum view time that is one
//! of the bounds is answered exactly. Other minimum view times, and filters, need blocks.
//!
//! Totals change in one transaction with blocks: sessions that close are added, and sessions that open again or are
//! deleted are subtracted.

mod plan;

use std::collections::BTreeMap;

use crate::response::PlayTotals;
use crate::time::{DAY_MS, HOUR_MS};
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::varint::{self, Damaged, Reader, zigzag};

pub(crate) use plan::{Cover, Plan};

/// Lower bounds of the bins, in whole seconds of view time.
pub(crate) const BOUNDS_S: [u64; 24] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1_800, 3_600,
];

/// The format of encoded totals. A newer format is rejected.
const FORMAT: u8 = 1;

/// The day that holds an instant (Unix milliseconds), since 1970-01-01 UTC.
#[must_use]
pub(crate) const fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

/// The first bin whose sessions all have at least `minimum_ms` of view time, if no bin also has shorter sessions.
#[must_use]
pub(crate) fn first_bin(minimum_ms: u64) -> Option<u8> {
    let bin = BOUNDS_S.iter().position(|bound| 1_000 * bound == minimum_ms)?;
    Some(bin as u8)
}

fn bin_of(view_ms: u64) -> u8 {
    BOUNDS_S.partition_point(|bound| 1_000 * bound <= view_ms) as u8 - 1
}

/// The sums of sessions in one bin. In a change, they may be negative.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Bin {
    view_ms: i64,
    // View time less unique view time: 0 for most sessions.
    rewatched_ms: i64,
    user_agents: BTreeMap<UserAgentClass, i64>,
}

type Bins = BTreeMap<u8, Bin>;

/// The totals of one key and day, or a change of them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DayTotals {
    // By hour of the day.
    hours: BTreeMap<u8, Bins>,
}

/// Encoded totals of a day.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoredTotals {
    /// The day, since 1970-01-01 UTC.
    pub day: i64,
    /// The sums of the day.
    pub sums: Vec<u8>,
    /// The sums per hour; `None` if they were not read.
    pub hours: Option<Vec<u8>>,
}

impl DayTotals {
    /// Adds a session `times` times, which may be negative.
    pub fn add(
        &mut self,
        started_at_ms: i64,
        user_agent: UserAgentClass,
        (view_ms, unique_ms): (u64, u64),
        times: i64,
    ) {
        let hour = (started_at_ms.rem_euclid(DAY_MS) / HOUR_MS) as u8;
        let bins = self.hours.entry(hour).or_default();
        let bin = bins.entry(bin_of(view_ms)).or_default();
        bin.view_ms += times * view_ms.cast_signed();
        bin.rewatched_ms += times * view_ms.saturating_sub(unique_ms).cast_signed();
        *bin.user_agents.entry(user_agent).or_default() += times;
    }

    /// Adds other totals of the same key and day.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (hour, bins) in &other.hours {
            merge(self.hours.entry(*hour).or_default(), bins);
        }
    }

    /// Subtracts other totals of the same key and day.
    pub(crate) fn subtract(&mut self, other: &Self) {
        let mut negative = other.clone();
        for bin in negative.hours.values_mut().flat_map(BTreeMap::values_mut) {
            bin.view_ms = -bin.view_ms;
            bin.rewatched_ms = -bin.rewatched_ms;
            bin.user_agents.values_mut().for_each(|sessions| *sessions = -*sessions);
        }
        self.merge(&negative);
    }

    /// Returns whether the change is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hours.values().flat_map(BTreeMap::values).all(Bin::is_empty)
    }

    /// Encodes the totals of `day`, or returns `None` if there are no sessions.
    #[must_use]
    pub(crate) fn encode(&self, day: i64) -> Option<StoredTotals> {
        let mut sums = Bins::new();
        let mut hours = vec![FORMAT];
        for (hour, bins) in &self.hours {
            if bins.values().all(Bin::is_empty) {
                continue;
            }
            merge(&mut sums, bins);
            hours.push(*hour);
            encode_bins(bins, &mut hours);
        }
        if hours.len() == 1 {
            return None;
        }
        let mut day_sums = vec![FORMAT];
        encode_bins(&sums, &mut day_sums);
        Some(StoredTotals { day, sums: day_sums, hours: Some(hours) })
    }

    /// Decodes totals with their hours.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if the bytes are no output of [`encode`](Self::encode).
    pub(crate) fn decode(stored: &StoredTotals) -> Result<Self, Damaged> {
        let hours = stored.hours.as_deref().ok_or(Damaged("the hours of totals were not read"))?;
        let mut totals = Self::default();
        let mut reader = reader(hours)?;
        while !reader.is_empty() {
            totals.hours.insert(reader.byte()?, decode_bins(&mut reader)?);
        }
        Ok(totals)
    }

    /// Adds this change to the stored totals of `day`, and returns the new totals: `None` if they have no session.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if the stored totals cannot be decoded.
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
    pub(crate) fn hour(&self, hour: u8, first: u8) -> PlayTotals {
        self.hours.get(&hour).map_or_else(PlayTotals::default, |bins| plays(bins, first))
    }
}

impl StoredTotals {
    /// The plays of the day, from the bin `first` on.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if the bytes are not those of encoded totals.
    pub fn plays(&self, first: u8) -> Result<PlayTotals, Damaged> {
        // Decodes straight from the bytes: a year has a hundred thousand numbers.
        let mut reader = reader(&self.sums)?;
        let mut plays = PlayTotals::default();
        for _ in 0..reader.byte()? {
            let counts = first <= reader.byte()?;
            let (view_ms, rewatched_ms) = (reader.signed()?, reader.signed()?);
            if counts {
                plays.add_times(view_ms, rewatched_ms);
            }
            for _ in 0..reader.number()? {
                let (user_agent, sessions) = decode_user_agent(&mut reader)?;
                if counts {
                    plays.add_plays(count(sessions), 0, 0, user_agent);
                }
            }
        }
        Ok(plays)
    }
}

/// Converts a stored sum, which is never negative: every session subtracted was added before.
fn count(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

impl PlayTotals {
    fn add_times(&mut self, view_ms: i64, rewatched_ms: i64) {
        self.view_ms += count(view_ms);
        self.unique_ms += count(view_ms - rewatched_ms);
    }
}

impl Bin {
    fn is_empty(&self) -> bool {
        self.view_ms == 0 && self.rewatched_ms == 0 && self.user_agents.values().all(|it| *it == 0)
    }
}

fn merge(bins: &mut Bins, others: &Bins) {
    for (number, other) in others {
        let bin = bins.entry(*number).or_default();
        bin.view_ms += other.view_ms;
        bin.rewatched_ms += other.rewatched_ms;
        for (user_agent, sessions) in &other.user_agents {
            *bin.user_agents.entry(*user_agent).or_default() += sessions;
        }
    }
}

fn plays(bins: &Bins, first: u8) -> PlayTotals {
    let mut sum = PlayTotals::default();
    for bin in bins.range(first..).map(|(_, bin)| bin) {
        sum.add_times(bin.view_ms, bin.rewatched_ms);
        for (user_agent, sessions) in &bin.user_agents {
            sum.add_plays(count(*sessions), 0, 0, *user_agent);
        }
    }
    sum
}

fn encode_bins(bins: &Bins, out: &mut Vec<u8>) {
    let bins = || bins.iter().filter(|(_, bin)| !bin.is_empty());
    out.push(bins().count() as u8);
    for (number, bin) in bins() {
        out.push(*number);
        varint::encode(out, zigzag(bin.view_ms));
        varint::encode(out, zigzag(bin.rewatched_ms));
        let user_agents = || bin.user_agents.iter().filter(|(_, sessions)| **sessions != 0);
        varint::encode(out, user_agents().count() as u64);
        for (user_agent, sessions) in user_agents() {
            out.extend([
                user_agent.browser.code(),
                user_agent.platform.code(),
                user_agent.device.code(),
            ]);
            varint::encode(out, zigzag(*sessions));
        }
    }
}

fn decode_bins(reader: &mut Reader<'_>) -> Result<Bins, Damaged> {
    let mut bins = Bins::new();
    for _ in 0..reader.byte()? {
        let number = reader.byte()?;
        let mut bin =
            Bin { view_ms: reader.signed()?, rewatched_ms: reader.signed()?, ..Bin::default() };
        for _ in 0..reader.number()? {
            let (user_agent, sessions) = decode_user_agent(reader)?;
            bin.user_agents.insert(user_agent, sessions);
        }
        bins.insert(number, bin);
    }
    Ok(bins)
}

fn decode_user_agent(reader: &mut Reader<'_>) -> Result<(UserAgentClass, i64), Damaged> {
    let user_agent = UserAgentClass {
        browser: Browser::from_code(reader.byte()?),
        platform: Platform::from_code(reader.byte()?),
        device: Device::from_code(reader.byte()?),
    };
    Ok((user_agent, reader.signed()?))
}

fn reader(bytes: &[u8]) -> Result<Reader<'_>, Damaged> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        FORMAT => Ok(reader),
        _ => Err(Damaged("totals were written by a newer version")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A session: the start on day 3, view time, unique view time, and browser.
    type Session = (i64, u64, u64, u8);

    fn sessions() -> impl Strategy<Value = Vec<Session>> {
        let session = (0..DAY_MS, 0_u64..5_000_000, 0_u64..5_000_000, 0_u8..8);
        let session = session.prop_map(|(at_ms, view_ms, unique_ms, browser)| {
            (3 * DAY_MS + at_ms, view_ms, unique_ms.min(view_ms), browser)
        });
        prop::collection::vec(session, 0..60)
    }

    fn user_agent(browser: u8) -> UserAgentClass {
        UserAgentClass { browser: Browser::from_code(browser), ..UserAgentClass::default() }
    }

    fn totals(sessions: &[Session]) -> DayTotals {
        let mut totals = DayTotals::default();
        for (at_ms, view_ms, unique_ms, browser) in sessions {
            totals.add(*at_ms, user_agent(*browser), (*view_ms, *unique_ms), 1);
        }
        totals
    }

    /// The plays by brute force.
    fn plays(sessions: &[Session], minimum_ms: u64, hour: Option<i64>) -> PlayTotals {
        let mut plays = PlayTotals::default();
        for (at_ms, view_ms, unique_ms, browser) in sessions {
            let is_in_hour = hour.is_none_or(|hour| (at_ms - 3 * DAY_MS) / HOUR_MS == hour);
            if minimum_ms <= *view_ms && is_in_hour {
                plays.add_plays(1, *view_ms, *unique_ms, user_agent(*browser));
            }
        }
        plays
    }

    proptest! {
        #[test]
        fn plays_are_those_of_the_sessions(sessions in sessions(), bin in 0..BOUNDS_S.len()) {
            let minimum_ms = 1_000 * BOUNDS_S[bin];
            let first = first_bin(minimum_ms).expect("a bound");
            let Some(stored) = totals(&sessions).encode(3) else {
                prop_assert!(sessions.is_empty());
                return Ok(());
            };
            prop_assert_eq!(stored.plays(first), Ok(plays(&sessions, minimum_ms, None)));
            let decoded = DayTotals::decode(&stored).expect("encoded");
            for hour in 0..24_u8 {
                let expected = plays(&sessions, minimum_ms, Some(hour.into()));
                prop_assert_eq!(decoded.hour(hour, first), expected);
            }
        }

        #[test]
        fn the_order_of_changes_does_not_matter(one in sessions(), two in sessions()) {
            let both = totals(&[&one[..], &two].concat()).encode(3);
            let stored = totals(&two).encode(3);
            prop_assert_eq!(totals(&one).add_to(3, stored.as_ref()), Ok(both.clone()));
            let mut without = DayTotals::default();
            without.subtract(&totals(&one));
            prop_assert_eq!(without.add_to(3, both.as_ref()), Ok(stored));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let bytes = [&[FORMAT][..], &bytes].concat();
            let stored = StoredTotals { day: 3, sums: bytes.clone(), hours: Some(bytes) };
            let _ = (stored.plays(0), DayTotals::decode(&stored));
        }
    }

    #[test]
    fn only_a_bound_has_a_first_bin() {
        let bins = [0, 1_000, 3_000, 60_000, 1, 11_000, 3_600_001].map(first_bin);
        assert_eq!(bins, [Some(0), Some(1), Some(3), Some(15), None, None, None]);
    }
}
