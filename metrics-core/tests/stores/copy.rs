//! Copies of complete databases, from any store to any other.

#![cfg(feature = "sqlite")]

mod sessions;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use metrics_core::copy::{Copied, CopyError, copy};
use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::store::{RevokedToken, RowId, SessionWrite, Store, Subject};
use metrics_core::upkeep;
use metrics_core::user_agent::{Browser, UserAgentClass};
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Source, Video};
use metrics_testing::{Backend, Database, Intercepted, WallClock, on_every_store};
use tokio::sync::Notify;
use tokio::time::Instant;

use sessions::{DAY_MS, START_MS, commit, contents, fill, fill_keys, young_ms};
use ways::{FailsAfter, Flaky, TooLong};

/// An empty database of the first store, and of the second.
async fn databases(from: Backend, to: Backend) -> [(Arc<dyn Store>, Database); 2] {
    let (from, to) = (Database::new(from).await, Database::new(to).await);
    [(from.open().await, from), (to.open().await, to)]
}

async fn files() -> [(Arc<dyn Store>, Database); 2] {
    databases(Backend::Sqlite, Backend::Sqlite).await
}

fn intercepted<W>(store: &Arc<dyn Store>, intercept: W) -> Intercepted<W> {
    Intercepted { store: Arc::clone(store), intercept }
}

/// The result of a copy with these counts.
fn copied(keys: u64, sessions: u64, already_there: u64) -> Copied {
    let mut copied = Copied::default();
    (copied.keys, copied.sessions, copied.already_there) = (keys, sessions, already_there);
    copied
}

/// Copies, and expects both stores to have the same contents.
async fn check(from: &dyn Store, to: &dyn Store) -> Copied {
    let copied = copy(from, to, |_| {}).await.unwrap();
    let (expected, there) = (contents(from).await, contents(to).await);
    assert_eq!(there.keys, expected.keys);
    assert_eq!(there.records.len(), expected.records.len());
    for (record, expected) in there.records.iter().zip(&expected.records) {
        assert_eq!(record, expected);
    }
    assert_eq!(there.states, expected.states);
    assert_eq!(copied.sessions + copied.already_there, expected.records.len() as u64);
    assert_eq!(upkeep::verify(to, |_| {}).await.unwrap().wrong, []);
    copied
}

async fn refusal(from: &dyn Store, to: &dyn Store) -> CopyError {
    copy(from, to, |_| {}).await.expect_err("it must not succeed")
}

on_every_store!(
    everything_is_copied_there_and_back,
    a_copy_that_was_interrupted_goes_on,
    a_session_goes_on_in_the_copy,
);

async fn everything_is_copied_there_and_back(backend: Backend) {
    let [(from, _from), (there, _there)] = databases(Backend::Sqlite, backend).await;
    fill(&*from, 2_500).await;
    let all = copied(4, 2_500, 0);
    assert_eq!(check(&*from, &*there).await, all);
    let back = Database::new(Backend::Sqlite).await;
    let back = back.open().await;
    assert_eq!(check(&*there, &*back).await, all);
    assert_eq!(contents(&*back).await, contents(&*from).await);
    // A second copy changes nothing.
    let nothing = copied(0, 0, 2_500);
    assert_eq!(check(&*from, &*there).await, nothing);
}

async fn a_copy_that_was_interrupted_goes_on(backend: Backend) {
    let [(from, _from), (to, _to)] = databases(Backend::Sqlite, backend).await;
    fill(&*from, 3_500).await;
    for most in [0, 1_000, 2_000] {
        let enough = Notify::new();
        let copying = copy(&*from, &*to, |progress| {
            if most <= progress.sessions_done {
                enough.notify_one();
            }
        });
        tokio::select! {
            biased;
            () = enough.notified() => {}
            copied = copying => panic!("it was not interrupted: {copied:?}"),
        }
    }
    assert!(2_000 <= check(&*from, &*to).await.already_there);
}

#[tokio::test]
async fn an_empty_database_is_copied() {
    let [(from, _from), (to, _to)] = files().await;
    assert_eq!(check(&*from, &*to).await, Copied::default());
    fill_keys(&*from).await;
    assert_eq!(check(&*from, &*to).await, copied(4, 0, 0));
}

#[tokio::test]
async fn progress_goes_up_to_all() {
    let [(from, _from), (to, _to)] = files().await;
    fill(&*from, 2_500).await;
    let mut seen = Vec::new();
    let note = |progress: &metrics_core::copy::Progress| {
        assert_eq!(progress.sessions_total, 2_500);
        seen.push(progress.sessions_done);
    };
    copy(&*from, &*to, note).await.unwrap();
    assert!(seen.is_sorted() && 3 < seen.len(), "{seen:?}");
    assert_eq!((seen[0], seen.last()), (0, Some(&2_500)));
}

#[tokio::test]
async fn a_copy_may_run_on_any_thread() {
    let [(from, _from), (to, _to)] = files().await;
    fill(&*from, 10).await;
    let copying = async move { copy(&*from, &*to, |_| {}).await };
    assert_eq!(tokio::spawn(copying).await.unwrap().unwrap().sessions, 10);
}

#[tokio::test(start_paused = true)]
async fn stores_may_be_unavailable_for_a_while() {
    let [(from, _from), (to, _to)] = files().await;
    fill(&*from, 2_500).await;
    let (flaky_from, flaky_to) =
        (intercepted(&from, Flaky::default()), intercepted(&to, Flaky::default()));
    let copied = copy(&flaky_from, &flaky_to, |_| {}).await.unwrap();
    // A call whose result was lost may have written sessions, which the next call finds.
    assert!(0 < copied.already_there, "{copied:?}");
    assert_eq!(contents(&*to).await, contents(&*from).await);
}

#[tokio::test(start_paused = true)]
async fn a_copy_with_an_unavailable_store_stops_and_goes_on_later() {
    let [(from, _from), (to, _to)] = files().await;
    fill(&*from, 3_000).await;
    for calls in [0, 1, 5, 9, 40] {
        for (from_calls, to_calls) in [(calls, usize::MAX), (usize::MAX, calls)] {
            let (from, to) = (
                intercepted(&from, FailsAfter::unavailable_after(from_calls)),
                intercepted(&to, FailsAfter::unavailable_after(to_calls)),
            );
            let began = Instant::now();
            match refusal(&from, &to).await {
                CopyError::Read(err) => assert!(from_calls == calls && err.is_retryable()),
                CopyError::Write(err) => assert!(to_calls == calls && err.is_retryable()),
                other => panic!("{other:?}"),
            }
            assert_eq!(began.elapsed(), Duration::from_secs(30));
        }
    }
    assert!(1_000 <= check(&*from, &*to).await.already_there);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_gets_no_second_request() {
    let [(from, _from), (to, _to)] = files().await;
    fill(&*from, 10).await;
    let began = Instant::now();
    let broken = intercepted(&to, FailsAfter::refusing_after(3));
    let err = refusal(&*from, &broken).await;
    assert!(matches!(err, CopyError::Write(_)), "{err:?}");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_comparison_that_takes_too_long_is_made_in_parts() {
    let [(from, _from), (to, _to)] = files().await;
    fill(&*from, 500).await;
    let slow = intercepted(&to, TooLong::first(5));
    assert_eq!(copy(&*from, &slow, |_| {}).await.unwrap().sessions, 500);
    // The comparison of a single day cannot be divided.
    let slow = intercepted(&to, TooLong::first(usize::MAX));
    let err = refusal(&*from, &slow).await;
    assert!(matches!(err, CopyError::Write(_)), "{err:?}");
}

#[tokio::test]
async fn a_session_that_is_another_in_the_target_is_left_alone() {
    let [(from, _from), (to, _to)] = files().await;
    let writes = fill(&*from, 2_000).await;
    fill_keys(&*to).await;
    let others: Vec<_> = [3, 1_700]
        .map(|number: usize| {
            let mut other = writes[number].clone();
            other.stored.view_ms += 1;
            other
        })
        .into();
    commit(&*to, &others).await;
    let err = refusal(&*from, &*to).await;
    assert!(
        matches!(err, CopyError::Differ { sessions: 2, first }
            if others.iter().any(|other| RowId::from(other.id) == first)),
        "{err:?}"
    );
    for other in others {
        let there = upkeep::load(&*to, &[other.id]).await.unwrap().remove(0).unwrap();
        assert_eq!(there.stored, other.stored);
    }
    // All other sessions are there.
    assert_eq!(to.count_sessions().await.unwrap(), 2_000);
}

/// Puts an open session into the target that is equal except for its subject.
async fn check_subject(change: impl Fn(&mut Subject), expected: &str) {
    let [(from, _from), (to, _to)] = files().await;
    let writes = fill(&*from, 100).await;
    fill_keys(&*to).await;
    let one = writes[50..].iter().find(|write| write.subject.source.is_some()).unwrap();
    let mut subject = (*one.subject).clone();
    change(&mut subject);
    commit(&*to, &[SessionWrite { subject: Arc::new(subject), ..one.clone() }]).await;
    let err = refusal(&*from, &*to).await;
    let CopyError::Unequal { ref name, .. } = err else { panic!("{err:?}") };
    let day = instant(one.stored.started_at_ms).date_naive();
    assert!(name.starts_with(expected) && name.ends_with(&day.to_string()), "{err}");
}

#[tokio::test]
async fn classes_and_pages_are_compared() {
    let browser = |subject: &mut Subject| {
        let UserAgentClass { browser, .. } = &mut subject.user_agent;
        *browser = if *browser == Browser::Firefox { Browser::Chrome } else { Browser::Firefox };
    };
    check_subject(browser, "browser ").await;
    let page = |subject: &mut Subject| subject.source = Source::parse("http://other.example/");
    check_subject(page, "plays on http://").await;
    check_subject(|subject| subject.source = None, "plays on http://").await;
}

#[tokio::test]
async fn a_database_in_use_is_no_target() {
    let [(from, _from), (to, _to)] = files().await;
    fill(&*from, 10).await;
    fill(&*to, 20).await;
    let before = contents(&*to).await;
    // Half of the target's sessions are the same.
    let err = refusal(&*from, &*to).await;
    assert!(matches!(err, CopyError::Occupied), "{err:?}");
    assert_eq!(contents(&*to).await, before);
}

#[tokio::test]
async fn a_session_that_only_the_target_has_is_found_at_the_end() {
    let [(from, _from), (to, _to)] = files().await;
    let writes = fill(&*from, 1_500).await;
    assert_eq!(check(&*from, &*to).await.sessions, 1_500);
    // The session is of the last video, which is compared only at the end.
    let last = Subject { video: Video::labelled("new"), ..(*writes[0].subject).clone() };
    let id = SessionId::new(&last.key, "new");
    commit(&*to, &[SessionWrite { id, subject: Arc::new(last), ..writes[0].clone() }]).await;
    let err = refusal(&*from, &*to).await;
    assert_eq!(
        err.to_string(),
        "the copy differs: sessions: 1500 became 1501; stop all servers on both databases, and copy into an empty \
         database"
    );
}

#[tokio::test]
async fn keys_that_are_there_already_keep_their_age_and_are_revoked_where_they_must_be() {
    let [(from, _from), (to, _to)] = files().await;
    let keys = fill_keys(&*from).await;
    for key in &keys {
        assert!(to.create_key(key, instant(START_MS + 1)).await.unwrap());
    }
    let own = ApiKey::generate();
    assert!(to.create_key(&own, instant(START_MS + 2)).await.unwrap());

    assert_eq!(copy(&*from, &*to, |_| {}).await.unwrap(), Copied::default());

    let there = to.keys().await.unwrap();
    assert!(there.iter().all(|record| instant(START_MS) < record.created_at));
    let revoked: Vec<_> = there.iter().filter_map(|record| record.disabled_at).collect();
    assert_eq!(revoked, [instant(START_MS - 5)]);
}

#[tokio::test]
async fn a_valid_key_is_not_lost_to_one_that_is_revoked() {
    let [(from, _from), (to, _to)] = files().await;
    let writes = fill(&*from, 10).await;
    let valid = ApiKey::new("three").unwrap();
    assert!(to.create_key(&valid, instant(START_MS)).await.unwrap());
    assert!(to.revoke_key(&valid, instant(START_MS + DAY_MS)).await.unwrap());
    let err = refusal(&*from, &*to).await;
    assert!(matches!(err, CopyError::Revoked { keys: 1 }), "{err:?}");
    assert_eq!(to.load(&[writes[0].id]).await.unwrap(), [None]);
}

#[tokio::test]
async fn a_token_that_is_revoked_stays_so_in_the_copy() {
    let [(from, _from), (to, _to)] = files().await;
    let token = |id: &str, until_ms| RevokedToken { id: id.to_owned(), until: instant(until_ms) };
    let revoke = async |store: &Arc<dyn Store>, token: &RevokedToken| {
        store.revoke_token(token, instant(START_MS)).await.unwrap();
    };
    revoke(&from, &token("a", START_MS + 1)).await;
    revoke(&from, &token("b", START_MS + 2)).await;
    revoke(&to, &token("b", START_MS + 3)).await;
    // A copy may be repeated.
    for _ in 0..2 {
        assert_eq!(copy(&*from, &*to, |_| {}).await.unwrap(), Copied::default());
        let there = to.revoked_tokens(None).await.unwrap();
        assert_eq!(there, [token("a", START_MS + 1), token("b", START_MS + 3)]);
    }
}

async fn a_session_goes_on_in_the_copy(backend: Backend) {
    let [(from, _from), (to, _to)] = databases(Backend::Sqlite, backend).await;
    let start_ms = young_ms();
    let clock = WallClock::at(start_ms);
    let server =
        |store: &Arc<dyn Store>| Metrics::builder(Arc::clone(store)).clock(clock.reader()).start();
    let old = server(&from);
    let key = old.create_key().await.unwrap();
    let join = || Join::new(key.clone(), "a", Video::labelled("intro"));
    let viewing = old.join(join()).await.unwrap();
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    clock.pass(10.0);
    drop(viewing);
    old.stop().await;

    check(&*from, &*to).await;

    let new = server(&to);
    let viewing = new.join(join()).await.unwrap();
    clock.pass(5.0);
    viewing.apply(PlayerEvent::pause(15.0)).await.unwrap();
    let id = SessionId::new(&key, "a");
    let stored = upkeep::load(&*to, &[id]).await.unwrap().remove(0).unwrap().stored;
    assert_eq!((stored.started_at_ms, stored.view_ms), (start_ms, 15_000));
    assert_eq!(to.count_sessions().await.unwrap(), 1);
}
