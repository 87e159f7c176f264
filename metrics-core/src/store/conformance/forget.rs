//! Old sessions are forgotten, and nothing else is.

use chrono::{DateTime, TimeDelta, Utc};

use super::draft::{
    Draft, START_MS, all, commit, days, exported, figures, fill, key, load, selected, start,
};
use crate::key::{ApiKey, SessionId};
use crate::query::Selection;
use crate::store::{Instance, Outcome, Store};
use crate::video::Video;

const DAY_MS: i64 = 86_400_000;

/// How much older than asked for a session may be that a store still keeps.
const KEPT_MS_MAX: i64 = 7 * DAY_MS;

async fn forget(store: &dyn Store, start: DateTime<Utc>) {
    store.forget(start).await.expect("deleted");
}

async fn left(store: &dyn Store) -> Vec<SessionId> {
    exported(store, 1_000).await.iter().map(|record| record.id).collect()
}

fn sorted(drafts: &[Draft]) -> Vec<SessionId> {
    let mut ids: Vec<_> = drafts.iter().map(|draft| draft.id).collect();
    ids.sort_unstable();
    ids
}

/// Sessions of three videos, of which one has nothing but what these ages say.
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

/// Of the week before, a store may keep what it likes.
pub async fn what_is_old_is_forgotten_and_the_rest_is_kept(store: &dyn Store) {
    let key = key(store).await;
    let old = [KEPT_MS_MAX + 1, KEPT_MS_MAX + DAY_MS, 400 * DAY_MS, START_MS];
    fill(store, &drafts(&key, "old", &old)).await;
    let young = drafts(&key, "young", &[0, -1, -DAY_MS, -400 * DAY_MS]);
    fill(store, &young).await;
    let keys = store.keys().await.expect("listed");

    forget(store, start()).await;

    assert_eq!(left(store).await, sorted(&young));
    assert_eq!(store.keys().await.expect("listed"), keys);
}

/// More than any store deletes in one go, of one video and of many.
pub async fn many_sessions_are_forgotten_at_once(store: &dyn Store) {
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

    forget(store, start()).await;

    assert_eq!(left(store).await, sorted(&young));
    assert_eq!(store.count_sessions().await.expect("counted"), 3);
}

/// Reports, counts and loads answer as if it had never been.
pub async fn nothing_knows_of_a_session_that_was_forgotten(store: &dyn Store) {
    let key = key(store).await;
    let here = Instance(1);
    store.beat(here, start()).await.expect("noted");
    let draft = |name, label, at| {
        let draft = Draft::new(&key, name, Video::labelled(label)).at(at).open_at(here);
        draft.on(&format!("http://{label}.example/"))
    };
    let old = draft("old", "gone", START_MS - 30 * DAY_MS);
    let beside = draft("beside", "kept", START_MS - 30 * DAY_MS + 1);
    let young = draft("young", "kept", START_MS);
    fill(store, &[old.clone(), beside.clone(), young.clone()]).await;

    forget(store, start()).await;

    let loaded = store.load(&[old.id, young.id, beside.id]).await.expect("loaded");
    assert_eq!(loaded.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(store.count_sessions().await.expect("counted"), 1);
    assert_eq!(figures(store, &all(Selection::default())).await.plays, 1);
    assert!(selected(store, Selection::identifier("gone")).await.is_empty());
    let everything = all(Selection::default());
    let sources = store.sources(&everything, days()).await.expect("summed");
    let hosts: Vec<_> = sources.iter().map(|it| (it.source.host(), it.plays)).collect();
    assert_eq!(hosts, [("kept.example", 1)]);
    let parts = store.parts(&everything, 1).await.expect("counted").finish();
    assert_eq!(parts.iter().map(|part| part.viewers).collect::<Vec<_>>(), [1]);
    assert_eq!(store.watching(&Selection::default(), start()).await.expect("counted"), 1);
}

/// Its recorder learns that it is gone, and can begin it anew.
pub async fn a_session_that_was_forgotten_may_come_again(store: &dyn Store) {
    let key = key(store).await;
    let draft = Draft::new(&key, "a", Video::labelled("a")).at(START_MS - 30 * DAY_MS);
    fill(store, std::slice::from_ref(&draft)).await;
    forget(store, start()).await;

    let update = draft.clone().expecting(1).played(&[(0, 1)]);
    assert_eq!(commit(store, &[update]).await, [Outcome::Conflict]);
    assert_eq!(load(store, draft.id).await, None);
    fill(store, std::slice::from_ref(&draft)).await;
    assert_eq!(load(store, draft.id).await.map(|it| it.version), Some(1));
    assert_eq!(exported(store, 10).await, [draft.record()]);
}

/// It is asked for every hour, and has hardly ever anything to do.
pub async fn forgetting_again_changes_nothing(store: &dyn Store) {
    forget(store, start()).await;
    let key = key(store).await;
    fill(store, &drafts(&key, "again", &[30 * DAY_MS, 0])).await;
    forget(store, start()).await;
    let before = exported(store, 1_000).await;
    assert_eq!(before.len(), 3);
    forget(store, start()).await;
    forget(store, start() - TimeDelta::days(365)).await;
    assert_eq!(exported(store, 1_000).await, before);
}
