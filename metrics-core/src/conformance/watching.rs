//! The number of sessions that are watched now.

use chrono::TimeDelta;
use serde_json::json;

use super::draft::{Draft, described, fill, key, load, object, start};
use super::older;
use crate::key::ApiKey;
use crate::query::Selection;
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
