//! Sessions that cannot go on any more are what they were in every answer, and nothing else.

use chrono::{DateTime, TimeDelta, Utc};

use super::draft::{
    Draft, START_MS, all, commit, days, exported, figures, fill, key, later, load, numbered,
    numbers, start,
};
use super::rolling_up::roll_up;
use super::rollups::are_right;
use crate::key::SessionId;
use crate::query::Selection;
use crate::store::{Instance, Lookup, Outcome, Record, Store};
use crate::video::Video;

async fn settle(store: &dyn Store, silent_since: DateTime<Utc>) -> u64 {
    let mut settled = 0;
    loop {
        match store.settle(silent_since, 3).await.expect("settled") {
            0 => return settled,
            some => {
                assert!(some <= 3, "3 were asked for");
                settled += some;
            }
        }
    }
}

/// Rolls up and settles all that can be.
async fn settle_all(store: &dyn Store) -> u64 {
    roll_up(store).await;
    settle(store, DateTime::<Utc>::MAX_UTC).await
}

async fn is_live(store: &dyn Store, id: SessionId) -> bool {
    load(store, id).await.is_some()
}

fn told(records: Vec<Record>) -> Vec<Record> {
    let settled = |record: Record| Record { stored: record.stored.settled(), ..record };
    records.into_iter().map(settled).collect()
}

/// Reports, counts and pages say what they said before.
pub async fn a_settled_session_stays_in_every_answer(store: &dyn Store) {
    let key = key(store).await;
    let drafts = (0..8_i64).map(|number| {
        let label = format!("video {}", number % 3);
        let draft = Draft::new(&key, &number.to_string(), Video::labelled(label));
        draft.at(START_MS - number * 50_000_000).on("http://a.example/")
    });
    let drafts = numbered(drafts);
    fill(store, &drafts).await;
    let scan = all(Selection::key(key.clone()));
    let sums = figures(store, &scan).await;
    let records = told(exported(store, 3).await);

    let settled = settle_all(store).await;

    assert!([0, 8].contains(&settled), "all or none: {settled}");
    assert_eq!(figures(store, &scan).await, sums);
    assert_eq!(store.count_sessions().await.expect("counted"), 8);
    assert_eq!(told(exported(store, 3).await), records);
    let sources = store.sources(&scan, days()).await.expect("summed");
    assert_eq!(sources.iter().map(|cell| cell.plays).sum::<u64>(), 8);
    assert_eq!(store.parts(&scan, 1).await.expect("counted").finish()[0].viewers, 8);
    assert!(are_right(store).await);
    for draft in &drafts {
        assert_eq!(is_live(store, draft.id).await, settled == 0);
    }
}

/// Who was heard of, who watches, and who is not in the sums yet can go on.
pub async fn only_what_was_silent_for_long_is_settled(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name: &str| Draft::new(&key, name, Video::labelled("a"));
    let mut heard = draft("heard");
    heard.stored.last_event_at_ms = later(10_000).timestamp_millis();
    let drafts = [heard, draft("watched").open_at(Instance(1)), draft("silent")];
    fill(store, &drafts).await;
    roll_up(store).await;
    fill(store, &[draft("loose").open_at(Instance(1))]).await;

    let settled = settle(store, later(10_000)).await;

    for draft in &drafts[..2] {
        assert!(is_live(store, draft.id).await);
    }
    assert!(is_live(store, SessionId::new(&key, "loose")).await);
    assert_eq!(is_live(store, drafts[2].id).await, settled == 0);
    assert!(settled <= 1);
    assert_eq!(settle(store, later(10_000)).await, 0);
}

/// Live or settled, and by all that it is found by.
pub async fn sessions_of_any_age_are_found(store: &dyn Store) {
    let (key, other) = (key(store).await, key(store).await);
    let settled = Draft::new(&key, "settled", Video::labelled("a"));
    let live = Draft::new(&key, "live", Video::labelled("b")).played(&[(5, 9)]);
    fill(store, std::slice::from_ref(&settled)).await;
    settle_all(store).await;
    fill(store, std::slice::from_ref(&live)).await;

    let of = |draft: &Draft| draft.record().lookup();
    let there = [of(&live), of(&settled)];
    let found = store.find(&there).await.expect("found");
    let found: Vec<_> = found.into_iter().map(|it| it.map(|it| it.settled())).collect();
    assert_eq!(found, [live.stored.settled(), settled.stored.settled()].map(Some));
    let strange = Lookup { id: SessionId::new(&other, "settled"), ..there[1].clone() };
    assert_eq!(store.find(&[strange]).await.expect("found"), [None]);
    assert_eq!(store.find(&[]).await.expect("found"), []);
}

/// It is the same session, which is there already.
pub async fn a_settled_session_is_not_begun_at_the_same_start(store: &dyn Store) {
    let key = key(store).await;
    let draft = Draft::new(&key, "a", Video::labelled("a"));
    fill(store, std::slice::from_ref(&draft)).await;
    let settled = settle_all(store).await;
    let again = draft.clone().played(&[(0, 1)]);
    assert_eq!(commit(store, std::slice::from_ref(&again)).await, [Outcome::Conflict]);
    if 0 < settled {
        assert_eq!(commit(store, &[again.expecting(1)]).await, [Outcome::Conflict]);
    }
    // Neither is the rest of such a batch held up.
    let beside = Draft::new(&key, "b", Video::labelled("a"));
    assert_eq!(
        commit(store, &[draft.clone(), beside]).await,
        [Outcome::Conflict, Outcome::Written]
    );
    assert_eq!(store.count_sessions().await.expect("counted"), 2);
    assert!(are_right(store).await);
}

/// There are two sessions of the id then, and each counts where it started.
pub async fn who_comes_back_to_a_settled_session_begins_another(store: &dyn Store) {
    let key = key(store).await;
    let draft = |at| Draft::new(&key, "a", Video::labelled("a")).at(at);
    let first = draft(START_MS - TimeDelta::days(60).num_milliseconds());
    let second = draft(START_MS).played(&[(0, 4)]);
    fill(store, std::slice::from_ref(&first)).await;
    if settle_all(store).await == 0 {
        // One that can always go on.
        assert_eq!(commit(store, &[second]).await, [Outcome::Conflict]);
        return;
    }
    fill(store, std::slice::from_ref(&second)).await;
    assert_eq!(load(store, first.id).await.map(|it| it.stored), Some(second.stored.clone()));
    let scan = all(Selection::key(key.clone()));
    for _ in 0..2 {
        let sums = figures(store, &scan).await;
        assert_eq!((sums.plays, sums.view_ms), (2, 10_004));
        assert_eq!(exported(store, 1).await.len(), 2);
        assert!(are_right(store).await);
        settle_all(store).await;
    }
    let [found_first, found_second] = [&first, &second].map(|draft| draft.record().lookup());
    let found = store.find(&[found_second, found_first]).await.expect("found");
    let lengths: Vec<_> = found.iter().flatten().map(|stored| stored.view_ms).collect();
    assert_eq!(lengths, [4, 10_000]);
    store.forget(start() - TimeDelta::days(30)).await.expect("deleted");
    assert_eq!(numbers(&figures(store, &scan).await), [2]);
}

/// Also if sessions go on after they were rolled up, and are settled after that.
pub async fn sessions_are_settled_as_they_were_written_last(store: &dyn Store) {
    let key = key(store).await;
    let draft = Draft::new(&key, "a", Video::labelled("a"));
    fill(store, &[draft.clone().played(&[(0, 1)])]).await;
    roll_up(store).await;
    fill(store, &[draft.clone().played(&[(0, 2)]).expecting(1)]).await;
    settle_all(store).await;
    let found = store.find(&[draft.record().lookup()]).await.expect("found");
    assert_eq!(found[0].as_ref().map(|it| it.view_ms), Some(2));
    assert_eq!(numbers(&figures(store, &all(Selection::key(key))).await), [1]);
    assert!(are_right(store).await);
}
