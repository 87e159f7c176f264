//! The limit on the videos of a key.

use std::sync::Arc;

use metrics_core::limits::Limits;
use metrics_core::query::Selection;
use metrics_core::recorder::NotStored;
use metrics_core::store::Store as _;
use metrics_core::upkeep::{Erasure, erase};
use metrics_core::{ApiKey, EventError, Join, Metrics, PlayerEvent, Video};
use metrics_testing::Faults;

use crate::support::{Site, soon};

/// The most videos that a key may have here.
const VIDEOS_MAX: u32 = 3;

async fn server(site: &Site) -> Metrics {
    let store = Arc::new(site.store().await);
    Metrics::builder(store).clock(site.clock.reader()).videos_max(VIDEOS_MAX).start()
}

async fn play(metrics: &Metrics, key: &ApiKey, session: &str, video: u32) -> Result<(), NotStored> {
    let join = Join::new(key.clone(), session, Video::labelled(format!("video {video}")));
    let viewing = metrics.join(join).await.unwrap();
    let played = soon(viewing.apply(PlayerEvent::play(0.0))).await;
    soon(viewing.leave().durable()).await.ok();
    played.map_err(|err| match err {
        EventError::NotStored(refusal) => refusal,
        err => panic!("{err}"),
    })
}

const TOO_MANY: Result<(), NotStored> = Err(NotStored::TooManyVideos { videos_max: VIDEOS_MAX });

#[tokio::test(start_paused = true)]
async fn a_key_that_has_all_its_videos_gets_no_more() {
    let site = Site::new();
    let metrics = server(&site).await;
    let (one, two) = (metrics.create_key().await.unwrap(), metrics.create_key().await.unwrap());
    for video in 0..3 {
        assert_eq!(play(&metrics, &one, &format!("first of {video}"), video).await, Ok(()));
    }
    assert_eq!(play(&metrics, &one, "too many", 3).await, TOO_MANY);
    let message = TOO_MANY.unwrap_err().to_string();
    assert_eq!(message, "the key has 3 videos, its limit: sessions of further videos are refused");
    // New videos stay refused, here and at another server; sessions of existing videos go on.
    let other = server(&site).await;
    for metrics in [&metrics, &other] {
        assert_eq!(play(metrics, &one, "again", 4).await, TOO_MANY);
        assert_eq!(play(metrics, &one, "of one that is there", 2).await, Ok(()));
        assert_eq!(play(metrics, &two, "of another key", 3).await, Ok(()));
    }
    assert!(site.stored(&one, "too many").await.is_none());
    assert!(site.stored(&one, "of one that is there").await.is_some());
}

/// The videos are first played at the same moment, so they are in one batch.
#[tokio::test(start_paused = true)]
async fn videos_that_come_at_once_are_counted_too() {
    let site = Site::new();
    let metrics = server(&site).await;
    let key = metrics.create_key().await.unwrap();
    let mut acknowledgements = Vec::new();
    for session in 0..40 {
        let video = Video::labelled(format!("video {}", session % 10));
        let join = Join::new(key.clone(), session.to_string(), video);
        let viewing = metrics.join(join).await.unwrap();
        acknowledgements.push(viewing.submit(&PlayerEvent::play(0.0)).unwrap());
    }
    let mut stored = 0;
    for acknowledgement in &mut acknowledgements {
        match soon(acknowledgement.durable()).await {
            Ok(()) => stored += 1,
            refused => assert_eq!(refused, TOO_MANY),
        }
    }
    // Four sessions of each of the three videos that came first.
    assert_eq!(stored, 12);
    assert_eq!(site.store().await.count_sessions().await.unwrap(), 12);
}

/// Two addresses play a new video at the same moment, so that both are in one batch; one has used up its rate.
#[tokio::test(start_paused = true)]
async fn an_address_that_may_add_no_video_keeps_it_from_no_other() {
    let site = Site::new();
    let mut limits = Limits::default();
    limits.set("new_videos_per_address", "1/day").unwrap();
    let store = Arc::new(site.store().await);
    let metrics = Metrics::builder(store).limits(limits).start();
    let key = metrics.create_key().await.unwrap();
    let viewing = async |session: &str, address: u64, video: &str| {
        let join = Join::new(key.clone(), session, Video::labelled(video)).address(address);
        metrics.join(join).await.unwrap()
    };
    let first = viewing("first", 1, "its only one").await;
    soon(first.apply(PlayerEvent::play(0.0))).await.unwrap();
    let (flood, real) = (viewing("flood", 1, "intro").await, viewing("real", 2, "intro").await);
    let mut flood = flood.submit(&PlayerEvent::play(0.0)).unwrap();
    let mut real = real.submit(&PlayerEvent::play(0.0)).unwrap();
    assert_eq!(soon(real.durable()).await, Ok(()));
    // The video exists then.
    assert_eq!(soon(flood.durable()).await, Ok(()));
    let other = viewing("other", 1, "outro").await;
    let refused = soon(other.apply(PlayerEvent::play(0.0))).await.unwrap_err();
    assert!(matches!(refused, EventError::NotStored(NotStored::TooManyNewVideos(_))));
}

/// A video that was deleted for lack of sessions counts as new when it returns, though not at once.
#[tokio::test(start_paused = true)]
async fn a_video_that_was_deleted_is_new_again() {
    let site = Site::new();
    let metrics = server(&site).await;
    let key = metrics.create_key().await.unwrap();
    for video in 0..3 {
        assert_eq!(play(&metrics, &key, &format!("first of {video}"), video).await, Ok(()));
    }
    let all = Erasure::of(Selection::default());
    assert_eq!(erase(metrics.store(), &all).await.unwrap().videos, 3);
    for video in 3..6 {
        assert_eq!(play(&metrics, &key, &format!("first of {video}"), video).await, Ok(()));
    }
    tokio::time::advance(std::time::Duration::from_secs(3_600)).await;
    assert_eq!(play(&metrics, &key, "again", 0).await, TOO_MANY);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_admits_no_more_and_no_less() {
    let site = Site::new();
    let store = Faults::default().over(Arc::new(site.store().await));
    let failures = store.intercept.failures();
    let metrics = Metrics::builder(Arc::new(store)).videos_max(VIDEOS_MAX).start();
    let key = metrics.create_key().await.unwrap();
    failures.store(50, std::sync::atomic::Ordering::Relaxed);
    for video in 0..8 {
        let played = play(&metrics, &key, &video.to_string(), video).await;
        assert_eq!(played, if video < 3 { Ok(()) } else { TOO_MANY }, "video {video}");
    }
    assert_eq!(site.store().await.count_sessions().await.unwrap(), 3);
}
