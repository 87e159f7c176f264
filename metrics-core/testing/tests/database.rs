//! Databases for tests work as tests expect.

use chrono::Utc;
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Selection, Video};
use metrics_testing::{Backend, Database, on_every_store};

on_every_store!(a_copy_has_all_sessions_and_is_independent, stored_sessions_are_found);

/// Records a session that plays this many seconds.
async fn watch(metrics: &Metrics, key: &ApiKey, session: &str, seconds: f64) {
    let data = serde_json::json!({ "data-of-the-page": 1 }).as_object().cloned();
    let join = Join::new(key.clone(), session, Video::labelled("identifier-of-the-video"));
    let join = join.session_data(data.unwrap()).page("http://page-of-the-video/");
    let viewing = metrics.join(join).await.unwrap();
    viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
    viewing.apply(PlayerEvent::pause(seconds)).await.unwrap();
}

async fn view_ms(metrics: &Metrics) -> u64 {
    let plays = metrics.plays(&Selection::default().into()).await.unwrap();
    plays.iter().map(|bucket| bucket.totals.view_ms).sum()
}

async fn a_copy_has_all_sessions_and_is_independent(backend: Backend) {
    let database = Database::new(backend).await;
    let metrics = Metrics::builder(database.open().await).start();
    let key = metrics.create_key().await.unwrap();
    watch(&metrics, &key, "a", 2.0).await;
    let copy = database.copy().await;
    let copied = Metrics::builder(copy.open().await).start();
    watch(&metrics, &key, "a", 4.0).await;
    assert_eq!(view_ms(&copied).await, 2_000);
    watch(&copied, &key, "a", 8.0).await;
    watch(&copied, &key, "b", 16.0).await;
    assert_eq!(view_ms(&copied).await, 26_000);
    assert_eq!(view_ms(&metrics).await, 6_000);
    let new = ApiKey::generate();
    assert!(copied.import_key(&new).await.unwrap());
    assert_eq!(copied.keys().await.unwrap().len(), 2);
    assert!(copied.revoke_key(&new).await.unwrap());
}

async fn stored_sessions_are_found(backend: Backend) {
    let database = Database::new(backend).await;
    let metrics = Metrics::builder(database.open().await).start();
    let key = metrics.create_key().await.unwrap();
    watch(&metrics, &key, "name-of-the-session", 2.0).await;
    for stored in
        ["data-of-the-page", "identifier-of-the-video", "http://page-of-the-video/", key.as_str()]
    {
        assert!(database.contains(stored).await, "{stored}");
    }
    assert!(!database.contains("name-of-the-session").await);
}

#[tokio::test]
async fn a_database_is_deleted_at_the_end_and_after_a_panic() {
    for backend in [Backend::Timescale, Backend::Postgres] {
        let (send, receive) = std::sync::mpsc::channel();
        let test = tokio::spawn(async move {
            let database = Database::new(backend).await;
            let store = database.open().await;
            store.create_key(&ApiKey::generate(), Utc::now()).await.unwrap();
            send.send((database.url(), store)).unwrap();
            panic!("a test fails");
        });
        assert!(test.await.unwrap_err().is_panic());
        let (url, store) = receive.recv().unwrap();
        assert!(store.check().await.is_err());
        let refused = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.map(drop);
        let refused = refused.unwrap_err().as_db_error().cloned().unwrap();
        assert!(refused.message().contains("does not exist"), "{refused}");
    }
}
