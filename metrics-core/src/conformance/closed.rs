//! Closed sessions count in reports as open ones do, and can go on.

use chrono::{DateTime, Utc};

use super::draft::{
    Draft, START_MS, all, check_totals, close, commit, days, exported, fill, key, later, load,
    location, merge, numbered, numbers, open, play_totals, start, summaries, verify,
};
use super::older;
use super::sessions::{everything, nothing};
use crate::query::Selection;
use crate::store::{Instance, Location, Outcome, Rewrite, Store, Videos};
use crate::time::DAY_MS;
use crate::totals::{DayTotals, day_of};
use crate::upkeep::{self, WrongTotals};
use crate::video::Video;

/// A session whose last event is at the instant, or that has an open segment, stays open.
pub async fn only_quiet_sessions_are_closed(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name| Draft::new(&key, name, Video::labelled("a"));
    let watched = draft("watched").open_at(Instance(1));
    let quiet = draft("quiet").expecting(1);
    fill(store, &[draft("quiet").open_at(Instance(1)), watched.clone()]).await;
    fill(store, std::slice::from_ref(&quiet)).await;
    load(store, quiet.id).await;

    let close = async |quiet_since: DateTime<Utc>| {
        let (videos, closed) = upkeep::close(store, quiet_since, 10).await.expect("closed");
        assert_eq!(videos.len() as u64, closed);
        closed
    };
    assert_eq!(close(start()).await, 0, "its last event is at that instant");
    assert_eq!(close(later(1)).await, 1, "one is watched");
    assert_eq!(close(later(1)).await, 0);

    assert!(matches!(location(store, watched.id).await, Some(Location::Open(_))));
    assert!(matches!(location(store, quiet.id).await, Some(Location::Closed { .. })));
    assert_eq!(play_totals(store, &all(Selection::key(key))).await.plays, 2);
    check_totals(store).await;
}

/// `quiet` lists sessions whose last event is before the instant, up to the limit.
pub async fn quiet_sessions_are_listed_some_at_a_time(store: &dyn Store) {
    let key = key(store).await;
    let mut drafts = Vec::new();
    for number in 0..10_i64 {
        let mut draft = Draft::new(&key, &number.to_string(), Video::labelled("a"));
        draft.stored.last_event_at_ms = START_MS + number;
        drafts.push(draft.open_at(Instance(1)));
    }
    fill(store, &drafts).await;
    assert_eq!(store.quiet(later(100), 10).await.expect("listed"), [], "all are watched");
    let paused = drafts.into_iter().map(|draft| Draft { watched_at: None, ..draft.expecting(1) });
    for draft in paused.rev() {
        fill(store, &[draft]).await;
    }
    for session in exported(store, 100).await {
        assert_eq!(session.stored.view_ms, 10_000);
    }
    let ids: Vec<_> =
        (0..10_i64).map(|number| super::draft::id(&key, &number.to_string())).collect();
    upkeep::load(store, &ids).await.expect("loaded");

    let all = store.quiet(later(5), 10).await.expect("listed");
    let versions = all.iter().map(|session| (session.id, session.version));
    let mut versions: Vec<_> = versions.collect();
    versions.sort_unstable();
    let mut expected: Vec<_> = ids[..5].iter().map(|id| (*id, 2)).collect();
    expected.sort_unstable();
    assert_eq!(versions, expected);
    assert_eq!(store.quiet(later(100), 3).await.expect("listed").len(), 3);

    let mut closed = Vec::new();
    while closed.last() != Some(&0) {
        closed.push(upkeep::close(store, later(100), 4).await.expect("closed").1);
        assert_eq!(exported(store, 3).await.len(), 10);
        check_totals(store).await;
    }
    assert_eq!(closed, [4, 4, 2, 0]);
}

/// Every field of a session survives closing and reopening.
pub async fn a_reopened_session_is_unchanged(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name: &str| Draft::new(&key, name, Video::labelled("a")).on("http://a.example/");
    let full = Draft { stored: everything(), ..draft("full") };
    let empty = Draft { stored: nothing(), ..draft("empty") };
    let neighbours = (0..20_i64).map(|number| draft(&number.to_string()).at(START_MS + number));
    fill(store, &[full.clone(), empty.clone()]).await;
    fill(store, &neighbours.collect::<Vec<_>>()).await;
    for turn in 0..3 {
        close(store).await;
        for draft in [&full, &empty] {
            let Some(Location::Closed { started_at_ms, resume, .. }) =
                location(store, draft.id).await
            else {
                panic!("it is closed");
            };
            assert_eq!(
                (started_at_ms, resume),
                (draft.stored.started_at_ms, draft.stored.resume.clone())
            );
            let before = open(store).await.len();
            assert_eq!(load(store, draft.id).await, Some(draft.loaded(1)), "{turn}");
            assert_eq!(open(store).await.len(), before + 1);
            check_totals(store).await;
            assert_eq!(load(store, draft.id).await, Some(draft.loaded(1)), "it is open");
        }
        assert_eq!(store.count_sessions().await.expect("counted"), 22);
        assert_eq!(exported(store, 100).await.len(), 22);
    }
}

/// First writes and updates of a closed session conflict: the store keeps its id, and requires that it is opened first.
pub async fn a_closed_session_is_not_written(store: &dyn Store) {
    let key = key(store).await;
    let draft = Draft::new(&key, "a", Video::labelled("a"));
    fill(store, std::slice::from_ref(&draft)).await;
    close(store).await;
    for (expected, start_ms) in [(0, 0), (0, 1), (1, 0), (2, 0)] {
        let write = draft.clone().at(START_MS + start_ms).expecting(expected).write();
        let outcomes = store.commit([write].into()).await.expect("stored");
        assert_eq!(outcomes, [Outcome::Conflict], "{expected} is expected");
    }
    let other = Draft::new(&key, "b", Video::labelled("a"));
    let batch = [draft.expecting(1), other].map(|draft| draft.write());
    let outcomes = store.commit(batch.into()).await.expect("stored");
    assert_eq!(outcomes, [Outcome::Conflict, Outcome::Written]);
    assert_eq!(store.count_sessions().await.expect("counted"), 2);
    check_totals(store).await;
}

/// A session that was closed and opened several times counts as written last.
pub async fn a_session_that_changes_is_counted_as_it_is(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name: &str| Draft::new(&key, name, Video::labelled("a")).on("http://a.example/");
    let (one, two) = (draft("one"), draft("two"));
    fill(store, &numbered([one.clone(), two])).await;
    let scan = all(Selection::key(key.clone()));
    for version in 1..6 {
        close(store).await;
        let longer = one.clone().played(&[(0, 4 << version)]).expecting(version);
        fill(store, std::slice::from_ref(&longer)).await;
        assert_eq!(numbers(&play_totals(store, &scan).await), [1, 2 + version]);
        // A first write that is too late removes nothing from the totals.
        assert_eq!(commit(store, std::slice::from_ref(&one)).await, [Outcome::Conflict]);
        check_totals(store).await;
    }
    let sources = older::sources(store, &scan, days()).await.expect("summed");
    assert_eq!(sources.iter().map(|bucket| bucket.plays).sum::<u64>(), 2);
}

/// Merging keeps all sessions, in few blocks.
pub async fn merged_blocks_hold_the_same_sessions(store: &dyn Store) {
    let key = key(store).await;
    let mut drafts = Vec::new();
    for number in 0..100_i64 {
        let label = if number % 10 == 0 { "few" } else { "many" };
        let draft = Draft::new(&key, &number.to_string(), Video::labelled(label));
        drafts.push(draft.at(START_MS + 10_000_000 * (number * 7 % 100)).played(&[(0, 100)]));
        fill(store, &drafts[drafts.len() - 1..]).await;
        close(store).await;
    }
    let records = exported(store, 1_000).await;
    let sums = play_totals(store, &all(Selection::default())).await;

    merge(store).await;

    let summaries = summaries(store, &Videos::All).await;
    assert!(summaries.len() < 28, "{} blocks", summaries.len());
    assert_eq!(summaries.iter().map(|summary| summary.sessions).sum::<u32>(), 100);
    assert!(summaries.iter().all(|summary| summary.first_start_ms <= summary.last_start_ms));
    assert_eq!(exported(store, 1_000).await, records);
    assert_eq!(play_totals(store, &all(Selection::default())).await, sums);
    for draft in &drafts {
        assert_eq!(load(store, draft.id).await, Some(draft.loaded(1)));
    }
    check_totals(store).await;
}

/// Verification finds and corrects the days whose totals are wrong, and no others.
pub async fn wrong_totals_are_corrected(store: &dyn Store) {
    let key = key(store).await;
    let drafts = (0..10_i64).map(|day| {
        let draft = Draft::new(&key, &day.to_string(), Video::labelled("a"));
        draft.at(START_MS + day * DAY_MS)
    });
    fill(store, &numbered(drafts)).await;
    close(store).await;
    let scan = all(Selection::key(key.clone()));
    let before = play_totals(store, &scan).await;
    assert_eq!(verify(store, true).await, []);
    let Some(summary) = summaries(store, &Videos::All).await.pop() else {
        panic!("there is a block")
    };

    let mut totals = DayTotals::default();
    totals.add(
        START_MS + 3 * DAY_MS,
        crate::user_agent::UserAgentClass::default(),
        (1 << 20, 7),
        1,
    );
    let day = day_of(START_MS) + 3;
    let unused_day = day_of(START_MS) + 20;
    let totals = [day, unused_day].map(|day| (summary.key, day, totals.clone())).to_vec();
    let rewrite = Rewrite { totals, ..Rewrite::default() };
    assert_eq!(store.rewrite(rewrite).await.expect("stored"), Outcome::Written);

    let wrong = [day, unused_day].map(|day| WrongTotals { key: key.clone(), day });
    assert_ne!(play_totals(store, &scan).await, before);
    assert_eq!(verify(store, false).await, wrong);
    assert_eq!(verify(store, true).await, wrong);
    assert_eq!(verify(store, true).await, []);
    assert_eq!(play_totals(store, &scan).await, before);
}
