//! Tables that are not quite as expected, and databases of somebody else.

use metrics_core::mave::Mave;
use metrics_core::store::{Error, Store as _, TimescaleStore};
use metrics_testing::Backend;

use super::support::{NEWER, OF_2023, Old, empty_store, everything, lines};

/// The view times of the sessions that are imported, by old id.
async fn view_times(old: &Old) -> Vec<u64> {
    let (store, _database) = empty_store().await;
    let imported = old.import(&*store).await.unwrap();
    assert_eq!(lines(&imported), [""; 0]);
    let mut records = everything(&*store).await;
    records.sort_by_key(|record| record.stored.started_at_ms);
    records.iter().map(|record| record.stored.view_ms).collect()
}

const ROWS: &str = r#"
    insert into keys (id, key) values (1, 'key');
    insert into videos (id, metadata, key_id) values (1, '{}', 1);
    insert into sessions (id, "timestamp", video_id) values (1, '2022-03-01', 1), (2, '2022-03-02', 1);
    insert into events ("timestamp", type, video_time, session_id) values
        ('2022-03-01 00:00:00', 'play', 0, 1), ('2022-03-01 00:00:05', 'pause', 5.25, 1);
    insert into durations (session_id, "timestamp", watched_seconds) values (2, '2022-03-02', '[0,9]');
"#;

#[tokio::test]
async fn columns_may_have_other_types() {
    for change in [
        "",
        r#"alter table events alter "timestamp" type timestamptz, alter video_time type numeric"#,
        r#"alter table events alter "timestamp" type timestamp(0), alter video_time type text"#,
        "alter table videos alter metadata type json, alter id type integer, alter key_id type integer",
        "alter table sessions alter id type integer, alter video_id type integer",
        "alter table events alter session_id type integer, alter video_time type real",
        "alter table durations alter session_id type integer, alter watched_seconds type int8range
             using int8range(lower(watched_seconds), upper(watched_seconds))",
        "create type kind as enum ('play', 'pause'); alter table events alter type type kind using type::kind",
        "alter table events add id bigserial",
        "alter table sessions add inserted_at timestamp",
    ] {
        let old = Old::new(NEWER).await;
        old.run(ROWS).await;
        old.run(change).await;
        assert_eq!(view_times(&old).await, [5_250, 10_000], "{change}");
    }
}

#[tokio::test]
async fn hypertables_are_read_as_tables_are() {
    let old = Old::on(Backend::Timescale, NEWER).await;
    old.run(
        r#"create extension if not exists timescaledb;
        alter table sessions drop constraint sessions_pkey;
        select create_hypertable(name, 'timestamp')
            from unnest(array['sessions', 'events', 'durations']) as name;"#,
    )
    .await;
    old.run(ROWS).await;
    assert_eq!(view_times(&old).await, [5_250, 10_000]);
}

#[tokio::test]
async fn times_without_a_zone_are_utc_in_every_zone_of_the_server() {
    let old = Old::new(NEWER).await;
    old.run(ROWS).await;
    old.set("timezone to ''Asia/Tokyo''").await;
    old.run(
        r#"alter table sessions alter "timestamp" type timestamptz using "timestamp" at time zone 'UTC'"#,
    )
    .await;
    let (store, _database) = empty_store().await;
    old.import(&*store).await.unwrap();
    let mut starts: Vec<_> =
        everything(&*store).await.iter().map(|it| it.stored.started_at_ms).collect();
    starts.sort_unstable();
    assert_eq!(starts, [1_646_092_800_000, 1_646_179_200_000]);
}

#[tokio::test]
async fn tables_and_columns_that_are_not_needed_may_be_missing() {
    for (change, expected) in [
        ("drop table events; delete from sessions where id = 1", &[10_000_u64][..]),
        ("drop table durations; delete from sessions where id = 2", &[5_250]),
        (
            "alter table sessions drop browser, drop platform, drop device, drop uri_host",
            &[5_250, 10_000],
        ),
        ("alter table keys drop disabled_at, drop inserted_at", &[5_250, 10_000]),
        (r#"alter table sessions drop "timestamp""#, &[5_250, 10_000]),
        ("alter table durations drop uniqueness, drop video_id", &[5_250, 10_000]),
    ] {
        let old = Old::new(NEWER).await;
        old.run(ROWS).await;
        old.run(change).await;
        assert_eq!(view_times(&old).await, expected, "{change}");
    }
}

#[tokio::test]
async fn tables_are_found_along_the_search_path() {
    let old = Old::new(NEWER).await;
    old.run(ROWS).await;
    old.run(
        "create schema \"Old\"; alter table keys set schema \"Old\"; alter table videos set schema \"Old\";
        alter table sessions set schema \"Old\"; alter table events set schema \"Old\";
        alter table durations set schema \"Old\"; create table sessions (id uuid, video_id bigint)",
    )
    .await;
    old.set("search_path to public, \"Old\"").await;
    assert_eq!(view_times(&old).await, [5_250, 10_000]);
}

#[tokio::test]
async fn the_new_store_may_be_in_the_same_database() {
    let old = Old::new(NEWER).await;
    old.run(ROWS).await;
    let store = TimescaleStore::connect(&old.url()).await.unwrap();
    // Tables of the same names are found first.
    old.set("search_path to metrics, public").await;
    for imported in [2, 0] {
        assert_eq!(old.import(&store).await.unwrap().sessions, imported);
    }
    assert_eq!(store.count_sessions().await.unwrap(), 2);
}

#[tokio::test]
async fn nothing_is_written_to_the_old_database() {
    let old = Old::new(OF_2023).await;
    old.set("default_transaction_read_only to on").await;
    assert_eq!(view_times(&old).await, [0_u64; 0]);
}

/// Why a database is refused.
async fn refused(url: &str) -> Error {
    Mave::connect(url).await.unwrap_err()
}

#[tokio::test]
async fn a_database_of_another_application_is_refused() {
    let reason = |column| {
        format!(
            "the mave database cannot be used: it has no column {column} that this user may read: \
             name the database of a mave/metrics server, and a user who may read its tables"
        )
    };
    let old = Old::new("").await;
    assert_eq!(refused(&old.url()).await.to_string(), reason("keys.id"));
    for (change, column) in [
        ("alter table keys drop key", "keys.key"),
        ("drop table sessions", "sessions.id"),
        ("alter table sessions alter id type text", "sessions.id"),
        ("alter table sessions drop video_id", "sessions.video_id"),
        ("alter table videos drop key_id", "videos.key_id"),
    ] {
        let old = Old::new(NEWER).await;
        old.run(change).await;
        let err = refused(&old.url()).await;
        assert!(matches!(err, Error::Unusable { .. }));
        assert_eq!(err.to_string(), reason(column), "{change}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    // A port that nobody listens on: the listener that had it is gone.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let err = refused(&format!("postgres://nobody@127.0.0.1:{port}/metrics")).await;
    assert!(err.is_retryable(), "{err:?}");
    assert_eq!(err.to_string(), "the mave database is unavailable");
}

#[tokio::test]
async fn a_missing_database_is_refused() {
    let old = Old::new("").await;
    let (server, _) =
        old.url().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let err = refused(&format!("{server}/missing")).await;
    assert_eq!(
        err.to_string(),
        "the mave database cannot be used: there is no database \"missing\": create one with `createdb missing`, \
         or name another in the URL"
    );
}

#[tokio::test]
async fn a_key_that_is_there_already_is_kept() {
    let old = Old::new(NEWER).await;
    old.run(ROWS).await;
    let (store, _database) = empty_store().await;
    let key = metrics_core::ApiKey::new("key").unwrap();
    let created_at = "2020-02-02T00:00:00Z".parse().unwrap();
    assert!(store.create_key(&key, created_at).await.unwrap());
    let imported = old.import(&*store).await.unwrap();
    assert_eq!((imported.keys, imported.sessions), (0, 2));
    assert_eq!(store.keys().await.unwrap()[0].created_at, created_at);
}
