//! Random sessions and queries: the answer is that of plain loops.

use crate::scan::Scans as _;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

use super::draft::{Watch, blocks};
use super::oracle;
use crate::Video;
use crate::arrival::{Arrival, ArrivalPart};
use crate::block::RowId;
use crate::query::{
    Column, Comparison, Dimension, Direction, Filter, METRICS_MAX, Metric, Minimum, Operator,
    Order, Period, Query, SessionMetric,
};
use crate::scan::{Answer, DimensionValue, Scanner};
use crate::session::Counters;
use crate::user_agent::{Browser, Device, Platform};

/// The first Sunday of November 2023, when clocks change in New York.
const SUNDAY_MS: i64 = 1_699_142_400_000;
const HOUR_MS: i64 = 3_600_000;

pub(super) fn videos() -> Vec<Video> {
    vec![
        Video::labelled("intro"),
        Video::labelled("outro"),
        Video::described(&json!({"title": "intro", "course": {"id": 7}})).unwrap(),
        Video::described(&json!({"course": {"id": "7"}, "tags": ["a"]})).unwrap(),
    ]
}

fn counters() -> impl Strategy<Value = Counters> {
    let startup_ms = prop::option::of(select(vec![0, 100, 250, 251, 4_000]));
    let waits = select(vec![(0, 0), (0, 0), (1, 300), (3, 0), (0, 70)]);
    (startup_ms, waits, 0_u32..3).prop_map(
        |(startup_ms, (rebufferings, rebuffering_ms), failures)| Counters {
            rebufferings,
            rebuffering_ms,
            failures,
            startup_ms,
            ..Counters::default()
        },
    )
}

/// A session around a clock change, or any time in half a year before.
pub(super) fn watch() -> impl Strategy<Value = Watch> {
    let near = (-30_i64..60).prop_map(|steps| SUNDAY_MS + steps * HOUR_MS / 2);
    let far = (0_i64..4_000).prop_map(|hours| SUNDAY_MS - hours * HOUR_MS - 1);
    let start_ms = prop_oneof![near, far];
    let segments = prop::collection::vec((0_u32..80, 0_u32..50), 0..4);
    // Some sessions play for longer than a day.
    let minutes = prop::collection::vec((0_i64..200, prop_oneof![0_i64..90, 0_i64..2_000]), 0..4);
    let duration = select(vec![None, Some(0), Some(55), Some(100), Some(128)]);
    let owner = (select(videos()), select(vec!["one", "two"]));
    let page =
        select(vec!["", "http://a.example/x", "http://a.example/y", "https://b.example:81/"]);
    let data = select(vec![
        "",
        r#"{"plan":"free"}"#,
        r#"{"plan":1.5}"#,
        r#"{"a":{"b":true}}"#,
        r#"{"plan":null}"#,
    ]);
    let client = (
        select(vec![Browser::Chrome, Browser::Safari, Browser::Other]),
        select(vec![Platform::Mac, Platform::Ios]),
        select(vec![Device::Mobile, Device::Desktop]),
    );
    let language = select(vec!["", "nl", "en"]);
    let arrival = select(vec![
        "",
        r#"{"referrer":"a.example","country":"NL"}"#,
        r#"{"utm_source":"a","utm_medium":"mail","utm_campaign":"a"}"#,
        r#"{"referrer":"b.example","utm_source":"b","country":"DE"}"#,
    ]);
    (
        (start_ms, segments, minutes, duration, any::<u64>()),
        owner,
        (page, data, client, language, arrival),
        counters(),
    )
        .prop_map(
            |(
                (start_ms, segments, minutes, duration, id),
                (video, key),
                (page, data, client, language, arrival),
                counters,
            )| {
                let segments: Vec<_> =
                    segments.iter().map(|(from, len)| (*from, from + len)).collect();
                let mut watch =
                    Watch::at("2000-01-01T00:00:00Z").watched(&segments).video(video).key(key);
                watch.row.stored.started_at_ms = start_ms;
                watch.row.stored.last_event_at_ms = start_ms + 60_000;
                let minutes: Vec<_> =
                    minutes.iter().map(|(from, len)| (*from, from + len)).collect();
                watch = watch.playing(&minutes);
                watch.row.stored.duration_ms = duration.map(|tenths| 100 * tenths);
                watch.row.id = RowId(id);
                watch = watch.on(page).with(client.0, client.1, client.2);
                if !data.is_empty() {
                    watch = watch.data(data);
                }
                watch.row.arrival = Arrival::from_json(arrival).unwrap_or_default();
                if !language.is_empty() {
                    watch = watch.speaking(language);
                }
                watch.counting(counters)
            },
        )
}

fn dimension() -> impl Strategy<Value = Dimension> {
    let names = [
        "time:1 day",
        "time:1 hour",
        "time:40 minutes",
        "time:1 month",
        "hour_of_day",
        "day_of_week",
        "key",
        "video",
        "video.course.id",
        "video.tags",
        "session.plan",
        "session.a.b",
        "page",
        "page_host",
        "browser",
        "platform",
        "device",
        "language",
        "referrer",
        "utm_source",
        "utm_medium",
        "utm_campaign",
        "country",
    ];
    select(names.to_vec()).prop_map(|name| name.parse().unwrap())
}

fn condition() -> impl Strategy<Value = Filter> {
    let values = |dimension: &Dimension| -> Vec<&'static str> {
        match dimension {
            Dimension::Time(_) => {
                vec!["2023-11-05T04:00:00Z", "2023-11-05T00:00:00-04:00", "2023-11-01T00:00:00Z"]
            }
            Dimension::HourOfDay => vec!["0", "1", "2", "23"],
            Dimension::DayOfWeek => vec!["1", "6", "7"],
            Dimension::Key => vec!["one", "three"],
            Dimension::Video => vec!["intro", "in", "{"],
            Dimension::VideoField(_) => vec!["7", r#"["a"]"#, "a"],
            Dimension::SessionField(_) => vec!["free", "1.5", "true", "f"],
            Dimension::Page | Dimension::PageHost => {
                vec!["http://a.example/x", "a.example", "http"]
            }
            Dimension::Browser => vec!["chrome", "safari"],
            Dimension::Platform => vec!["mac", "windows"],
            Dimension::Device => vec!["mobile", "tablet"],
            Dimension::Language => vec!["nl", "n"],
            Dimension::Arrival(ArrivalPart::Country) => vec!["NL", "BE"],
            Dimension::Arrival(_) => vec!["a.example", "a", "mail"],
        }
    };
    let of_dimension =
        (dimension(), select(Operator::ALL)).prop_flat_map(move |(dimension, operator)| {
            let is_exact = matches!(operator, Operator::Is | Operator::IsNot);
            let operator = if is_exact || dimension.is_text() { operator } else { Operator::Is };
            let values = values(&dimension);
            let values = subsequence(values.clone(), 0..=values.len());
            (values, any::<bool>()).prop_map(move |(values, with_null)| {
                let values = values.into_iter().map(|value| Some(value.to_owned()));
                let null = (with_null && is_exact).then_some(None);
                Filter::Dimension {
                    dimension: dimension.clone(),
                    operator,
                    values: values.chain(null).collect(),
                }
            })
        });
    let number = select(vec![0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.5]);
    let of_session_metric = (select(SessionMetric::ALL), select(Comparison::ALL), number).prop_map(
        |(session_metric, comparison, number)| Filter::SessionMetric {
            session_metric,
            comparison,
            number,
        },
    );
    let watched =
        (0_u32..8_000, 1_u32..4_000, any::<bool>()).prop_map(|(from_ms, len, is_negated)| {
            Filter::Watched { from_ms, to_ms: from_ms + len, is_negated }
        });
    prop_oneof![4 => of_dimension, 2 => of_session_metric, 1 => watched]
}

pub(super) fn filter() -> impl Strategy<Value = Filter> {
    condition().prop_recursive(3, 8, 3, |inner| {
        let some = prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            some.clone().prop_map(Filter::And),
            some.prop_map(Filter::Or),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    })
}

pub(super) fn query() -> impl Strategy<Value = Query> {
    let metrics = prop_oneof![
        subsequence(Metric::ALL.to_vec(), 1..=METRICS_MAX),
        subsequence(vec![Metric::Plays, Metric::PeakConcurrent, Metric::AverageConcurrent], 1..=3),
        select(Metric::ALL).prop_map(|metric| vec![metric]),
    ];
    let dimensions = prop::collection::vec(dimension(), 0..=3).prop_map(|dimensions| {
        let mut once: Vec<Dimension> = Vec::new();
        for dimension in dimensions {
            if !once.contains(&dimension) {
                once.push(dimension);
            }
        }
        once
    });
    let filter = prop_oneof![Just(Filter::And(Vec::new())), filter()];
    let timezone = select(vec![
        None,
        Some(chrono_tz::Tz::America__New_York),
        Some(chrono_tz::Tz::Asia__Kathmandu),
    ]);
    let minimum = select(vec![
        Minimum::ViewMs(0),
        Minimum::ViewMs(1_000),
        Minimum::ViewMs(3_100),
        Minimum::Millionths(0),
        Minimum::Millionths(500_000),
    ]);
    (metrics, dimensions, filter, timezone, minimum).prop_map(
        |(metrics, dimensions, filter, timezone, minimum)| {
            let mut query =
                Query::new(metrics).with_filter(filter).with_minimum(minimum).with_fill(false);
            query.dimensions = dimensions;
            if query.metrics.iter().any(|metric| metric.is_by_minute()) {
                let repeats =
                    |it: &Dimension| matches!(it, Dimension::HourOfDay | Dimension::DayOfWeek);
                query.dimensions.retain(|it| !repeats(it));
            }
            query.timezone = timezone;
            query.page(10_000, 0)
        },
    )
}

pub(super) fn period() -> impl Strategy<Value = Period> {
    (-2_000_i64..40, 0_i64..2_000).prop_map(|(hours, len)| {
        let from_ms = SUNDAY_MS + hours * HOUR_MS;
        Period { from_ms, to_ms: from_ms + len * HOUR_MS }
    })
}

/// Adds the watches in blocks.
pub(super) fn scan(query: &Query, period: Period, watches: &[Watch], size: usize) -> Scanner {
    let mut scanner = Scanner::new(query, period).unwrap();
    for (watch, columns) in &blocks(watches, size, scanner.groups()) {
        if scanner.selects_video(&watch.info()) {
            scanner.add(&watch.info(), columns).unwrap();
        }
    }
    scanner
}

fn is_near(a: &Option<f64>, b: &Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-12 * a.abs().max(1.0),
        (a, b) => a == b,
    }
}

#[track_caller]
pub(super) fn check(answer: &Answer, expected: &BTreeMap<Vec<DimensionValue>, Vec<Option<f64>>>) {
    assert_eq!(answer.rows, expected.len() as u64, "{answer:?}\n{expected:?}");
    for row in &answer.results {
        let expected = &expected[&row.dimensions];
        let metrics = &row.numbers.metrics;
        let all_are = metrics.iter().zip(expected).all(|(a, b)| is_near(a, b));
        assert!(
            all_are && metrics.len() == expected.len(),
            "{metrics:?}\n{expected:?} of {:?}",
            row.dimensions
        );
    }
}

proptest! {
    #[test]
    fn answers_are_those_of_plain_loops(
        watches in prop::collection::vec(watch(), 0..40),
        query in query(),
        period in period(),
        size in 1_usize..12,
    ) {
        let mut period = period;
        if query.metrics.iter().any(|metric| metric.is_by_minute()) {
            // The oracle checks every minute, which is slow for long timeframes.
            period.to_ms = period.to_ms.min(period.from_ms + 60 * HOUR_MS);
        }
        let answer = scan(&query, period, &watches, size).finish(None).unwrap();
        check(&answer, &oracle::answer(&query, period, &watches));

        // Neither the order nor the blocks matter, to the bit.
        let mut reversed = watches.clone();
        reversed.reverse();
        let again = scan(&query, period, &reversed, size + 3).finish(None).unwrap();
        prop_assert_eq!(&again, &answer);

        // Totals are the row without dimensions.
        let mut whole = query.clone();
        whole.dimensions.clear();
        let whole = scan(&whole, period, &watches, size).finish(None).unwrap();
        let totals = scan(&query.with_totals(true), period, &watches, size).finish(None).unwrap().totals;
        prop_assert_eq!(totals.as_ref(), Some(&whole.results[0].numbers));
    }

    #[test]
    fn pages_are_parts_of_the_sorted_rows(
        watches in prop::collection::vec(watch(), 0..40),
        query in query(),
        period in period(),
        order in prop::collection::vec((any::<usize>(), any::<bool>()), 0..3),
        limit in 1_u32..6,
    ) {
        let mut query = query;
        let columns = query.metrics.iter().map(|metric| Column::Metric(*metric));
        let columns: Vec<_> =
            columns.chain(query.dimensions.iter().cloned().map(Column::Dimension)).collect();
        query.order_by = order.iter().map(|(index, ascending)| Order {
            by: columns[index % columns.len()].clone(),
            direction: if *ascending { Direction::Ascending } else { Direction::Descending },
        }).collect();
        let scanner = scan(&query, period, &watches, 7);
        let all = scanner.clone().finish(None).unwrap().results;

        let in_order = |a: &super::super::AnswerRow, b: &super::super::AnswerRow| {
            for Order { by, direction } in query.order() {
                let at = columns.iter().position(|column| *column == by).unwrap();
                let ordering = match at.checked_sub(query.metrics.len()) {
                    Some(at) => a.dimensions[at].cmp(&b.dimensions[at]),
                    None => match (a.numbers.metrics[at], b.numbers.metrics[at]) {
                        (Some(a), Some(b)) => a.total_cmp(&b),
                        (None, Some(_)) => return false,
                        (Some(_), None) => return true,
                        (None, None) => continue,
                    },
                };
                if ordering.is_ne() {
                    return ordering.is_lt() == (direction == Direction::Ascending);
                }
            }
            a.dimensions < b.dimensions
        };
        for pair in all.windows(2) {
            prop_assert!(in_order(&pair[0], &pair[1]), "{:?}", pair);
        }
        let mut paged = Vec::new();
        for offset in (0..all.len() as u64).step_by(limit as usize) {
            let mut scanner = scanner.clone();
            scanner.query = scanner.query.page(limit, offset);
            paged.extend(scanner.finish(None).unwrap().results);
        }
        prop_assert_eq!(paged, all);
    }

    #[test]
    fn filters_read_from_json_mean_the_same(filter in filter()) {
        prop_assert_eq!(Filter::from_json(&filter.to_json()).unwrap().to_json(), filter.to_json());
    }
}
