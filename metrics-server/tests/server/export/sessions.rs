//! Exported sessions: every member, in every format.

use metrics_server::{Credentials, Settings};
use metrics_server_testing::{Answer, TestServer};
use serde_json::json;

use super::{
    SESSIONS, TEXTS, all, export, filled, read_csv, read_ndjson, unchunked, unchunked_bytes, with,
};

#[tokio::test]
async fn every_session_is_an_object_with_all_inputs_of_reports() {
    let (server, _) = filled().await;
    let exported = export(&server, "sessions", &json!({"format": "ndjson"})).await;
    let mut sessions = read_ndjson(&unchunked(&exported));
    assert_eq!(sessions.len(), SESSIONS as usize);
    sessions.sort_by_key(|session| session["started_at"].as_str().unwrap().to_owned());
    insta::assert_json_snapshot!(sessions[1], @r#"
    {
      "bitrate": null,
      "browser": "firefox",
      "clamped": 0,
      "codec": null,
      "country": "NL",
      "device": "desktop",
      "duration": 60.0,
      "failures": 0,
      "fullscreens": 0,
      "height": null,
      "identifier": "=1+1",
      "key": "+a/key=",
      "language": "en",
      "last_event_at": "2023-11-14T22:14:20.005Z",
      "metadata": {
        "course": 1
      },
      "others": 0,
      "platform": "linux",
      "rebuffering_time": 0.0,
      "rebufferings": 1,
      "referrer": null,
      "renditions": 0,
      "scrubbed_time": 0.0,
      "seek_wait_time": 0.0,
      "seek_waits": 0,
      "seeks": 0,
      "segments": [
        [
          0.0,
          1.5
        ],
        [
          0.5,
          0.75
        ]
      ],
      "session_data": null,
      "source": "https://example.com/watch",
      "started_at": "2023-11-14T22:14:20.000Z",
      "startup_time": null,
      "tracks": 0,
      "unique_view_time": 1.5,
      "unplaced_time": 0.0,
      "utm_campaign": null,
      "utm_medium": null,
      "utm_source": null,
      "view_time": 1.75,
      "width": null
    }
    "#);
}

#[tokio::test]
async fn every_session_is_a_line_of_csv() {
    let (server, _) = filled().await;
    let lines = read_csv(&unchunked(&export(&server, "sessions", &json!({})).await));
    assert_eq!(lines.len(), SESSIONS as usize);
    let line = lines.iter().find(|line| line["started_at"] == "2023-11-14T22:14:20.000Z").unwrap();
    insta::assert_json_snapshot!(line, @r#"
    {
      "bitrate": "",
      "browser": "firefox",
      "clamped": "0",
      "codec": "",
      "country": "NL",
      "device": "desktop",
      "duration": "60",
      "failures": "0",
      "fullscreens": "0",
      "height": "",
      "identifier": "'=1+1",
      "key": "'+a/key=",
      "language": "en",
      "last_event_at": "2023-11-14T22:14:20.005Z",
      "metadata": "{\"course\":1}",
      "others": "0",
      "platform": "linux",
      "rebuffering_time": "0",
      "rebufferings": "1",
      "referrer": "",
      "renditions": "0",
      "scrubbed_time": "0",
      "seek_wait_time": "0",
      "seek_waits": "0",
      "seeks": "0",
      "segments": "0-1.5;0.5-0.75",
      "session_data": "",
      "source": "https://example.com/watch",
      "started_at": "2023-11-14T22:14:20.000Z",
      "startup_time": "",
      "tracks": "0",
      "unique_view_time": "1.5",
      "unplaced_time": "0",
      "utm_campaign": "",
      "utm_medium": "",
      "utm_source": "",
      "view_time": "1.75",
      "width": ""
    }
    "#);
}

#[tokio::test]
async fn sessions_are_narrowed_like_reports() {
    let (server, key) = filled().await;
    for (parameters, expected) in [
        (json!({}), SESSIONS),
        (json!({"identifier": "intro"}), SESSIONS / 5),
        (json!({"identifier": ["intro", "=1+1"]}), 2 * SESSIONS / 5),
        (json!({"query": {"key": key.as_str()}}), SESSIONS),
        (json!({"query": {"key": "another"}}), 0),
        (json!({"query": {"video": {"course": 1}, "session": {}}}), SESSIONS / 6),
        (json!({"timeframe": {"from": "2023-11-14T22:13:20Z", "to": "2023-11-14T22:17:20Z"}}), 5),
        (json!({"timeframe": "7 days"}), 0),
        (json!({"minimum_watch_seconds": 20.75}), SESSIONS / 40),
    ] {
        let exported =
            export(&server, "sessions", &with(&parameters, "format", &json!("ndjson"))).await;
        let sessions = read_ndjson(&unchunked(&exported));
        assert_eq!(sessions.len(), expected as usize, "{parameters}");
    }
}

#[tokio::test]
async fn texts_of_pages_are_no_formulas_in_csv_and_as_they_are_in_ndjson() {
    let (server, _) = filled().await;
    let lines = read_csv(&unchunked(&export(&server, "sessions", &json!({})).await));
    let mut texts: Vec<_> = lines.iter().map(|line| &*line["identifier"]).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts, ["'-2", "'=1+1", "a,\"b\"\r\nc", "intro", "\u{e9}\u{1f600}"]);
    assert!(lines.iter().all(|line| line["key"] == "'+a/key="));

    let exported = export(&server, "sessions", &json!({"format": "ndjson"})).await;
    let sessions = read_ndjson(&unchunked(&exported));
    assert!(sessions.iter().all(|it| TEXTS.contains(&it["identifier"].as_str().unwrap())));
    assert!(sessions.iter().all(|it| it["key"] == "+a/key="));
}

#[cfg(feature = "parquet")]
#[tokio::test]
async fn parquet_has_the_same_sessions_as_csv() {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    let time_ms = |text: &str| {
        let time = chrono::DateTime::parse_from_rfc3339(text);
        let time = time.or_else(|_| chrono::DateTime::parse_from_rfc3339(&format!("{text}Z")));
        time.unwrap().timestamp_millis()
    };
    let (server, key) = filled().await;
    let all = all(&key);
    let query = json!({"metrics": ["plays", "average_view_duration", "startup_time_p50"],
        "dimensions": ["time:1 hour", "hour_of_day", "video"], "timeframe": ["2023-11-01", "2023-12-01"], "compare": "previous_period", "limit": 5});
    for (table, parameters) in [
        ("plays", all.clone()),
        ("sources", with(&all, "timezone", &json!("Europe/Amsterdam"))),
        ("engagement", all.clone()),
        ("engagement", with(&all, "ranges", &json!(4))),
        ("engagement", with(&all, "query", &json!({"key": "unknown"}))),
        ("query", query),
        ("sessions", json!({})),
    ] {
        let whole = |answer: Answer| match table {
            "sessions" => unchunked_bytes(&answer),
            _ => answer.body.to_vec(),
        };
        let csv = whole(export(&server, table, &parameters).await);
        let lines = read_csv(str::from_utf8(&csv).unwrap());
        let format = json!("parquet");
        let file = whole(export(&server, table, &with(&parameters, "format", &format)).await);
        let file = SerializedFileReader::new(bytes::Bytes::from(file)).unwrap();
        let rows: Vec<_> = file.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), lines.len(), "{table}");
        for (row, line) in rows.iter().zip(&lines) {
            assert_eq!(row.len(), line.len(), "{table}");
            for (name, field) in row.get_column_iter() {
                let cell = &line[name];
                match field {
                    Field::Null => assert_eq!(cell, "", "{table}: {name}"),
                    Field::Str(text) => {
                        // A text that begins like a formula has a quote before it.
                        let plain = cell.strip_prefix('\'').unwrap_or(cell);
                        assert_eq!(plain, text, "{table}: {name}");
                    }
                    Field::Long(number) => assert_eq!(*cell, number.to_string(), "{table}: {name}"),
                    Field::Double(number) => {
                        assert_eq!(cell.parse(), Ok(*number), "{table}: {name}");
                    }
                    Field::TimestampMillis(at_ms) => {
                        assert_eq!(time_ms(cell), *at_ms, "{table}: {name}");
                    }
                    other => panic!("{table}: {name} is {other:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn exports_need_credentials_and_name_invalid_fields() {
    let credentials = Credentials::new("ada", "open sesame").unwrap();
    let server = TestServer::with(Settings::default().access(credentials)).await;
    for table in ["plays", "engagement", "sources", "sessions"] {
        let path = format!("/api/v1/export/{table}");
        assert_eq!(server.http("GET", &path).send().await.status, 401, "{table}");
        let allowed = server
            .http("GET", &path)
            .header("authorization", "Basic YWRhOm9wZW4gc2VzYW1l")
            .query("identifier=intro");
        assert_eq!(allowed.clone().send().await.status, 200, "{table}");
        let answer = allowed.clone().query("identifier=intro&format=xml").send().await;
        assert_eq!(
            (answer.status, &*answer.error()),
            (400, "`format` must be csv, ndjson or parquet")
        );
        if !cfg!(feature = "parquet") {
            let answer = allowed.query("identifier=intro&format=parquet").send().await;
            let reported = "`format` must be csv or ndjson: this program was built without the feature `parquet`";
            assert_eq!((answer.status, &*answer.error()), (400, reported));
        }
        let method = server.http("DELETE", &path).send().await;
        assert_eq!((method.status, method.header("allow")), (405, Some("GET, POST, OPTIONS")));
    }
    assert_eq!(server.http("GET", "/api/v1/export/keys").send().await.status, 404);
    assert_eq!(server.http("GET", "/api/v1/export").send().await.status, 404);
}
