//! Quotas and rate limits of API keys: every page shows its key, so strangers may send under it.

use std::fmt;
use std::str::FromStr;

use super::invalid::InvalidKeySettings;

/// The default quota of videos of a key. With the largest metadata they take 1.6 GB.
pub const VIDEOS_MAX: u32 = 100_000;

/// The default quota of pages of a key. A set of them takes 1 MB of memory.
pub const PAGES_MAX: u32 = 50_000;

/// The largest number of a rate. A larger one would not limit anything: no machine receives as much.
const NUMBER_MAX: u32 = 1_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// The names of all limits in settings.
const NAMES: [&str; 10] = [
    "videos",
    "pages",
    "joins",
    "joins_per_address",
    "events",
    "events_per_address",
    "new_videos",
    "new_videos_per_address",
    "new_pages",
    "new_pages_per_address",
];

/// A rate limit: a number per second, minute, hour or day.
///
/// The full number is allowed at once; the bucket refills evenly.
///
/// ```
/// use metrics_core::limits::Rate;
///
/// let rate: Rate = "20000/day".parse().unwrap();
/// assert_eq!((rate.number(), rate.to_string()), (20_000, "20000/day".to_owned()));
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    // 1 to NUMBER_MAX.
    number: u32,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    #[cfg(feature = "recorder")]
    const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

impl Rate {
    const fn new(number: u32, unit: Unit) -> Self {
        Self { number, unit }
    }

    /// The number per unit, all of which is allowed at once.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.number
    }

    /// The unit: `second`, `minute`, `hour` or `day`.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        self.unit.name()
    }

    /// The time after which one more is allowed, in nanoseconds: 1 or more.
    #[cfg(feature = "recorder")]
    pub(crate) const fn every_ns(self) -> u64 {
        self.unit.seconds() * SECOND_NS / self.number as u64
    }
}

// The time is never 0.
const _: () = assert!(1 <= SECOND_NS / NUMBER_MAX as u64);

/// The error of a text that is no rate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a rate is a number from 1 to {NUMBER_MAX} per second, minute, hour or day, like 1000/hour"
)]
pub struct InvalidRate;

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let (number, unit) = text.split_once('/').ok_or(InvalidRate)?;
        let number = number.trim().parse().map_err(|_| InvalidRate)?;
        let unit = Unit::ALL.into_iter().find(|it| it.name() == unit.trim()).ok_or(InvalidRate)?;
        let is_sound = (1..=NUMBER_MAX).contains(&number);
        is_sound.then_some(Self { number, unit }).ok_or(InvalidRate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.unit.name())
    }
}

/// The rate limits of one kind: of a key, and of a caller's address under that key. `None` is no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rates {
    /// Of all callers of a key together, per server process.
    pub per_key: Option<Rate>,
    /// Of each address of callers (a /64 network of IPv6) under a key, per server process.
    pub per_address: Option<Rate>,
}

impl Rates {
    const fn new(per_key: Rate, per_address: Rate) -> Self {
        Self { per_key: Some(per_key), per_address: Some(per_address) }
    }
}

/// All limits of a key.
///
/// ```
/// use metrics_core::limits::Limits;
///
/// let mut limits = Limits::default();
/// limits.set("joins_per_address", "none").unwrap();
/// assert_eq!(limits.joins.per_address, None);
/// assert!(limits.set("joins", "many").is_err());
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// The quota of videos of the key.
    pub videos: u32,
    /// The quota of pages of the key.
    pub pages: u32,
    /// Sessions that begin, and evicted sessions that go on.
    pub joins: Rates,
    /// Events of all sessions.
    pub events: Rates,
    /// Videos that have no session yet.
    pub new_videos: Rates,
    /// Pages that have no session yet.
    pub new_pages: Rates,
}

impl Default for Limits {
    /// Limits that no site reaches with its own viewers.
    ///
    /// An office or a mobile network with thousands of viewers has one address. Each address gets a tenth of a day's
    /// new videos and pages, so a caller that invents them leaves the rest to all others.
    fn default() -> Self {
        use Unit::{Day, Minute};
        Self {
            videos: VIDEOS_MAX,
            pages: PAGES_MAX,
            joins: Rates::new(Rate::new(120_000, Minute), Rate::new(3_000, Minute)),
            events: Rates::new(Rate::new(1_200_000, Minute), Rate::new(60_000, Minute)),
            new_videos: Rates::new(Rate::new(20_000, Day), Rate::new(2_000, Day)),
            new_pages: Rates::new(Rate::new(20_000, Day), Rate::new(2_000, Day)),
        }
    }
}

/// A limit to set.
enum Slot<'a> {
    Quota(&'a mut u32),
    Rate(&'a mut Option<Rate>),
}

impl Limits {
    /// Sets a limit by its name: a number for `videos` and `pages`, a [`Rate`] or `none` for all others.
    ///
    /// # Errors
    ///
    /// [`InvalidKeySettings`] if the name or the value is invalid.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidKeySettings> {
        let Some(slot) = self.slot(name) else { return Err(unknown(name)) };
        let value = value.trim();
        let refused = |expected: &str| {
            let named = format!("{name}={value}");
            InvalidKeySettings::new("limits", &named, format!("{name}={expected}"))
        };
        match slot {
            Slot::Quota(quota) => {
                let number = value.parse().ok().filter(|number| 0 < *number);
                *quota = number.ok_or_else(|| refused("NUMBER, 1 or more"))?;
            }
            Slot::Rate(rate) if value == "none" => *rate = None,
            Slot::Rate(rate) => {
                let expected = "NUMBER/second, /minute, /hour or /day, or none";
                *rate = Some(value.parse().map_err(|_| refused(expected))?);
            }
        }
        Ok(())
    }

    /// Checks that a limit has this name.
    pub(crate) fn check_name(name: &str) -> Result<(), InvalidKeySettings> {
        if NAMES.contains(&name) { Ok(()) } else { Err(unknown(name)) }
    }

    fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        if let Some(name) = name.strip_suffix("_per_address") {
            return Some(Slot::Rate(&mut self.rates(name)?.per_address));
        }
        match name {
            "videos" => Some(Slot::Quota(&mut self.videos)),
            "pages" => Some(Slot::Quota(&mut self.pages)),
            name => Some(Slot::Rate(&mut self.rates(name)?.per_key)),
        }
    }

    fn rates(&mut self, name: &str) -> Option<&mut Rates> {
        Some(match name {
            "joins" => &mut self.joins,
            "events" => &mut self.events,
            "new_videos" => &mut self.new_videos,
            "new_pages" => &mut self.new_pages,
            _ => return None,
        })
    }
}

fn unknown(name: &str) -> InvalidKeySettings {
    InvalidKeySettings::new("limits", name, format!("one of {}", NAMES.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_per_unit() {
        for text in ["1/second", "1000/minute", "5/hour", "1000000000/day"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in ["", "5", "5/week", "0/day", "-1/day", "1000000001/second", "1/day/day", "/day"]
        {
            assert_eq!(text.parse::<Rate>(), Err(InvalidRate), "{text}");
        }
        let rate: Rate = " 5 / day ".parse().unwrap();
        assert_eq!((rate.number(), rate.unit()), (5, "day"));
    }

    #[test]
    fn every_limit_has_a_name() {
        let defaults = Limits::default();
        let mut limits = defaults.clone();
        for name in NAMES {
            let value = if matches!(name, "videos" | "pages") { "7" } else { "7/day" };
            limits.set(name, value).unwrap();
            assert_ne!(limits, defaults, "{name}");
        }
        let rate = Some(Rate::new(7, Unit::Day));
        let rates = Rates { per_key: rate, per_address: rate };
        let (joins, events) = (rates, rates);
        let expected =
            Limits { videos: 7, pages: 7, joins, events, new_videos: rates, new_pages: rates };
        assert_eq!(limits, expected);
    }

    #[test]
    fn a_limit_that_cannot_be_set_is_named() {
        let refused = |name, value| Limits::default().set(name, value).unwrap_err().to_string();
        assert_eq!(
            refused("joins", "5"),
            "`limits` has \"joins=5\": it must be joins=NUMBER/second, /minute, /hour or /day, or none"
        );
        assert_eq!(
            refused("videos", "none"),
            "`limits` has \"videos=none\": it must be videos=NUMBER, 1 or more"
        );
        let unknown = refused("videos_per_address", "5/day");
        assert!(
            unknown.starts_with("`limits` has \"videos_per_address\": it must be one of "),
            "{unknown}"
        );
    }
}
