//! Sessions are written atomically, and loaded as they were written.

use serde_json::json;

use super::draft::{
    Draft, START_MS, all, commit, days, described, fill, key, later, load, numbered, object,
    play_totals, selected,
};
use super::join_all;
use super::older;
use crate::event::{DURATION_MS_MAX, Rendition};
use crate::interval::{Interval, Segments};
use crate::key::{ApiKey, SessionId};
use crate::query::Selection;
use crate::session::{Counters, Details, MINUTE_MS, Minutes, RUNS_MAX, SEGMENTS_MAX, Stored};
use crate::store::{Instance, Outcome, Store};
use crate::upkeep;
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::video::Video;

fn segments(ranges: impl IntoIterator<Item = (u32, u32)>) -> Segments {
    ranges.into_iter().filter_map(|(from, to)| Interval::new(from, to)).collect()
}

/// Runs of minutes of a session that started at [`START_MS`].
fn minutes(runs: impl IntoIterator<Item = (i64, i64)>) -> Minutes {
    let mut minutes = Minutes::default();
    for (from, until) in runs {
        minutes.insert(START_MS, START_MS + from * MINUTE_MS, START_MS + until * MINUTE_MS);
    }
    minutes
}

/// A session with a value in every field.
pub(super) fn everything() -> Stored {
    Stored {
        started_at_ms: START_MS,
        last_event_at_ms: START_MS + 61_007,
        duration_ms: Some(60_100),
        view_ms: 12_345,
        unique_ms: 11_111,
        segments: segments([(0, 11_111), (7_000, 8_234)]).encode(),
        minutes: minutes([(0, 1), (3, 70)]),
        counters: Counters {
            rebufferings: 3,
            rebuffering_ms: 4_567,
            failures: 2,
            startup_ms: Some(0),
            details: Details {
                seeks: 1,
                fullscreens: 2,
                tracks: 3,
                language: Some("zh-Hant-TW \u{1f600} '\"\\".to_owned()),
                renditions: 4,
                rendition: Some(Rendition {
                    width: Some(1_920),
                    height: None,
                    bitrate: Some(u32::MAX),
                    codec: Some("avc1.640028,mp4a.40.2".to_owned()),
                }),
                clamped: 8,
                seek_waits: 9,
                seek_wait_ms: 10,
                scrubbed_ms: 1_300,
                unplaced_ms: 11,
                others: u32::MAX,
            },
        },
        resume: vec![0, 255, 39, 0],
    }
}

/// A session with no value in any field.
pub(super) fn nothing() -> Stored {
    Stored {
        started_at_ms: 0,
        last_event_at_ms: 0,
        duration_ms: None,
        view_ms: 0,
        unique_ms: 0,
        segments: Vec::new(),
        minutes: Minutes::default(),
        counters: Counters::default(),
        resume: Vec::new(),
    }
}

async fn check_round_trip(store: &dyn Store, stored: Stored) {
    let key = key(store).await;
    let draft = Draft { stored, ..Draft::new(&key, "a", Video::labelled("intro")) };
    fill(store, std::slice::from_ref(&draft)).await;
    let expected = draft.loaded(1);
    assert_eq!(load(store, draft.id).await, Some(expected));
}

/// Every field is loaded.
pub async fn a_session_is_loaded_as_it_was_committed(store: &dyn Store) {
    check_round_trip(store, everything()).await;
}

/// Unknown fields stay unknown, and do not become 0.
pub async fn a_session_that_has_nothing_is_loaded_as_it_was_committed(store: &dyn Store) {
    check_round_trip(store, nothing()).await;
}

/// Every field of a store holds the largest value of a session.
pub async fn the_largest_session_is_loaded_as_it_was_committed(store: &dyn Store) {
    let many = (0..SEGMENTS_MAX as u32).map(|start_ms| (start_ms, DURATION_MS_MAX));
    let many = segments(many);
    let largest = Stored {
        last_event_at_ms: START_MS + i64::from(u32::MAX),
        duration_ms: Some(DURATION_MS_MAX),
        view_ms: many.len_ms(),
        unique_ms: u64::from(DURATION_MS_MAX),
        segments: many.encode(),
        minutes: minutes((0..RUNS_MAX as i64).map(|run| (22 * run, 22 * run + 11))),
        counters: Counters {
            rebufferings: u32::MAX,
            rebuffering_ms: u64::from(u32::MAX) * u64::from(u32::MAX) / 2,
            failures: u32::MAX,
            startup_ms: Some(u32::MAX),
            details: Details {
                seeks: u32::MAX,
                language: Some(String::new()),
                ..Details::default()
            },
        },
        resume: vec![0; 2_000],
        ..everything()
    };
    check_round_trip(store, largest).await;
}

/// A write replaces every field, also a known value by an unknown one.
pub async fn a_write_replaces_all_that_changes(store: &dyn Store) {
    let key = key(store).await;
    let bare = Draft::new(&key, "a", Video::labelled("intro"));
    let full = Draft { stored: everything(), ..bare.clone() };
    for (version, draft) in (0..).zip([&full, &bare, &full]) {
        fill(store, &[draft.clone().expecting(version)]).await;
        let expected = draft.loaded(version + 1);
        assert_eq!(load(store, draft.id).await, Some(expected));
    }
    assert_eq!(store.count_sessions().await.expect("counted"), 1);
}

/// A later write with another video, page or browser updates the session, and does not change these three.
pub async fn the_subject_of_the_first_write_stays(store: &dyn Store) {
    let key = key(store).await;
    let firefox = UserAgentClass { browser: Browser::Firefox, ..UserAgentClass::default() };
    let chrome = UserAgentClass { browser: Browser::Chrome, ..UserAgentClass::default() };
    let first = Draft::new(&key, "a", Video::labelled("first")).with(firefox).on("http://a/");
    let first = first.with_session_data(&json!({"n": 1}));
    let second = Draft::new(&key, "a", Video::labelled("second")).with(chrome).on("http://b/");
    let second = second.with_session_data(&json!({"n": 2})).expecting(1);

    fill(store, &[first]).await;
    fill(store, &[second]).await;

    let here = all(Selection::identifier("first").with_session(object(&json!({"n": 1}))));
    let totals = play_totals(store, &here).await;
    assert_eq!((totals.plays, totals.browser(Browser::Firefox)), (1, 1));
    assert!(selected(store, Selection::identifier("second")).await.is_empty());
    let sources = older::sources(store, &here, days()).await.expect("summed");
    assert_eq!(sources.iter().map(|bucket| bucket.source.host()).collect::<Vec<_>>(), ["a"]);
}

/// Sessions are loaded in the requested order, with `None` for each missing one.
pub async fn sessions_are_loaded_in_the_requested_order(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name, to_ms| Draft::new(&key, name, Video::labelled("a")).played(&[(0, to_ms)]);
    let (one, two, missing) = (draft("one", 1), draft("two", 2), draft("missing", 3));
    fill(store, &[one.clone(), two.clone()]).await;

    let loaded = upkeep::load(store, &[two.id, missing.id, one.id]).await.expect("loaded");

    let view_ms: Vec<_> = loaded.iter().map(|it| it.as_ref().map(|it| it.stored.view_ms)).collect();
    assert_eq!(view_ms, [Some(2), None, Some(1)]);
}

/// A batch may be as large as a batch of the recorder.
pub async fn many_sessions_are_committed_and_loaded_at_once(store: &dyn Store) {
    let key = key(store).await;
    let drafts: Vec<_> = (0..1_500_u32)
        .map(|number| {
            let video = Video::labelled(format!("video {}", number % 700));
            let draft = Draft::new(&key, &number.to_string(), video);
            draft.played(&[(0, 1 + number)]).on(&format!("http://a/{}", number % 300))
        })
        .collect();
    fill(store, &drafts).await;

    let ids: Vec<_> = drafts.iter().map(|draft| draft.id).collect();
    let loaded = upkeep::load(store, &ids).await.expect("loaded");

    let view_ms: Vec<_> = loaded.iter().flatten().map(|it| it.stored.view_ms).collect();
    assert_eq!(view_ms, (1..=1_500).collect::<Vec<u64>>());
    assert_eq!(store.count_sessions().await.expect("counted"), 1_500);
}

/// Each write increments the version, from 1.
pub async fn a_version_goes_up_by_one_with_every_write(store: &dyn Store) {
    let key = key(store).await;
    let draft = Draft::new(&key, "a", Video::labelled("a"));
    for version in 0..5 {
        fill(store, &[draft.clone().expecting(version)]).await;
        assert_eq!(load(store, draft.id).await.map(|it| it.version), Some(version + 1));
    }
}

async fn check_conflict(store: &dyn Store, conflicting: &Draft) {
    let before = load(store, conflicting.id).await;
    assert_eq!(commit(store, std::slice::from_ref(conflicting)).await, [Outcome::Conflict]);
    assert_eq!(load(store, conflicting.id).await, before);
}

/// A first write of an existing session conflicts, even with the same video, page and start.
pub async fn a_first_write_of_a_session_that_exists_conflicts(store: &dyn Store) {
    let key = key(store).await;
    let draft = Draft::new(&key, "a", Video::labelled("a"));
    fill(store, std::slice::from_ref(&draft)).await;
    check_conflict(store, &draft.clone().played(&[(0, 1)])).await;
    check_conflict(store, &draft.clone().played(&[(0, 1)]).at(START_MS + 1)).await;
    let other_video = Draft::new(&key, "a", Video::labelled("b"));
    check_conflict(store, &other_video).await;
    assert!(selected(store, Selection::identifier("b")).await.is_empty());
}

/// A write that expects an older or a newer version conflicts.
pub async fn a_write_with_another_version_conflicts(store: &dyn Store) {
    let key = key(store).await;
    let draft = Draft::new(&key, "a", Video::labelled("a"));
    fill(store, std::slice::from_ref(&draft)).await;
    fill(store, &[draft.clone().expecting(1)]).await;
    for version in [1, 3, u32::MAX - 1] {
        check_conflict(store, &draft.clone().played(&[(0, 1)]).expecting(version)).await;
    }
    fill(store, &[draft.expecting(2)]).await;
}

/// An update of a missing session conflicts.
pub async fn a_write_of_a_session_that_is_not_there_conflicts(store: &dyn Store) {
    let key = key(store).await;
    check_conflict(store, &Draft::new(&key, "a", Video::labelled("a")).expecting(1)).await;
    assert_eq!(store.count_sessions().await.expect("counted"), 0);
}

/// Each write of a batch has its own outcome: a conflict does not affect the others.
pub async fn a_conflict_does_not_affect_the_rest_of_the_batch(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name| Draft::new(&key, name, Video::labelled("a"));
    fill(store, &[draft("there"), draft("behind")]).await;
    fill(store, &[draft("behind").expecting(1)]).await;

    let played = |name| draft(name).played(&[(0, 7)]);
    let batch = [
        played("new"),
        played("there"),
        played("behind").expecting(1),
        played("missing").expecting(1),
        played("also new"),
        played("behind too"),
    ];
    let outcomes = commit(store, &batch).await;

    let conflicts: Vec<_> = outcomes.iter().map(|it| *it == Outcome::Conflict).collect();
    assert_eq!(conflicts, [false, true, true, true, false, false]);
    for (draft, conflict) in batch.iter().zip(conflicts) {
        let changed = load(store, draft.id).await.is_some_and(|it| it.stored == draft.stored);
        assert_eq!(changed, !conflict);
    }
}

/// A batch that is sent again because its response was lost conflicts.
pub async fn a_repeated_batch_conflicts_and_changes_nothing(store: &dyn Store) {
    let key = key(store).await;
    let updated = Draft::new(&key, "old", Video::labelled("a"));
    fill(store, std::slice::from_ref(&updated)).await;
    let batch = [Draft::new(&key, "new", Video::labelled("b")), updated.expecting(1)];
    fill(store, &batch).await;

    assert_eq!(commit(store, &batch).await, [Outcome::Conflict; 2]);

    for (draft, version) in batch.iter().zip([1, 2]) {
        assert_eq!(load(store, draft.id).await.map(|it| it.version), Some(version));
    }
    assert_eq!(store.count_sessions().await.expect("counted"), 2);
    assert_eq!(play_totals(store, &all(Selection::key(key))).await.plays, 2);
}

/// A batch is atomic: no store skips a session that it cannot write.
pub async fn a_batch_with_a_key_that_is_not_there_stores_nothing(store: &dyn Store) {
    let key = key(store).await;
    let there = Draft::new(&key, "there", Video::labelled("a"));
    fill(store, std::slice::from_ref(&there)).await;
    let batch = [
        there.clone().played(&[(0, 7)]).expecting(1),
        Draft::new(&key, "good", Video::labelled("b")).on("http://a/"),
        Draft::new(&ApiKey::generate(), "bad", Video::labelled("b")),
        Draft::new(&key, "after", Video::labelled("c")),
    ];

    let err = store.commit(batch.iter().map(Draft::write).collect()).await;

    let err = err.expect_err("there is no such key");
    assert!(!err.is_retryable(), "{err:?}");
    let expected = there.loaded(1);
    assert_eq!(load(store, there.id).await, Some(expected));
    assert_eq!(store.count_sessions().await.expect("counted"), 1);
}

/// A store must not cache the row ids of videos, pages or keys that a rejected batch would have created.
pub async fn a_batch_that_was_refused_may_come_again(store: &dyn Store) {
    let key = key(store).await;
    let unknown = ApiKey::generate();
    let batch = [
        Draft::new(&key, "good", described(&json!({"id": 1}))).on("http://a/"),
        Draft::new(&unknown, "bad", Video::labelled("b")).on("http://b/"),
    ];
    let writes = || batch.iter().map(Draft::write).collect();
    assert!(store.commit(writes()).await.is_err());

    fill(store, &batch[..1]).await;
    assert!(store.create_key(&unknown, later(1)).await.expect("stored"));
    assert_eq!(commit(store, &batch).await, [Outcome::Conflict, Outcome::Written]);

    let sources = older::sources(store, &all(Selection::default()), days()).await;
    let mut hosts: Vec<_> =
        sources.expect("summed").iter().map(|bucket| bucket.source.host().to_owned()).collect();
    hosts.sort();
    assert_eq!(hosts, ["a", "b"]);
}

/// Sessions that were recorded before their key was revoked may be written afterwards.
pub async fn sessions_of_a_revoked_key_are_stored(store: &dyn Store) {
    let key = key(store).await;
    assert!(store.revoke_key(&key, later(1)).await.expect("stored"));
    fill(store, &[Draft::new(&key, "a", Video::labelled("a"))]).await;
    assert_eq!(selected_count(store, &key).await, 1);
}

async fn selected_count(store: &dyn Store, key: &ApiKey) -> u64 {
    play_totals(store, &all(Selection::key(key.clone()))).await.plays
}

/// Of concurrent writes that expect the same version, one is written and the others conflict.
pub async fn writers_of_one_session_exclude_each_other(store: &dyn Store) {
    let key = key(store).await;
    for version in 0..5 {
        let writers = (0..10_u32).map(|writer| {
            let draft = Draft::new(&key, "a", Video::labelled("a")).expecting(version);
            async move { commit(store, &[draft.played(&[(0, 1 + writer)])]).await[0] }
        });
        let outcomes = join_all(writers).await;

        let written: Vec<_> =
            (1..).zip(outcomes).filter(|(_, it)| *it == Outcome::Written).collect();
        let [(view_ms, _)] = written[..] else { panic!("{written:?}") };
        let id = SessionId::new(&key, "a");
        let loaded = load(store, id).await.map(|it| (it.version, it.stored.view_ms));
        assert_eq!(loaded, Some((version + 1, view_ms)));
    }
}

/// Concurrent first plays of a new video make one video with all of their sessions.
pub async fn concurrent_first_plays_are_all_of_one_video(store: &dyn Store) {
    let key = key(store).await;
    let metadata = json!({"course": "knots", "part": {"n": 1}});
    let video = Video::new(Some("intro".to_owned()), Some(object(&metadata))).expect("a video");
    let user_agent = UserAgentClass {
        device: Device::Mobile,
        platform: Platform::Ios,
        ..UserAgentClass::default()
    };
    let drafts = numbered((0..20).map(|viewer| {
        let draft = Draft::new(&key, &viewer.to_string(), video.clone()).with(user_agent);
        draft.on("http://new.example/").open_at(Instance(viewer))
    }));

    join_all(drafts.chunks(1).map(|draft| fill(store, draft))).await;

    let viewers: Vec<u32> = (0..20).collect();
    assert_eq!(selected(store, Selection::identifier("intro")).await, viewers);
    let selection = Selection::default().with_video(object(&metadata));
    assert_eq!(selected(store, selection.clone()).await, viewers);
    let sources = older::sources(store, &all(selection), days()).await;
    assert_eq!(sources.expect("summed").iter().map(|bucket| bucket.plays).sum::<u64>(), 20);
}

/// A store that tells its size takes some bytes, also before the first session.
pub async fn a_store_with_a_size_has_some_bytes(store: &dyn Store) {
    assert_ne!(store.size_bytes().await.expect("a size"), Some(0));
}
