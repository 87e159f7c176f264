//! The sessions that events result in, and the moment when events are durable.

use std::time::Duration;

use metrics_core::event::Action;
use metrics_core::store::Store as _;
use metrics_core::{EventError, PlayerEvent, Selection, Timeframe};
use serde_json::json;

use crate::support::{Site, join, joining, one_server, segments, soon, wait_for_checkpoint};

#[tokio::test(start_paused = true)]
async fn an_acknowledged_event_is_in_the_file() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;

    soon(viewing.apply(PlayerEvent::play(0.0))).await.unwrap();
    assert!(site.stored(&key, "a").await.is_some());

    soon(viewing.apply(PlayerEvent::pause(12.5))).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(0.0, 12.5)]);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_future_is_dropped_is_recorded_all_the_same() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();

    let pausing = viewing.apply(PlayerEvent::pause(3.0));
    assert!(tokio::time::timeout(Duration::ZERO, pausing).await.is_err());
    drop(viewing);
    soon(metrics.stop()).await;

    assert_eq!(site.segments(&key, "a").await, [(0.0, 3.0)]);
}

#[tokio::test(start_paused = true)]
async fn three_segments_are_one_play() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    for (from, to) in [(0.0, 2.0), (30.0, 33.0), (1.0, 5.0)] {
        viewing.apply(PlayerEvent::play(from)).await.unwrap();
        viewing.apply(PlayerEvent::pause(to)).await.unwrap();
    }
    let stored = site.stored(&key, "a").await.unwrap();
    assert_eq!(segments(&stored), [(0.0, 2.0), (1.0, 5.0), (30.0, 33.0)]);
    assert_eq!((stored.view_ms, stored.unique_ms), (9_000, 8_000));

    let plays = metrics.plays(&Selection::identifier("intro").into()).await.unwrap();
    assert_eq!(plays.len(), 1);
    let totals = &plays[0].totals;
    assert_eq!((totals.plays, totals.view_ms, totals.unique_ms), (1, 9_000, 8_000));
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_never_plays_is_no_session() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    soon(viewing.apply(PlayerEvent::pause(3.0))).await.unwrap();
    soon(viewing.apply(PlayerEvent::new(Action::Seeked))).await.unwrap();
    soon(viewing.leave().durable()).await.unwrap();
    assert_eq!(site.store().await.count_sessions().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_event_changes_nothing() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(1.0)).await.unwrap();
    let refused = viewing.apply(PlayerEvent::pause(f64::NAN)).await;
    assert!(matches!(refused, Err(EventError::Invalid(_))), "{refused:?}");
    viewing.apply(PlayerEvent::pause(2.0)).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(1.0, 2.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_closes_the_open_segment_where_playback_was() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(10.0)).await.unwrap();
    site.clock.pass(7.25);
    drop(viewing);
    soon(metrics.stop()).await;
    assert_eq!(site.segments(&key, "a").await, [(10.0, 17.25)]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed_as_of_its_last_message() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(10.0)).await.unwrap();
    site.clock.pass(5.0);
    let last_received = site.clock.moment();
    site.clock.pass(60.0);
    soon(viewing.lose(last_received).durable()).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(10.0, 15.0)]);
}

#[tokio::test(start_paused = true)]
async fn leaving_closes_the_open_segment() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0).with_duration(5.0)).await.unwrap();
    site.clock.pass(4.0);
    soon(viewing.leave().durable()).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(0.0, 4.0)]);
}

#[tokio::test(start_paused = true)]
async fn an_open_segment_never_runs_past_the_end_of_the_video() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(50.0).with_duration(60.0)).await.unwrap();
    site.clock.pass(3_600.0);
    wait_for_checkpoint().await;
    assert_eq!(site.segments(&key, "a").await, [(50.0, 60.0)]);
    drop(viewing);
    soon(metrics.stop()).await;
    assert_eq!(site.segments(&key, "a").await, [(50.0, 60.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_is_back_goes_on_with_the_session() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    site.clock.pass(4.0);
    drop(viewing);
    site.clock.pass(4.0);
    let viewing = join(&metrics, &key, "a").await;
    site.clock.pass(4.0);
    viewing.apply(PlayerEvent::pause(11.5)).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(0.0, 11.5)]);
    assert_eq!(site.plays().await, (1, 11_500));
}

#[tokio::test(start_paused = true)]
async fn the_connection_that_joined_last_decides_for_the_viewer() {
    let (site, metrics, key) = one_server().await;
    let first = join(&metrics, &key, "a").await;
    first.apply(PlayerEvent::play(0.0)).await.unwrap();
    site.clock.pass(2.0);
    let second = join(&metrics, &key, "a").await;
    site.clock.pass(2.0);

    soon(first.leave().durable()).await.unwrap();
    assert_eq!(metrics.watching(&Selection::default()).await.unwrap(), 1);

    site.clock.pass(2.0);
    drop(second);
    soon(metrics.stop()).await;
    assert_eq!(site.segments(&key, "a").await, [(0.0, 6.0)]);
}

#[tokio::test(start_paused = true)]
async fn an_open_segment_is_stored_as_far_as_it_has_run() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    for ran in 1..=3 {
        site.clock.pass(15.0);
        wait_for_checkpoint().await;
        assert_eq!(site.segments(&key, "a").await, [(0.0, 15.0 * f64::from(ran))]);
    }
    viewing.apply(PlayerEvent::pause(44.5)).await.unwrap();
    assert_eq!(site.segments(&key, "a").await, [(0.0, 44.5)]);
}

#[tokio::test(start_paused = true)]
async fn watching_follows_open_segments() {
    let site = Site::new();
    let (here, there) = (site.server().await, site.server().await);
    let key = here.create_key().await.unwrap();
    let other = here.create_key().await.unwrap();
    let watching = async |selection: Selection| {
        let counted = here.watching(&selection).await.unwrap();
        assert_eq!(there.watching(&selection).await.unwrap(), counted);
        counted
    };
    let data = json!({"plan": "free"}).as_object().unwrap().clone();
    let viewing = here.join(joining(&key, "a").session_data(data.clone())).await.unwrap();
    assert_eq!(watching(Selection::default()).await, 0);

    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    assert_eq!(watching(Selection::default()).await, 1);
    assert_eq!(watching(Selection::identifier("intro")).await, 1);
    assert_eq!(watching(Selection::identifier("outro")).await, 0);
    assert_eq!(watching(Selection::key(key.clone())).await, 1);
    assert_eq!(watching(Selection::key(other)).await, 0);
    assert_eq!(watching(Selection::default().with_session(data)).await, 1);

    there.accepts_key(&key).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = join(&there, &key, "b").await;
    second.apply(PlayerEvent::play(0.0)).await.unwrap();
    assert_eq!(watching(Selection::identifier("intro")).await, 2);

    viewing.apply(PlayerEvent::pause(1.0)).await.unwrap();
    assert_eq!(watching(Selection::default()).await, 1);
    drop(second);
    soon(there.stop()).await;
    assert_eq!(here.watching(&Selection::default()).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_lives_stays_in_the_count() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    for _ in 0..12 {
        site.clock.pass(10.0);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(metrics.watching(&Selection::default()).await.unwrap(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_sent_again_counts_once() {
    let (site, metrics, key) = one_server().await;
    let batch = [
        PlayerEvent::play(0.0).with_timestamp(1_000),
        PlayerEvent::new(Action::PlaybackFailure).with_timestamp(1_500),
        PlayerEvent::pause(2.0).with_timestamp(3_000),
        PlayerEvent::play(0.0).with_timestamp(4_000),
        PlayerEvent::pause(2.0).with_timestamp(6_000),
    ];
    for _ in 0..3 {
        let viewing = metrics.visit(joining(&key, "a")).await.unwrap();
        for event in &batch {
            soon(viewing.submit(event).unwrap().durable()).await.unwrap();
        }
    }
    // A server that has not received the batch before recognizes it, too.
    soon(metrics.stop()).await;
    let metrics = site.server().await;
    let viewing = metrics.visit(joining(&key, "a")).await.unwrap();
    for event in batch {
        soon(viewing.apply(event)).await.unwrap();
    }
    let stored = site.stored(&key, "a").await.unwrap();
    assert_eq!(segments(&stored), [(0.0, 2.0), (0.0, 2.0)]);
    assert_eq!(stored.counters.failures, 1);
    assert_eq!(site.plays().await, (1, 4_000));
}

#[tokio::test(start_paused = true)]
async fn a_viewer_who_sends_only_batches_is_not_lost_between_them() {
    let (site, metrics, key) = one_server().await;
    let send = async |event: PlayerEvent| {
        let viewing = metrics.visit(joining(&key, "a")).await.unwrap();
        soon(viewing.apply(event)).await.unwrap();
    };
    send(PlayerEvent::play(0.0).with_duration(600.0)).await;
    site.clock.pass(300.0);
    wait_for_checkpoint().await;
    assert_eq!(metrics.watching(&Selection::default()).await.unwrap(), 1);
    send(PlayerEvent::pause(299.0)).await;
    assert_eq!(site.segments(&key, "a").await, [(0.0, 299.0)]);
}

#[tokio::test(start_paused = true)]
async fn a_viewer_of_a_single_batch_stops_watching_with_the_video() {
    let (site, metrics, key) = one_server().await;
    let viewing = metrics.visit(joining(&key, "a")).await.unwrap();
    viewing.apply(PlayerEvent::play(0.0).with_duration(20.0)).await.unwrap();
    drop(viewing);
    site.clock.pass(21.0);
    wait_for_checkpoint().await;
    assert_eq!(metrics.watching(&Selection::default()).await.unwrap(), 0);
}

/// The startup time needs a moment that is in memory only, so it shows whether the session was evicted.
#[tokio::test(start_paused = true)]
async fn a_session_is_evicted_a_while_after_its_viewer_is_gone() {
    for (absence, is_kept) in [(30.0, true), (300.0, false)] {
        let (site, metrics, key) = one_server().await;
        let viewing = join(&metrics, &key, "a").await;
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        viewing.apply(PlayerEvent::pause(1.0)).await.unwrap();
        drop(viewing);
        site.clock.pass(absence);
        wait_for_checkpoint().await;

        let viewing = join(&metrics, &key, "a").await;
        viewing.apply(PlayerEvent::new(Action::Playing)).await.unwrap();
        viewing.apply(PlayerEvent::play(5.0)).await.unwrap();
        viewing.apply(PlayerEvent::pause(6.0)).await.unwrap();

        let stored = site.stored(&key, "a").await.unwrap();
        assert_eq!(stored.counters.startup_ms.is_some(), is_kept, "{absence} s");
        assert_eq!(segments(&stored), [(0.0, 1.0), (5.0, 6.0)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_takes_no_more_than_its_share_of_segments() {
    let (site, metrics, key) = one_server().await;
    let viewing = join(&metrics, &key, "a").await;
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(0.3)).await.unwrap();
    let mut refused = 0;
    let mut last = None;
    for _ in 1..10_050 {
        match viewing.submit(&PlayerEvent::play(0.0)) {
            Ok(acknowledgement) => last = Some(acknowledgement),
            Err(EventError::Full) => refused += 1,
            Err(err) => panic!("{err:?}"),
        }
        last = Some(viewing.submit(&PlayerEvent::pause(0.3)).unwrap()).or(last);
    }
    soon(last.unwrap().durable()).await.unwrap();
    let stored = site.stored(&key, "a").await.unwrap();
    assert_eq!(segments(&stored).len() + refused, 10_050);
    assert!((1..=50).contains(&refused), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn reports_are_of_the_recorded_sessions() {
    let (site, metrics, key) = one_server().await;
    for (number, page) in ["http://a/?secret", "http://a/", "http://b/"].into_iter().enumerate() {
        let session = joining(&key, &number.to_string()).page(page);
        let viewing = metrics.join(session).await.unwrap();
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        viewing.apply(PlayerEvent::pause(1.0 + number as f64)).await.unwrap();
        site.clock.pass(86_400.0);
    }
    let selection = Selection::identifier("intro");
    let query = metrics_core::BucketQuery::from(&selection).per("1 day".parse().unwrap());
    let plays = metrics.plays(&query).await.unwrap();
    let view_ms: Vec<_> = plays.iter().map(|bucket| bucket.totals.view_ms).collect();
    assert_eq!(view_ms, [1_000, 2_000, 3_000]);

    let sources = metrics.sources(&(&selection).into()).await.unwrap();
    let seen: Vec<_> = sources.iter().map(|it| (it.source.as_str(), it.plays)).collect();
    assert_eq!(seen, [("http://a/", 2), ("http://b/", 1)]);

    let parts = metrics.engagement(&(&selection).into(), 3).await.unwrap();
    assert_eq!(parts.iter().map(|part| part.viewers).collect::<Vec<_>>(), [3, 2, 1]);

    let query = metrics_core::EngagementQuery::from(selection);
    let query = query.during(Timeframe::From(site.clock.now() - chrono::TimeDelta::days(1)));
    let days = "1 day".parse().unwrap();
    let seconds =
        metrics.engagement_per_second(&query, metrics_core::time_bucket::Buckets::new(days));
    let seconds = seconds.await.unwrap();
    assert_eq!(seconds.len(), 1);
    assert_eq!(seconds[0].seconds.len(), 3);
}
