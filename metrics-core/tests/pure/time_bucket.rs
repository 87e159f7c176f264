//! Buckets, against models that walk through time minute by minute and month by month.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use metrics_core::time_bucket::{Buckets, Span, Width};
use proptest::prelude::*;

/// Clock changes of many kinds: forwards and back, by half an hour and by a day, at midnight, one
/// minute after it, and none at all.
const CHANGES: [(&str, &str); 20] = [
    ("Europe/Amsterdam", "2023-03-26T01:00:00Z"),
    ("Europe/Amsterdam", "2023-10-29T01:00:00Z"),
    ("America/New_York", "2023-03-12T07:00:00Z"),
    ("America/New_York", "2023-11-05T06:00:00Z"),
    ("Australia/Lord_Howe", "2023-04-01T15:00:00Z"),
    ("Australia/Lord_Howe", "2023-09-30T15:30:00Z"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/Sao_Paulo", "2018-02-18T02:00:00Z"),
    ("America/Havana", "2016-11-06T05:00:00Z"),
    ("America/Havana", "2016-03-13T05:00:00Z"),
    ("America/St_Johns", "2010-03-14T03:31:00Z"),
    ("America/St_Johns", "2010-11-07T02:31:00Z"),
    ("Africa/Casablanca", "2023-03-19T02:00:00Z"),
    ("Africa/Casablanca", "2023-04-23T02:00:00Z"),
    ("Africa/Cairo", "2023-04-27T22:00:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("Europe/Moscow", "2014-10-25T22:00:00Z"),
    ("Antarctica/Casey", "2020-10-03T16:01:00Z"),
    ("Asia/Kathmandu", "2023-05-01T00:00:00Z"),
    ("UTC", "2023-05-01T00:00:00Z"),
];

const WIDTHS: [&str; 14] = [
    "1 minute",
    "7 minutes",
    "15 minutes",
    "40 minutes",
    "1 hour",
    "90 minutes",
    "3 hours",
    "5 hours",
    "1 day",
    "36 hours",
    "2 days",
    "1 week",
    "1 month",
    "1 year",
];

/// How far a clock change reaches: the longest skip is a day.
const REACH: TimeDelta = TimeDelta::hours(26);

fn change() -> impl Strategy<Value = (Tz, DateTime<Utc>)> {
    prop::sample::select(&CHANGES[..])
        .prop_map(|(zone, at)| (zone.parse().unwrap(), at.parse().unwrap()))
}

fn width() -> impl Strategy<Value = Width> {
    prop::sample::select(&WIDTHS[..]).prop_map(|text| text.parse().unwrap())
}

/// Any instant that a `DateTime` can hold, the ends more often than others.
fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    let (min, max) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    let anywhere = (min.timestamp()..=max.timestamp(), 0_u32..1_000_000_000)
        .prop_map(|(secs, nanos)| DateTime::from_timestamp(secs, nanos).unwrap());
    let near = (0_i64..200_000_000, any::<bool>()).prop_map(move |(ms, early)| {
        let ms = TimeDelta::milliseconds(ms);
        if early { min + ms } else { max - ms }
    });
    prop_oneof![anywhere, near, Just(min), Just(max)]
}

fn minutes(from: DateTime<Utc>, to: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
    (0..=(to - from).num_minutes()).map(move |minute| from + TimeDelta::minutes(minute))
}

/// The boundary before a wall clock time: walks there from the origin, by months or in one leap.
fn model_boundary(width: Width, local: NaiveDateTime) -> NaiveDateTime {
    let origin = |text: &str| text.parse::<NaiveDateTime>().unwrap();
    if let Some(ms) = width.span().fixed_ms() {
        let origin = origin("2000-01-03T00:00:00");
        let width = i64::try_from(ms).unwrap();
        let since = (local - origin).num_milliseconds();
        return origin + TimeDelta::milliseconds(since - since.rem_euclid(width));
    }
    let mut month = origin("2000-01-01T00:00:00");
    let months = if width == Width::YEAR { 12 } else { 1 };
    loop {
        let next = month + chrono::Months::new(months);
        if next > local {
            return month;
        }
        month = next;
    }
}

/// The instant of a wall clock time: the last minute that shows it, or else where the clock would
/// have shown it had it not been changed.
fn model_instant(timezone: Tz, local: NaiveDateTime) -> DateTime<Utc> {
    let shown = |at: &DateTime<Utc>| at.with_timezone(&timezone).naive_local();
    let around = minutes(local.and_utc() - REACH, local.and_utc() + REACH);
    let (mut exact, mut before) = (None, None);
    for at in around {
        if shown(&at) == local {
            exact = Some(at);
        }
        if shown(&at) < local && exact.is_none() {
            before = Some(at);
        }
    }
    exact.unwrap_or_else(|| {
        let before = before.unwrap();
        before + (local - shown(&before))
    })
}

fn model_start(buckets: Buckets, at: DateTime<Utc>) -> DateTime<Utc> {
    let timezone = buckets.timezone().unwrap();
    let local = at.with_timezone(&timezone).naive_local();
    model_instant(timezone, model_boundary(buckets.width(), local))
}

/// The starts of the buckets of each minute.
fn walked_starts(
    buckets: Buckets,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> BTreeSet<DateTime<Utc>> {
    minutes(from, to).map(|at| buckets.start_of(at)).collect()
}

proptest! {
    #[test]
    fn starts_are_at_boundaries_of_local_time(
        (timezone, change) in change(),
        minute in -1_600_i64..1_600,
        width in width(),
    ) {
        let buckets = Buckets::new(width).in_timezone(timezone);
        let at = change + TimeDelta::minutes(minute);

        prop_assert_eq!(buckets.start_of(at), model_start(buckets, at));
    }

    #[test]
    fn fixed_buckets_are_multiples_of_the_width(ms in 1_u64..10_000_000_000, at in instant()) {
        let width: Width = Span::from_ms(ms).unwrap().try_into().unwrap();
        let origin: DateTime<Utc> = "2000-01-03T00:00:00Z".parse().unwrap();

        let start = Buckets::new(width).start_of(at);

        let width = TimeDelta::milliseconds(ms.try_into().unwrap());
        prop_assert!(start <= at && at - start < width);
        if start != DateTime::<Utc>::MIN_UTC {
            let since = (start - origin).num_milliseconds();
            prop_assert_eq!(since % i64::try_from(ms).unwrap(), 0);
        }
    }

    #[test]
    fn month_buckets_are_found_by_walking(width in 1_u32..40, month in 0_i32..2_400, day in 1_u32..29) {
        let buckets = Buckets::new(Span::from_months(width).unwrap().try_into().unwrap());
        let date = |month: i32, day| {
            let (year, month0) = (1900 + month / 12, u32::try_from(month % 12).unwrap());
            let date = chrono::NaiveDate::from_ymd_opt(year, month0 + 1, day).unwrap();
            date.and_hms_opt(0, 0, 0).unwrap().and_utc()
        };
        let width = i32::try_from(width).unwrap();
        // Month 1200 is January 2000.
        let mut boundary = 1_200;
        while boundary > month {
            boundary -= width;
        }
        while boundary + width <= month {
            boundary += width;
        }
        prop_assume!(boundary >= 0);

        let start = buckets.start_of(date(month, day));

        prop_assert_eq!(start, date(boundary, 1));
        prop_assert_eq!(buckets.next(start), Some(date(boundary + width, 1)));
    }

    #[test]
    fn starts_are_those_of_each_minute(
        (timezone, change) in change(),
        from in -2_000_i64..2_000,
        minutes in 0_i64..4_000,
        width in width(),
    ) {
        let buckets = Buckets::new(width).in_timezone(timezone);
        let from = change + TimeDelta::minutes(from);
        let to = from + TimeDelta::minutes(minutes);

        let starts: Vec<_> = buckets.starts(from, to).collect();

        prop_assert!(starts.is_sorted_by(|a, b| a < b));
        let set: BTreeSet<_> = starts.into_iter().collect();
        let walked = walked_starts(buckets, from, to);
        prop_assert!(walked.is_subset(&set), "{:?} lacks {:?}", set, walked);
        prop_assert!(set.is_subset(&walked_starts(buckets, from - REACH, to + REACH)));
        if from > change + REACH || to < change - REACH || (from < change - REACH && to > change + REACH) {
            prop_assert_eq!(set, walked);
        }
    }

    #[test]
    fn the_next_start_is_the_next_of_each_minute(
        (timezone, change) in change(),
        minute in -1_600_i64..1_600,
        width in width().prop_filter("narrow", |width| {
            width.span().fixed_ms().is_some_and(|ms| ms <= 172_800_000)
        }),
    ) {
        let buckets = Buckets::new(width).in_timezone(timezone);
        let at = change + TimeDelta::minutes(minute);
        let walked = walked_starts(buckets, at - REACH * 2, at + REACH * 4);

        let next = buckets.next(at);

        prop_assert_eq!(next, walked.into_iter().find(|start| *start > at));
    }

    #[test]
    fn no_bucket_starts_before_the_next_of_a_wide_one(
        (timezone, change) in change(),
        minute in -50_000_i64..1_600,
        width in prop::sample::select(vec!["10 days", "1 week", "1 month", "1 year"]),
    ) {
        let buckets = Buckets::new(width.parse().unwrap()).in_timezone(timezone);
        let at = change + TimeDelta::minutes(minute);

        let next = buckets.next(at).unwrap();

        prop_assert!(next > at);
        prop_assert_eq!(buckets.start_of(next), next);
        let hours = (0..).map(|hour| at + TimeDelta::hours(hour)).take_while(|it| *it < next);
        for hour in hours {
            let start = buckets.start_of(hour);
            prop_assert!(start <= at || start == next, "{} between {} and {}", start, at, next);
        }
    }

    #[test]
    fn a_grain_lies_in_one_bucket(
        (timezone, change) in change(),
        minute in -1_600_i64..1_600,
        width in width(),
    ) {
        let buckets = Buckets::new(width).in_timezone(timezone);
        let at = change + TimeDelta::minutes(minute);
        let grain = buckets.grain_between(change - REACH * 2, change + REACH * 2).num_milliseconds();
        prop_assert_eq!(86_400_000 % grain, 0);

        let step = at.timestamp_millis().div_euclid(grain) * grain;
        let ends = [step, step + grain - 1].map(|ms| DateTime::from_timestamp_millis(ms).unwrap());

        let starts = walked_starts(buckets, ends[0], ends[1]);
        prop_assert_eq!(starts.len(), 1);
        prop_assert!(starts.contains(&buckets.start_of(ends[1])));
        if change.year() > 2011 && timezone != Tz::Antarctica__Casey {
            prop_assert_eq!(grain % buckets.grain().num_milliseconds(), 0);
        }
    }

    #[test]
    fn no_instant_is_too_early_or_too_late(
        from in instant(),
        to in instant(),
        timezone in prop::sample::select(&TZ_VARIANTS[..]),
        width in prop::sample::select(vec!["0.001 s", "1 hour", "1 week", "1 month", "1000 years"]),
    ) {
        let buckets = Buckets::new(width.parse().unwrap());
        for buckets in [buckets, buckets.in_timezone(timezone)] {
            let start = buckets.start_of(from);
            prop_assert!(!buckets.label(start).is_empty());
            prop_assert!(buckets.next(from).is_none_or(|next| next > from));
            prop_assert!(buckets.next(start).is_none_or(|next| next > start));
            prop_assert!(buckets.starts(from, to).take(3).is_sorted_by(|a, b| a < b));
        }
    }

    #[test]
    fn spans_parse_from_their_text(ms in 0_u64..31_557_600_000_000, months in 0_u32..12_000) {
        for span in [Span::from_ms(ms), Span::from_ms(ms / 1_000 * 1_000), Span::from_months(months)] {
            let span = span.unwrap();
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC*", number in "[0-9.]{0,30}", unit in "[a-z]{0,3}") {
        let _ = text.parse::<Width>();
        let text = format!("{number}{unit}{text}");
        if let Ok(span) = text.parse::<Span>() {
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
