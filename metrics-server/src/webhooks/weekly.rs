//! Weekly summaries: the week that is due, and its text. No I/O and no clock.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, NaiveTime, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::query::number_or_null;

/// When a summary is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Weekly {
    pub(super) weekday: Weekday,
    pub(super) at: NaiveTime,
    pub(super) zone: Tz,
    /// The number of videos that are listed.
    pub(super) top: u32,
}

/// A day of the calendar, as `2026-03-30` in JSON.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub(super) struct Day(pub(super) NaiveDate);

impl From<Day> for String {
    fn from(Day(day): Day) -> Self {
        day.to_string()
    }
}

impl TryFrom<String> for Day {
    type Error = chrono::ParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl Day {
    /// The first and the last of the seven days before.
    pub(super) fn week_before(self) -> (Self, Self) {
        (self.earlier(7), self.earlier(1))
    }

    fn earlier(self, days: u64) -> Self {
        Self(self.0.checked_sub_days(Days::new(days)).unwrap_or(self.0))
    }
}

/// A summary of seven days.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) from: Day,
    /// The last day, included.
    pub(super) to: Day,
    pub(super) timezone: &'static str,
    pub(super) plays: Figure,
    /// In seconds.
    pub(super) view_time: Figure,
    pub(super) average_percentage_viewed: Figure,
    pub(super) videos: Vec<Entry>,
}

/// A metric of this week and of the week before.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Figure {
    #[serde(serialize_with = "number")]
    pub(super) value: Option<f64>,
    #[serde(serialize_with = "number")]
    pub(super) before: Option<f64>,
    pub(super) change: Option<f64>,
}

/// A video of a summary.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) video: String,
    pub(super) plays: Figure,
    /// In seconds.
    pub(super) view_time: Figure,
}

fn number<S: serde::Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    let number: Value = number_or_null(number);
    number.serialize(serializer)
}

impl Weekly {
    /// The day of the last summary that was due: it covers the seven days before that day.
    pub(super) fn due(self, now: DateTime<Utc>) -> Day {
        let local = now.with_timezone(&self.zone).naive_local();
        let (today, weekday) = (local.weekday(), self.weekday);
        let days = (7 + today.num_days_from_monday() - weekday.num_days_from_monday()) % 7;
        let day = Day(local.date()).earlier(days.into());
        if local < day.0.and_time(self.at) { day.earlier(7) } else { day }
    }

    /// Returns the day of a summary to send, once per week. The first time, none is sent: a rule that is added on a
    /// Wednesday waits for the next summary.
    pub(super) fn step(self, last: &mut Option<Day>, now: DateTime<Utc>) -> Option<Day> {
        let due = self.due(now);
        let is_new = last.is_some_and(|last| last < due);
        *last = Some(last.map_or(due, |last| last.max(due)));
        is_new.then_some(due)
    }
}

impl Summary {
    /// The summary for people.
    pub(super) fn text(&self) -> String {
        let Self { from, to, plays, view_time, average_percentage_viewed, videos, .. } = self;
        let mut text = format!("Videos from {} to {}\n\n", long(*from), long(*to));
        let mut line = |name: &str, value: String, figure: &Figure| {
            let _ = writeln!(text, "{name:<26}{value:>12}{}", change(figure));
        };
        line("Plays", count(plays.value), plays);
        line("View time", duration(view_time.value), view_time);
        let percentage = average_percentage_viewed.value;
        let percentage =
            percentage.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0));
        line("Average percentage viewed", percentage, average_percentage_viewed);
        if videos.is_empty() {
            text.push_str("\nNo video was played.\n");
            return text;
        }
        text.push_str("\nMost played videos\n\n");
        for (index, video) in videos.iter().enumerate() {
            let (plays, change) = (count(video.plays.value), change(&video.plays));
            let time = duration(video.view_time.value);
            let (name, unit) = (&video.video, if plays == "1" { "play" } else { "plays" });
            let _ = writeln!(text, "{:>2}. {name}\n    {plays} {unit}, {time}{change}", index + 1);
        }
        text
    }
}

fn long(Day(day): Day) -> String {
    day.format("%-d %B %Y").to_string()
}

/// A whole number with separators of thousands.
pub(super) fn count(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let digits = (value.max(0.0).round() as u64).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index != 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn duration(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds < 120.0 => format!("{} s", count(Some(seconds))),
        Some(seconds) if seconds < 7_200.0 => format!("{} min", count(Some(seconds / 60.0))),
        Some(seconds) => format!("{} h", count(Some(seconds / 3_600.0))),
    }
}

fn change(figure: &Figure) -> String {
    match (figure.change, figure.before) {
        (Some(change), _) => format!("  ({:+.0} %)", change * 100.0),
        (None, Some(0.0)) if figure.value.is_some_and(|value| 0.0 < value) => "  (new)".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn weekly(zone: &str) -> Weekly {
        let at = NaiveTime::from_hms_opt(8, 0, 0).unwrap();
        Weekly { weekday: Weekday::Mon, at, zone: zone.parse().unwrap(), top: 10 }
    }

    fn day(text: &str) -> Day {
        text.to_owned().try_into().unwrap()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_summary_is_due_at_its_local_time() {
        let weekly = weekly("Europe/Amsterdam");
        // Monday 30 March 2026 is the first day after the change to summer time: 08:00 is 06:00 UTC.
        for (now, due) in [
            ("2026-03-30T05:59:59Z", "2026-03-23"),
            ("2026-03-30T06:00:00Z", "2026-03-30"),
            ("2026-04-05T21:59:59Z", "2026-03-30"),
            ("2026-03-23T06:59:59Z", "2026-03-16"),
            ("2026-03-23T07:00:00Z", "2026-03-23"),
        ] {
            assert_eq!(String::from(weekly.due(at(now))), due, "{now}");
        }
        let (from, to) = day("2026-03-30").week_before();
        assert_eq!((from, to), (day("2026-03-23"), day("2026-03-29")));
    }

    #[test]
    fn a_summary_is_sent_once_and_late_if_the_server_was_down() {
        let (weekly, mut last) = (weekly("UTC"), None);
        let mut step = |now: &str| weekly.step(&mut last, at(now)).map(String::from);
        assert_eq!(step("2026-03-25T12:00:00Z"), None);
        assert_eq!(step("2026-03-30T07:59:00Z"), None);
        assert_eq!(step("2026-03-30T08:00:00Z").as_deref(), Some("2026-03-30"));
        assert_eq!(step("2026-03-30T08:01:00Z"), None);
        assert_eq!(step("2026-04-08T23:00:00Z").as_deref(), Some("2026-04-06"));
        // A clock that is set back repeats nothing.
        assert_eq!(step("2026-04-01T00:00:00Z"), None);
        assert_eq!(step("2026-04-09T00:00:00Z"), None);
    }

    proptest! {
        #[test]
        fn the_due_day_is_the_latest_that_has_begun(
            seconds in 1_600_000_000_i64..1_900_000_000,
            weekday in 0_u8..7,
            minute in 0_u32..1_440,
        ) {
            let weekday = Weekday::try_from(weekday).unwrap();
            let time = NaiveTime::from_num_seconds_from_midnight_opt(minute * 60, 0).unwrap();
            let weekly = Weekly { weekday, at: time, ..weekly("Pacific/Auckland") };
            let now = DateTime::from_timestamp(seconds, 0).unwrap();
            let local = now.with_timezone(&weekly.zone).naive_local();
            let naive = (0..=7).map(|days| Day(local.date()).earlier(days).0);
            let naive = naive.filter(|day| day.weekday() == weekday && day.and_time(time) <= local).max();
            prop_assert_eq!(Some(weekly.due(now).0), naive);
        }
    }

    #[test]
    fn a_summary_is_a_text_for_people() {
        let figure =
            |value, before, change| Figure { value: Some(value), before: Some(before), change };
        let (from, to) = day("2026-03-30").week_before();
        let summary = Summary {
            from,
            to,
            timezone: "UTC",
            plays: figure(12_345.0, 10_000.0, Some(0.2345)),
            view_time: figure(90_000.0, 100_000.0, Some(-0.1)),
            average_percentage_viewed: Figure { value: Some(0.5), ..Figure::default() },
            videos: vec![Entry {
                video: "intro".to_owned(),
                plays: figure(7.0, 0.0, None),
                view_time: figure(65.0, 0.0, None),
            }],
        };
        assert_eq!(
            summary.text(),
            "Videos from 23 March 2026 to 29 March 2026\n\n\
             Plays                           12,345  (+23 %)\n\
             View time                         25 h  (-10 %)\n\
             Average percentage viewed         50 %\n\n\
             Most played videos\n\n \
             1. intro\n    7 plays, 65 s  (new)\n"
        );
    }
}
