//! Pages without sessions are deleted, while sessions come and go.

use std::sync::Arc;

use metrics_core::key::SessionId;
use metrics_core::store::{Outcome, SessionWrite, Store as _, Subject};
use metrics_core::{ApiKey, Source, Video, upkeep};
use metrics_testing::Backend;
use metrics_testing::Backend::{Postgres, Timescale};

use super::{OTHERS, close, count, empty_store, sql, text, until};
use crate::fixture::{commit, key, write};

/// Erasing sessions, open or closed, deletes the pages that only they refer to; other pages stay.
async fn check_pages(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    let sql = sql(&database.url()).await;
    let key = key(&store).await;
    let on = |session: &str, label: &str, page: &str| {
        let write = write(&key, session, 0);
        let source = Source::parse(page);
        let video = Video::labelled(label);
        let subject = Subject { video, source, ..Subject::clone(&write.subject) };
        SessionWrite { subject: Arc::new(subject), ..write }
    };
    let (shared, own) = ("https://example.com/shared", "https://example.com/reset/token");
    let closed = [on("a", "gone", shared), on("b", "kept", shared), on("c", "gone", own)];
    commit(&store, closed).await;
    close(&store).await;
    assert_eq!(count(&sql, "metrics.pages").await, 2);
    // An open session that was closed before, and an open session with a new page.
    let reopened = upkeep::load(&store, &[SessionId::new(&key, "c")]).await.unwrap();
    assert!(reopened[0].is_some());
    commit(&store, [on("d", "gone", "https://example.com/open")]).await;

    let erasure = upkeep::Erasure::of(metrics_core::Selection::identifier("gone"));
    let erased = upkeep::erase(&store, &erasure).await.unwrap();

    assert_eq!((erased.sessions.sessions, erased.videos, erased.pages), (3, 1, 1));
    let urls = text(&sql, "select string_agg(url, ' ') from metrics.pages").await;
    assert_eq!(urls, shared);
    assert_eq!(count(&sql, "metrics.pages where maybe_unused").await, 0);
    assert_eq!(count(&sql, &format!("metrics.sessions where page = '{shared}'")).await, 1);
    // A deleted page can be added again.
    commit(&store, [on("e", "kept", own)]).await;
    close(&store).await;
    assert_eq!(count(&sql, &format!("metrics.sessions where page = '{own}'")).await, 1);
}

#[tokio::test]
async fn pages_without_sessions_are_deleted() {
    check_pages(Timescale).await;
    check_pages(Postgres).await;
}

/// The first write of a session on a page, with a video of its own.
fn on_page(key: &ApiKey, session: &str, page: &str) -> SessionWrite {
    let write = write(key, session, 0);
    let (video, source) = (Video::labelled(session), Source::parse(page));
    let subject = Subject { video, source, ..Subject::clone(&write.subject) };
    SessionWrite { subject: Arc::new(subject), ..write }
}

/// A page is marked `maybe_unused` when its session is deleted, although another transaction clears the mark.
async fn check_marked(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    // Within a transaction, `pg_stat_activity` does not change: only another connection can poll it.
    let (sql, other) = (sql(&database.url()).await, self::sql(&database.url()).await);
    let key = key(&store).await;
    for is_closed in [false, true] {
        commit(&store, [on_page(&key, "kept", "https://example.com/a")]).await;
        close(&store).await;
        let session = format!("gone {is_closed}");
        commit(&store, [on_page(&key, &session, "https://example.com/a")]).await;
        if is_closed {
            close(&store).await;
        }
        let clear = "begin; select from metrics.pages for update; update metrics.pages set maybe_unused = false";
        sql.batch_execute(clear).await.unwrap();
        let erasure = upkeep::Erasure::of(metrics_core::Selection::identifier(&*session));
        let deleting = upkeep::erase(&store, &erasure);
        let committing = async {
            let waiting = format!("{OTHERS} and wait_event_type = 'Lock'");
            until("waits for the page", async || 0 < count(&other, &waiting).await).await;
            sql.batch_execute("commit").await.unwrap();
        };
        let (erased, ()) = tokio::join!(deleting, committing);
        assert_eq!(erased.unwrap().sessions.sessions, 1);
        // The deletion found the other session of the page, and cleared the mark.
        assert_eq!(count(&sql, "metrics.pages where maybe_unused").await, 0);
        let all = upkeep::Erasure::of(metrics_core::Selection::default());
        assert_eq!(upkeep::erase(&store, &all).await.unwrap().pages, 1);
    }
}

#[tokio::test]
async fn a_page_whose_sessions_are_deleted_is_marked_in_spite_of_other_marks() {
    check_marked(Timescale).await;
    check_marked(Postgres).await;
}

/// Unused pages are found without locks, so that sessions on these pages can be closed meanwhile.
async fn check_unlocked(backend: Backend) {
    let (store, database) = empty_store(backend).await;
    let (sql, other) = (sql(&database.url()).await, self::sql(&database.url()).await);
    let key = key(&store).await;
    commit(&store, [on_page(&key, "a", "https://example.com/a")]).await;
    close(&store).await;
    upkeep::delete_before(&store, i64::MAX).await.unwrap();
    assert_eq!(store.delete_unused(10).await.unwrap().videos, 1);
    sql.batch_execute("begin; lock table metrics.session_rows").await.unwrap();
    let finding = store.delete_unused(10);
    let looking = async {
        let waiting = format!("{OTHERS} and wait_event_type = 'Lock'");
        until("reads rows", async || 0 < count(&other, &waiting).await).await;
        let free = "select from metrics.pages for update nowait";
        assert_eq!(other.query(free, &[]).await.unwrap().len(), 1);
        assert!(store.load(&[SessionId::new(&key, "a")]).await.unwrap()[0].is_none());
        // A session that is closed before the page is locked keeps the page.
        sql.batch_execute("commit").await.unwrap();
    };
    let (unused, ()) = tokio::join!(finding, looking);
    assert_eq!(unused.unwrap().pages, 1);
}

#[tokio::test]
async fn unused_pages_are_found_without_locks() {
    check_unlocked(Timescale).await;
    check_unlocked(Postgres).await;
}

/// Sessions begin and are deleted on a few pages while `delete_unused` runs: each row's page exists, and none remains.
async fn check_beside(backend: Backend) {
    const ROUNDS: usize = 25;
    let (store, database) = empty_store(backend).await;
    let sql = sql(&database.url()).await;
    let key = key(&store).await;
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let is_going = || !is_over.load(std::sync::atomic::Ordering::Relaxed);
    let deleting = async {
        while is_going() {
            store.delete_unused(1_000).await.unwrap();
        }
    };
    let recording = async {
        for round in 0..ROUNDS {
            for number in 0..4 {
                let page = format!("https://example.com/{}", (round + number) % 3);
                let write = on_page(&key, &format!("{round} {number}"), &page);
                while commit(&store, [write.clone()]).await != [Outcome::Written] {}
                if number % 2 == 0 {
                    close(&store).await;
                }
            }
            close(&store).await;
            assert_eq!(count(&sql, "metrics.session_rows").await, 4);
            let lost = "metrics.session_rows where page_id not in (select id from metrics.pages)";
            assert_eq!(count(&sql, lost).await, 0);
            upkeep::delete_before(&store, i64::MAX).await.unwrap();
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    tokio::join!(deleting, recording);
    upkeep::erase(&store, &upkeep::Erasure::of(metrics_core::Selection::default())).await.unwrap();
    assert_eq!(count(&sql, "metrics.pages").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_deleted_while_sessions_come_and_go() {
    check_beside(Timescale).await;
    check_beside(Postgres).await;
}
