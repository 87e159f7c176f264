//! Reports aggregate the stored sessions, exact to the millisecond.

use std::collections::BTreeMap;

use serde_json::json;

use super::draft::{
    Draft, START_MS, all, days, described, fill, key, numbered, numbers, play_totals,
};
use super::older;
use crate::engagement::Resolution;
use crate::query::{Dimension, Metric, Query, Scan, Selection, Timeframe, instant};
use crate::report::Reports;
use crate::response::PlayTotals;
use crate::session::MINUTE_MS;
use crate::store::Store;
use crate::time::HOUR_MS;
use crate::time_bucket::{Buckets, Width};
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::video::Video;

async fn seconds_of(store: &dyn Store, scan: &Scan, width: &str) -> Vec<(i64, Vec<[u64; 3]>)> {
    let counted =
        older::seconds(store, scan, buckets(width), Resolution::default()).await.expect("counted");
    let buckets = counted.into_iter().map(|bucket| {
        let seconds = bucket.seconds.iter();
        let seconds = seconds.map(|it| [u64::from(it.second), it.views, it.viewers]);
        (bucket.start.timestamp_millis(), seconds.collect())
    });
    buckets.collect()
}

fn buckets(width: &str) -> Buckets {
    Buckets::new(width.parse().expect("a width"))
}

async fn viewers_of(store: &dyn Store, scan: &Scan, parts: u32) -> Vec<u64> {
    let parts = older::parts(store, scan, parts).await.expect("counted");
    parts.iter().map(|part| part.viewers).collect()
}

/// A session that starts at either end of the timeframe counts; one that starts a millisecond outside does not.
pub async fn a_timeframe_includes_both_ends(store: &dyn Store) {
    let key = key(store).await;
    let starts = [-1, 0, 1, 999, 1_000, 1_001].map(|ms| START_MS + ms);
    let drafts = starts
        .map(|at| Draft::new(&key, &at.to_string(), Video::labelled("a")).at(at).on("http://a/"));
    fill(store, &numbered(drafts)).await;
    let scan = |from_ms, to_ms| Scan {
        from_ms: START_MS + from_ms,
        to_ms: START_MS + to_ms,
        ..all(Selection::identifier("a"))
    };
    assert_eq!(numbers(&play_totals(store, &scan(0, 1_000)).await), [1, 2, 3, 4]);
    assert_eq!(numbers(&play_totals(store, &scan(1_000, 1_000)).await), [4]);
    assert!(numbers(&play_totals(store, &scan(2, 998)).await).is_empty());
    // Every report counts the same sessions.
    let sources = older::sources(store, &scan(0, 1_000), days()).await.expect("summed");
    assert_eq!(sources.iter().map(|bucket| bucket.plays).sum::<u64>(), 4);
    assert_eq!(viewers_of(store, &scan(0, 1_000), 1).await, [4]);
    let seconds = seconds_of(store, &scan(0, 1_000), "100 years").await;
    assert_eq!(seconds[0].1, [[0, 4, 4]]);
}

/// Reports on such a timeframe are empty, not errors.
pub async fn a_timeframe_that_ends_before_it_begins_is_empty(store: &dyn Store) {
    let key = key(store).await;
    fill(store, &[Draft::new(&key, "a", Video::labelled("a")).on("http://a/")]).await;
    let backwards =
        Scan { from_ms: START_MS + 1, to_ms: START_MS - 1, ..all(Selection::default()) };
    assert_eq!(play_totals(store, &backwards).await.plays, 0);
    assert_eq!(older::sources(store, &backwards, days()).await.expect("summed"), []);
    assert!(viewers_of(store, &backwards, 3).await.is_empty());
    assert_eq!(seconds_of(store, &backwards, "1 day").await, []);
    let (from_ms, to_ms) =
        (instant(i64::MIN).timestamp_millis(), instant(i64::MAX).timestamp_millis());
    let always = Scan { from_ms, to_ms, ..all(Selection::default()) };
    assert_eq!(play_totals(store, &always).await.plays, 1);
}

/// A play is a session whose view time, replays included, is at least the minimum.
pub async fn the_minimum_view_time_is_included(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name, played: &[(u32, u32)]| {
        Draft::new(&key, name, Video::labelled("a")).played(played).on("http://a/")
    };
    let drafts = [
        draft("short", &[(0, 999)]),
        draft("just", &[(0, 1_000)]),
        draft("longer", &[(0, 1_001)]),
        draft("replayed", &[(0, 500), (0, 500)]),
    ];
    fill(store, &drafts).await;
    let cases = [(0, 4), (999, 4), (1_000, 3), (1_001, 1), (1_002, 0), (u64::MAX, 0)];
    for (minimum_view_ms, plays) in cases {
        let scan = Scan { minimum_view_ms, ..all(Selection::default()) };
        assert_eq!(play_totals(store, &scan).await.plays, plays, "{minimum_view_ms} ms");
        let sources = older::sources(store, &scan, days()).await.expect("summed");
        assert_eq!(sources.iter().map(|bucket| bucket.plays).sum::<u64>(), plays);
        let viewers = viewers_of(store, &scan, 1).await;
        assert_eq!(viewers, if plays == 0 { vec![] } else { vec![plays] });
        let seconds = seconds_of(store, &scan, "100 years").await;
        assert_eq!(seconds.first().map_or(0, |bucket| bucket.1[0][2]), plays);
    }
}

/// Reports sum plays, view time, unique view time and each user-agent class.
pub async fn plays_are_summed_with_their_classes(store: &dyn Store) {
    let key = key(store).await;
    let mut drafts = Vec::new();
    let mut expected = PlayTotals::default();
    let user_agents = Browser::ALL.into_iter().flat_map(|browser| {
        Platform::ALL
            .into_iter()
            .zip(Device::ALL.into_iter().cycle())
            .map(move |(platform, device)| UserAgentClass { browser, platform, device })
    });
    for (number, user_agent) in (1..).zip(user_agents) {
        let draft = Draft::new(&key, &number.to_string(), Video::labelled("a")).with(user_agent);
        drafts.push(draft.played(&[(0, 10), (5, 10 + number)]));
        let number = u64::from(number);
        expected.add_plays(1, 15 + number, 10 + number, user_agent);
    }
    fill(store, &drafts).await;
    assert_eq!(play_totals(store, &all(Selection::identifier("a"))).await, expected);
}

/// Plays of two buckets are never summed together.
pub async fn plays_are_summed_per_bucket(store: &dyn Store) {
    let key = key(store).await;
    let hour_ms = START_MS - START_MS % HOUR_MS;
    let starts = [-1, 0, 1, HOUR_MS / 4 - 1, HOUR_MS / 4, HOUR_MS - 1, HOUR_MS, 25 * HOUR_MS];
    let starts = starts.map(|ms| hour_ms + ms);
    let videos = ["a", "b"].map(Video::labelled);
    let drafts = starts
        .iter()
        .enumerate()
        .map(|(number, at)| Draft::new(&key, &at.to_string(), videos[number % 2].clone()).at(*at));
    fill(store, &numbered(drafts)).await;
    for width in ["1 second", "15 minutes", "1 hour", "1 day", "1 month"] {
        let buckets = buckets(width);
        let folded = older::plays(store, &all(Selection::key(key.clone())), buckets, Vec::new())
            .await
            .expect("summed");
        let seen: BTreeMap<_, PlayTotals> =
            folded.into_iter().map(|bucket| (bucket.start, bucket.totals)).collect();
        let mut expected: BTreeMap<_, PlayTotals> = BTreeMap::new();
        for (number, at) in starts.iter().enumerate() {
            let bucket = expected.entry(buckets.start_of(instant(*at))).or_default();
            bucket.add_plays(1, 1 << number, 1 << number, UserAgentClass::default());
        }
        assert_eq!(seen, expected, "{width}");
    }
}

/// Pages differ by scheme, host, port or path. Videos on the same page share it.
pub async fn sources_are_counted_per_page_and_bucket(store: &dyn Store) {
    let key = key(store).await;
    let hour_ms = START_MS - START_MS % HOUR_MS;
    let played = [
        (0, "a", "http://example.com/"),
        (1, "b", "http://example.com/?query"),
        (2, "a", "https://example.com/"),
        (3, "a", "http://example.com:8080/"),
        (4, "a", "http://example.com/Path"),
        (5, "a", "http://example.com/path"),
        (HOUR_MS - 1, "a", "http://example.com/"),
        (HOUR_MS, "a", "http://example.com/"),
    ];
    let drafts = played.map(|(ms, video, page)| {
        let draft = Draft::new(&key, &ms.to_string(), Video::labelled(video));
        draft.at(hour_ms + ms).on(page)
    });
    fill(store, &drafts).await;

    let scan = all(Selection::key(key));
    let folded = older::sources(store, &scan, buckets("1 hour")).await.expect("summed");

    let mut seen: BTreeMap<(i64, String), u64> = BTreeMap::new();
    for bucket in folded {
        let hour = (bucket.start.timestamp_millis() - hour_ms).div_euclid(HOUR_MS);
        *seen.entry((hour, bucket.source.as_str().to_owned())).or_default() += bucket.plays;
    }
    let expected = [
        (0, "http://example.com/", 3),
        (0, "http://example.com/Path", 1),
        (0, "http://example.com/path", 1),
        (0, "http://example.com:8080/", 1),
        (0, "https://example.com/", 1),
        (1, "http://example.com/", 1),
    ];
    let expected = expected.map(|(hour, page, plays)| ((hour, page.to_owned()), plays));
    assert_eq!(seen, BTreeMap::from(expected));
}

/// The report of pages omits sessions without a page.
pub async fn a_session_without_a_source_is_no_source(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name| Draft::new(&key, name, Video::labelled("a"));
    fill(store, &[draft("none"), draft("some").on("http://a/")]).await;
    let folded = older::sources(store, &all(Selection::default()), days()).await.expect("summed");
    let seen: Vec<_> = folded.iter().map(|bucket| (bucket.source.as_str(), bucket.plays)).collect();
    assert_eq!(seen, [("http://a/", 1)]);
}

/// A session counts once in a part, also after replays, and not in a part that its segments only touch.
pub async fn viewers_of_a_part_are_distinct_sessions(store: &dyn Store) {
    let key = key(store).await;
    let drafts = [
        ("touches", vec![(1_000, 2_000)]),
        ("replays", vec![(0, 400), (600, 1_000), (200, 800)]),
        ("reaches over", vec![(1_999, 2_001)]),
        ("skips", vec![(0, 1), (9_999, 10_000)]),
    ];
    let drafts =
        drafts.map(|(name, played)| Draft::new(&key, name, Video::labelled("a")).played(&played));
    fill(store, &drafts).await;
    let scan = all(Selection::identifier("a"));
    assert_eq!(viewers_of(store, &scan, 10).await, [2, 2, 1, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(viewers_of(store, &scan, 1).await, [4]);
    let counted = older::parts(store, &scan, 10).await.expect("counted");
    assert_eq!((counted[9].from, counted[9].to), (9.0, 10.0));
}

/// The end is the furthest watched position of any counted session, over all selected videos.
pub async fn parts_end_with_the_furthest_session_that_counts(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name, video, played: &[(u32, u32)]| {
        Draft::new(&key, name, Video::labelled(video)).played(played)
    };
    let drafts = [
        draft("first", "a", &[(0, 2_000)]),
        draft("second", "b", &[(3_000, 4_000), (0, 500)]),
        draft("glance", "b", &[(90_000, 90_100)]),
        draft("elsewhere", "c", &[(0, 60_000)]),
    ];
    fill(store, &drafts).await;
    let both =
        Selection { identifiers: Some(vec!["a".into(), "b".into()]), ..Selection::default() };
    let scan = Scan { minimum_view_ms: 1_000, ..all(both) };
    assert_eq!(viewers_of(store, &scan, 4).await, [2, 1, 0, 1]);
    let counted = older::parts(store, &scan, 4).await.expect("counted");
    assert_eq!(counted[3].to, 4.0);
}

/// A session without segments adds to no part of engagement, but may be a play.
pub async fn nothing_watched_has_no_parts(store: &dyn Store) {
    let key = key(store).await;
    fill(store, &[Draft::new(&key, "a", described(&json!({}))).played(&[])]).await;
    let scan = all(Selection::key(key));
    assert!(viewers_of(store, &scan, 5).await.is_empty());
    assert_eq!(seconds_of(store, &scan, "1 day").await, []);
    assert_eq!(play_totals(store, &scan).await.plays, 1);
}

/// Views count segments, viewers count sessions, and a second counts if any of it was watched.
pub async fn views_of_a_second_count_replays(store: &dyn Store) {
    let key = key(store).await;
    let draft =
        |name, played: &[(u32, u32)]| Draft::new(&key, name, Video::labelled("a")).played(played);
    let drafts = [
        draft("replays", &[(0, 1_000), (0, 1_000), (500, 1_001)]),
        draft("in pieces", &[(2_100, 2_200), (2_300, 2_400), (5_999, 6_000)]),
    ];
    fill(store, &drafts).await;
    let seconds = seconds_of(store, &all(Selection::identifier("a")), "100 years").await;
    assert_eq!(seconds.len(), 1);
    assert_eq!(seconds[0].1, [[0, 3, 1], [1, 1, 1], [2, 2, 1], [5, 1, 1]]);
}

/// A session belongs to the bucket of its start, also in local time.
pub async fn seconds_are_apart_by_bucket(store: &dyn Store) {
    let key = key(store).await;
    let day_ms = START_MS - START_MS % (24 * HOUR_MS);
    // Midnight in Kathmandu, which is 5:45 hours ahead.
    let midnight_ms = day_ms + 18 * HOUR_MS + HOUR_MS / 4;
    let drafts = [-1, 0, 1].map(|ms| {
        let draft = Draft::new(&key, &ms.to_string(), Video::labelled("a"));
        draft.at(midnight_ms + ms).played(&[(0, 500)])
    });
    fill(store, &drafts).await;
    let scan = all(Selection::identifier("a"));
    assert_eq!(seconds_of(store, &scan, "1 day").await, [(day_ms, vec![[0, 3, 3]])]);

    let days = Buckets::new(Width::DAY).in_timezone("Asia/Kathmandu".parse().expect("a zone"));
    let counted = older::seconds(store, &scan, days, Resolution::default()).await.expect("counted");
    let seen: Vec<_> = counted
        .iter()
        .map(|bucket| (bucket.start.timestamp_millis(), bucket.seconds[0].viewers))
        .collect();
    assert_eq!(seen, [(midnight_ms - 24 * HOUR_MS, 1), (midnight_ms, 2)]);
}

/// Open and closed sessions count in each minute that they play, independent of their start.
pub async fn sessions_count_at_the_minutes_at_which_they_play(store: &dyn Store) {
    let key = key(store).await;
    // Minutes after 22:13:20.123 are at 22:14:00 and so on.
    let minute = |minute: i64| START_MS + minute * MINUTE_MS;
    let drafts = [(0, [(0, 3), (5, 70)]), (2, [(2, 4), (4, 5)]), (55, [(60, 65), (68, 69)])];
    let drafts = drafts.map(|(start, runs)| {
        let video = Video::labelled(if start == 2 { "a" } else { "b" });
        let mut draft = Draft::new(&key, &start.to_string(), video).at(minute(start));
        for (from, until) in runs {
            draft.stored.minutes.insert(minute(start), minute(from), minute(until));
        }
        draft
    });
    fill(store, &drafts).await;
    let query = Query::new([Metric::PeakConcurrent, Metric::AverageConcurrent, Metric::Plays]);
    let run_query = async |query: &Query, from: i64, to: i64| {
        let timeframe = Timeframe::Between(instant(minute(from)), instant(minute(to) - 1));
        let query = query.clone().during(timeframe);
        let answer = Reports::new(store, instant(minute(100))).query(&query).await;
        let rows = answer.expect("answered").0.results.into_iter();
        rows.map(|row| row.numbers.metrics.into_iter().flatten().collect()).collect::<Vec<Vec<_>>>()
    };
    assert_eq!(run_query(&query, 0, 10).await, [[2.0, (3.0 + 5.0 + 3.0) / 10.0, 2.0]]);
    // Two of the sessions started before.
    assert_eq!(run_query(&query, 50, 70).await, [[2.0, (20.0 + 6.0) / 20.0, 1.0]]);
    let by_video = query.by(Dimension::Video);
    assert_eq!(run_query(&by_video, 3, 10).await, [[1.0, 2.0 / 7.0, 0.0], [1.0, 5.0 / 7.0, 0.0]]);
}
