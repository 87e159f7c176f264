//! Reports over imported sessions equal results worked out by hand.

use chrono::{DateTime, Utc};
use metrics_core::mave::Mave;
use metrics_core::response::PlayTotals;
use metrics_core::source::PageDetail;
use metrics_core::user_agent::{Browser, Device, Platform};
use metrics_core::{ApiKey, BucketQuery, EngagementQuery, Metrics, Selection, Timeframe};
use metrics_testing::Database;
use serde_json::json;

use super::support::{NEWER, OF_2023, Old, empty_store, lines};

/// Two keys, three videos. Sessions 1 and 2 watch the first video, 3 has no event after its play, 4 watches the second
/// video, 5 is under the other key; 6 and 7 have durations only, and 7 has no session row.
const NEWER_ROWS: &str = r#"
    insert into keys (id, key, disabled_at, inserted_at) values
        (1, 'key-one', null, '2021-01-01 08:00:00'),
        (2, 'key-two', '2022-06-01 12:30:00', '2021-05-05 00:00:00');
    insert into videos (id, metadata, key_id) values
        (1, '{"title": "Knots", "course": 7}', 1), (2, '{"title": "Sails"}', 1), (3, '{"title": "Knots"}', 2);
    insert into sessions values
        (1, '2022-03-01 10:00:00', 'Chrome', 'windows', 'desktop', 'example.com', '/watch', 1),
        (2, '2022-03-01 23:59:58', 'safari', 'iOS', 'Mobile', 'example.com', '/watch', 1),
        (3, '2022-03-02 00:00:00', 'netscape', 'beos', null, null, null, 1),
        (4, '2022-03-02 09:00:00', 'firefox', 'linux', 'desktop', 'other.test:8080', 'page', 2),
        (5, '2022-03-02 09:30:00', 'edge', 'windows', 'desktop', 'example.com', null, 3),
        (6, '2022-03-03 12:00:00', 'opera', 'android', 'tablet', 'example.com', '/watch?token=1', 1);
    insert into events values
        ('2022-03-01 10:00:05.250', 'play', 0, 1, 1),
        ('2022-03-01 10:00:17.750', 'pause', 12.5, 1, 1),
        ('2022-03-01 10:01:00', 'play', 5, 1, 1),
        ('2022-03-01 10:01:05', 'pause', 10, 1, 1),
        -- Its first play is on the next day; another play closes it after 7 seconds.
        ('2022-03-02 00:00:01', 'play', 0, 2, 1),
        ('2022-03-02 00:00:08', 'play', 30, 2, 1),
        ('2022-03-02 00:00:18', 'pause', 40, 2, 1),
        ('2022-03-02 00:00:00', 'play', 0, 3, 1),
        ('2022-03-02 09:00:00', 'play', 2, 4, 2),
        ('2022-03-02 09:00:02', 'pause', 4, 4, 2),
        ('2022-03-02 09:30:00', 'play', 0, 5, 3),
        ('2022-03-02 09:30:20', 'pause', 20, 5, 3);
    insert into durations values
        (1, '2022-03-01 10:01:00', 12.5, '[0,13)', 'unique', 'Chrome', 'windows', 'desktop', 'example.com', '/watch', 1),
        (6, '2022-03-03 12:00:01', 8, '[0,8)', 'unique', 'opera', 'android', 'tablet', 'example.com', '/watch', 1),
        (6, '2022-03-03 12:00:09', 4, '[4,8)', 'again', 'opera', 'android', 'tablet', 'example.com', '/watch', 1),
        (7, '2022-03-03 13:00:00', 3, '[38,41)', 'unique', 'brave', 'mac', 'desktop', 'example.com', '/', 1);
"#;

async fn imported(tables: &str, rows: &str) -> (Metrics, Database) {
    let old = Old::new(tables).await;
    old.run(rows).await;
    let (store, database) = empty_store().await;
    let imported = old.import(&*store).await.unwrap();
    assert_eq!(lines(&imported), [""; 0]);
    (Metrics::builder(store).start(), database)
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn ever() -> Timeframe {
    Timeframe::Between(at("2000-01-01T00:00:00Z"), at("2100-01-01T00:00:00Z"))
}

fn titled(title: &str) -> Selection {
    Selection::default().with_video(json!({ "title": title }).as_object().unwrap().clone())
}

fn key(text: &str) -> Selection {
    Selection::key(ApiKey::new(text).unwrap())
}

fn daily(selection: Selection) -> BucketQuery {
    BucketQuery::from(selection).during(ever()).per("1 day".parse().unwrap())
}

/// Day, plays, view time and unique view time.
async fn days(metrics: &Metrics, query: &BucketQuery) -> Vec<(String, u64, u64, u64)> {
    let buckets = metrics.plays(query).await.unwrap();
    let day = |start: DateTime<Utc>| start.format("%m-%d").to_string();
    buckets
        .iter()
        .map(|it| (day(it.start), it.totals.plays, it.totals.view_ms, it.totals.unique_ms))
        .collect()
}

#[track_caller]
fn check_days(days: &[(String, u64, u64, u64)], expected: &[(&str, u64, u64, u64)]) {
    let days: Vec<_> = days.iter().map(|it| (it.0.as_str(), it.1, it.2, it.3)).collect();
    assert_eq!(days, expected);
}

async fn pages(metrics: &Metrics, query: &BucketQuery) -> Vec<(String, u64)> {
    let sources = metrics.sources(query).await.unwrap();
    sources.into_iter().map(|it| (it.source.as_str().to_owned(), it.plays)).collect()
}

async fn viewers(metrics: &Metrics, selection: Selection, parts: u32) -> (f64, Vec<u64>) {
    let query = EngagementQuery::from(selection).during(ever());
    let parts = metrics.engagement(&query, parts).await.unwrap();
    (parts.last().map_or(0.0, |part| part.to), parts.iter().map(|part| part.viewers).collect())
}

async fn totals(metrics: &Metrics, selection: Selection) -> PlayTotals {
    let mut sum = PlayTotals::default();
    for bucket in metrics.plays(&daily(selection)).await.unwrap() {
        sum.add(&bucket.totals);
    }
    sum
}

#[tokio::test]
async fn plays_of_the_newer_versions_are_in_the_bucket_of_their_first_play() {
    let (metrics, _database) = imported(NEWER, NEWER_ROWS).await;
    let knots = Selection { key: key("key-one").key, ..titled("Knots") };
    check_days(
        &days(&metrics, &daily(knots)).await,
        &[("03-01", 1, 17_500, 12_500), ("03-02", 1, 17_000, 17_000), ("03-03", 2, 15_000, 11_000)],
    );
    check_days(&days(&metrics, &daily(titled("Sails"))).await, &[("03-02", 1, 2_000, 2_000)]);
    check_days(&days(&metrics, &daily(key("key-two"))).await, &[("03-02", 1, 20_000, 20_000)]);
    // The session whose play was never closed exists, and counts with a minimum view time of 0.
    let every = daily(titled("Knots")).with_minimum_view_ms(0);
    let plays: u64 = days(&metrics, &every).await.iter().map(|day| day.1).sum();
    assert_eq!((plays, metrics.store().count_sessions().await.unwrap()), (6, 7));
}

#[tokio::test]
async fn classes_of_the_newer_versions_are_found_in_any_case() {
    let (metrics, _database) = imported(NEWER, NEWER_ROWS).await;
    let sum = totals(&metrics, key("key-one")).await;
    assert_eq!(sum.plays, 5);
    let browsers =
        [Browser::Chrome, Browser::Safari, Browser::Firefox, Browser::Opera, Browser::Brave];
    assert_eq!(browsers.map(|browser| sum.browser(browser)), [1; 5]);
    let platforms =
        [Platform::Windows, Platform::Ios, Platform::Linux, Platform::Android, Platform::Mac];
    assert_eq!(platforms.map(|platform| sum.platform(platform)), [1; 5]);
    let devices = [Device::Desktop, Device::Mobile, Device::Tablet, Device::Other];
    assert_eq!(devices.map(|device| sum.device(device)), [3, 1, 1, 0]);
    let every = daily(key("key-one")).with_minimum_view_ms(0);
    let buckets = metrics.plays(&every).await.unwrap();
    let other: u64 = buckets.iter().map(|it| it.totals.browser(Browser::Other)).sum();
    assert_eq!(other, 1);
}

#[tokio::test]
async fn pages_of_the_newer_versions_have_a_host_and_a_path() {
    let (metrics, _database) = imported(NEWER, NEWER_ROWS).await;
    let yearly = |selection| BucketQuery::from(selection).during(ever());
    let pages = pages(&metrics, &yearly(Selection::default())).await;
    let pages: Vec<_> = pages.iter().map(|(page, plays)| (page.as_str(), *plays)).collect();
    assert_eq!(
        pages,
        [
            ("https://example.com/watch", 3),
            ("https://example.com/", 2),
            ("https://other.test:8080/page", 1),
        ]
    );
}

#[tokio::test]
async fn an_import_reduces_pages_as_its_setting_demands() {
    let old = Old::new(NEWER).await;
    old.run(NEWER_ROWS).await;
    for (detail, expected) in [
        (PageDetail::Host, &[("https://example.com/", 5), ("https://other.test:8080/", 1)][..]),
        (PageDetail::None, &[]),
    ] {
        let (store, _database) = empty_store().await;
        let mave = Mave::connect(&old.url()).await.unwrap().page_detail(detail);
        let imported = mave.import(&*store, |_| {}).await.unwrap();
        assert_eq!(imported.sessions, 7);
        let metrics = Metrics::builder(store).start();
        let query = BucketQuery::from(Selection::default()).during(ever());
        let pages = pages(&metrics, &query).await;
        let pages: Vec<_> = pages.iter().map(|(page, plays)| (page.as_str(), *plays)).collect();
        assert_eq!(pages, expected, "{detail:?}");
    }
}

#[tokio::test]
async fn engagement_of_the_newer_versions_counts_every_viewer_once() {
    let (metrics, _database) = imported(NEWER, NEWER_ROWS).await;
    let course = json!({ "course": 7 });
    let selection = Selection::default().with_video(course.as_object().unwrap().clone());
    // [0, 12.5) twice in part, [0, 7) and [30, 40), [0, 8) twice in part, and [38, 41).
    let (end, viewers) = viewers(&metrics, selection.clone(), 41).await;
    assert_eq!(end, 41.0);
    let expected = (0..41).map(|second| match second {
        0..7 => 3,
        7 => 2,
        8..13 => 1,
        30..38 => 1,
        38..40 => 2,
        40 => 1,
        _ => 0,
    });
    assert_eq!(viewers, expected.collect::<Vec<_>>());
    let query = EngagementQuery::from(selection).during(ever());
    let year = metrics_core::time_bucket::Buckets::new("1 year".parse().unwrap());
    let seconds = metrics.engagement_per_second(&query, year).await.unwrap().remove(0).seconds;
    let views = |second: usize| (seconds[second].views, seconds[second].viewers);
    assert_eq!([views(0), views(4), views(6), views(9)], [(3, 3), (4, 3), (5, 3), (2, 1)]);
}

#[tokio::test]
async fn keys_keep_their_times() {
    let (metrics, _database) = imported(NEWER, NEWER_ROWS).await;
    let keys = metrics.keys().await.unwrap();
    let keys: Vec<_> =
        keys.iter().map(|it| (it.key.as_str(), it.created_at, it.disabled_at)).collect();
    assert_eq!(
        keys,
        [
            ("key-one", at("2021-01-01T08:00:00Z"), None),
            ("key-two", at("2021-05-05T00:00:00Z"), Some(at("2022-06-01T12:30:00Z"))),
        ]
    );
    assert!(metrics.accepts_key(&ApiKey::new("key-one").unwrap()).await.unwrap());
    assert!(!metrics.accepts_key(&ApiKey::new("key-two").unwrap()).await.unwrap());
}

/// Keys belong to sessions, videos have an identifier and a page each, and `plays` hold the segments.
const ROWS_OF_2023: &str = r#"
    insert into keys (id, key) values (1, 'key-one'), (2, 'key-two');
    insert into videos (id, identifier, metadata, source_uri) values
        (1, 'intro', null, '{"scheme": "https", "host": "example.com", "port": 443, "path": "/watch", "query": "t=1"}'),
        (2, 'intro', null, '{"scheme": "http", "host": "example.com", "port": 8080, "path": null}'),
        (3, null, '{"title": "Knots"}', null),
        (4, 'intro', '{"title": "Knots"}', 'null');
    insert into sessions (id, browser_type, platform, device_type, metadata, video_id, key_id, inserted_at) values
        (1, 'chrome', 'mac', 'desktop', '{"group": "a"}', 1, 1, '2023-05-01 10:00:00'),
        (2, 'chrome', 'mac', 'desktop', '{"group": "b"}', 2, 1, '2023-05-01 11:00:00'),
        (3, 'safari', 'mac', 'desktop', null, 1, 2, '2023-05-01 12:00:00'),
        (4, 'firefox', 'mac', 'desktop', null, 3, 1, '2023-05-02 12:00:00'),
        (5, 'firefox', 'mac', 'desktop', null, 4, 1, '2023-05-02 13:00:00');
    insert into plays ("timestamp", session_id, "from", "to", elapsed_time) values
        ('2023-05-01 10:00:01+00', 1, 0, 10.0004, 10), ('2023-05-01 10:00:31+00', 1, 5, 10, 5),
        ('2023-05-01 13:00:02+02', 2, 0, 2.5006, 2), ('2023-05-01 12:00:02+00', 3, 0, 5, 5),
        ('2023-05-02 12:00:02+00', 4, 0, 5, 5);
    insert into events (name, video_time, session_id) values
        ('play', 3, 5), ('timeupdate', 4, 5), ('pause', 4.5, 5), ('play', 100, 1), ('pause', 200, 1);
"#;

#[tokio::test]
async fn plays_of_2023_are_as_worked_out_by_hand() {
    let (metrics, _database) = imported(OF_2023, ROWS_OF_2023).await;
    let intro = Selection { key: key("key-one").key, ..Selection::identifier("intro") };
    check_days(
        &days(&metrics, &daily(intro)).await,
        &[("05-01", 2, 17_501, 12_501), ("05-02", 1, 1_500, 1_500)],
    );
    check_days(&days(&metrics, &daily(key("key-two"))).await, &[("05-01", 1, 5_000, 5_000)]);
    check_days(&days(&metrics, &daily(titled("Knots"))).await, &[("05-02", 2, 6_500, 6_500)]);
    let group =
        Selection::default().with_session(json!({ "group": "b" }).as_object().unwrap().clone());
    check_days(&days(&metrics, &daily(group)).await, &[("05-01", 1, 2_501, 2_501)]);
}

#[tokio::test]
async fn classes_of_2023_are_found() {
    let (metrics, _database) = imported(OF_2023, ROWS_OF_2023).await;
    let sum = totals(&metrics, Selection::default()).await;
    assert_eq!([sum.browser(Browser::Chrome), sum.browser(Browser::Firefox)], [2, 2]);
    assert_eq!((sum.platform(Platform::Mac), sum.device(Device::Desktop)), (5, 5));
}

#[tokio::test]
async fn pages_and_engagement_of_2023_are_as_worked_out_by_hand() {
    let (metrics, _database) = imported(OF_2023, ROWS_OF_2023).await;
    let pages = pages(&metrics, &daily(key("key-one"))).await;
    let pages: Vec<_> = pages.iter().map(|(page, plays)| (page.as_str(), *plays)).collect();
    assert_eq!(pages, [("http://example.com:8080/", 1), ("https://example.com/watch", 1)]);
    // [0, 10) and [5, 10), [0, 2.501), [0, 5), and [3, 4.5) of events.
    assert_eq!(
        viewers(&metrics, Selection::identifier("intro"), 10).await,
        (10.0, vec![3, 3, 3, 3, 3, 1, 1, 1, 1, 1])
    );
}
