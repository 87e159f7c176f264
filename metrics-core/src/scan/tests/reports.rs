//! The older reports with filters: those of plain loops over the sessions that count.

use crate::scan::Scans as _;
use proptest::prelude::*;

use super::draft::{Watch, blocks};
use super::{oracle, random};
use crate::engagement::{Parts, Seconds};
use crate::interval::Segments;
use crate::query::{Filter, Metric, Minimum, Period, Query, Scan, Selection, instant};
use crate::response::{PlayTotals, PlaysAt, SourceAt, fold_plays, fold_sources};
use crate::scan::SessionFilter;
use crate::scan::buckets::{PlaysScanner, SourcesScanner};
use crate::scan::engagement::{Furthest, PartsScanner, SecondsScanner};
use crate::session::Stored;
use crate::time_bucket::Buckets;

/// Adds the watches in blocks.
macro_rules! scan {
    ($watches:expr, $scanner:expr) => {{
        let mut scanner = $scanner;
        for (watch, columns) in &blocks($watches, 5, scanner.groups()) {
            if scanner.selects_video(&watch.info()) {
                scanner.add(&watch.info(), columns).unwrap();
            }
        }
        scanner
    }};
}

fn buckets() -> impl Strategy<Value = Buckets> {
    let width = prop::sample::select(vec!["1 day", "40 minutes", "1 hour", "1 month"]);
    let timezone = prop::sample::select(vec![None, Some(chrono_tz::Tz::America__New_York)]);
    (width, timezone).prop_map(|(width, timezone)| {
        let buckets = Buckets::new(width.parse().unwrap());
        timezone.map_or(buckets, |timezone| buckets.in_timezone(timezone))
    })
}

fn session_filter(filter: &Filter, period: Period, minimum_view_ms: u64) -> SessionFilter {
    let Period { from_ms, to_ms } = period;
    let selection = Selection::default();
    SessionFilter::of_scan(&Scan {
        selection: selection.with_filter(filter.clone()),
        from_ms,
        to_ms,
        minimum_view_ms,
    })
}

fn counted(filter: &Filter, period: Period, minimum_ms: u64, watches: &[Watch]) -> Vec<Watch> {
    let query = Query::new([Metric::Plays]).with_filter(filter.clone());
    let query = query.with_minimum(Minimum::ViewMs(minimum_ms));
    watches.iter().filter(|watch| oracle::counts(&query, period, watch)).cloned().collect()
}

proptest! {
    #[test]
    fn reports_are_those_of_the_sessions_that_count(
        watches in prop::collection::vec(random::watch(), 0..40),
        filter in random::filter(),
        period in random::period(),
        minimum_ms in prop::sample::select(vec![0, 1_000, 3_100]),
        buckets in buckets(),
        parts in 1_u32..20,
    ) {
        let filtered = || session_filter(&filter, period, minimum_ms);
        let counted = counted(&filter, period, minimum_ms, &watches);
        let segments = |watch: &Watch| Segments::decode(&watch.row.stored.segments).unwrap();

        let plays = scan!(&watches, PlaysScanner::new(filtered(), buckets));
        let plays_at = counted.iter().map(|watch| {
            let stored = &watch.row.stored;
            let mut totals = PlayTotals::default();
            totals.add_plays(1, stored.view_ms, stored.unique_ms, watch.row.user_agent);
            PlaysAt { at_ms: stored.started_at_ms, totals }
        });
        let also = [buckets.start_of(instant(0))];
        prop_assert_eq!(plays.finish(also), fold_plays(plays_at, &buckets, also));

        let sources = scan!(&watches, SourcesScanner::new(filtered(), buckets));
        let plays_at = counted.iter().filter_map(|watch| {
            let source = watch.row.page.clone()?;
            Some(SourceAt { at_ms: watch.row.stored.started_at_ms, source, plays: 1 })
        });
        prop_assert_eq!(sources.finish(), fold_sources(plays_at, &buckets));

        let seconds = scan!(&watches, SecondsScanner::new(filtered(), buckets));
        let mut expected = Seconds::new(buckets);
        for watch in &counted {
            let Stored { started_at_ms, duration_ms, .. } = watch.row.stored;
            expected.add(started_at_ms, &segments(watch), duration_ms).unwrap();
        }
        prop_assert_eq!(seconds.finish(), expected.finish());

        let end_ms = scan!(&watches, Furthest::new(filtered())).end_ms();
        let ends = counted.iter().map(|watch| segments(watch).union().end_ms());
        prop_assert_eq!(end_ms, ends.max().unwrap_or(0));
        let found = scan!(&watches, PartsScanner::new(filtered(), end_ms, parts));
        let mut expected = Parts::new(end_ms, parts);
        counted.iter().for_each(|watch| expected.add(&segments(watch)));
        prop_assert_eq!(found.finish(), expected.finish());
    }
}

#[test]
fn sessions_are_named_by_their_index() {
    let play = |start| Watch::at(start).watched(&[(0, 50)]);
    let watches = [
        play("2023-05-02T10:00:00Z"),
        play("2023-05-02T11:00:00Z").on("http://a.example/"),
        play("2023-05-02T12:00:00Z").on("http://a.example/"),
        Watch::at("2023-05-02T13:00:00Z").on("http://a.example/"),
    ];
    let from_ms = watches[1].row.stored.started_at_ms;
    let filter = Filter::is(crate::query::Dimension::PageHost, ["a.example"]);
    let mut filter = session_filter(&filter, Period { from_ms, to_ms: i64::MAX }, 1_000);
    let (watch, columns) = blocks(&watches, 9, filter.groups()).remove(0);
    assert_eq!(filter.sessions(&watch.info(), &columns).unwrap(), [1, 2]);
}
