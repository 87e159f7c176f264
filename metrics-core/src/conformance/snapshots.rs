//! A snapshot shows the store at one moment, page by page.

use chrono::TimeDelta;

use super::draft::{
    Draft, START_MS, all, close, commit, days, every, fill, key, later, object, start, summaries,
};
use super::join_all;
use super::older;
use crate::block::{Block, Columns, Group, Groups, RowId};
use crate::key::ApiKey;
use crate::query::Selection;
use crate::store::{
    BlockId, BlockSummary, Detail, INSTANCE_SILENCE_MAX, Instance, OpenScan, OpenSession, Snapshot,
    Store, VideoId, VideoRecord, VideoScope, Videos,
};
use crate::time::DAY_MS;
use crate::totals::{DayTotals, day_of};
use crate::upkeep;
use crate::video::Video;

fn draft(key: &ApiKey, video: &str, number: i64) -> Draft {
    let name = format!("{video} {number}");
    Draft::new(key, &name, Video::labelled(video)).at(START_MS + number)
}

/// The starts of all sessions in a snapshot, open or closed.
async fn starts(snapshot: &mut dyn Snapshot) -> Vec<i64> {
    let open = snapshot.open_sessions(&every(Videos::All), None, 1_000).await.expect("read");
    let mut starts: Vec<_> = open.iter().map(|it| it.row.stored.started_at_ms).collect();
    let summaries = snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, None, 1_000).await;
    let ids: Vec<_> = summaries.expect("read").iter().map(|summary| summary.id).collect();
    for block in snapshot.groups(&ids, Groups::ALL).await.expect("read") {
        let rows = block.rows().expect("sound");
        starts.extend(rows.iter().map(|row| row.stored.started_at_ms));
    }
    starts.sort_unstable();
    starts
}

/// A snapshot has each session once, even if it is closed, opened, written or deleted meanwhile, and no later session.
pub async fn a_snapshot_shows_one_moment(store: &dyn Store) {
    let key = key(store).await;
    let drafts: Vec<_> = (0..20).map(|number| draft(&key, "a", number)).collect();
    fill(store, &drafts[..10]).await;
    close(store).await;
    let stay = drafts[10..].iter().map(|draft| draft.clone().open_at(Instance(1)));
    fill(store, &stay.collect::<Vec<_>>()).await;
    let expected: Vec<_> = (0..20).map(|number| START_MS + number).collect();

    let mut snapshot = store.snapshot().await.expect("opened");
    let open = snapshot.open_sessions(&every(Videos::All), None, 1_000).await.expect("read");
    assert_eq!(open.len(), 10);
    let ids: Vec<_> = drafts[..3].iter().map(|draft| draft.id).collect();
    upkeep::load(store, &ids).await.expect("loaded");
    let paused = drafts[10..].iter().map(|draft| draft.clone().expecting(1).played(&[(0, 1)]));
    fill(store, &paused.collect::<Vec<_>>()).await;
    close(store).await;
    fill(store, &[draft(&key, "b", 50)]).await;
    upkeep::delete_before(store, START_MS + 5).await.expect("deleted");

    assert_eq!(starts(&mut *snapshot).await, expected);
    let again = snapshot.open_sessions(&every(Videos::All), None, 1_000).await.expect("read");
    assert_eq!(again, open);
    assert_eq!(snapshot.videos(&VideoScope::default(), None, 10).await.expect("read").len(), 1);
    drop(snapshot);

    let expected: Vec<_> = (5..20).chain([50]).map(|number| START_MS + number).collect();
    assert_eq!(starts(&mut *store.snapshot().await.expect("opened")).await, expected);
}

/// Every snapshot has all sessions once while they are written, closed, merged and opened.
pub async fn sessions_that_move_are_in_every_snapshot_once(store: &dyn Store) {
    let key = key(store).await;
    let drafts: Vec<_> = (0..30).map(|number| draft(&key, "a", number)).collect();
    fill(store, &drafts).await;
    let expected: Vec<_> = (0..30).map(|number| START_MS + number).collect();
    let moving = async {
        for turn in 0..6_u32 {
            let some = drafts.iter().skip(turn as usize % 3).step_by(3);
            let some: Vec<_> = some.map(|it| it.clone().expecting(1 + turn / 3)).collect();
            commit(store, &some).await;
            close(store).await;
            super::draft::merge(store).await;
        }
    };
    let looking = async {
        for _ in 0..30 {
            let mut snapshot = store.snapshot().await.expect("opened");
            assert_eq!(starts(&mut *snapshot).await, expected);
            let folded = older::plays(store, &all(Selection::default()), days(), Vec::new()).await;
            let plays: u64 = folded.expect("summed").iter().map(|bucket| bucket.totals.plays).sum();
            assert_eq!(plays, 30);
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(moving, looking);
}

/// Lists all pages of `limit` items, and checks that they are in order.
macro_rules! paged {
    ($limit:expr, $id:expr, |$after:ident| $page:expr) => {{
        let (mut items, mut $after) = (Vec::new(), None);
        loop {
            let page = $page.await.expect("read");
            assert!(page.len() <= $limit, "{} were asked for", $limit);
            let is_last = page.len() < $limit;
            $after = page.last().map($id);
            items.extend(page);
            if is_last {
                break;
            }
        }
        let ids: Vec<_> = items.iter().map($id).collect();
        assert!(ids.is_sorted_by(|one, two| one < two), "by their ids");
        items
    }};
}

/// Three videos under two keys, two of them with one identifier.
async fn videos(store: &dyn Store) -> (Vec<ApiKey>, Vec<VideoRecord>) {
    let keys = vec![key(store).await, key(store).await];
    let described = Video::new(None, Some(object(&serde_json::json!({ "a": 1 }))));
    let videos = [
        (&keys[0], Video::labelled("one")),
        (&keys[1], Video::labelled("one")),
        (&keys[1], Video::labelled("two")),
        (&keys[1], described.expect("a video")),
    ];
    let named: Vec<_> = videos.iter().map(|(key, video)| ((*key).clone(), video.clone())).collect();
    let ids = store.add_videos(&named).await.expect("added");
    let records = ids.into_iter().zip(named);
    let records =
        records.map(|((key_id, id), (key, video))| VideoRecord { id, key_id, key, video });
    (keys, records.collect())
}

/// New videos get ids; existing videos keep theirs, also if a call names them twice.
pub async fn videos_are_added_once(store: &dyn Store) {
    let (keys, records) = videos(store).await;
    let mut named: Vec<_> = records.iter().map(|it| (it.key.clone(), it.video.clone())).collect();
    named.push((keys[0].clone(), Video::labelled("new")));
    named.push((keys[0].clone(), Video::labelled("new")));
    let ids = store.add_videos(&named).await.expect("added");
    let expected: Vec<_> = records.iter().map(|it| (it.key_id, it.id)).collect();
    assert_eq!(ids[..4], expected);
    assert_eq!(ids[4], ids[5]);
    let mut different: Vec<_> = ids.iter().map(|(_, video)| *video).collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 5);
    assert_eq!(ids[4].0, ids[0].0, "one key");
    assert_ne!(ids[0].0, ids[1].0, "two keys");

    let concurrent = join_all((0..10).map(|_| store.add_videos(&named))).await;
    assert!(concurrent.into_iter().all(|it| it.expect("added") == ids));

    let unknown =
        [(keys[0].clone(), Video::labelled("other")), (ApiKey::generate(), Video::labelled("one"))];
    let err = store.add_videos(&unknown).await.expect_err("there is no such key");
    assert!(!err.is_retryable(), "{err:?}");
    let mut snapshot = store.snapshot().await.expect("opened");
    let all = snapshot.videos(&VideoScope::default(), None, 10).await.expect("read");
    assert_eq!(all.len(), 5, "none of a refused batch");
    fill(store, &[Draft::new(&keys[1], "a", Video::labelled("two"))]).await;
    close(store).await;
    assert_eq!(summaries(store, &Videos::All).await[0].video, ids[2].1);
    assert_eq!(summaries(store, &Videos::All).await[0].key, ids[2].0);
}

/// Videos are listed by key, by identifier or by both, in pages.
pub async fn videos_are_listed_in_pages(store: &dyn Store) {
    let (keys, mut records) = videos(store).await;
    records.sort_by_key(|record| record.id);
    let mut snapshot = store.snapshot().await.expect("opened");
    let scope = |key: Option<usize>, identifiers: Option<&[&str]>| VideoScope {
        key: key.map(|key| keys[key].clone()),
        identifiers: identifiers.map(|it| it.iter().map(|it| (*it).to_owned()).collect()),
    };
    let is_one = |record: &VideoRecord| record.video.identifier() == Some("one");
    type Takes<'a> = &'a dyn Fn(&VideoRecord) -> bool;
    let cases: [(VideoScope, Takes<'_>); 8] = [
        (scope(None, None), &|_| true),
        (scope(Some(1), None), &|it| it.key == keys[1]),
        (scope(None, Some(&["one"])), &is_one),
        (scope(None, Some(&["one", "two", "one", "x"])), &|it| it.video.identifier().is_some()),
        (scope(Some(1), Some(&["one"])), &|it| is_one(it) && it.key == keys[1]),
        (scope(Some(0), Some(&["two"])), &|_| false),
        (scope(None, Some(&[])), &|_| false),
        (VideoScope { key: Some(ApiKey::generate()), identifiers: None }, &|_| false),
    ];
    for (scope, takes) in cases {
        let expected: Vec<_> = records.iter().filter(|it| takes(it)).cloned().collect();
        for limit in [1, 2, 10] {
            let listed = paged!(limit as usize, |it: &VideoRecord| it.id, |after| {
                snapshot.videos(&scope, after, limit)
            });
            assert_eq!(listed, expected, "{scope:?}");
        }
    }
}

/// The scopes by video, by key and of all videos, each with the row ids of its videos.
async fn scopes(store: &dyn Store, keys: &[ApiKey]) -> Vec<(Videos, Vec<VideoId>)> {
    let mut snapshot = store.snapshot().await.expect("opened");
    let records = snapshot.videos(&VideoScope::default(), None, 100).await.expect("read");
    let ids: Vec<_> = records.iter().map(|it| it.id).collect();
    let of_key = records.iter().filter(|it| it.key == keys[1]).map(|it| it.id).collect();
    let some = vec![ids[0], ids[2]];
    vec![
        (Videos::All, ids),
        (Videos::OfKey(keys[1].clone()), of_key),
        (Videos::OfKey(ApiKey::generate()), Vec::new()),
        (Videos::These(some.clone()), some),
        (Videos::These(Vec::new()), Vec::new()),
    ]
}

/// Sessions of the videos of [`videos`].
async fn drafts(store: &dyn Store) -> (Vec<ApiKey>, Vec<Draft>) {
    let (keys, records) = videos(store).await;
    let drafts = (0..40_i64).map(|number| {
        let record = &records[number as usize % records.len()];
        let draft = Draft::new(&record.key, &number.to_string(), record.video.clone());
        draft.at(START_MS + 10 * number).on("http://a.example/").open_at(Instance(1))
    });
    (keys, drafts.collect())
}

/// Open sessions are listed by video and by start (both ends included), in pages ordered by id.
pub async fn open_sessions_are_listed_in_pages(store: &dyn Store) {
    let (keys, drafts) = drafts(store).await;
    fill(store, &drafts).await;
    let mut snapshot = store.snapshot().await.expect("opened");
    let mut everything =
        snapshot.open_sessions(&every(Videos::All), None, 1_000).await.expect("read");
    for (session, draft) in
        everything.iter().map(|it| (it, drafts.iter().find(|draft| draft.id == it.id)))
    {
        let draft = draft.expect("it was written");
        assert_eq!((session.version, &session.row.stored), (1, &draft.stored));
        assert_eq!(
            (session.row.id, &session.row.page),
            (RowId::from(draft.id), &draft.subject.source)
        );
    }
    everything.sort_by_key(|session| session.id);
    assert_eq!(everything.len(), 40);
    for (videos, ids) in scopes(store, &keys).await {
        for (from_ms, to_ms) in [(i64::MIN, i64::MAX), (30, 310), (31, 309), (30, 30), (310, 30)] {
            let frame = (START_MS.saturating_add(from_ms), START_MS.saturating_add(to_ms));
            let scan = OpenScan {
                videos: videos.clone(),
                from_ms: frame.0,
                to_ms: frame.1,
                watched_at: None,
            };
            let expected = everything.iter().filter(|it| {
                let start_ms = it.row.stored.started_at_ms;
                ids.contains(&it.video) && frame.0 <= start_ms && start_ms <= frame.1
            });
            let expected: Vec<_> = expected.cloned().collect();
            for limit in [1, 7, 1_000] {
                let listed = paged!(limit as usize, |it: &OpenSession| it.id, |after| {
                    snapshot.open_sessions(&scan, after, limit)
                });
                assert_eq!(listed, expected, "{scan:?}");
            }
        }
    }
}

/// Lists the sessions with an open segment at a running instance.
pub async fn watched_sessions_are_listed(store: &dyn Store) {
    let key = key(store).await;
    let (here, there, nowhere) = (Instance(1), Instance(2), Instance(3));
    store.heartbeat(here, later(0)).await.expect("noted");
    store.heartbeat(there, later(1_000)).await.expect("noted");
    let drafts = [
        draft(&key, "a", 0).open_at(here),
        draft(&key, "a", 1).open_at(there),
        draft(&key, "a", 2).open_at(nowhere),
        draft(&key, "a", 3),
    ];
    fill(store, &drafts).await;
    let mut snapshot = store.snapshot().await.expect("opened");
    let alive = start() + INSTANCE_SILENCE_MAX;
    let ms = TimeDelta::milliseconds;
    for (watched_at, expected) in [
        (start(), vec![0, 1]),
        (alive, vec![0, 1]),
        (alive + ms(1), vec![1]),
        (alive + ms(1_001), vec![]),
    ] {
        let scan = OpenScan { watched_at: Some(watched_at), ..every(Videos::All) };
        let listed = snapshot.open_sessions(&scan, None, 10).await.expect("read");
        let mut numbers: Vec<_> =
            listed.iter().map(|it| it.row.stored.started_at_ms - START_MS).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, expected, "{watched_at}");
    }
}

/// Lists the blocks that may have a session of the videos in the timeframe, in pages ordered by id.
pub async fn blocks_are_listed_in_pages(store: &dyn Store) {
    let (keys, drafts) = drafts(store).await;
    for some in drafts.chunks(8) {
        let paused = some.iter().map(|it| Draft { watched_at: None, ..it.clone() });
        fill(store, &paused.collect::<Vec<_>>()).await;
        close(store).await;
    }
    let everything = summaries(store, &Videos::All).await;
    assert_eq!(everything.iter().map(|summary| summary.sessions).sum::<u32>(), 40);
    let mut snapshot = store.snapshot().await.expect("opened");
    for (videos, ids) in scopes(store, &keys).await {
        for (from_ms, to_ms) in
            [(i64::MIN, i64::MAX), (80, 230), (81, 229), (0, 0), (390, 390), (-5, -1), (230, 80)]
        {
            let (from_ms, to_ms) =
                (START_MS.saturating_add(from_ms), START_MS.saturating_add(to_ms));
            let expected = everything.iter().filter(|summary| {
                let is_in = summary.first_start_ms <= to_ms && from_ms <= summary.last_start_ms;
                ids.contains(&summary.video) && is_in
            });
            let expected: Vec<_> = expected.copied().collect();
            for limit in [1, 3, 1_000] {
                let listed = paged!(limit as usize, |it: &BlockSummary| it.id, |after| {
                    snapshot.blocks(&videos, from_ms, to_ms, after, limit)
                });
                // A store may also list blocks that end shortly before or begin shortly after.
                let selected = |summary: &BlockSummary| expected.contains(summary);
                let listed: Vec<_> = listed.into_iter().filter(selected).collect();
                assert_eq!(listed, expected, "{videos:?} from {from_ms} to {to_ms}");
            }
        }
    }
}

/// Groups are read in the requested order, only the requested ones, and without missing blocks.
pub async fn groups_are_those_requested(store: &dyn Store) {
    let (_, drafts) = drafts(store).await;
    let paused = drafts.into_iter().map(|it| Draft { watched_at: None, ..it });
    fill(store, &paused.collect::<Vec<_>>()).await;
    close(store).await;
    let mut ids: Vec<_> =
        summaries(store, &Videos::All).await.iter().map(|summary| summary.id).collect();
    assert!(4 <= ids.len());
    let mut snapshot = store.snapshot().await.expect("opened");
    let whole = snapshot.groups(&ids, Groups::ALL).await.expect("read");
    for (summary, block) in summaries(store, &Videos::All).await.iter().zip(&whole) {
        let Block { sessions, first_start_ms, last_start_ms, .. } = block;
        assert_eq!(
            (summary.sessions, summary.first_start_ms, summary.last_start_ms),
            (*sessions, *first_start_ms, *last_start_ms)
        );
        let pages: Groups = [Group::Pages].into_iter().collect();
        let columns: Columns = block.columns(pages).expect("sound");
        assert!(columns.pages.is_some_and(|pages| pages.get(0).is_some()));
    }
    ids.reverse();
    let unknown = BlockId(i64::MAX);
    for groups in Group::ALL.map(|group| Groups::default().with(group)).into_iter().chain([
        Groups::default(),
        Groups::ALL,
        [Group::Starts, Group::Times, Group::RowIds].into_iter().collect(),
    ]) {
        let requested: Vec<_> = [unknown].into_iter().chain(ids.iter().copied()).collect();
        let read = snapshot.groups(&requested, groups).await.expect("read");
        assert_eq!(read.len(), ids.len());
        for (read, whole) in read.iter().zip(whole.iter().rev()) {
            assert_eq!(read.sessions, whole.sessions);
            for group in Group::ALL {
                let expected = whole.group(group).filter(|_| groups.has(group));
                assert_eq!(read.group(group), expected, "{groups:?}: {}", group.name());
            }
        }
    }
    assert_eq!(snapshot.groups(&[], Groups::ALL).await.expect("read"), []);
}

/// Totals are read for one key or all keys, for some days, with or without hours.
pub async fn totals_are_those_of_keys_and_days(store: &dyn Store) {
    let keys = [key(store).await, key(store).await];
    let mut drafts = Vec::new();
    for number in 0..12_i64 {
        let key = &keys[number as usize % 2];
        let at = START_MS + number / 2 * DAY_MS + number * 3_600_000;
        drafts.push(draft(key, "a", number).at(at).played(&[(0, 5_000), (0, 1_000)]));
    }
    fill(store, &drafts).await;
    close(store).await;
    let first = day_of(START_MS);
    let mut snapshot = store.snapshot().await.expect("opened");
    for key in [None, Some(0), Some(1)] {
        for (from, to) in [
            (i64::MIN, i64::MAX),
            (first + 1, first + 3),
            (first, first),
            (first + 3, first),
            (first + 40, first + 50),
        ] {
            let mut expected: Vec<(i64, usize, DayTotals)> = Vec::new();
            for (number, draft) in drafts.iter().enumerate() {
                let (of, stored) = (number % 2, &draft.stored);
                let day = day_of(stored.started_at_ms);
                if !(from..=to).contains(&day) || key.is_some_and(|key| key != of) {
                    continue;
                }
                let known = expected.iter().position(|it| (it.0, it.1) == (day, of));
                let at = known.unwrap_or_else(|| {
                    expected.push((day, of, DayTotals::default()));
                    expected.len() - 1
                });
                let times = (stored.view_ms, stored.unique_ms);
                expected[at].2.add(stored.started_at_ms, draft.subject.user_agent, times, 1);
            }
            let key = key.map(|key| &keys[key]);
            for detail in [Detail::Days, Detail::Hours] {
                let read = snapshot.totals(key, from, to, detail).await.expect("read");
                let mut left: Vec<_> =
                    expected.iter().filter_map(|(day, _, totals)| totals.encode(*day)).collect();
                if detail == Detail::Days {
                    left.iter_mut().for_each(|it| it.hours = None);
                }
                for totals in read {
                    let at = left.iter().position(|it| *it == totals);
                    left.swap_remove(at.expect("it is expected, once"));
                }
                assert_eq!(left, [], "{from} to {to}");
            }
        }
    }
    let unknown = ApiKey::generate();
    let none = snapshot.totals(Some(&unknown), i64::MIN, i64::MAX, Detail::Hours).await;
    assert_eq!(none.expect("read"), []);
    drop(snapshot);
    upkeep::delete_before(store, i64::MAX).await.expect("deleted");
    let mut snapshot = store.snapshot().await.expect("opened");
    let none = snapshot.totals(None, i64::MIN, i64::MAX, Detail::Hours).await;
    assert_eq!(none.expect("read"), [], "no totals of days without sessions");
}

/// Closed sessions that can go on are listed with their resume states, in pages ordered by id.
pub async fn resumable_sessions_are_listed_in_pages(store: &dyn Store) {
    let (_, drafts) = drafts(store).await;
    let mut drafts: Vec<_> =
        drafts.into_iter().map(|it| Draft { watched_at: None, ..it }).collect();
    for (number, draft) in drafts.iter_mut().enumerate() {
        draft.stored.last_event_at_ms = draft.stored.started_at_ms + 100_000;
        draft.stored.resume = vec![number as u8; number];
    }
    fill(store, &drafts).await;
    let again: Vec<_> = drafts[..5].iter().map(|draft| draft.clone().expecting(1)).collect();
    fill(store, &again).await;
    close(store).await;
    let open = draft(&drafts[0].subject.key, "open", 0).open_at(Instance(1));
    fill(store, &[open]).await;
    let mut snapshot = store.snapshot().await.expect("opened");
    for limit in [1, 7, 1_000] {
        let listed = paged!(limit as usize, |it: &crate::store::Resumable| it.id, |after| {
            snapshot.resumable(after, limit)
        });
        assert_eq!(listed.len(), 40);
        for session in listed {
            let number = drafts.iter().position(|draft| draft.id == session.id);
            let number = number.expect("it was written");
            let stored = &drafts[number].stored;
            assert_eq!(session.version, if number < 5 { 2 } else { 1 });
            assert_eq!(session.started_at_ms, stored.started_at_ms);
            assert_eq!(session.last_event_at_ms, stored.last_event_at_ms);
            assert_eq!(session.resume, stored.resume);
        }
    }
}
