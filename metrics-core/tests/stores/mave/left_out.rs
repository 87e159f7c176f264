//! Everything that cannot be taken is counted, and the rest is taken.

use metrics_core::export::Record;
use metrics_core::interval::Segments;
use metrics_core::session::SEGMENTS_MAX;

use super::support::{NEWER, OF_2023, Old, empty_store, everything, lines};

/// The only session that was taken.
async fn only(tables: &str, rows: &str, left_out: &[&str]) -> Record {
    let old = Old::new(tables).await;
    old.run(rows).await;
    let (store, _database) = empty_store().await;
    let imported = old.import(&*store).await.unwrap();
    assert_eq!(lines(&imported), left_out);
    let mut records = everything(&*store).await;
    assert_eq!((imported.sessions, records.len()), (1, 1));
    records.remove(0)
}

fn segments(record: &Record) -> Vec<(u32, u32)> {
    let segments = Segments::decode(&record.stored.segments).unwrap();
    segments.iter().map(|it| (it.start_ms(), it.end_ms())).collect()
}

/// A key, a video, and a session (1) that has nothing wrong.
const GOOD: &str = r#"
    insert into keys (id, key) values (1, 'key');
    insert into videos (id, metadata, key_id) values (1, '{"a": 1}', 1);
    insert into sessions (id, "timestamp", uri_host, video_id) values (1, '2022-03-01', 'example.com', 1);
    insert into events values ('2022-03-01', 'play', 0, 1, 1), ('2022-03-01 00:00:05', 'pause', 5, 1, 1);
"#;

async fn check(rows: &str, left_out: &[&str]) {
    let record = only(NEWER, &format!("{GOOD}{rows}"), left_out).await;
    assert_eq!(segments(&record), [(0, 5_000)]);
}

/// Rows of sessions that were played.
fn played(sessions: &str) -> String {
    format!(
        r#"insert into sessions (id, "timestamp", uri_host, video_id) values {sessions};
        insert into events select '2022-03-01', 'play', 0, id from sessions where 1 < id;
        insert into events select '2022-03-02', 'pause', 9, id from sessions where 1 < id;"#
    )
}

#[tokio::test]
async fn an_invalid_key_is_omitted_with_its_sessions() {
    let rows = "insert into keys (id, key) values (2, 'a key'), (3, null), (4, '');
        insert into videos (id, metadata, key_id) values (2, '{}', 2), (3, '{}', 3), (4, '{}', 4);";
    let sessions = played("(2, '2022-03-01', 'a.test', 2), (3, '2022-03-01', 'a.test', 3)");
    check(
        &format!("{rows}{sessions}"),
        &[
            "keys that are not 1 to 128 visible ASCII characters: 3 (keys.id 2, 3, 4)",
            "sessions without a key that can be imported: 2 (sessions.id 2, 3)",
        ],
    )
    .await;
}

#[tokio::test]
async fn sessions_without_a_key_or_a_video_are_omitted() {
    let rows = "insert into videos (id, metadata, key_id) values (2, '{}', null);";
    let sessions = played(
        "(2, '2022-03-01', 'a.test', 2), (3, '2022-03-01', 'a.test', null), (4, '2022-03-01', 'a.test', 99)",
    );
    check(
        &format!("{rows}{sessions}"),
        &[
            "sessions without a key that can be imported: 1 (sessions.id 2)",
            "sessions without a video: 2 (sessions.id 3, 4)",
        ],
    )
    .await;
    let rows = "insert into keys (id, key) values (1, 'key');
        insert into videos (id, identifier) values (1, 'intro');
        insert into sessions (id, video_id, key_id, inserted_at) values
            (1, 1, 1, '2023-03-01'), (2, 1, null, '2023-03-01'), (3, 1, 99, '2023-03-01');
        insert into plays select inserted_at, id, 0, 5 from sessions;";
    let left_out = "sessions without a key that can be imported: 2 (sessions.id 2, 3)";
    only(OF_2023, rows, &[left_out]).await;
}

#[tokio::test]
async fn a_video_without_a_name_is_omitted() {
    let rows = r#"insert into videos (id, metadata, key_id) values (2, null, 1), (3, 'null', 1), (4, '[1]', 1),
            (5, jsonb_build_object('a', repeat('x', 20000)), 1);"#;
    let sessions = played(
        "(2, '2022-03-01', 'a.test', 2), (3, '2022-03-01', 'a.test', 2), (4, '2022-03-01', 'a.test', 3),
        (5, '2022-03-01', 'a.test', 4), (6, '2022-03-01', 'a.test', 5)",
    );
    check(
        &format!("{rows}{sessions}"),
        &[
            "sessions of a video that has neither an identifier nor metadata: 5 (videos.id 2, 3, 4, 5)",
            "sessions of a video whose identifier has more than 1024 bytes, or whose metadata are not an object, \
             have more than 16384 bytes, are nested more than 64 deep or hold U+0000: 2 (videos.id 4, 5)",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_video_is_accepted_if_one_of_its_names_is_valid() {
    for video in [r"'intro', '[1]'", r#"repeat('x', 1025), '{"a": 1}'"#] {
        let rows = format!(
            "insert into keys (id, key) values (1, 'key');
            insert into videos (id, identifier, metadata) values (1, {video});
            insert into sessions (id, video_id, key_id, inserted_at) values (1, 1, 1, '2023-03-01');
            insert into plays select inserted_at, id, 0, 5 from sessions;"
        );
        let left_out = "sessions of a video whose identifier has more than 1024 bytes, or whose metadata are not \
             an object, have more than 16384 bytes, are nested more than 64 deep or hold U+0000: 1 (videos.id 1)";
        let record = only(OF_2023, &rows, &[left_out]).await;
        let video = &record.subject.video;
        assert!((video.identifier() == Some("intro")) != (video.metadata() == Some(r#"{"a":1}"#)));
    }
}

#[tokio::test]
async fn a_session_without_playback_is_omitted() {
    let rows = r#"insert into sessions (id, "timestamp", video_id) values
            (2, '2022-03-01', 1), (3, '2022-03-01', 1), (4, '2022-03-01', 1);
        insert into events values
            ('2022-03-01', 'pause', 5, 3, 1), ('2022-03-01', 'play', -5, 4, 1), ('2022-03-02', 'playing', 1, 4, 1);"#;
    check(
        rows,
        &[
            "sessions in which nothing was played: 3 (sessions.id 2, 3, 4)",
            "segments that are negative, not a number, past 24 hours, or end before they start: 1 (sessions.id 4)",
        ],
    )
    .await;
}

#[tokio::test]
async fn a_session_without_a_time_is_omitted() {
    let rows = r#"insert into sessions (id, "timestamp", video_id) values (2, 'infinity', 1), (3, '-infinity', 1);
        insert into durations (session_id, "timestamp", watched_seconds) values
            (2, 'infinity', '[0,5)'), (3, '-infinity', '[0,5)');"#;
    check(rows, &["sessions of an unknown time: 2 (sessions.id 2, 3)"]).await;
}

#[tokio::test]
async fn rows_of_sessions_that_are_not_there_are_counted() {
    let rows = r#"
        insert into events values ('2022-03-01', 'play', 0, 0, 1), ('2022-03-01', 'pause', 3, 0, 1),
            ('2022-03-01', 'play', 0, 99, 1), ('2022-03-01', 'play', 0, null, 1);
        insert into durations (session_id, "timestamp", watched_seconds, video_id) values
            (null, '2022-03-01', '[0,5)', 1);"#;
    let left_out =
        "plays, events and durations of sessions that do not exist: 5 (sessions.id 0, 99)";
    check(rows, &[left_out]).await;
}

#[tokio::test]
async fn invalid_segments_are_omitted_from_their_session() {
    let rows = r#"insert into keys (id, key) values (1, 'key');
        insert into videos (id, identifier) values (1, 'intro');
        insert into sessions (id, video_id, key_id, inserted_at) values (1, 1, 1, '2023-03-01 12:00:00');
        insert into plays values
            ('2023-03-01 12:00:01+00', 1, 0, 5), ('2023-03-01 12:00:02+00', 1, -1, 5),
            ('2023-03-01 12:00:03+00', 1, 'NaN', 5), ('2023-03-01 12:00:04+00', 1, 5, 'NaN'),
            ('2023-03-01 12:00:05+00', 1, 5, 4), ('2023-03-01 12:00:06+00', 1, 5, 5),
            ('2023-03-01 12:00:07+00', 1, 5, null), ('2023-03-01 12:00:08+00', 1, 7.0004, 8.0006);"#;
    let left_out = "segments that are negative, not a number, past 24 hours, or end before they start: 4 (sessions.id 1)";
    let record = only(OF_2023, rows, &[left_out]).await;
    assert_eq!(segments(&record), [(0, 5_000), (7_000, 8_001)]);
    let stored = &record.stored;
    assert_eq!(
        (stored.started_at_ms, stored.last_event_at_ms),
        (1_677_672_000_000, 1_677_672_008_000)
    );
    assert_eq!((stored.duration_ms, stored.view_ms), (None, 6_001));
}

#[tokio::test]
async fn of_a_session_with_too_many_segments_the_first_are_taken() {
    // More than fit into several pages of rows.
    let pairs = 2 * SEGMENTS_MAX + 7;
    let rows = format!(
        r#"insert into keys (id, key) values (1, 'key');
        insert into videos (id, metadata, key_id) values (1, '{{}}', 1);
        insert into sessions (id, "timestamp", video_id) values (1, '2022-03-01', 1), (2, '2022-03-01', 1);
        insert into events select timestamp '2022-03-01' + n * interval '2 s', 'play', n, 2
            from generate_series(1, {pairs}) as n;
        insert into events select timestamp '2022-03-01 00:00:01' + n * interval '2 s', 'pause', n + 1, 2
            from generate_series(1, {pairs}) as n;"#
    );
    let over = pairs - SEGMENTS_MAX;
    let record = only(
        NEWER,
        &rows,
        &[
            "sessions in which nothing was played: 1 (sessions.id 1)",
            &format!("segments of sessions that have more than 10000: {over} (sessions.id 2)"),
        ],
    )
    .await;
    let segments = segments(&record);
    assert_eq!(segments.len(), SEGMENTS_MAX);
    assert_eq!((segments[0], segments[SEGMENTS_MAX - 1].1), ((1_000, 2_000), 10_001_000));
}

#[tokio::test]
async fn a_session_is_imported_without_an_invalid_page_or_data() {
    let rows = r#"insert into keys (id, key) values (1, 'key');
        insert into videos (id, identifier, source_uri) values (1, 'intro', '{"host": "a b"}');
        insert into sessions (id, video_id, key_id, inserted_at, metadata) values (1, 1, 1, '2023-03-01', '[1]');
        insert into plays select inserted_at, id, 0, 5 from sessions;"#;
    let record = only(
        OF_2023,
        rows,
        &[
            "sessions whose page is not a URL, imported without it: 1 (sessions.id 1)",
            "sessions whose data are not an object, have more than 16384 bytes, are nested more than 64 deep or \
             hold U+0000, imported without them: 1 (sessions.id 1)",
        ],
    )
    .await;
    assert_eq!((record.subject.source, record.subject.session_data), (None, None));
}

#[tokio::test]
async fn an_empty_database_is_imported_as_nothing() {
    for tables in [NEWER, OF_2023] {
        let old = Old::new(tables).await;
        let (store, _database) = empty_store().await;
        let imported = old.import(&*store).await.unwrap();
        assert_eq!(imported, metrics_core::mave::Imported::default());
        assert_eq!(store.count_sessions().await.unwrap(), 0);
    }
}
