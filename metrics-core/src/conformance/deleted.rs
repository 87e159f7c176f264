//! Retention deletes old sessions, and nothing else.

use super::draft::{
    Draft, START_MS, all, check_totals, close, commit, days, exported, fill, key, load, location,
    play_totals, selected, start,
};
use super::export::{exported_ids, ids};
use super::older;
use crate::key::ApiKey;
use crate::query::Selection;
use crate::store::{Instance, Outcome, Store};
use crate::time::DAY_MS;
use crate::upkeep::delete_before;
use crate::video::Video;

async fn delete(store: &dyn Store, age_ms: i64) -> u64 {
    delete_before(store, START_MS - age_ms).await.expect("deleted")
}

/// Sessions of three videos, one per age and video. The third video is called `name` and has no other sessions.
fn drafts(key: &ApiKey, name: &str, ages_ms: &[i64]) -> Vec<Draft> {
    let labels = ["a", "b", name];
    ages_ms
        .iter()
        .flat_map(|age_ms| labels.map(|label| (age_ms, label)))
        .map(|(age_ms, label)| {
            let session = format!("{name} {label} {age_ms}");
            Draft::new(key, &session, Video::labelled(label)).at(START_MS - age_ms)
        })
        .collect()
}

/// The limit is exact to the millisecond, for open and closed sessions.
pub async fn sessions_before_an_instant_are_deleted(store: &dyn Store) {
    let key = key(store).await;
    let old = [1, DAY_MS, 400 * DAY_MS, START_MS];
    fill(store, &drafts(&key, "old", &old)).await;
    let young = drafts(&key, "young", &[0, -1, -DAY_MS, -400 * DAY_MS]);
    fill(store, &young).await;
    let keys = store.keys().await.expect("listed");

    assert_eq!(delete(store, 0).await, 12);

    assert_eq!(exported_ids(store, 1_000).await, ids(&young));
    assert_eq!(store.keys().await.expect("listed"), keys);
    check_totals(store).await;
}

/// Deletes more sessions than one step can, of one video and of many.
pub async fn many_sessions_are_deleted_at_once(store: &dyn Store) {
    let key = key(store).await;
    let at = START_MS - 30 * DAY_MS;
    let drafts: Vec<_> = (0..2_600)
        .map(|number: i64| {
            let video = if number < 1_300 { 0 } else { number };
            let video = Video::labelled(format!("video {video}"));
            Draft::new(&key, &number.to_string(), video).at(at + number)
        })
        .collect();
    let young = self::drafts(&key, "young", &[0]);
    fill(store, &drafts).await;
    fill(store, &young).await;

    assert_eq!(delete(store, 0).await, 2_600);

    assert_eq!(exported_ids(store, 1_000).await, ids(&young));
    assert_eq!(store.count_sessions().await.expect("counted"), 3);
}

/// Reports, counts and loads answer as if a deleted session had never existed.
pub async fn a_deleted_session_is_gone_from_all_answers(store: &dyn Store) {
    let key = key(store).await;
    let here = Instance(1);
    store.heartbeat(here, start()).await.expect("noted");
    let draft = |name, label, at| {
        let draft = Draft::new(&key, name, Video::labelled(label)).at(at);
        draft.on(&format!("http://{label}.example/"))
    };
    let closed = draft("closed", "gone", START_MS - 30 * DAY_MS - 1);
    let old = draft("old", "gone", START_MS - 30 * DAY_MS).open_at(here);
    let other = draft("beside", "kept", START_MS - 30 * DAY_MS + 1).open_at(here);
    let young = draft("young", "kept", START_MS).open_at(here);
    fill(store, std::slice::from_ref(&closed)).await;
    close(store).await;
    fill(store, &[old.clone(), other.clone(), young.clone()]).await;

    assert_eq!(delete(store, 0).await, 3);

    let found = store.load(&[old.id, young.id, other.id, closed.id]).await.expect("loaded");
    let found: Vec<_> = found.iter().map(Option::is_some).collect();
    assert_eq!(found, [false, true, false, false]);
    assert_eq!(store.count_sessions().await.expect("counted"), 1);
    assert_eq!(play_totals(store, &all(Selection::default())).await.plays, 1);
    assert!(selected(store, Selection::identifier("gone")).await.is_empty());
    let everything = all(Selection::default());
    let sources = older::sources(store, &everything, days()).await.expect("summed");
    let hosts: Vec<_> = sources.iter().map(|it| (it.source.host(), it.plays)).collect();
    assert_eq!(hosts, [("kept.example", 1)]);
    let parts = older::parts(store, &everything, 1).await.expect("counted");
    assert_eq!(parts.iter().map(|part| part.viewers).collect::<Vec<_>>(), [1]);
    assert_eq!(older::watching(store, &Selection::default(), start()).await.expect("counted"), 1);
    let mut snapshot = store.snapshot().await.expect("opened");
    assert_eq!(snapshot.resumable(None, 10).await.expect("read"), []);
}

/// An update of a deleted session conflicts; a first write creates the session anew.
pub async fn a_deleted_session_may_come_again(store: &dyn Store) {
    let key = key(store).await;
    let draft = Draft::new(&key, "a", Video::labelled("a")).at(START_MS - 30 * DAY_MS);
    for is_closed in [false, true] {
        fill(store, std::slice::from_ref(&draft)).await;
        if is_closed {
            close(store).await;
        }
        assert_eq!(delete(store, 0).await, 1);

        let update = draft.clone().expecting(1).played(&[(0, 1)]);
        assert_eq!(commit(store, &[update]).await, [Outcome::Conflict]);
        assert_eq!(location(store, draft.id).await, None);
        fill(store, std::slice::from_ref(&draft)).await;
        assert_eq!(load(store, draft.id).await.map(|it| it.version), Some(1));
        assert_eq!(exported(store, 10).await, [draft.record()]);
        assert_eq!(delete(store, 0).await, 1);
    }
}

/// Deletion runs every hour, and mostly finds nothing to delete.
pub async fn deleting_again_changes_nothing(store: &dyn Store) {
    assert_eq!(delete(store, 0).await, 0);
    let key = key(store).await;
    fill(store, &drafts(&key, "again", &[30 * DAY_MS, 0])).await;
    assert_eq!(delete(store, 0).await, 3);
    let before = exported(store, 1_000).await;
    assert_eq!(before.len(), 3);
    assert_eq!(delete(store, 0).await, 0);
    assert_eq!(delete(store, 365 * DAY_MS).await, 0);
    assert_eq!(exported(store, 1_000).await, before);
}

/// Deletion corrects the totals, for blocks that end before the instant, contain it, and begin after it.
pub async fn deleted_sessions_are_subtracted_from_totals(store: &dyn Store) {
    let key = key(store).await;
    let starts = (0..40_i64).map(|day| START_MS - day * DAY_MS / 3);
    let drafts: Vec<_> = starts
        .map(|at| {
            let draft = Draft::new(&key, &at.to_string(), Video::labelled("a")).at(at);
            draft.on("http://a.example/")
        })
        .collect();
    for some in drafts.chunks(5) {
        fill(store, some).await;
        close(store).await;
    }

    // The sessions of the last two days, both ends included, are kept.
    assert_eq!(delete(store, 2 * DAY_MS).await, 33);

    assert_eq!(store.count_sessions().await.expect("counted"), 7);
    let scan = all(Selection::key(key));
    assert_eq!(play_totals(store, &scan).await.plays, 7);
    let sources = older::sources(store, &scan, days()).await.expect("summed");
    assert_eq!(sources.iter().map(|bucket| bucket.plays).sum::<u64>(), 7);
    let parts = older::parts(store, &scan, 1).await.expect("counted");
    assert_eq!(parts[0].viewers, 7);
    check_totals(store).await;
}
