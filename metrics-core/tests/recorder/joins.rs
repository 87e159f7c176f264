//! Joins that are accepted, and joins that are refused.

use std::sync::Arc;
use std::time::Duration;

use metrics_core::arrival::{Arrival, ArrivalPart};
use metrics_core::event::Action;
use metrics_core::{Bots, Join, JoinError, Metrics, PlayerEvent, Selection, Video};
use metrics_testing::Faults;
use serde_json::{Map, Value, json};

use crate::support::{Site, faulty_server, join, joining, one_server, soon, two_servers};

const BOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

#[track_caller]
fn check_refused<T>(joined: Result<T, JoinError>, expected: &str) {
    assert_eq!(joined.map(drop).map_err(|err| err.to_string()), Err(expected.to_owned()));
}

/// Servers reload the keys all the time; keys that were requested before a change must not undo it.
#[tokio::test(start_paused = true)]
async fn keys_that_are_new_or_revoked_stay_so() {
    let site = Site::new();
    let late = Duration::from_millis(300);
    let faults = Faults::default().with_late_keys(late);
    let metrics = site.server_over(faults.over(Arc::new(site.store().await)));
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(137)).await;
        let (created, other) = tokio::join!(metrics.create_key(), async {
            // Requests the keys a little later, and so receives them a little later.
            tokio::time::sleep(Duration::from_millis(10)).await;
            metrics.create_key().await
        });
        let (key, other) = (created.unwrap(), other.unwrap());
        for _ in 0..10 {
            assert!(metrics.accepts_key(&key).await.unwrap());
            assert!(metrics.accepts_key(&other).await.unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        metrics.revoke_key(&key).await.unwrap();
        for _ in 0..10 {
            assert!(!metrics.accepts_key(&key).await.unwrap());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_refused() {
    let site = Site::new();
    let metrics = site.server().await;
    let unknown = metrics_core::ApiKey::generate();
    check_refused(metrics.join(joining(&unknown, "a")).await, "invalid key");
    check_refused(metrics.visit(joining(&unknown, "a")).await, "invalid key");
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_is_refused_at_once_here_and_soon_elsewhere() {
    let (_site, [here, there], key) = two_servers().await;
    let viewing = join(&there, &key, "a").await;
    let mut changes = there.key_changes();
    assert!(changes.accepts(&key));

    assert!(here.revoke_key(&key).await.unwrap());

    check_refused(here.join(joining(&key, "a")).await, "invalid key");
    soon(async {
        while changes.accepts(&key) {
            changes.changed().await;
        }
    })
    .await;
    check_refused(there.join(joining(&key, "a")).await, "invalid key");
    // Recorded sessions stay readable, and sessions in progress are not lost.
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(2.0)).await.unwrap();
    assert_eq!(here.plays(&Selection::key(key).into()).await.unwrap()[0].totals.plays, 1);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_is_refused_within_a_second_elsewhere() {
    let (_site, [here, there], key) = two_servers().await;
    assert!(there.accepts_key(&key).await.unwrap());
    here.revoke_key(&key).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!there.accepts_key(&key).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn keys_are_cached_although_the_store_is_unavailable() {
    let (_site, metrics, key, failures) = faulty_server().await;
    failures.store(100, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    join(&metrics, &key, "a").await;
}

#[tokio::test(start_paused = true)]
async fn no_join_succeeds_before_the_keys_are_loaded() {
    let site = Site::new();
    let key = site.server().await.create_key().await.unwrap();
    let faults = Faults::default().failing(100);
    let metrics = site.server_over(faults.over(Arc::new(site.store().await)));
    let joined = metrics.join(joining(&key, "a")).await;
    assert!(matches!(joined, Err(JoinError::Store(ref err)) if err.is_retryable()), "{joined:?}");
}

#[tokio::test(start_paused = true)]
async fn bots_are_refused() {
    let (_site, metrics, key) = one_server().await;
    check_refused(metrics.join(joining(&key, "a").user_agent(BOT)).await, "bot");
    check_refused(metrics.visit(joining(&key, "a").user_agent(BOT)).await, "bot");
}

#[tokio::test(start_paused = true)]
async fn bots_are_counted_where_they_are_allowed() {
    let site = Site::new();
    let store = Arc::new(site.store().await);
    let metrics = Metrics::builder(store).bots(Bots::Count).start();
    let key = metrics.create_key().await.unwrap();
    let viewing = metrics.join(joining(&key, "a").user_agent(BOT)).await.unwrap();
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(2.0)).await.unwrap();
    let plays = metrics.plays(&Selection::default().into()).await.unwrap();
    let other = metrics_core::user_agent::Browser::Other;
    assert_eq!((plays[0].totals.plays, plays[0].totals.browser(other)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn fields_that_are_too_long_are_refused() {
    let (_site, metrics, key) = one_server().await;
    let object = |len: usize| json!({"a": "x".repeat(len)}).as_object().unwrap().clone();
    let video = |len| Video::new(None, Some(object(len))).unwrap();
    // An object around `len` characters takes eight bytes more: `{"a":".."}`.
    let (most, too_much) = (16 * 1_024 - 8, 16 * 1_024 - 7);
    let name = |len| "x".repeat(len);
    let cases = [
        (joining(&key, ""), Some("`session` must not be empty")),
        (joining(&key, &name(256)), None),
        (joining(&key, &name(257)), Some("`session` has more than 256 bytes")),
        (Join::new(key.clone(), "a", Video::labelled(name(1_024))), None),
        (
            Join::new(key.clone(), "b", Video::labelled(name(1_025))),
            Some("`identifier` has more than 1024 bytes"),
        ),
        (Join::new(key.clone(), "c", video(most)), None),
        (
            Join::new(key.clone(), "d", video(too_much)),
            Some("`metadata` has more than 16384 bytes"),
        ),
        (joining(&key, "e").session_data(object(most)), None),
        (
            joining(&key, "f").session_data(object(too_much)),
            Some("`session_data` has more than 16384 bytes"),
        ),
    ];
    check_joins(&metrics, cases).await;
}

/// Expects each join to be refused for its reason, or to be accepted and stored.
async fn check_joins(
    metrics: &Metrics,
    cases: impl IntoIterator<Item = (Join, Option<&'static str>)>,
) {
    for (join, refused) in cases {
        match (metrics.join(join).await, refused) {
            (joined, Some(reason)) => check_refused(joined, reason),
            (joined, None) => {
                let viewing = joined.unwrap();
                soon(viewing.apply(PlayerEvent::play(0.0))).await.unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fields_that_no_store_can_hold_are_refused() {
    let (_site, metrics, key) = one_server().await;
    let object = |inner| Map::from_iter([("a".to_owned(), inner)]);
    let nested = |depth| (1..depth).fold(Map::new(), |inner, _| object(Value::Object(inner)));
    let text = |text: &str| json!({"a": [{"b": text}]}).as_object().unwrap().clone();
    let name = |text: &str| json!({"a": {text: 1}}).as_object().unwrap().clone();
    let labelled = |text: &str| Join::new(key.clone(), "a", Video::labelled(text));
    // Each has a session of its own, because a session has one video.
    let described = |metadata: Map<String, Value>| {
        let video = Video::new(None, Some(metadata)).unwrap();
        let name = format!("{:x?}", video.digest(&key));
        Join::new(key.clone(), name, video)
    };
    let with_data = |data| joining(&key, "c").session_data(data);
    let cases = [
        (labelled("a\0b"), Some("`identifier` must not hold the character U+0000")),
        (labelled("\\u0000\u{1}"), None),
        (described(text("\0")), Some("`metadata` must not hold the character U+0000")),
        (described(name("\0")), Some("`metadata` must not hold the character U+0000")),
        (described(text("\\u0000")), None),
        (described(nested(64)), None),
        (described(nested(65)), Some("`metadata` is nested more than 64 deep")),
        (described(nested(2_000)), Some("`metadata` is nested more than 64 deep")),
        (with_data(text("a\0")), Some("`session_data` must not hold the character U+0000")),
        (with_data(name("\\\0")), Some("`session_data` must not hold the character U+0000")),
        (with_data(name("\\\\u0000")), None),
        (with_data(nested(64)), None),
        (with_data(nested(65)), Some("`session_data` is nested more than 64 deep")),
        // An id is not stored, only a digest of it.
        (joining(&key, "\0"), None),
    ];
    check_joins(&metrics, cases).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_identified_by_its_key_too() {
    let site = Site::new();
    let metrics = site.server().await;
    let keys = [metrics.create_key().await.unwrap(), metrics.create_key().await.unwrap()];
    for key in &keys {
        let viewing = join(&metrics, key, "same").await;
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        viewing.apply(PlayerEvent::new(Action::Seeked)).await.unwrap();
        viewing.apply(PlayerEvent::pause(2.0)).await.unwrap();
    }
    assert_eq!(site.plays().await, (2, 4_000));
}

#[tokio::test(start_paused = true)]
async fn where_viewers_come_from_is_reduced_and_chosen() {
    let site = Site::new();
    let parts = [ArrivalPart::Referrer, ArrivalPart::UtmSource];
    let store = Arc::new(site.store().await);
    let metrics = site.builder(store).arrival_parts(parts).start();
    let key = metrics.create_key().await.unwrap();
    let known = Arrival::default()
        .with(ArrivalPart::UtmSource, "\u{1}letter")
        .with(ArrivalPart::UtmMedium, "mail")
        .with(ArrivalPart::Country, "NL");
    for (session, referrer) in
        [("a", "https://me:pw@www.b.example/reset?token=1"), ("b", "https://example.com/from")]
    {
        let arrival = known.clone().with(ArrivalPart::Referrer, referrer);
        let joined =
            joining(&key, session).page("https://www.example.com/watch?v=1").arrival(arrival);
        let viewing = metrics.join(joined).await.unwrap();
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    }
    let expected =
        [r#"{"referrer":"b.example","utm_source":"letter"}"#, r#"{"utm_source":"letter"}"#];
    assert_eq!(site.arrivals().await, expected);
}
