//! Erasing sessions while others record, across instances, and again after a failure.

#![cfg(feature = "sqlite")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use metrics_core::arrival::Arrival;
use metrics_core::key::SessionId;
use metrics_core::query::Selection;
use metrics_core::store::{Error, Outcome, SessionWrite, Store, Subject, VideoScope};
use metrics_core::upkeep::{self, Erasure, count_selected, erase};
use metrics_core::{Join, Metrics, PlayerEvent, Video, Viewing};
use metrics_testing::{
    Backend, Call, Faults, Intercept, Intercepted, Method, WallClock, on_every_store,
};

use crate::fixture::Site;

impl Site {
    /// An instance that records into the database.
    async fn server(&self) -> Metrics {
        Metrics::builder(self.database.open().await).clock(self.clock.reader()).start()
    }

    fn joining(&self, session: &str, video: &str) -> Join {
        Join::new(self.key.clone(), session, Video::labelled(video)).page("https://a.example/p")
    }

    async fn loaded_view_ms(&self, session: &str) -> Option<u64> {
        let id = SessionId::new(&self.key, session);
        let loaded = upkeep::load(&*self.store, &[id]).await.unwrap().remove(0);
        loaded.map(|loaded| loaded.stored.view_ms)
    }
}

async fn play(viewing: &Viewing, clock: &WallClock, from: f64, seconds: f64) {
    viewing.apply(PlayerEvent::play(from)).await.unwrap();
    clock.pass(seconds);
    viewing.apply(PlayerEvent::pause(from + seconds)).await.unwrap();
}

on_every_store!(
    a_session_in_memory_does_not_come_back,
    a_recreated_session_is_not_the_one_in_memory,
    one_session_is_erased_by_its_id,
    an_erasure_that_fails_goes_on,
    an_id_that_another_instance_remembers_names_no_other_video,
    a_session_that_is_opened_again_meanwhile_is_erased,
    a_count_during_a_merge_counts_each_session_once,
    no_more_sessions_are_erased_than_the_limit,
    sessions_dated_ahead_are_erased_and_new_ones_are_not_chased,
);

/// No instance writes an erased session again, whether or not it holds the session; later plays form a new one.
async fn a_session_in_memory_does_not_come_back(backend: Backend) {
    let site = Site::new(backend).await;
    let (one, two) = (site.server().await, site.server().await);
    let paused = one.join(site.joining("paused", "intro")).await.unwrap();
    play(&paused, &site.clock, 0.0, 7.0).await;
    let playing = two.join(site.joining("playing", "intro")).await.unwrap();
    playing.apply(PlayerEvent::play(0.0)).await.unwrap();
    site.clock.pass(5.0);

    let erasure = Erasure::of(Selection::key(site.key.clone()));
    let erased = erase(&*site.store, &erasure).await.unwrap();
    assert_eq!((erased.sessions.sessions, erased.videos), (2, 1));

    site.clock.pass(5.0);
    // These events belong to the erased sessions.
    playing.apply(PlayerEvent::pause(10.0)).await.unwrap();
    paused.apply(PlayerEvent::new(metrics_core::Action::Seeked)).await.unwrap();
    assert_eq!(site.store.count_sessions().await.unwrap(), 0);
    // These events begin new sessions.
    play(&playing, &site.clock, 100.0, 3.0).await;
    play(&paused, &site.clock, 100.0, 2.0).await;
    assert_eq!(site.loaded_view_ms("playing").await, Some(3_000));
    assert_eq!(site.loaded_view_ms("paused").await, Some(2_000));
    let there = two.join(site.joining("paused", "intro")).await.unwrap();
    play(&there, &site.clock, 200.0, 1.0).await;
    assert_eq!(site.loaded_view_ms("paused").await, Some(3_000));
    drop((paused, playing, there));
    one.stop().await;
    two.stop().await;
}

/// An instance that still holds the erased session finds the new one with the same version.
async fn a_recreated_session_is_not_the_one_in_memory(backend: Backend) {
    let site = Site::new(backend).await;
    let (one, two) = (site.server().await, site.server().await);
    let here = one.join(site.joining("a", "intro")).await.unwrap();
    play(&here, &site.clock, 0.0, 7.0).await;
    erase(&*site.store, &Erasure::of(Selection::key(site.key.clone()))).await.unwrap();
    let there = two.join(site.joining("a", "intro")).await.unwrap();
    play(&there, &site.clock, 100.0, 2.0).await;

    play(&here, &site.clock, 200.0, 1.0).await;

    assert_eq!(site.loaded_view_ms("a").await, Some(3_000));
    let again = one.join(site.joining("a", "intro")).await.unwrap();
    play(&again, &site.clock, 300.0, 1.0).await;
    assert_eq!(site.loaded_view_ms("a").await, Some(4_000));
    drop((here, there, again));
    one.stop().await;
    two.stop().await;
}

async fn one_session_is_erased_by_its_id(backend: Backend) {
    let site = Site::new(backend).await;
    let metrics = site.server().await;
    for session in ["a", "b"] {
        let viewing = metrics.join(site.joining(session, "intro")).await.unwrap();
        play(&viewing, &site.clock, 0.0, 4.0).await;
        viewing.leave().durable().await.unwrap();
    }
    metrics.stop().await;
    let erasure = |session: &str| {
        Erasure::of(Selection::key(site.key.clone())).of_session(SessionId::new(&site.key, session))
    };
    assert_eq!(erase(&*site.store, &erasure("c")).await.unwrap().sessions.sessions, 0);
    for (session, is_closed) in [("a", false), ("b", true)] {
        if is_closed {
            upkeep::close(&*site.store, site.clock.now() + chrono::TimeDelta::days(1), 10)
                .await
                .unwrap();
        }
        assert_eq!(erase(&*site.store, &erasure(session)).await.unwrap().sessions.sessions, 1);
        assert_eq!(site.loaded_view_ms(session).await, None);
    }
    assert_eq!(site.store.count_sessions().await.unwrap(), 0);
}

/// After a failure of any call, the store is consistent, and the same erasure finishes.
async fn an_erasure_that_fails_goes_on(backend: Backend) {
    let site = Site::new(backend).await;
    let metrics = site.server().await;
    for number in 0..40 {
        let session = number.to_string();
        let video = format!("video {}", number % 5);
        let viewing = metrics.join(site.joining(&session, &video)).await.unwrap();
        play(&viewing, &site.clock, 0.0, 2.0).await;
        viewing.leave().durable().await.unwrap();
        if number % 4 == 0 {
            let quiet_since = site.clock.now() + chrono::TimeDelta::days(1);
            upkeep::close(&*site.store, quiet_since, 100).await.unwrap();
        }
    }
    metrics.stop().await;
    let faulty = Faults::default().failing(25).over(site.database.open().await);
    let erasure = Erasure::of(Selection {
        identifiers: Some((1..5).map(|number| format!("video {number}")).collect()),
        ..Selection::default()
    });
    let mut failures = 0;
    while erase(&faulty, &erasure).await.is_err() {
        failures += 1;
        let verified = upkeep::verify(&*site.store, |_| {}).await.unwrap();
        assert_eq!(verified.wrong, []);
        assert!(failures < 10_000);
    }
    assert!(0 < failures);
    assert_eq!(site.store.count_sessions().await.unwrap(), 8);
    let verified = upkeep::verify(&*site.store, |_| {}).await.unwrap();
    assert_eq!(verified.wrong, []);
    let mut snapshot = site.store.snapshot().await.unwrap();
    assert_eq!(snapshot.videos(&VideoScope::default(), None, 10).await.unwrap().len(), 1);
}

/// Instances cache the row ids of videos; one of them deletes a video, and adds others.
async fn an_id_that_another_instance_remembers_names_no_other_video(backend: Backend) {
    let site = Site::new(backend).await;
    let (one, two) = (site.database.open().await, site.database.open().await);
    commit(&*one, &site, "a", "intro").await;
    erase(&*two, &Erasure::of(Selection::default())).await.unwrap();
    commit(&*two, &site, "b", "outro").await;
    commit(&*one, &site, "c", "intro").await;
    commit(&*one, &site, "d", "outro").await;

    let mut export = metrics_core::export::Export::all();
    let mut found = Vec::new();
    while let Some(records) = export.next(&*site.store).await.unwrap() {
        found.extend(records.into_iter().map(|it| (it.id, it.subject.video)));
    }
    let id = |session| SessionId::new(&site.key, session).into();
    let mut expected =
        [("b", "outro"), ("c", "intro"), ("d", "outro")].map(|(s, v)| (id(s), Video::labelled(v)));
    expected.sort_by_key(|(id, _)| *id);
    found.sort_by_key(|(id, _)| *id);
    assert_eq!(found, expected);
}

/// Runs a task before each call of a store, with the call's number.
#[derive(Clone)]
struct BeforeEachCall {
    calls: Arc<AtomicUsize>,
    store: Arc<dyn Store>,
    before: Before,
}

type Before = Arc<dyn Fn(Method, usize, Arc<dyn Store>) -> Doing + Send + Sync>;
type Doing = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl std::fmt::Debug for BeforeEachCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meanwhile").finish_non_exhaustive()
    }
}

#[async_trait]
impl Intercept for BeforeEachCall {
    async fn intercept<T: Send + 'static>(
        &self,
        method: Method,
        call: Call<T>,
    ) -> Result<T, Error> {
        let number = self.calls.fetch_add(1, SeqCst);
        (self.before)(method, number, Arc::clone(&self.store)).await;
        call.await
    }
}

fn before_each_call(
    site: &Site,
    before: impl Fn(Method, usize, Arc<dyn Store>) -> Doing + Send + Sync + 'static,
) -> Intercepted<BeforeEachCall> {
    let store = Arc::clone(&site.store);
    let intercept = BeforeEachCall { calls: Arc::default(), store, before: Arc::new(before) };
    Intercepted::by(intercept, Arc::clone(&site.store))
}

/// Closes all sessions.
async fn close(store: &dyn Store) {
    upkeep::close(store, chrono::DateTime::<chrono::Utc>::MAX_UTC, 100).await.unwrap();
}

/// A session that moves from its block to a row, between any two calls of an erasure, is erased.
async fn a_session_that_is_opened_again_meanwhile_is_erased(backend: Backend) {
    let site = Site::new(backend).await;
    let id = SessionId::new(&site.key, "a");
    for at in 0..12 {
        commit(&*site.store, &site, "a", "intro").await;
        close(&*site.store).await;
        let store = before_each_call(&site, move |_, number, store| {
            Box::pin(async move {
                if number == at {
                    upkeep::load(&*store, &[id]).await.unwrap();
                }
            })
        });
        let erased = erase(&store, &Erasure::of(Selection::default())).await.unwrap();
        assert_eq!((erased.sessions.sessions, erased.is_cut), (1, false), "{at}");
        assert_eq!(site.store.count_sessions().await.unwrap(), 0, "{at}");
    }
}

/// A count uses one snapshot: a block that is merged meanwhile has another id, and is not counted again.
async fn a_count_during_a_merge_counts_each_session_once(backend: Backend) {
    let site = Site::new(backend).await;
    for number in 0..9 {
        commit(&*site.store, &site, &number.to_string(), "intro").await;
        close(&*site.store).await;
    }
    let video = site.store.snapshot().await.unwrap();
    let video = { video }.videos(&VideoScope::default(), None, 1).await.unwrap()[0].id;
    let store = before_each_call(&site, move |method, _, store| {
        Box::pin(async move {
            if method == Method::Read {
                upkeep::merge(&*store, vec![video]).await.unwrap();
            }
        })
    });
    let erasure = Erasure::of(Selection::key(site.key.clone()));
    let counted = count_selected(&store, &erasure).await.unwrap();
    assert_eq!((counted.sessions, counted.first_start_ms), (9, Some(site.clock.now_ms())));
}

/// The limit covers open and closed sessions, of one block or several.
async fn no_more_sessions_are_erased_than_the_limit(backend: Backend) {
    let site = Site::new(backend).await;
    for number in 0..12 {
        let video = if number < 6 { "intro" } else { "outro" };
        commit(&*site.store, &site, &number.to_string(), video).await;
        if number == 8 {
            close(&*site.store).await;
        }
    }
    let all = Erasure::of(Selection::key(site.key.clone()));
    for (at_most, deleted, is_cut, left) in
        [(0, 0, true, 12), (1, 1, true, 11), (4, 4, true, 7), (6, 6, true, 1), (1, 1, false, 0)]
    {
        let erased = erase(&*site.store, &all.clone().at_most(at_most)).await.unwrap();
        assert_eq!((erased.sessions.sessions, erased.is_cut), (deleted, is_cut));
        assert_eq!(site.store.count_sessions().await.unwrap(), left);
        assert_eq!(upkeep::verify(&*site.store, |_| {}).await.unwrap().wrong, []);
    }
}

/// Sessions that begin during an erasure do not keep it busy.
async fn sessions_dated_ahead_are_erased_and_new_ones_are_not_chased(backend: Backend) {
    let site = Arc::new(Site::new(backend).await);
    let now_ms = site.clock.now_ms();
    site.clock.pass(86_400.0 * 3_650.0);
    commit(&*site.store, &site, "ahead", "intro").await;
    site.clock.pass(-86_400.0 * 3_650.0);
    commit(&*site.store, &site, "now", "intro").await;
    site.clock.pass(10.0);
    let joining = Arc::clone(&site);
    let store = before_each_call(&site, move |method, number, store| {
        let site = Arc::clone(&joining);
        Box::pin(async move {
            if method == Method::Snapshot {
                commit(&*store, &site, &format!("new {number}"), "intro").await;
            }
        })
    });
    let erasure = Erasure::of(Selection::key(site.key.clone())).new_from(now_ms + 5_000);
    let erased = erase(&store, &erasure).await.unwrap();
    assert!((2..10).contains(&erased.sessions.sessions), "{erased:?}");
    let id = |session| SessionId::new(&site.key, session);
    let found = site.store.load(&[id("ahead"), id("now")]).await.unwrap();
    assert_eq!(found, [None, None]);
    assert!(0 < site.store.count_sessions().await.unwrap());
}

/// Commits the first write of a session, as the recorder does.
async fn commit(store: &dyn Store, site: &Site, session: &str, video: &str) {
    let at_ms = site.clock.now_ms();
    let stored = metrics_core::session::Stored::finished(
        at_ms,
        at_ms,
        None,
        &metrics_core::interval::Segments::default(),
    );
    let subject = Subject {
        key: site.key.clone(),
        video: Video::labelled(video),
        source: None,
        user_agent: metrics_core::user_agent::UserAgentClass::default(),
        session_data: None,
        arrival: Arrival::default(),
    };
    let write = SessionWrite {
        id: SessionId::new(&site.key, session),
        subject: Arc::new(subject),
        expected: 0,
        stored,
        watched_at: None,
    };
    for _ in 0..10 {
        if store.commit([write.clone()].into()).await.unwrap() == [Outcome::Written] {
            return;
        }
    }
    panic!("a first write conflicts for ever");
}
