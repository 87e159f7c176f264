//! Totals and blocks that several instances change at once.

use chrono::{DateTime, TimeDelta, Utc};
use metrics_core::key::SessionId;
use metrics_core::query::instant;
use metrics_core::session::Stored;
use metrics_core::store::{
    BlockId, DayTotals, Detail, Error, Outcome, Rewrite, SessionWrite, Store as _, TimescaleStore,
    Videos,
};
use metrics_core::upkeep;
use metrics_testing::Backend;
use metrics_testing::Backend::{Postgres, Timescale};

use super::{blocks, close, count, empty_store, sql, started, verified};
use crate::fixture::{commit, key, now, write};

/// Two instances add the first totals of the same days at once.
#[tokio::test(flavor = "multi_thread")]
async fn first_totals_of_a_day_are_added_up() {
    for backend in [Timescale, Postgres] {
        let (one, database) = empty_store(backend).await;
        let two = TimescaleStore::connect(&database.url()).await.unwrap();
        let key = key(&one).await;
        for day in 0..10 {
            let at = now() + TimeDelta::days(day);
            let writes =
                (0..2).map(|number| started(write(&key, &format!("{day} {number}"), 0), at));
            commit(&one, writes).await;
            let quiet = one.quiet(DateTime::<Utc>::MAX_UTC, 10).await.unwrap();
            let rewrites = quiet.iter().map(|session| {
                let mut totals = DayTotals::default();
                let (stored, times) = (&session.row.stored, (5_000, 5_000));
                totals.add(stored.started_at_ms, session.row.user_agent, times, 1);
                Rewrite {
                    close: vec![(session.id, session.version)],
                    totals: vec![(
                        session.key,
                        stored.started_at_ms.div_euclid(86_400_000),
                        totals,
                    )],
                    ..Rewrite::default()
                }
            });
            let [a, b] = rewrites.collect::<Vec<_>>().try_into().unwrap();
            let (a, b) = tokio::join!(one.rewrite(a), two.rewrite(b));
            assert_eq!([a.unwrap(), b.unwrap()], [Outcome::Written; 2]);
        }
        let mut snapshot = one.snapshot().await.unwrap();
        let totals = snapshot.totals(Some(&key), 0, i64::MAX, Detail::Days).await.unwrap();
        let plays = totals.iter().map(|it| it.plays(0).unwrap().plays);
        assert_eq!(plays.collect::<Vec<_>>(), [2; 10], "{backend:?}");
    }
}

/// Two instances replace the same blocks: one succeeds, and the other gets a conflict.
#[tokio::test(flavor = "multi_thread")]
async fn rewrites_do_not_lock_each_other_out() {
    let (one, database) = empty_store(Postgres).await;
    let two = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&one).await;
    for round in 0..20 {
        let writes =
            (0..10).map(|at| started(write(&key, &format!("{round} {at}"), 0), instant(at)));
        commit(&one, writes).await;
        for _ in 0..10 {
            upkeep::close(&one, DateTime::<Utc>::MAX_UTC, 1).await.unwrap();
        }
        let mut snapshot = one.snapshot().await.unwrap();
        let summaries =
            snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, None, 1_000).await.unwrap();
        drop(snapshot);
        let mut remove: Vec<BlockId> =
            summaries.iter().rev().take(10).map(|summary| summary.id).collect();
        let a = Rewrite { remove: remove.clone(), ..Rewrite::default() };
        remove.reverse();
        let b = Rewrite { remove, ..Rewrite::default() };
        let (a, b) = tokio::join!(one.rewrite(a), two.rewrite(b));
        let mut outcomes = [a.unwrap(), b.unwrap()];
        outcomes.sort_unstable_by_key(|outcome| *outcome == Outcome::Conflict);
        assert_eq!(outcomes, [Outcome::Written, Outcome::Conflict], "round {round}");
    }
}

/// One instance closes and finalizes sessions that go on at another.
#[tokio::test(flavor = "multi_thread")]
async fn totals_stay_right_while_closed_sessions_go_on() {
    for backend in [Timescale, Postgres] {
        check_races(backend).await;
    }
}

async fn check_races(backend: Backend) {
    const SESSIONS: usize = 60;
    let (one, database) = empty_store(backend).await;
    let two = TimescaleStore::connect(&database.url()).await.unwrap();
    let key = key(&one).await;
    let closing = tokio::spawn(async move {
        for round in 0.. {
            let (videos, _) = upkeep::close(&two, DateTime::<Utc>::MAX_UTC, 7).await?;
            upkeep::merge(&two, videos).await?;
            if round % 20 == 19 {
                two.finalize(DateTime::<Utc>::MAX_UTC, 3).await?;
            }
        }
        Ok::<_, Error>(())
    });
    let names: Vec<_> = (0..SESSIONS).map(|number| number.to_string()).collect();
    let ids: Vec<_> = names.iter().map(|name| SessionId::new(&key, name)).collect();
    let mut begun = 0;
    for round in 0..40 {
        let loaded = upkeep::load(&one, &ids).await.unwrap();
        let mut writes = Vec::new();
        for (number, (name, loaded)) in names.iter().zip(&loaded).enumerate() {
            let write = write(&key, name, loaded.as_ref().map_or(0, |it| it.version));
            match loaded {
                Some(loaded) if (number + round) % 3 == 0 => {
                    let stored =
                        Stored { view_ms: loaded.stored.view_ms + 1, ..loaded.stored.clone() };
                    writes.push(SessionWrite { stored, ..write });
                }
                Some(_) => {}
                None => {
                    let at = now() + TimeDelta::milliseconds(round as i64);
                    writes.push(started(write, at));
                }
            }
        }
        let new: Vec<_> = writes.iter().map(|write| write.expected == 0).collect();
        let outcomes = commit(&one, writes).await;
        let written = new.iter().zip(outcomes).filter(|it| *it == (&true, Outcome::Written));
        begun += written.count() as u64;
    }
    closing.abort();
    assert!(closing.await.unwrap_err().is_cancelled());

    assert_eq!(one.count_sessions().await.unwrap(), begun);
    close(&one).await;
    assert_eq!(verified(&one).await, begun);
    let admin = sql(&database.url()).await;
    assert_eq!(count(&admin, "metrics.session_rows").await, begun as i64);
    let mut snapshot = one.snapshot().await.unwrap();
    let rows = blocks(&mut *snapshot).await.into_iter().flat_map(|block| block.rows().unwrap());
    let view_ms: u64 = rows.map(|row| row.stored.view_ms).sum();
    let totals = snapshot.totals(Some(&key), 0, i64::MAX, Detail::Days).await.unwrap();
    let summed: u64 = totals.iter().map(|it| it.plays(0).unwrap().view_ms).sum();
    assert_eq!(summed, view_ms);
}
