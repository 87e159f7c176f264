//! Texts of spans and widths that are parsed or refused.

use super::*;

#[track_caller]
fn check(text: &str, expected: &str) {
    let span: Span = text.parse().unwrap();
    assert_eq!(span.to_string(), expected);
}

#[test]
fn units_have_abbreviations() {
    for text in ["15 minutes", "15minutes", " 15  Min ", "15 MINS", "15m", "15 minute"] {
        check(text, "15 minutes");
    }
    for text in ["1 s", "1 sec", "1 secs", "1 second", "1 seconds"] {
        check(text, "1 second");
    }
    for text in ["1h", "1 hr", "1 hrs", "1 hour", "60 min"] {
        check(text, "1 hour");
    }
    for text in ["1w", "1 week", "7 days", "168 h"] {
        check(text, "1 week");
    }
    for text in ["1y", "1 yr", "1 yrs", "1 years", "12 mons", "12 mon", "6 months 6 month"] {
        check(text, "1 year");
    }
}

#[test]
fn terms_add_up() {
    check("1 day 12 hours", "36 hours");
    check("1d12h", "36 hours");
    check("1 year 6 months", "18 months");
    check("2 minutes 30 seconds 30 seconds", "3 minutes");
    check("0 seconds", "0 seconds");
    check("0 months", "0 seconds");
}

#[test]
fn decimals_are_exact() {
    check("1.5 hours", "90 minutes");
    check("0.001 seconds", "0.001 seconds");
    check("1.0010000000000 s", "1.001 seconds");
    check("0.0009765625 weeks", "590.625 seconds");
    check("0.00000125 weeks", "0.756 seconds");
    check("1.5 years", "18 months");
    check_error("0.0005 s", &SpanError::Inexact("0.0005".into()));
    check_error("0.5 months", &SpanError::Inexact("0.5".into()));
    check_error("0.3333333333 days", &SpanError::Inexact("0.3333333333".into()));
}

#[track_caller]
fn check_error(text: &str, expected: &SpanError) {
    assert_eq!(text.parse::<Span>().as_ref(), Err(expected));
}

#[test]
fn errors_name_the_expected_value() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<Width>().unwrap_err().to_string(), expected);
    }
    let units =
        "expected seconds, minutes, hours, days, weeks, months or years, as in \"15 minutes\"";
    check(" ", "no duration given, expected for example \"15 minutes\"");
    check("15", &format!("\"15\" has no unit, {units}"));
    check("1 fortnight", &format!("unknown unit \"fortnight\", {units}"));
    check("-5 days", "expected a number at \"-5 days\", as in \"15 minutes\"");
    check("1 day, 2 hours", "expected a number at \", 2 hours\", as in \"15 minutes\"");
    check("0 days", "a width of zero, expected one above zero, for example \"15 minutes\"");
    check(
        "1 month 1 day",
        "months and years do not mix with other units, expected for example \"1 year 6 months\" or \"1 day 12 hours\"",
    );
    check("0.0001 s", "\"0.0001\" is too fine, expected whole milliseconds or whole months");
    check("1001 years", "too long, expected at most 1000 years");
}

#[test]
fn invalid_texts_are_refused() {
    for text in [".5 hours", "5. hours", "1.2.3 hours", "days", "day 1", "\u{661} day", "..s"] {
        assert!(matches!(text.parse::<Span>(), Err(SpanError::Amount(_))), "{text}");
    }
    for text in ["1:30", "1e3 s", "1 \u{b5}s", "1 days2", "1 \u{17f}econd", "0x1 s"] {
        assert!(text.parse::<Span>().is_err(), "{text}");
    }
}

#[test]
fn lengths_end_at_1000_years() {
    check("1000 years", "1000 years");
    check("365250 days", "365250 days");
    for text in [
        "12001 months",
        "365250 days 0.001 s",
        "999999999999999999 weeks",
        "99999999999999999999999999999999 seconds",
        "600 years 600 years",
    ] {
        check_error(text, &SpanError::TooLong);
    }
    assert_eq!(Span::from_months(12_001), None);
    assert_eq!(Span::from_ms(u64::MAX), None);
    assert_eq!(Span::from_months(0), Some(Span::ZERO));
    assert_eq!(Span::from_ms(604_800_000), Some(Span::WEEK));
}

/// The results of PostgreSQL 15 for `timestamptz - interval`.
#[test]
fn months_before_keep_the_day_if_they_can() {
    let cases = [
        ("2023-03-31T10:00:00Z", "1 month", "2023-02-28T10:00:00Z"),
        ("2024-03-31T10:00:00Z", "1 month", "2024-02-29T10:00:00Z"),
        ("2024-02-29T10:00:00Z", "1 year", "2023-02-28T10:00:00Z"),
        ("2023-05-31T23:59:59Z", "3 months", "2023-02-28T23:59:59Z"),
        ("2024-02-29T00:00:00Z", "4 years", "2020-02-29T00:00:00Z"),
        ("2023-01-15T12:00:00Z", "12 months", "2022-01-15T12:00:00Z"),
        ("2023-03-31T10:00:00Z", "7 days", "2023-03-24T10:00:00Z"),
        ("2023-03-31T10:00:00Z", "1 day 12 hours", "2023-03-29T22:00:00Z"),
    ];
    for (now, span, expected) in cases {
        let before = span.parse::<Span>().unwrap().before(now.parse().unwrap());
        assert_eq!(before, Some(expected.parse().unwrap()), "{now} - {span}");
    }
    assert_eq!(Span::WEEK.before(DateTime::<Utc>::MIN_UTC), None);
    assert_eq!(Width::YEAR.span().before(DateTime::<Utc>::MIN_UTC), None);
}
