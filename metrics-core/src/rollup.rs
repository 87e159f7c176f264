//! Sums of sessions, so that an answer does not cost what the history weighs.
//!
//! For every day, and per video as well as per key, a store keeps what its sessions come to: [`DayPlays`] by view
//! time and client, hour by hour; [`DaySources`] by page and view time; and per video [`Places`], where its viewers
//! began and stopped to watch. All of it adds up: over sessions, over days, over videos.
//!
//! # Which sessions are in
//!
//! A session that was just watched is *loose*: reports look at its row. Once it was quiet for a while it is *rolled
//! up*: added to the sums, and its row put where those lie that are over, in the same transaction. Should it change after
//! all, it is taken out of the sums in the transaction that changes it, and is loose again. So at every moment each
//! session is either in the sums or loose, an answer is exact, and recording pays for the sums once per session and not
//! with every event.
//!
//! What sums cannot answer is answered from rows: the hours that a timeframe or a bucket begins or ends in
//! ([`Plan`]), a minimum view time within a bin ([`first_bin`]), and selections by session data.
//!
//! Sums are not clamped and may be negative in between: `a + b - b` is `a` whatever `b` is.

mod bins;
mod places;
mod plan;
mod plays;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::AddAssign;

use chrono::{NaiveDate, NaiveTime};

use crate::client::Client;
use crate::interval::Segments;
use crate::query::instant;

pub use bins::first_bin;
pub(crate) use places::Lists;
pub use places::{Places, StoredPlaces, load_changes};
pub use plan::{Cover, Grain, Plan};
pub use plays::{DayPlays, Encoded, PlayCells, StoredPlays, StoredWhole, Whole, each_hour};
pub use sources::{DaySources, SourceCells, fold_sources};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Whose sessions are summed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// Those of one video, by its number in the store.
    Video(i64),
    /// Those of all videos of a key, by its number in the store.
    Key(i64),
}

impl Scope {
    /// As one number: that of a video as it is, that of a key below zero.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Self::Video(id) => id,
            Self::Key(id) => -id,
        }
    }
}

/// What sums need to know of a session.
#[derive(Clone, Copy, Debug)]
pub struct Rolled<'a> {
    /// The number of its video.
    pub video: i64,
    /// The number of its video's key.
    pub key: i64,
    /// The number of its page.
    pub source: Option<i64>,
    /// When it started, in Unix milliseconds.
    pub started_at_ms: i64,
    /// With what it was watched.
    pub client: Client,
    /// Its view time, in milliseconds.
    pub view_ms: u64,
    /// Its unique view time, in milliseconds.
    pub unique_ms: u64,
    /// What was watched.
    pub segments: &'a Segments,
}

impl Rolled<'_> {
    fn hour(&self) -> u8 {
        (self.started_at_ms.rem_euclid(DAY_MS) / HOUR_MS) as u8
    }
}

/// Puts sums in order, and adds up those of the same place.
fn sum_up<K: Copy + Ord, V: Copy + AddAssign>(sums: &mut Vec<(K, V)>) {
    // Mostly there are a few runs in order, which this merges.
    sums.sort_by_key(|(place, _)| *place);
    sums.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 += later.1;
        }
        same
    });
}

/// The day that an instant is in, counted from 1970 on.
#[must_use]
pub fn day_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(DAY_MS)
}

/// The number of a day, as [`day_of`] counts.
#[must_use]
pub fn number_of(date: NaiveDate) -> i64 {
    day_of(date.and_time(NaiveTime::MIN).and_utc().timestamp_millis())
}

/// The day with this number.
#[must_use]
pub fn date_of(day: i64) -> NaiveDate {
    instant(day.saturating_mul(DAY_MS)).date_naive()
}

/// The first millisecond of a day, or of one of its hours, in Unix time.
#[must_use]
pub fn start_of(day: i64, hour: u8) -> i64 {
    day * DAY_MS + i64::from(hour) * HOUR_MS
}

/// What sessions add to the sums, or take from them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Change {
    /// Per scope and day.
    pub plays: BTreeMap<(Scope, i64), DayPlays>,
    /// Per scope and day.
    pub sources: BTreeMap<(Scope, i64), DaySources>,
    /// Per video and day.
    pub places: BTreeMap<(i64, i64), Places>,
}

impl Change {
    /// Adds a session to the sums.
    pub fn add(&mut self, session: &Rolled<'_>) {
        self.count(session, 1);
    }

    /// Takes a session out of the sums.
    pub fn remove(&mut self, session: &Rolled<'_>) {
        self.count(session, -1);
    }

    /// Makes ready to be merged with what is stored. To be called once everything is counted.
    pub fn tidy(&mut self) {
        self.places.values_mut().for_each(Places::tidy);
    }

    fn count(&mut self, session: &Rolled<'_>, times: i64) {
        let day = day_of(session.started_at_ms);
        for scope in [Scope::Video(session.video), Scope::Key(session.key)] {
            self.plays.entry((scope, day)).or_default().add(session, times);
            if session.source.is_some() {
                self.sources.entry((scope, day)).or_default().add(session, times);
            }
        }
        if !session.segments.is_empty() {
            self.places.entry((session.video, day)).or_default().add(session, times);
        }
    }
}

/// All that is stored of a day, by the codes of scopes and the numbers of videos.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StoredDay {
    /// By the code of the scope.
    pub plays: BTreeMap<i64, StoredPlays>,
    /// By the code of the scope.
    pub sources: BTreeMap<i64, Vec<u8>>,
    /// By the number of the video.
    pub places: BTreeMap<i64, StoredPlaces>,
}

impl Change {
    /// What is to be stored of the sums of a day, and of nothing else.
    #[must_use]
    pub fn into_day(mut self) -> StoredDay {
        self.tidy();
        let plays = self.plays.iter();
        let plays = plays.filter_map(|((scope, _), sums)| Some((scope.code(), sums.store()?)));
        let sources = self.sources.iter();
        let sources = sources.filter_map(|((scope, _), sums)| Some((scope.code(), sums.store()?)));
        let places = self.places.iter();
        let places = places.filter_map(|((video, _), sums)| Some((*video, sums.store()?)));
        StoredDay { plays: plays.collect(), sources: sources.collect(), places: places.collect() }
    }
}
