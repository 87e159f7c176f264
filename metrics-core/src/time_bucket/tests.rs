//! Buckets, labels and grains of chosen instants, around clock changes above all.

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn buckets(zone: &str, width: &str) -> Buckets {
    Buckets::new(width.parse().unwrap()).in_timezone(zone.parse().unwrap())
}

#[test]
fn buckets_count_from_2000() {
    #[track_caller]
    fn check(width: &str, instant: &str, expected: &str) {
        let buckets = Buckets::new(width.parse().unwrap());
        assert_eq!(buckets.start_of(at(instant)), at(expected));
    }
    check("1 week", "2000-01-03T00:00:00Z", "2000-01-03T00:00:00Z");
    check("1 week", "2000-01-02T23:59:59.999999Z", "1999-12-27T00:00:00Z");
    check("10 days", "2000-01-02T00:00:00Z", "1999-12-24T00:00:00Z");
    check("15 minutes", "2023-05-02T10:44:59.999999Z", "2023-05-02T10:30:00Z");
    check("7 seconds", "2000-01-03T00:00:06.999Z", "2000-01-03T00:00:00Z");
    check("5 hours", "2000-01-03T11:00:00Z", "2000-01-03T10:00:00Z");
    check("3 months", "2023-05-02T00:00:00Z", "2023-04-01T00:00:00Z");
    check("5 months", "1999-12-31T23:59:59Z", "1999-08-01T00:00:00Z");
    check("7 months", "2000-08-01T00:00:00Z", "2000-08-01T00:00:00Z");
    check("1 year", "1969-12-31T23:59:59Z", "1969-01-01T00:00:00Z");
    check("1000 years", "2023-05-02T00:00:00Z", "2000-01-01T00:00:00Z");
    check("1000 years", "1999-05-02T00:00:00Z", "1000-01-01T00:00:00Z");
}

/// The results of PostgreSQL 15 around clock changes, with `time_bucket` spelled out.
#[test]
fn clock_changes_are_those_of_postgresql() {
    let cases = [
        ("Europe/Amsterdam", "1 hour", "2023-03-26T00:59:59Z", "2023-03-26T00:00:00Z"),
        ("Europe/Amsterdam", "1 hour", "2023-03-26T01:00:00Z", "2023-03-26T01:00:00Z"),
        ("Europe/Amsterdam", "3 hours", "2023-03-26T01:30:00Z", "2023-03-26T01:00:00Z"),
        ("Europe/Amsterdam", "90 minutes", "2023-03-26T01:10:00Z", "2023-03-26T01:00:00Z"),
        ("Europe/Amsterdam", "40 minutes", "2023-03-26T01:10:00Z", "2023-03-26T01:40:00Z"),
        ("Europe/Amsterdam", "40 minutes", "2023-03-26T01:20:00Z", "2023-03-26T01:20:00Z"),
        ("Europe/Amsterdam", "1 hour", "2023-10-29T00:30:00Z", "2023-10-29T01:00:00Z"),
        ("Europe/Amsterdam", "1 hour", "2023-10-29T01:30:00Z", "2023-10-29T01:00:00Z"),
        ("Europe/Amsterdam", "15 minutes", "2023-10-29T00:20:00Z", "2023-10-29T01:15:00Z"),
        ("Europe/Amsterdam", "3 hours", "2023-10-29T01:30:00Z", "2023-10-28T22:00:00Z"),
        ("Europe/Amsterdam", "1 day", "2023-10-29T22:59:59Z", "2023-10-28T22:00:00Z"),
        ("Europe/Amsterdam", "1 day", "2023-10-29T23:00:00Z", "2023-10-29T23:00:00Z"),
        ("Europe/Amsterdam", "1 week", "2023-11-01T12:00:00Z", "2023-10-29T23:00:00Z"),
        ("Europe/Amsterdam", "1 month", "2023-10-31T23:00:00Z", "2023-10-31T23:00:00Z"),
        ("Europe/Amsterdam", "3 months", "2023-08-20T00:00:00Z", "2023-06-30T22:00:00Z"),
        ("Europe/Amsterdam", "1 year", "2023-12-31T23:30:00Z", "2023-12-31T23:00:00Z"),
        ("America/New_York", "1 day", "2023-11-06T04:59:59Z", "2023-11-05T04:00:00Z"),
        ("America/New_York", "1 hour", "2023-11-05T05:30:00Z", "2023-11-05T06:00:00Z"),
        ("America/New_York", "7 seconds", "2023-11-05T05:30:00Z", "2023-11-05T06:29:56Z"),
        ("America/New_York", "1 hour", "2023-03-12T07:00:00Z", "2023-03-12T07:00:00Z"),
        ("Australia/Lord_Howe", "1 hour", "2023-04-01T14:45:00Z", "2023-04-01T14:00:00Z"),
        ("Australia/Lord_Howe", "1 hour", "2023-04-01T15:10:00Z", "2023-04-01T14:00:00Z"),
        ("Australia/Lord_Howe", "1 hour", "2023-09-30T15:40:00Z", "2023-09-30T15:30:00Z"),
        ("Australia/Lord_Howe", "15 minutes", "2023-09-30T15:30:00Z", "2023-09-30T15:30:00Z"),
        ("Asia/Kathmandu", "1 hour", "2023-05-01T18:20:00Z", "2023-05-01T18:15:00Z"),
        ("Asia/Kathmandu", "1 day", "2023-05-01T18:15:00Z", "2023-05-01T18:15:00Z"),
        ("America/Sao_Paulo", "1 day", "2018-11-04T03:30:00Z", "2018-11-04T03:00:00Z"),
        ("America/Sao_Paulo", "1 day", "2018-02-18T02:30:00Z", "2018-02-17T02:00:00Z"),
        ("America/Sao_Paulo", "1 hour", "2018-02-18T01:30:00Z", "2018-02-18T02:00:00Z"),
        ("America/Havana", "1 day", "2016-11-06T04:45:00Z", "2016-11-06T05:00:00Z"),
        ("America/Havana", "1 day", "2016-11-06T03:45:00Z", "2016-11-05T04:00:00Z"),
        ("Africa/Casablanca", "1 hour", "2023-03-19T02:30:00Z", "2023-03-19T02:00:00Z"),
        ("Africa/Casablanca", "1 hour", "2023-04-23T02:30:00Z", "2023-04-23T02:00:00Z"),
        ("Africa/Casablanca", "30 minutes", "2023-03-19T01:45:00Z", "2023-03-19T02:30:00Z"),
        ("Pacific/Apia", "1 day", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z"),
        ("Pacific/Apia", "1 day", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "2 days", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "36 hours", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "1 month", "2011-12-30T10:00:00Z", "2011-12-01T10:00:00Z"),
        ("Pacific/Apia", "1 week", "2012-01-01T09:00:00Z", "2011-12-26T10:00:00Z"),
        ("America/St_Johns", "1 hour", "2010-03-14T03:45:00Z", "2010-03-14T04:30:00Z"),
        ("America/St_Johns", "1 hour", "2010-11-07T02:30:30Z", "2010-11-07T03:30:00Z"),
        ("America/St_Johns", "1 hour", "2010-11-07T02:31:00Z", "2010-11-07T01:30:00Z"),
        ("America/St_Johns", "1 day", "2010-11-07T02:30:30Z", "2010-11-07T03:30:00Z"),
        ("Europe/Dublin", "1 hour", "2006-10-29T00:30:00Z", "2006-10-29T01:00:00Z"),
        ("Europe/Moscow", "1 hour", "2014-10-25T21:30:00Z", "2014-10-25T22:00:00Z"),
    ];
    for (zone, width, instant, expected) in cases {
        let start = buckets(zone, width).start_of(at(instant));
        assert_eq!(start, at(expected), "{width} in {zone} at {instant}");
    }
}

#[track_caller]
fn check_starts(buckets: Buckets, from: &str, to: &str, expected: &[&str]) {
    let labels: Vec<_> = buckets
        .starts(at(from), at(to))
        .map(|start| buckets.label(start).replace(":00.000000", ""))
        .collect();
    assert_eq!(labels, expected);
}

#[test]
fn both_ends_have_a_bucket() {
    let days = Buckets::new(Width::DAY);
    let (from, to) = ("2023-05-01T12:00:00Z", "2023-05-03T00:00:00Z");
    check_starts(days, from, to, &["2023-05-01T00:00", "2023-05-02T00:00", "2023-05-03T00:00"]);
    check_starts(days, from, from, &["2023-05-01T00:00"]);
    check_starts(days, to, from, &[]);
}

#[test]
fn a_skipped_hour_has_no_bucket() {
    check_starts(
        buckets("Europe/Amsterdam", "1 hour"),
        "2023-03-25T23:30:00Z",
        "2023-03-26T01:30:00Z",
        &["2023-03-26T00:00+01:00", "2023-03-26T01:00+01:00", "2023-03-26T03:00+02:00"],
    );
}

#[test]
fn a_repeated_hour_is_one_bucket() {
    check_starts(
        buckets("Europe/Amsterdam", "1 hour"),
        "2023-10-28T23:30:00Z",
        "2023-10-29T02:00:00Z",
        &["2023-10-29T01:00+02:00", "2023-10-29T02:00+01:00", "2023-10-29T03:00+01:00"],
    );
}

#[test]
fn a_bucket_that_begins_in_skipped_time_may_start_after_the_next_one() {
    check_starts(
        buckets("Europe/Amsterdam", "40 minutes"),
        "2023-03-26T00:20:00Z",
        "2023-03-26T01:20:00Z",
        &["2023-03-26T01:20+01:00", "2023-03-26T03:20+02:00", "2023-03-26T03:40+02:00"],
    );
}

#[test]
fn days_around_a_clock_change_start_at_midnight() {
    check_starts(
        buckets("Europe/Amsterdam", "1 day"),
        "2023-10-27T22:00:00Z",
        "2023-10-30T12:00:00Z",
        &["2023-10-28T00:00+02:00", "2023-10-29T00:00+02:00", "2023-10-30T00:00+01:00"],
    );
}

#[test]
fn a_skipped_day_has_no_bucket() {
    check_starts(
        buckets("Pacific/Apia", "1 day"),
        "2011-12-29T12:00:00Z",
        "2011-12-31T12:00:00Z",
        &["2011-12-29T00:00-10:00", "2011-12-31T00:00+14:00", "2012-01-01T00:00+14:00"],
    );
}

#[test]
fn months_follow_local_time() {
    check_starts(
        buckets("America/New_York", "1 month"),
        "2023-02-01T04:59:59Z",
        "2023-04-01T04:00:00Z",
        &[
            "2023-01-01T00:00-05:00",
            "2023-02-01T00:00-05:00",
            "2023-03-01T00:00-05:00",
            "2023-04-01T00:00-04:00",
        ],
    );
}

#[test]
fn labels_show_an_offset_where_a_zone_is_given() {
    #[track_caller]
    fn check(zone: &str, expected: &str) {
        assert_eq!(buckets(zone, "1 day").label(at("2023-01-02T23:00:00Z")), expected);
    }
    check("UTC", "2023-01-02T23:00:00.000000Z");
    check("Etc/UTC", "2023-01-02T23:00:00.000000Z");
    check("Etc/Zulu", "2023-01-02T23:00:00.000000Z");
    check("GMT", "2023-01-02T23:00:00.000000+00:00");
    check("Europe/London", "2023-01-02T23:00:00.000000+00:00");
    check("Europe/Amsterdam", "2023-01-03T00:00:00.000000+01:00");
    check("Asia/Kathmandu", "2023-01-03T04:45:00.000000+05:45");
    check("America/St_Johns", "2023-01-02T19:30:00.000000-03:30");
    let plain = Buckets::new(Width::DAY).label(at("2023-01-02T23:00:00.5Z"));
    assert_eq!(plain, "2023-01-02T23:00:00.500000");
}

#[test]
fn grains_divide_widths_and_days() {
    #[track_caller]
    fn check(width: &str, utc_ms: i64, zone_ms: i64) {
        let buckets = Buckets::new(width.parse().unwrap());
        assert_eq!(buckets.grain().num_milliseconds(), utc_ms);
        let buckets = buckets.in_timezone(Tz::Europe__Amsterdam);
        assert_eq!(buckets.grain().num_milliseconds(), zone_ms);
    }
    check("1 day", 86_400_000, 900_000);
    check("1 week", 86_400_000, 900_000);
    check("3 months", 86_400_000, 900_000);
    check("36 hours", 43_200_000, 900_000);
    check("1 hour", 3_600_000, 900_000);
    check("5 hours", 3_600_000, 900_000);
    check("10 minutes", 600_000, 300_000);
    check("7 seconds", 1_000, 1_000);
    check("1.001 seconds", 1, 1);
}

#[test]
fn a_grain_between_two_instants_includes_the_offsets_between() {
    #[track_caller]
    fn check(zone: &str, from: &str, to: &str, minutes: i64) {
        let grain = buckets(zone, "1 day").grain_between(at(from), at(to));
        assert_eq!(grain.num_minutes(), minutes, "{zone}");
    }
    let (from, to) = ("2022-01-01T00:00:00Z", "2024-01-01T00:00:00Z");
    check("UTC", from, to, 1_440);
    check("Europe/Amsterdam", from, to, 60);
    check("Asia/Tokyo", from, to, 180);
    check("Asia/Kolkata", from, to, 30);
    check("Asia/Kathmandu", from, to, 15);
    check("Australia/Lord_Howe", from, to, 30);
    check("America/St_Johns", from, to, 30);
    check("America/St_Johns", "2010-01-01T00:00:00Z", to, 1);
}
