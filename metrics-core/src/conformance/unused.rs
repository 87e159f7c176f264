//! Videos without sessions are deleted, also during other writes, and the retention clock is stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use chrono::TimeDelta;

use super::draft::{Draft, close, exported, fill, key, load, start};
use super::export::ids;
use super::join_all;
use crate::import::{Foreign, insert};
use crate::key::ApiKey;
use crate::store::{Outcome, SessionWrite, Store, VideoId, VideoScope};
use crate::upkeep::delete_before;
use crate::video::Video;

async fn listed(store: &dyn Store) -> Vec<(VideoId, Option<String>)> {
    let mut snapshot = store.snapshot().await.expect("opened");
    let videos = snapshot.videos(&VideoScope::default(), None, 1_000).await.expect("listed");
    let identifier = |video: &Video| video.identifier().map(str::to_owned);
    videos.iter().map(|it| (it.id, identifier(&it.video))).collect()
}

async fn delete_unused(store: &dyn Store) -> u64 {
    let mut deleted = 0;
    loop {
        match store.delete_unused(2).await.expect("deleted").videos {
            0 => return deleted,
            videos => deleted += videos,
        }
    }
}

/// A video is deleted if no open, closed or final session names it.
pub async fn videos_without_sessions_are_deleted(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name: &str| Draft::new(&key, name, Video::labelled(name));
    fill(store, &[draft("closed"), draft("final")]).await;
    close(store).await;
    store.finalize(start() + TimeDelta::days(1), 1_000).await.expect("finalized");
    fill(store, &[draft("open")]).await;
    let added = ["one", "two", "three"].map(|name| (key.clone(), Video::labelled(name)));
    store.add_videos(&added).await.expect("added");

    assert_eq!(delete_unused(store).await, 3);

    let mut names: Vec<_> = listed(store).await.into_iter().filter_map(|(_, name)| name).collect();
    names.sort_unstable();
    assert_eq!(names, ["closed", "final", "open"]);
    assert_eq!(exported(store, 10).await.len(), 3);
    let known = store.known_videos(&added[..1]).await.expect("looked up");
    assert_eq!((known[0].is_there, known[0].videos_of_key), (false, 3));
    let other = ApiKey::generate();
    let counted = store.count_videos(&[other, key.clone(), key]).await.expect("counted");
    assert_eq!(counted, [0, 3, 3]);
}

/// No video gets the row id of a deleted one, so that a cached row id never names another video.
pub async fn a_video_that_comes_again_has_another_id(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name: &str| Draft::new(&key, name, Video::labelled(name));
    fill(store, &[draft("a"), draft("b")]).await;
    let before = listed(store).await;
    delete_before(store, i64::MAX).await.expect("deleted");
    assert_eq!(delete_unused(store).await, 2);

    fill(store, &[draft("c"), draft("b"), draft("a")]).await;

    let after = listed(store).await;
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|(id, _)| before.iter().all(|(old, _)| old != id)), "{after:?}");
    assert_eq!(exported(store, 10).await.len(), 3);
    assert!(load(store, draft("a").id).await.is_some());
}

/// A first play is kept while its video is deleted concurrently.
pub async fn first_plays_of_videos_that_are_deleted_are_kept(store: &dyn Store) {
    const ROUNDS: usize = 20;
    let key = key(store).await;
    let video = |number: usize| Video::labelled(format!("video {}", number % 8));
    let recording = async {
        for round in 0..ROUNDS {
            let plays = (0..16).map(|number| {
                let draft = Draft::new(&key, &format!("{round} {number}"), video(number));
                async move { written(store, draft.write()).await }
            });
            join_all(plays).await;
            if round + 1 < ROUNDS {
                delete_before(store, i64::MAX).await.expect("deleted");
            }
        }
    };
    while_deleting(store, recording).await;
    let all: Vec<_> = (0..16)
        .map(|number| Draft::new(&key, &format!("{} {number}", ROUNDS - 1), video(number)))
        .collect();
    let mut expected = ids(&all);
    expected.sort_unstable();
    let found: Vec<_> = exported(store, 1_000).await.iter().map(|record| record.id).collect();
    assert_eq!(found, expected);
}

/// Deletes unused videos again and again, while `task` runs.
async fn while_deleting(store: &dyn Store, task: impl Future<Output = ()>) {
    let is_over = AtomicBool::new(false);
    let deleting = async {
        while !is_over.load(Relaxed) {
            store.delete_unused(1_000).await.expect("deleted");
            tokio::task::yield_now().await;
        }
    };
    let doing = async {
        task.await;
        is_over.store(true, Relaxed);
    };
    tokio::join!(deleting, doing);
}

/// Repeats a write until it succeeds, as the recorder does.
async fn written(store: &dyn Store, write: SessionWrite) {
    let writes: Arc<[SessionWrite]> = [write].into();
    for _ in 0..1_000 {
        let outcomes = store.commit(Arc::clone(&writes)).await.expect("stored");
        if outcomes == [Outcome::Written] {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("a first play conflicts for ever");
}

/// An import is kept while its videos are deleted concurrently: it adds videos first, and their sessions later.
pub async fn imports_of_videos_that_are_deleted_are_kept(store: &dyn Store) {
    let key = key(store).await;
    let foreign = |key: &ApiKey, number: usize| {
        let video = Video::labelled(format!("video {number}"));
        let draft = Draft::new(key, &number.to_string(), video.clone()).on("http://a.example/");
        Foreign { key: key.clone(), video, row: draft.write().row(), equal_before: None }
    };
    let importing = async {
        for number in 0..30 {
            insert(store, vec![foreign(&key, number)]).await.expect("imported");
        }
    };
    while_deleting(store, importing).await;
    assert_eq!(exported(store, 1_000).await.len(), 30);
    assert_eq!(listed(store).await.len(), 30);
}

/// Setting the retention clock conflicts if another instance changed it.
pub async fn the_retention_clock_is_set_by_one_at_a_time(store: &dyn Store) {
    let (one, two) = (start(), start() + TimeDelta::milliseconds(1));
    assert_eq!(store.retention_clock().await.expect("read"), None);
    let set = async |expected, at| store.set_retention_clock(expected, at).await.expect("set");
    assert_eq!(set(Some(one), two).await, Outcome::Conflict);
    assert_eq!(set(None, one).await, Outcome::Written);
    assert_eq!(set(None, two).await, Outcome::Conflict);
    assert_eq!(store.retention_clock().await.expect("read"), Some(one));
    assert_eq!(set(Some(two), two).await, Outcome::Conflict);
    assert_eq!(set(Some(one), two).await, Outcome::Written);
    assert_eq!(set(Some(two), one).await, Outcome::Written);
    assert_eq!(store.retention_clock().await.expect("read"), Some(one));
}
