//! Sums answer what sessions would, whatever becomes of the sessions.

use chrono::{Days, NaiveDate, TimeDelta};

use super::draft::{
    Draft, START_MS, all, commit, days, figures, fill, key, later, numbered, numbers, start,
};
use super::rolling_up::roll_up;
use crate::query::{Selection, instant};
use crate::store::{Instance, Outcome, Store};
use crate::video::Video;

const DAY_MS: i64 = 86_400_000;

/// Whether the sums of every day are as they must be.
pub(super) async fn are_right(store: &dyn Store) -> bool {
    let Some((first, last)) = store.rollup_days().await.expect("known") else { return true };
    for day in first.iter_days().take_while(|day| *day <= last) {
        if !store.check_rollups(day, false).await.expect("checked") {
            return false;
        }
    }
    true
}

/// Sessions that are heard of, or that are watched, may change at any moment.
pub async fn only_quiet_sessions_are_rolled_up(store: &dyn Store) {
    let key = key(store).await;
    let video = || Video::labelled("a");
    let watched = Draft::new(&key, "watched", video()).open_at(Instance(1));
    fill(store, &[Draft::new(&key, "quiet", video()), watched]).await;
    assert_eq!(store.roll_up(start(), 10).await.expect("rolled up"), 0, "heard of just then");
    let rolled_up = store.roll_up(later(1), 10).await.expect("rolled up");
    // A store without sums has nothing to do.
    assert!(rolled_up <= 1, "one is watched");
    assert_eq!(store.roll_up(later(1), 10).await.expect("rolled up"), 0);
    assert_eq!(figures(store, &all(Selection::key(key))).await.plays, 2);
    assert!(are_right(store).await);
}

/// No more than asked for.
pub async fn sessions_are_rolled_up_some_at_a_time(store: &dyn Store) {
    let key = key(store).await;
    let drafts = (0..10_i64).map(|number| {
        Draft::new(&key, &number.to_string(), Video::labelled("a")).at(START_MS - number)
    });
    fill(store, &numbered(drafts)).await;
    let before = figures(store, &all(Selection::key(key.clone()))).await;
    let mut rolled_up = Vec::new();
    loop {
        let sessions = store.roll_up(later(1), 4).await.expect("rolled up");
        assert_eq!(figures(store, &all(Selection::key(key.clone()))).await, before);
        assert!(sessions <= 4);
        rolled_up.push(sessions);
        if sessions == 0 {
            break;
        }
    }
    // A store without sums, or one in which they were rolled up before, has nothing to do.
    assert!([vec![4, 4, 2, 0], vec![0]].contains(&rolled_up), "{rolled_up:?}");
}

/// However often a session is rolled up and changes again, it is as it was written last.
pub async fn a_session_that_changes_is_counted_as_it_is(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name: &str| Draft::new(&key, name, Video::labelled("a")).on("http://a.example/");
    let (one, two) = (draft("one"), draft("two"));
    fill(store, &numbered([one.clone(), two])).await;
    let scan = all(Selection::key(key.clone()));
    for version in 1..6 {
        roll_up(store).await;
        let longer = one.clone().played(&[(0, 4 << version)]).expecting(version);
        fill(store, std::slice::from_ref(&longer)).await;
        assert_eq!(numbers(&figures(store, &scan).await), [1, 2 + version]);
        // Who comes too late takes nothing out.
        assert_eq!(commit(store, &[one.clone().expecting(0)]).await, [Outcome::Conflict]);
        assert!(are_right(store).await);
    }
    let sources = store.sources(&scan, days()).await.expect("summed");
    assert_eq!(sources.iter().map(|cell| cell.plays).sum::<u64>(), 2);
}

/// Also if they are of the first or the last day that is kept.
pub async fn what_is_forgotten_leaves_the_sums(store: &dyn Store) {
    let key = key(store).await;
    let starts = (0..40_i64).map(|day| START_MS - day * DAY_MS / 3);
    let drafts = starts.map(|at| {
        let draft = Draft::new(&key, &at.to_string(), Video::labelled("a")).at(at);
        draft.on("http://a.example/")
    });
    fill(store, &drafts.collect::<Vec<_>>()).await;
    roll_up(store).await;

    store.forget(instant(START_MS) - TimeDelta::days(2)).await.expect("deleted");

    let kept = store.count_sessions().await.expect("counted");
    let scan = all(Selection::key(key));
    assert_eq!(figures(store, &scan).await.plays, kept);
    let sources = store.sources(&scan, days()).await.expect("summed");
    assert_eq!(sources.iter().map(|cell| cell.plays).sum::<u64>(), kept);
    let parts = store.parts(&scan, 1).await.expect("counted").finish();
    assert_eq!(parts[0].viewers, kept);
    assert!(are_right(store).await);
}

/// All of them, and no more: a day that is right stays as it is, and so do the answers.
pub async fn sums_are_mended(store: &dyn Store) {
    let key = key(store).await;
    let drafts = (0..10_i64).map(|day| {
        let draft = Draft::new(&key, &day.to_string(), Video::labelled("a"));
        draft.at(START_MS + day * DAY_MS).on("http://a.example/")
    });
    fill(store, &numbered(drafts)).await;
    roll_up(store).await;
    let scan = all(Selection::key(key));
    let before = figures(store, &scan).await;
    let Some((first, last)) = store.rollup_days().await.expect("known") else { return };
    let of = |ms| instant(ms).date_naive();
    assert_eq!((first, last), (of(START_MS), of(START_MS + 9 * DAY_MS)));
    for day in first.iter_days().take_while(|day| *day <= last) {
        assert!(store.check_rollups(day, true).await.expect("checked"), "{day}");
    }
    let next: NaiveDate = last.checked_add_days(Days::new(1)).expect("a day");
    assert!(store.check_rollups(next, true).await.expect("checked"), "nothing is nothing");
    assert_eq!(figures(store, &scan).await, before);
}
