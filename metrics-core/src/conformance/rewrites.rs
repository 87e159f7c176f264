//! A rewrite of blocks is atomic, and of several rewrites that conflict, one is written.

use super::draft::{
    Draft, START_MS, all, check_totals, close, commit, every, exported, fill, id, key, load,
    location, open, play_totals, summaries,
};
use super::join_all;
use crate::block::{Block, Groups, Row, RowId};
use crate::key::ApiKey;
use crate::query::Selection;
use crate::store::{
    BlockId, BlockSummary, Detail, Instance, KeyId, Location, OpenSession, Outcome, Resumable,
    Rewrite, Store, VideoId, VideoRecord, VideoScope, Videos,
};
use crate::totals::{DayTotals, StoredTotals, day_of};
use crate::upkeep;
use crate::video::Video;

/// Everything in a store except keys.
#[derive(Debug, PartialEq)]
struct Content {
    videos: Vec<VideoRecord>,
    open: Vec<OpenSession>,
    summaries: Vec<BlockSummary>,
    blocks: Vec<Block>,
    resumable: Vec<Resumable>,
    totals: Vec<StoredTotals>,
    sessions: u64,
}

impl Content {
    async fn of(store: &dyn Store) -> Self {
        let mut snapshot = store.snapshot().await.expect("opened");
        let summaries = snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, None, 1_000).await;
        let summaries = summaries.expect("read");
        let ids: Vec<_> = summaries.iter().map(|summary| summary.id).collect();
        let mut totals =
            snapshot.totals(None, i64::MIN, i64::MAX, Detail::Hours).await.expect("read");
        totals.sort_by_key(|it| (it.day, it.sums.clone()));
        Self {
            videos: snapshot.videos(&VideoScope::default(), None, 1_000).await.expect("read"),
            open: snapshot.open_sessions(&every(Videos::All), None, 1_000).await.expect("read"),
            blocks: snapshot.groups(&ids, Groups::ALL).await.expect("read"),
            summaries,
            resumable: snapshot.resumable(None, 1_000).await.expect("read"),
            totals,
            sessions: store.count_sessions().await.expect("counted"),
        }
    }
}

fn draft(key: &ApiKey, number: i64) -> Draft {
    Draft::new(key, &number.to_string(), Video::labelled("a")).at(START_MS + number)
}

fn totals(row: &Row, times: i64) -> DayTotals {
    let mut totals = DayTotals::default();
    let stored = &row.stored;
    totals.add(stored.started_at_ms, row.user_agent, (stored.view_ms, stored.unique_ms), times);
    totals
}

/// A store with a block of closed sessions (0 to 2), and open sessions 3 to 5.
struct Setup {
    key: ApiKey,
    summary: BlockSummary,
    rows: Vec<Row>,
    open: Vec<OpenSession>,
}

impl Setup {
    async fn new(store: &dyn Store) -> Self {
        let key = key(store).await;
        fill(store, &[0, 1, 2].map(|number| draft(&key, number))).await;
        close(store).await;
        fill(store, &[3, 4, 5].map(|number| draft(&key, number))).await;
        // `Closing` may have closed them: opens them again.
        for number in 3..6 {
            load(store, id(&key, &number.to_string())).await;
        }
        let mut open = open(store).await;
        open.sort_by_key(|session| session.row.order());
        let summary = summaries(store, &Videos::All).await.pop().expect("there is a block");
        let mut snapshot = store.snapshot().await.expect("opened");
        let block = snapshot.groups(&[summary.id], Groups::ALL).await.expect("read").remove(0);
        let rows = block.rows().expect("sound");
        assert_eq!((rows.len(), open.len()), (3, 3));
        Self { key, summary, rows, open }
    }

    fn parent_ids(&self) -> (KeyId, VideoId) {
        (self.summary.key, self.summary.video)
    }

    /// Opens session 0, deletes 1, keeps 2 closed, closes 3, deletes 4, and keeps 5 open.
    fn rewrite(&self) -> Rewrite {
        let (key, video) = self.parent_ids();
        let [opened, deleted, stays] = &self.rows[..] else { panic!("there are three") };
        let mut closed = self.open[0].row.clone();
        closed.stored = closed.stored.finalized();
        let mut change = totals(&closed, 1);
        change.merge(&totals(opened, -1));
        change.merge(&totals(deleted, -1));
        let mut row = opened.clone();
        row.stored.resume = vec![1, 0, 0];
        let opened = id(&self.key, "0");
        Rewrite {
            remove: vec![self.summary.id],
            add: vec![(key, video, Block::encode(vec![stays.clone(), closed]))],
            close: vec![(self.open[0].id, 1)],
            reopen: vec![OpenSession { id: opened, version: 1, key, video, row }],
            delete_open: vec![(self.open[1].id, 1)],
            delete_closed: vec![(video, deleted.stored.started_at_ms, deleted.id)],
            totals: vec![(key, day_of(START_MS), change)],
            ..Rewrite::default()
        }
    }
}

/// Blocks, rows, resume states and totals change together.
pub async fn a_rewrite_makes_all_its_changes(store: &dyn Store) {
    let setup = Setup::new(store).await;
    let rewrite = setup.rewrite();
    assert_eq!(store.rewrite(rewrite).await.expect("stored"), Outcome::Written);

    let starts: Vec<_> =
        exported(store, 10).await.iter().map(|it| it.stored.started_at_ms - START_MS).collect();
    let mut sorted = starts.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 2, 3, 5]);
    assert_eq!(store.count_sessions().await.expect("counted"), 4);
    check_totals(store).await;
    let content = Content::of(store).await;
    let [summary] = content.summaries[..] else { panic!("{:?}", content.summaries) };
    assert_ne!(summary.id, setup.summary.id, "a block that replaces another has another id");
    assert_eq!((summary.key, summary.video), setup.parent_ids());
    assert_eq!(
        (summary.sessions, summary.first_start_ms, summary.last_start_ms),
        (2, START_MS + 2, START_MS + 3)
    );
    for (number, is_open) in
        [Some(true), None, Some(false), Some(false), None, Some(true)].into_iter().enumerate()
    {
        let location = location(store, id(&setup.key, &number.to_string())).await;
        assert_eq!(location.map(|it| matches!(it, Location::Open(_))), is_open, "{number}");
    }
    // Opened sessions go on; deleted ones do not.
    let write = |number, expected| draft(&setup.key, number).expecting(expected).played(&[(0, 7)]);
    let drafts = [write(0, 1), write(1, 1), write(4, 1), write(5, 1)];
    let outcomes = commit(store, &drafts).await;
    let expected = [Outcome::Written, Outcome::Conflict, Outcome::Conflict, Outcome::Written];
    assert_eq!(outcomes, expected);
}

/// A rewrite with one unmet condition conflicts, and changes nothing.
pub async fn a_rewrite_that_conflicts_changes_nothing(store: &dyn Store) {
    let setup = Setup::new(store).await;
    let gone = setup.summary.id;
    // Writes the block again, under another id.
    let (key, video) = setup.parent_ids();
    let again = Rewrite {
        remove: vec![gone],
        add: vec![(key, video, Block::encode(setup.rows.clone()))],
        ..Rewrite::default()
    };
    assert_eq!(store.rewrite(again).await.expect("stored"), Outcome::Written);
    let summary = summaries(store, &Videos::All).await[0];
    let setup = Setup { summary, ..setup };
    let good = setup.rewrite();
    let before = Content::of(store).await;
    let missing = id(&setup.key, "missing");
    let open_id = setup.open[2].id;
    let closed_id = id(&setup.key, "2");
    let reopening = |id, version| {
        let row = setup.rows[2].clone();
        vec![good.reopen[0].clone(), OpenSession { id, version, key, video, row }]
    };
    let and = |more| vec![good.close[0], more];
    let or_deleted = |more| vec![good.delete_open[0], more];
    let bad = [
        ("a block is gone", Rewrite { remove: vec![summary.id, gone], ..good.clone() }),
        ("no such block", Rewrite { remove: vec![BlockId(i64::MAX), summary.id], ..good.clone() }),
        ("an open session is newer", Rewrite { close: and((open_id, 0)), ..good.clone() }),
        ("an open session is older", Rewrite { close: and((open_id, 2)), ..good.clone() }),
        ("no such session", Rewrite { close: and((missing, 1)), ..good.clone() }),
        ("a session is closed", Rewrite { close: and((closed_id, 1)), ..good.clone() }),
        ("a closed session is newer", Rewrite { reopen: reopening(closed_id, 0), ..good.clone() }),
        ("a closed session is older", Rewrite { reopen: reopening(closed_id, 2), ..good.clone() }),
        ("a session is open", Rewrite { reopen: reopening(open_id, 1), ..good.clone() }),
        ("nothing to open", Rewrite { reopen: reopening(missing, 1), ..good.clone() }),
        ("another version", Rewrite { delete_open: or_deleted((open_id, 2)), ..good.clone() }),
        ("not there", Rewrite { delete_open: or_deleted((missing, 1)), ..good.clone() }),
        ("not open", Rewrite { delete_open: or_deleted((closed_id, 1)), ..good.clone() }),
        (
            "a later block",
            Rewrite { import_after: vec![(video, BlockId(summary.id.0 - 1))], ..good.clone() },
        ),
        (
            "a first block",
            Rewrite { import_after: vec![(video, BlockId(i64::MIN))], ..good.clone() },
        ),
    ];
    for (name, rewrite) in bad {
        assert_eq!(store.rewrite(rewrite).await.expect("read"), Outcome::Conflict, "{name}");
        assert_eq!(Content::of(store).await, before, "{name}");
    }
    let last = Rewrite { import_after: vec![(video, summary.id)], ..good };
    assert_eq!(store.rewrite(last).await.expect("stored"), Outcome::Written);
}

/// A rewrite cannot open a final session, even if it was prepared before the session became final.
pub async fn a_rewrite_opens_no_final_session(store: &dyn Store) {
    let setup = Setup::new(store).await;
    let last = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    assert_eq!(store.finalize(last, 10).await.expect("finalized"), 3);
    let before = Content::of(store).await;
    assert_eq!(store.rewrite(setup.rewrite()).await.expect("read"), Outcome::Conflict);
    assert_eq!(Content::of(store).await, before);
}

/// A rewrite adds resume states from another store, and does not replace existing ones.
pub async fn resume_states_are_added_once(store: &dyn Store) {
    let setup = Setup::new(store).await;
    let last = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    store.finalize(last, 10).await.expect("finalized");
    let (_, video) = setup.parent_ids();
    let resumable = |number: usize, version| Resumable {
        id: id(&setup.key, &number.to_string()),
        version,
        video,
        started_at_ms: START_MS + number as i64,
        last_event_at_ms: START_MS + 7,
        resume: vec![1, 0, number as u8],
    };
    let mut states = vec![resumable(0, 4), resumable(1, 5)];
    let rewrite = Rewrite { resumable: states.clone(), ..Rewrite::default() };
    assert_eq!(store.rewrite(rewrite.clone()).await.expect("stored"), Outcome::Written);
    assert_eq!(store.rewrite(rewrite).await.expect("stored"), Outcome::Written);
    let others = vec![resumable(1, 9), resumable(2, 6), resumable(3, 9)];
    let rewrite = Rewrite { resumable: others, ..Rewrite::default() };
    assert_eq!(store.rewrite(rewrite).await.expect("stored"), Outcome::Written);
    states.push(resumable(2, 6));
    states.sort_by_key(|it| it.id);
    assert_eq!(Content::of(store).await.resumable, states, "3 is open");

    let loaded = load(store, id(&setup.key, "1")).await.expect("it can go on");
    assert_eq!((loaded.version, loaded.stored.resume), (5, vec![1, 0, 1]));
    fill(store, &[draft(&setup.key, 1).expecting(5)]).await;
    assert_eq!(store.count_sessions().await.expect("counted"), 6);
    check_totals(store).await;
}

/// Of concurrent rewrites that remove the same block, one is written.
pub async fn rewrites_of_one_block_exclude_each_other(store: &dyn Store) {
    let setup = Setup::new(store).await;
    let (key, video) = setup.parent_ids();
    let mut summary = setup.summary;
    for _ in 0..5 {
        let rewrites = (0..8).map(|_| {
            let rewrite = Rewrite {
                remove: vec![summary.id],
                add: vec![(key, video, Block::encode(setup.rows.clone()))],
                ..Rewrite::default()
            };
            store.rewrite(rewrite)
        });
        let outcomes = join_all(rewrites).await;
        let written = outcomes.into_iter().filter(|it| matches!(it, Ok(Outcome::Written)));
        assert_eq!(written.count(), 1);
        let left = summaries(store, &Videos::All).await;
        assert_eq!(left.len(), 1);
        assert_ne!(left[0].id, summary.id);
        summary = left[0];
    }
    assert_eq!(store.count_sessions().await.expect("counted"), 6);
}

/// Any number of instances may close, merge and open the same sessions at once.
pub async fn concurrent_upkeep_loses_and_doubles_nothing(store: &dyn Store) {
    let key = key(store).await;
    let drafts: Vec<_> = (0..40).map(|number| draft(&key, number)).collect();
    fill(store, &drafts).await;
    let last = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    for turn in 0..4_u32 {
        let instances = (0..4_usize).map(|instance| {
            let drafts = &drafts;
            async move {
                for number in 0..3 {
                    upkeep::close(store, last, 7).await.expect("closed");
                    let videos = summaries(store, &Videos::All).await;
                    let videos = videos.iter().map(|summary| summary.video).collect();
                    upkeep::merge(store, videos).await.expect("merged");
                    let id = drafts[(instance + 4 * number) * 3].id;
                    let loaded = upkeep::load(store, &[id]).await.expect("loaded");
                    assert_eq!(loaded[0].as_ref().map(|it| it.version), Some(1));
                }
            }
        });
        join_all(instances).await;
        let records: Vec<_> = exported(store, 1_000).await;
        let mut expected: Vec<_> = drafts.iter().map(Draft::record).collect();
        expected.sort_by_key(|record| record.id);
        assert_eq!(records, expected, "{turn}");
        check_totals(store).await;
    }
    assert_eq!(store.count_sessions().await.expect("counted"), 40);
    assert_eq!(play_totals(store, &all(Selection::default())).await.plays, 40);
}

/// A session is closed in a version or written to, never both.
pub async fn a_write_and_a_close_exclude_each_other(store: &dyn Store) {
    let key = key(store).await;
    let last = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    for turn in 0..20 {
        let draft = draft(&key, turn);
        fill(store, std::slice::from_ref(&draft)).await;
        load(store, draft.id).await;
        let write = [draft.clone().expecting(1).played(&[(0, 7)]).write()];
        let (closed, outcomes) =
            tokio::join!(upkeep::close(store, last, 1_000), store.commit(write.into()));
        let outcome = outcomes.expect("stored")[0];
        closed.expect("closed");
        let loaded = load(store, draft.id).await.expect("it is there");
        let expected = match outcome {
            Outcome::Written => (2, 7),
            Outcome::Conflict => (1, 10_000),
        };
        assert_eq!((loaded.version, loaded.stored.view_ms), expected);
        check_totals(store).await;
    }
    assert_eq!(store.count_sessions().await.expect("counted"), 20);
}

/// A session with an open segment stays open when other sessions of its video are closed.
pub async fn a_watched_session_stays_open(store: &dyn Store) {
    let key = key(store).await;
    let watched = draft(&key, 0).open_at(Instance(1));
    fill(store, &[watched.clone(), draft(&key, 1)]).await;
    close(store).await;
    let ids: Vec<_> = open(store).await.iter().map(|session| session.row.id).collect();
    assert_eq!(ids, [RowId::from(watched.id)]);
}
