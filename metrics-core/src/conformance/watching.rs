//! The number of sessions that are watched now.

use chrono::TimeDelta;
use serde_json::json;

use super::draft::{Draft, START_MS, described, fill, key, later, load, object, start};
use super::older;
use crate::event::PlayerEvent;
use crate::key::ApiKey;
use crate::query::{Selection, Timeframe};
use crate::report::{LiveQuery, LiveReader, LiveState, Reports};
use crate::session::{Moment, Reach, Session};
use crate::store::{INSTANCE_SILENCE_MAX, Instance, Store};
use crate::video::Video;

const HERE: Instance = Instance(7);
const THERE: Instance = Instance(u32::MAX);

async fn watching(store: &dyn Store, selection: &Selection) -> u64 {
    older::watching(store, selection, start()).await.expect("counted")
}

fn draft(key: &ApiKey, name: &str) -> Draft {
    Draft::new(key, name, Video::labelled("a"))
}

/// Sessions with an open segment count, over all instances.
pub async fn an_open_segment_is_watched(store: &dyn Store) {
    let key = key(store).await;
    for instance in [HERE, THERE, HERE] {
        store.heartbeat(instance, start()).await.expect("noted");
    }
    let open = draft(&key, "one").open_at(HERE);
    fill(store, &[open, draft(&key, "two").open_at(THERE), draft(&key, "paused")]).await;
    assert_eq!(watching(store, &Selection::identifier("a")).await, 2);
}

/// A write without an instance removes the session from the count.
pub async fn a_closed_segment_is_not_watched(store: &dyn Store) {
    let key = key(store).await;
    store.heartbeat(HERE, start()).await.expect("noted");
    fill(store, &[draft(&key, "one").open_at(HERE), draft(&key, "two").open_at(HERE)]).await;
    fill(store, &[draft(&key, "one").expecting(1)]).await;
    assert_eq!(watching(store, &Selection::default()).await, 1);
    fill(store, &[draft(&key, "one").expecting(2).open_at(HERE)]).await;
    assert_eq!(watching(store, &Selection::default()).await, 2);
}

/// The sessions of an instance count until its last heartbeat is too old, and again after its next heartbeat.
pub async fn a_dead_instance_leaves_the_count(store: &dyn Store) {
    let key = key(store).await;
    store.heartbeat(HERE, start()).await.expect("noted");
    store.heartbeat(THERE, start()).await.expect("noted");
    fill(store, &[draft(&key, "one").open_at(HERE), draft(&key, "two").open_at(THERE)]).await;
    let second = TimeDelta::seconds(1);
    let still = start() + INSTANCE_SILENCE_MAX - second;
    let gone = start() + INSTANCE_SILENCE_MAX + second;
    let all = Selection::default();
    assert_eq!(older::watching(store, &all, still).await.expect("counted"), 2);

    store.heartbeat(THERE, still).await.expect("noted");

    assert_eq!(older::watching(store, &all, gone).await.expect("counted"), 1);
    store.heartbeat(HERE, gone).await.expect("noted");
    assert_eq!(older::watching(store, &all, gone).await.expect("counted"), 2);
}

/// Sessions of an instance without a heartbeat do not count: it may not be running.
pub async fn an_instance_without_a_heartbeat_does_not_count(store: &dyn Store) {
    let key = key(store).await;
    store.heartbeat(HERE, start()).await.expect("noted");
    fill(store, &[draft(&key, "one").open_at(THERE)]).await;
    assert_eq!(watching(store, &Selection::default()).await, 0);
}

/// A session that moves to another instance counts once, there.
pub async fn a_session_that_moves_is_watched_once(store: &dyn Store) {
    let key = key(store).await;
    store.heartbeat(HERE, start()).await.expect("noted");
    fill(store, &[draft(&key, "one").open_at(HERE)]).await;
    fill(store, &[draft(&key, "one").expecting(1).open_at(THERE)]).await;
    assert_eq!(watching(store, &Selection::default()).await, 0);
    store.heartbeat(THERE, start()).await.expect("noted");
    assert_eq!(watching(store, &Selection::default()).await, 1);
}

/// Identifier, metadata, session data and key select as in reports.
pub async fn watching_is_counted_within_a_selection(store: &dyn Store) {
    let (one, two) = (key(store).await, key(store).await);
    store.heartbeat(HERE, start()).await.expect("noted");
    let drafts = [
        draft(&one, "labelled"),
        draft(&two, "of another key").with_session_data(&json!({"plan": "free"})),
        Draft::new(&one, "described", described(&json!({"id": 1, "x": 2}))),
        draft(&one, "talks").with_session_data(&json!({"plan": "free", "n": 1})),
    ];
    fill(store, &drafts.map(|draft| draft.open_at(HERE))).await;
    let free = object(&json!({"plan": "free"}));
    let cases = [
        (Selection::default(), 4),
        (Selection::identifier("a"), 3),
        (Selection::identifier("b"), 0),
        (Selection::key(one.clone()), 3),
        (Selection::default().with_video(object(&json!({"id": 1}))), 1),
        (Selection::default().with_session(free.clone()), 2),
        (Selection { key: Some(one), ..Selection::identifier("a").with_session(free) }, 1),
    ];
    for (selection, expected) in cases {
        assert_eq!(watching(store, &selection).await, expected, "{selection:?}");
    }
}

/// The sessions of a dead instance do not change, and can go on at another instance.
pub async fn sessions_of_a_dead_instance_can_go_on(store: &dyn Store) {
    let key = key(store).await;
    store.heartbeat(HERE, start()).await.expect("noted");
    let open = draft(&key, "one").open_at(HERE);
    fill(store, std::slice::from_ref(&open)).await;
    let before = load(store, open.id).await;

    let month_later = start() + TimeDelta::days(30);
    store.heartbeat(THERE, month_later).await.expect("noted");

    assert_eq!(load(store, open.id).await, before);
    assert_eq!(
        older::watching(store, &Selection::default(), month_later).await.expect("counted"),
        0
    );
    fill(store, &[open.expecting(1).open_at(THERE)]).await;
    assert_eq!(
        older::watching(store, &Selection::default(), month_later).await.expect("counted"),
        1
    );
}

/// A session that plays a minute of video from this second on.
fn playing(key: &ApiKey, name: &str, video: Video, second: u32) -> Draft {
    let play = PlayerEvent::play(second.into()).with_duration(60.0).check(0).expect("valid");
    let session = Session::begin(&play, Moment::received(START_MS)).expect("a play");
    let stored = session.snapshot(Reach::LastEvent);
    Draft { stored, ..Draft::new(key, name, video) }.open_at(HERE)
}

/// The names, viewers and positions of the videos in a state.
fn videos(state: &LiveState) -> Vec<(&str, u64, Vec<u32>)> {
    let videos = state.videos.iter();
    videos.map(|video| (&*video.name, video.watching, video.positions.clone())).collect()
}

/// Viewers count at their positions now, by the name of their video, over any number of videos.
pub async fn viewers_are_read_with_their_videos_and_positions(store: &dyn Store) {
    let (one, other) = (key(store).await, key(store).await);
    store.heartbeat(HERE, start()).await.expect("noted");
    let draft = |number: u32| {
        let name = format!("video {number:03}");
        playing(&one, &name, Video::labelled(&name), number % 2 * 30)
    };
    fill(store, &(0..100).map(draft).collect::<Vec<_>>()).await;
    let query = |selection: Selection| {
        let query = LiveQuery::from(selection).during(Timeframe::ALL).with_minimum_view_ms(0);
        query.with_videos_max(2).with_parts(2)
    };
    let mut reader = LiveReader::new(query(Selection::default()));
    let state = reader.read(Reports::new(store, later(10_000))).await.expect("read");
    assert_eq!((state.watching, state.rows, state.plays), (100, 100, 100));
    let first = [("video 000", 1, vec![1, 0]), ("video 001", 1, vec![0, 1])];
    assert_eq!(videos(&state), first);

    let metadata = object(&json!({"title": "Knots"}));
    let again = Video::new(Some("video 007".to_owned()), Some(metadata)).expect("a video");
    let others = [
        playing(&one, "again", again, 0),
        playing(&other, "other", Video::labelled("other"), 0),
        playing(&one, "paused", Video::labelled("paused"), 0),
    ];
    fill(store, &others).await;
    fill(store, &[Draft { watched_at: None, ..others[2].clone() }.expecting(1)]).await;
    let state = reader.read(Reports::new(store, later(10_000))).await.expect("read");
    assert_eq!((state.watching, state.rows, state.plays), (102, 101, 103));
    assert_eq!(videos(&state), [("video 007", 2, vec![1, 1]), ("other", 1, vec![1, 0])]);
    assert_eq!(state.videos[0].title.as_deref(), Some("Knots"));
    assert_eq!((state.videos[0].duration_ms, state.videos[0].end_ms), (Some(60_000), 60_000));
    // Later, the instance must have died.
    let state = reader.read(Reports::new(store, later(60_000))).await.expect("read");
    assert_eq!((state.watching, state.rows, state.plays), (0, 0, 103));

    for (selection, expected) in [
        (Selection::identifier("video 007"), (2, 2)),
        (Selection::identifier("nothing"), (0, 0)),
        (Selection::key(other), (1, 1)),
        (Selection::default().with_video(object(&json!({"title": "Knots"}))), (1, 1)),
    ] {
        let mut reader = LiveReader::new(query(selection));
        let state = reader.read(Reports::new(store, later(1_000))).await.expect("read");
        assert_eq!((state.watching, state.plays), expected);
    }
}
