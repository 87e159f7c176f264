//! Final sessions cannot go on, and count in every report as before.

use chrono::{DateTime, TimeDelta, Utc};

use super::draft::{
    Draft, START_MS, all, check_totals, close, days, exported, fill, key, later, load, location,
    numbered, numbers, play_totals,
};
use super::older;
use crate::query::Selection;
use crate::store::{Instance, Location, Store};
use crate::upkeep::delete_before;
use crate::video::Video;

async fn finalize(store: &dyn Store, silent_since: DateTime<Utc>) -> u64 {
    let mut all = 0;
    loop {
        match store.finalize(silent_since, 3).await.expect("finalized") {
            0 => return all,
            some => {
                assert!(some <= 3, "3 were asked for");
                all += some;
            }
        }
    }
}

/// Closes all sessions without an open segment, and makes all closed sessions final.
async fn finalize_all(store: &dyn Store) -> u64 {
    close(store).await;
    finalize(store, DateTime::<Utc>::MAX_UTC).await
}

/// Finalizing changes no report, count or page of an export.
pub async fn a_final_session_stays_in_every_answer(store: &dyn Store) {
    let key = key(store).await;
    let drafts = (0..8_i64).map(|number| {
        let label = format!("video {}", number % 3);
        let draft = Draft::new(&key, &number.to_string(), Video::labelled(label));
        draft.at(START_MS - number * 50_000_000).on("http://a.example/")
    });
    let drafts = numbered(drafts);
    fill(store, &drafts).await;
    let scan = all(Selection::key(key.clone()));
    let sums = play_totals(store, &scan).await;
    let records = exported(store, 3).await;

    assert_eq!(finalize_all(store).await, 8);

    assert_eq!(play_totals(store, &scan).await, sums);
    assert_eq!(store.count_sessions().await.expect("counted"), 8);
    assert_eq!(exported(store, 3).await, records);
    let sources = older::sources(store, &scan, days()).await.expect("summed");
    assert_eq!(sources.iter().map(|bucket| bucket.plays).sum::<u64>(), 8);
    assert_eq!(older::parts(store, &scan, 1).await.expect("counted")[0].viewers, 8);
    for draft in &drafts {
        assert_eq!(location(store, draft.id).await, None);
        assert_eq!(load(store, draft.id).await, None);
    }
    let mut snapshot = store.snapshot().await.expect("opened");
    assert_eq!(snapshot.resumable(None, 10).await.expect("read"), []);
    check_totals(store).await;
}

/// Open sessions are not finalized, nor are closed ones whose last event is at the instant.
pub async fn only_closed_sessions_that_were_silent_are_final(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name: &str| Draft::new(&key, name, Video::labelled("a"));
    let mut recent = draft("recent");
    recent.stored.last_event_at_ms = later(10_000).timestamp_millis();
    let (watched, silent) = (draft("watched").open_at(Instance(1)), draft("silent"));
    fill(store, &[recent.clone(), watched.clone(), silent.clone()]).await;
    close(store).await;
    let open = draft("open").open_at(Instance(1));
    fill(store, std::slice::from_ref(&open)).await;

    assert_eq!(finalize(store, later(0)).await, 0);
    assert_eq!(finalize(store, later(10_000)).await, 1);

    assert!(matches!(location(store, recent.id).await, Some(Location::Closed { .. })));
    for draft in [&watched, &open] {
        assert!(matches!(location(store, draft.id).await, Some(Location::Open(_))));
    }
    assert_eq!(location(store, silent.id).await, None);
    assert_eq!(finalize(store, later(10_001)).await, 1);
    assert_eq!(store.count_sessions().await.expect("counted"), 4);
}

/// The id then has two sessions. Each counts in the bucket of its own start.
pub async fn a_viewer_of_a_final_session_begins_another(store: &dyn Store) {
    let key = key(store).await;
    let draft = |at| Draft::new(&key, "a", Video::labelled("a")).at(at);
    let month_ms = TimeDelta::days(30).num_milliseconds();
    let first = draft(START_MS - 2 * month_ms);
    let second = draft(START_MS).played(&[(0, 4)]);
    fill(store, std::slice::from_ref(&first)).await;
    assert_eq!(finalize_all(store).await, 1);
    fill(store, std::slice::from_ref(&second)).await;
    close(store).await;
    assert_eq!(load(store, first.id).await, Some(second.loaded(1)), "the second goes on");
    let scan = all(Selection::key(key));
    for _ in 0..2 {
        let sums = play_totals(store, &scan).await;
        assert_eq!((sums.plays, sums.view_ms), (2, 10_004));
        assert_eq!(exported(store, 1).await.len(), 2);
        check_totals(store).await;
        finalize_all(store).await;
    }
    assert_eq!(delete_before(store, START_MS - month_ms).await.expect("deleted"), 1);
    assert_eq!(numbers(&play_totals(store, &scan).await), [2]);
}

/// Holds for a session that was closed, went on, and was closed again.
pub async fn a_session_is_final_as_it_was_written_last(store: &dyn Store) {
    let key = key(store).await;
    let draft = Draft::new(&key, "a", Video::labelled("a"));
    fill(store, &[draft.clone().played(&[(0, 1)])]).await;
    close(store).await;
    let last = draft.played(&[(0, 2)]).expecting(1);
    fill(store, std::slice::from_ref(&last)).await;
    assert_eq!(finalize_all(store).await, 1);
    assert_eq!(exported(store, 10).await, [last.record()]);
    assert_eq!(numbers(&play_totals(store, &all(Selection::key(key))).await), [1]);
    check_totals(store).await;
}
