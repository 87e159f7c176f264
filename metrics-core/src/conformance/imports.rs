//! Imports add each session of another store or file once.

use super::draft::{
    Draft, START_MS, all, check_totals, close, exported, fill, key, merge, play_totals, summaries,
};
use super::export::exported_ids;
use super::join_all;
use super::sessions::everything;
use crate::block::{Row, RowId, SESSIONS_MAX};
use crate::import::{Foreign, insert};
use crate::key::ApiKey;
use crate::query::Selection;
use crate::store::{Instance, Location, Store, Videos};
use crate::upkeep;
use crate::video::Video;

fn draft(key: &ApiKey, number: i64) -> Draft {
    let video = Video::labelled(format!("video {}", number % 3));
    Draft::new(key, &number.to_string(), video).at(START_MS + 1_000 * number).on("http://a/b")
}

fn foreign(draft: &Draft) -> Foreign {
    let subject = &draft.subject;
    Foreign {
        key: subject.key.clone(),
        video: subject.video.clone(),
        row: Row {
            id: RowId::from(draft.id),
            page: subject.source.clone(),
            user_agent: subject.user_agent,
            session_data: subject.session_data.as_deref().map(Into::into),
            arrival: subject.arrival.clone(),
            stored: draft.stored.clone(),
        },
        equal_before: None,
    }
}

/// Imported sessions are final, and count as if they had been recorded here.
pub async fn imported_sessions_are_closed(store: &dyn Store) {
    let key = key(store).await;
    let mut drafts: Vec<_> = (0..50).map(|number| draft(&key, number)).collect();
    drafts.push(Draft { stored: everything(), ..draft(&key, 50) });
    let inserted = insert(store, drafts.iter().map(foreign).collect()).await.expect("added");
    assert_eq!((inserted.added, inserted.already_there, inserted.videos.len()), (51, 0, 3));

    let mut expected: Vec<_> = drafts.iter().map(Draft::record).collect();
    expected.sort_by_key(|record| record.id);
    assert_eq!(exported(store, 7).await, expected);
    assert_eq!(store.count_sessions().await.expect("counted"), 51);
    assert_eq!(play_totals(store, &all(Selection::key(key))).await.plays, 51);
    check_totals(store).await;
    assert_eq!(store.load(&[drafts[0].id]).await.expect("loaded"), [None]);
    let mut snapshot = store.snapshot().await.expect("opened");
    assert_eq!(snapshot.resumable(None, 10).await.expect("read"), []);
}

/// An import skips sessions that are open, closed, merged, imported before, or twice in the file.
pub async fn sessions_that_are_there_are_not_added(store: &dyn Store) {
    let key = key(store).await;
    let drafts: Vec<_> = (0..40).map(|number| draft(&key, number)).collect();
    let file: Vec<_> = drafts.iter().chain(&drafts[30..]).map(foreign).collect();
    for some in drafts[..20].chunks(2) {
        fill(store, some).await;
        close(store).await;
    }
    merge(store).await;
    let open = drafts[20..25].iter().map(|draft| draft.clone().open_at(Instance(1)));
    fill(store, &open.collect::<Vec<_>>()).await;

    let inserted = insert(store, file.clone()).await.expect("added");
    assert_eq!((inserted.added, inserted.already_there), (15, 35));
    assert_eq!(inserted.differing, []);
    for _ in 0..2 {
        let inserted = insert(store, file.clone()).await.expect("added");
        assert_eq!((inserted.added, inserted.already_there), (0, 50));
        assert_eq!(store.count_sessions().await.expect("counted"), 40);
        check_totals(store).await;
        close(store).await;
        merge(store).await;
    }
    let mut expected: Vec<_> = drafts.iter().map(Draft::record).collect();
    expected.sort_by_key(|record| record.id);
    assert_eq!(exported(store, 100).await, expected);
}

/// Sessions are compared without their server and row id. `equal_before`, the number of equal sessions before it in the
/// file, distinguishes equal ones.
pub async fn sessions_known_by_their_content_are_added_once(store: &dyn Store) {
    let key = key(store).await;
    let drafts: Vec<_> = (0..2).map(|number| draft(&key, number)).collect();
    fill(store, &drafts[..1]).await;
    close(store).await;
    fill(store, &drafts[1..]).await;
    let equal = |number: usize, before: u32| {
        let session = foreign(&drafts[number]);
        let id = RowId(100 * number as u64 + u64::from(before));
        Foreign { row: Row { id, ..session.row }, equal_before: Some(before), ..session }
    };
    let file = [equal(0, 0), equal(1, 0), equal(1, 1), equal(1, 2)];
    let inserted = insert(store, file.to_vec()).await.expect("added");
    assert_eq!((inserted.added, inserted.already_there), (2, 2));
    for some in file.chunks(3).chain([&file[..]]) {
        let inserted = insert(store, some.to_vec()).await.expect("added");
        assert_eq!((inserted.added, inserted.already_there), (0, some.len() as u64));
        close(store).await;
        merge(store).await;
    }
    assert_eq!(store.count_sessions().await.expect("counted"), 4);
    check_totals(store).await;
}

/// An import reports sessions that differ from those in the store, and does not change them.
pub async fn sessions_that_differ_are_left_alone(store: &dyn Store) {
    let key = key(store).await;
    let drafts: Vec<_> = (0..3).map(|number| draft(&key, number)).collect();
    fill(store, &drafts).await;
    let other = drafts[1].clone().played(&[(0, 1)]);
    let same_id_elsewhere = drafts[2].clone().at(START_MS - 1);
    let file = [&drafts[0], &other, &same_id_elsewhere].map(foreign);
    let inserted = insert(store, file.to_vec()).await.expect("added");
    assert_eq!((inserted.added, inserted.already_there), (1, 1));
    assert_eq!(inserted.differing, [RowId::from(other.id)]);
    assert_eq!(store.count_sessions().await.expect("counted"), 4);
    let view_ms = play_totals(store, &all(Selection::default())).await.view_ms;
    assert_eq!(view_ms, 40_000);
    // Of two in one file, the first is kept.
    let new = draft(&key, 9);
    let twice = [new.clone(), new.clone().played(&[(0, 1)])];
    let inserted = insert(store, twice.iter().map(foreign).collect()).await.expect("added");
    assert_eq!((inserted.added, inserted.differing), (1, vec![RowId::from(new.id)]));
    let view_ms = play_totals(store, &all(Selection::default())).await.view_ms;
    assert_eq!(view_ms, 50_000);
}

/// An import adds all of its sessions or none.
pub async fn an_import_with_a_key_that_is_not_there_adds_nothing(store: &dyn Store) {
    let key = key(store).await;
    let file = [draft(&key, 1), draft(&ApiKey::generate(), 2), draft(&key, 3)];
    let err = insert(store, file.iter().map(foreign).collect()).await;
    let err = err.expect_err("there is no such key");
    assert!(!err.is_retryable(), "{err:?}");
    assert_eq!(store.count_sessions().await.expect("counted"), 0);
    assert_eq!(insert(store, Vec::new()).await.expect("added").added, 0);
}

/// An import of more sessions than a block holds becomes several blocks whose times do not overlap.
pub async fn a_large_import_becomes_several_blocks(store: &dyn Store) {
    let key = key(store).await;
    let count = SESSIONS_MAX as i64 + 100;
    let draft = |number: i64| {
        let draft = Draft::new(&key, &number.to_string(), Video::labelled("a"));
        draft.at(START_MS + 100 * (number * 7_919 % count))
    };
    let file: Vec<_> = (0..count).map(|number| foreign(&draft(number))).collect();
    let inserted = insert(store, file).await.expect("added");
    assert_eq!(inserted.added, count as u64);
    let mut summaries = summaries(store, &Videos::All).await;
    summaries.sort_by_key(|summary| summary.first_start_ms);
    assert_eq!(summaries.len(), 2);
    assert!(summaries[0].last_start_ms < summaries[1].first_start_ms);
    assert_eq!(exported_ids(store, 5_000).await.len() as i64, count);
    assert_eq!(store.count_sessions().await.expect("counted"), count as u64);
    check_totals(store).await;
}

/// Concurrent imports of the same sessions add each once in total.
pub async fn concurrent_imports_add_no_session_twice(store: &dyn Store) {
    let key = key(store).await;
    for turn in 0..5_i64 {
        let drafts = (0..30).map(|number| draft(&key, 100 * turn + number));
        let file: Vec<_> = drafts.map(|draft| foreign(&draft)).collect();
        let imports = (0..6).map(|_| insert(store, file.clone()));
        let inserted = join_all(imports).await;
        let added = inserted.into_iter().map(|it| it.expect("added").added);
        assert_eq!(added.sum::<u64>(), 30, "{turn}");
        assert_eq!(store.count_sessions().await.expect("counted"), 30 * (turn as u64 + 1));
    }
    check_totals(store).await;
}

/// An import adds no session that is closed or opened during the import.
pub async fn an_import_finds_sessions_that_move(store: &dyn Store) {
    let key = key(store).await;
    let drafts: Vec<_> = (0..12).map(|number| draft(&key, number)).collect();
    fill(store, &drafts).await;
    let file: Vec<_> = drafts.iter().map(foreign).collect();
    let moving = async {
        for turn in 0..10 {
            close(store).await;
            let ids: Vec<_> = drafts.iter().skip(turn % 3).step_by(2).map(|it| it.id).collect();
            upkeep::load(store, &ids).await.expect("loaded");
        }
    };
    let importing = async {
        for _ in 0..10 {
            let inserted = insert(store, file.clone()).await.expect("added");
            assert_eq!((inserted.added, inserted.already_there), (0, 12));
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(moving, importing);
    assert_eq!(store.count_sessions().await.expect("counted"), 12);
    let found = store.load(&[drafts[0].id]).await.expect("loaded").remove(0);
    assert!(matches!(
        found.map(|it| it.location),
        Some(Location::Open(_) | Location::Closed { .. })
    ));
    check_totals(store).await;
}
