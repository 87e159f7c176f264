//! The words for timeframes, against a model that walks through time a minute at a time.

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use metrics_core::Timeframe;
use proptest::prelude::*;

/// Time zones with clock changes at midnight, by half an hour, by a whole day, and none at all.
const ZONES: [&str; 10] = [
    "UTC",
    "Europe/Amsterdam",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "Pacific/Kiritimati",
];

/// Years in which all of them have rules.
const FROM: &str = "2005-01-01T00:00:00Z";
const TO: &str = "2030-01-01T00:00:00Z";

fn now() -> impl Strategy<Value = DateTime<Utc>> {
    let ms = |text: &str| text.parse::<DateTime<Utc>>().unwrap().timestamp_millis();
    (ms(FROM)..ms(TO)).prop_map(|ms| DateTime::from_timestamp_millis(ms).unwrap())
}

fn zone() -> impl Strategy<Value = Tz> {
    prop::sample::select(&ZONES[..]).prop_map(|name| name.parse().unwrap())
}

/// The first minute whose local date is `date`, or after it where there is no such date.
fn begin(date: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let mut at = date.and_hms_opt(0, 0, 0).unwrap().and_utc() - TimeDelta::hours(15);
    while at.with_timezone(&zone).date_naive() < date {
        at += TimeDelta::minutes(1);
    }
    at
}

/// The first and the last millisecond of a word, where the dates that match are `first` and up to before `after`.
fn days(first: NaiveDate, after: NaiveDate, zone: Tz) -> (i64, i64) {
    (begin(first, zone).timestamp_millis(), begin(after, zone).timestamp_millis() - 1)
}

/// Goes back from `date` to the nearest one for which `is_first` holds.
fn back(mut date: NaiveDate, is_first: impl Fn(NaiveDate) -> bool) -> NaiveDate {
    while !is_first(date) {
        date = date.pred_opt().unwrap();
    }
    date
}

fn expected(word: &str, now: DateTime<Utc>, zone: Tz) -> (i64, i64) {
    let today = now.with_timezone(&zone).date_naive();
    let monday = |date: NaiveDate| back(date, |it| it.weekday() == chrono::Weekday::Mon);
    let month = |date: NaiveDate| back(date, |it| it.day() == 1);
    let year = |date: NaiveDate| back(date, |it| it.ordinal() == 1);
    let before = |date: NaiveDate| date.pred_opt().unwrap();
    let since = |first| (begin(first, zone).timestamp_millis(), now.timestamp_millis());
    match word {
        "today" => since(today),
        "yesterday" => days(before(today), today, zone),
        "this week" => since(monday(today)),
        "this month" => since(month(today)),
        "this year" => since(year(today)),
        "last week" => days(monday(before(monday(today))), monday(today), zone),
        "last month" => days(month(before(month(today))), month(today), zone),
        "last year" => days(year(before(year(today))), year(today), zone),
        other => panic!("{other}"),
    }
}

proptest! {
    #[test]
    fn words_are_days_of_the_time_zone(
        now in now(),
        zone in zone(),
        word in prop::sample::select(vec![
            "today", "yesterday", "this week", "this month", "this year", "last week", "last month", "last year",
        ]),
    ) {
        let timeframe: Timeframe = word.parse().unwrap();
        let period = timeframe.period(now, Some(zone));
        prop_assert_eq!((period.from_ms, period.to_ms), expected(word, now, zone), "{} {} {}", word, now, zone);
        prop_assert_eq!(timeframe.resolve_in(now, Some(zone)), (period.from_ms, period.to_ms));
    }

    #[test]
    fn dates_are_whole_days_of_the_time_zone(now in now(), zone in zone(), length in 0_u64..40) {
        let first = now.date_naive();
        let last = first.checked_add_days(Days::new(length)).unwrap();
        let period = Timeframe::Dates(first, last).period(now, Some(zone));
        let after = last.succ_opt().unwrap();
        prop_assert_eq!((period.from_ms, period.to_ms), days(first, after, zone));
    }
}
