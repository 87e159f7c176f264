//! Records of sessions from lines and back.

use serde_json::json;

use super::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

/// Parses a record of the required members, replaced or extended by `members`.
fn parse(members: Value) -> Result<SessionRecord, RecordError> {
    let mut record = json!({
        "key": "k", "identifier": "intro", "started_at": "2024-02-29T12:00:00Z", "segments": [[0, 12.5], [10, 20]],
    });
    let Value::Object(members) = members else { panic!("no object") };
    record.as_object_mut().unwrap().extend(members);
    SessionRecord::parse(record.to_string().as_bytes(), None, now())
}

#[track_caller]
fn check(members: Value, view_ms: u64, unique_ms: u64) {
    let stored = parse(members).unwrap().row.stored;
    assert_eq!((stored.view_ms, stored.unique_ms), (view_ms, unique_ms));
}

#[track_caller]
fn check_refused(members: Value, text: &str) {
    let error = parse(members).unwrap_err().to_string();
    assert!(error.contains(text), "{text:?} is not in: {error}");
}

#[test]
fn little_is_needed() {
    let record = parse(json!({})).unwrap();
    let stored = &record.row.stored;
    assert_eq!(stored.started_at_ms, 1_709_208_000_000);
    assert_eq!(stored.last_event_at_ms, 1_709_208_022_500);
    assert_eq!(record.row.user_agent, UserAgentClass::default());
    assert_eq!(stored.counters, Counters::default());
    let line =
        br#"{"metadata": {"a": 1}, "started_at": "2024-02-29T13:00:00.5+01:00", "view_time": 1}"#;
    let key = ApiKey::new("other").unwrap();
    let record = SessionRecord::parse(line, Some(&key), now()).unwrap();
    assert_eq!((&record.key, record.video.metadata()), (&key, Some(r#"{"a":1}"#)));
    assert_eq!(record.row.stored.started_at_ms, 1_709_208_000_500);
}

#[test]
fn view_times_follow_from_segments_or_stand_for_them() {
    check(json!({}), 22_500, 20_000);
    check(json!({"view_time": 22.5, "unique_view_time": 20}), 22_500, 20_000);
    check(json!({"scrubbed_time": 0.25}), 22_750, 20_000);
    check(json!({"scrubbed_time": 0.25, "view_time": 22.75}), 22_750, 20_000);
    check(json!({"segments": []}), 0, 0);
    check(json!({"segments": null, "view_time": 5}), 5_000, 5_000);
    check(json!({"segments": [], "view_time": 5, "duration": 3}), 5_000, 3_000);
    // A month of a kiosk; each second of a video counts once.
    check(json!({"segments": [], "view_time": 2_592_000}), 2_592_000_000, POSITION_MS_MAX);
    check(json!({"segments": [], "view_time": 5, "unique_view_time": 0}), 5_000, 0);
    check(json!({"segments": [], "view_time": 5, "scrubbed_time": 5}), 5_000, 0);

    check_refused(
        json!({"segments": [], "view_time": 50, "unique_view_time": 40, "duration": 30}),
        "`unique_view_time` is 40, expected at most 30",
    );
    let hour = parse(json!({"segments": [], "view_time": 3_600})).unwrap().row.stored;
    assert_eq!(hour.minutes.len(), 60);
    check_refused(json!({"segments": null}), "`segments` is missing: list the watched segments");
    let error = "`view_time` is 22, expected 22.5, the sum of `segments`: leave it out";
    check_refused(json!({"view_time": 22}), error);
    check_refused(json!({"unique_view_time": 22.5}), "`unique_view_time` is 22.5, expected 20");
    check_refused(
        json!({"segments": [], "view_time": 5, "unique_view_time": 6}),
        "expected at most 5, `view_time`",
    );
    check_refused(json!({"segments": [], "view_time": 5, "scrubbed_time": 6}), "at least 6");
}

#[test]
fn where_viewers_come_from_is_reduced() {
    let members =
        json!({"referrer": "https://www.a.example/?q=1", "utm_medium": " mail ", "country": "nl"});
    let arrival = parse(members).unwrap().row.arrival;
    let expected = r#"{"country":"NL","referrer":"a.example","utm_medium":"mail"}"#;
    assert_eq!(arrival.to_json().as_deref(), Some(expected));
}

#[test]
fn nothing_is_ignored() {
    check_refused(json!({"referer": "a"}), "`referer` is unknown, did you mean `referrer`?");
    check_refused(json!({"view_tme": 1}), "did you mean `view_time`?");
    let twice = br#"{"key": "k", "key": "l"}"#;
    let error = SessionRecord::parse(twice, None, now()).unwrap_err().to_string();
    assert!(error.contains("`key` occurs twice"), "{error}");
    for line in ["", "[]", "{", "1", "{\"key\": \"k\"} {}", "\u{0}", "{\"a\": 1e999}"] {
        let error = SessionRecord::parse(line.as_bytes(), None, now()).unwrap_err();
        assert!(matches!(error, RecordError::NotAnObject { .. }), "{line}: {error}");
    }
    let long = vec![b' '; LINE_BYTES_MAX + 1];
    assert_eq!(SessionRecord::parse(&long, None, now()), Err(RecordError::TooLong));
}

#[test]
fn values_that_do_not_fit_are_refused() {
    check_refused(json!({"key": null}), "`key` is missing");
    check_refused(json!({"identifier": null}), "`identifier` is missing");
    check_refused(json!({"started_at": null}), "`started_at` is missing");
    check_refused(
        json!({"started_at": 1_709_208_000}),
        "`started_at` is 1709208000, expected an RFC 3339 time",
    );
    check_refused(json!({"started_at": "2024-02-29"}), "an RFC 3339 time");
    check_refused(json!({"started_at": "1969-12-31T23:59:59Z"}), "from 1970-01-01T00:00:00Z");
    check_refused(json!({"started_at": "2027-01-17T00:00:00Z"}), "to 2027-01-16T08:00:00Z");
    check_refused(json!({"last_event_at": "2024-02-29T11:59:59Z"}), "from 2024-02-29T12:00:00Z");
    check_refused(json!({"identifier": "a\0"}), "without U+0000");
    check_refused(json!({"identifier": 7}), "`identifier` is 7, expected a text");
    check_refused(json!({"identifier": "x".repeat(1_025)}), "at most 1024 bytes");
    check_refused(json!({"metadata": []}), "`metadata` is [], expected an object");
    check_refused(json!({"session_data": {"a": "\0"}}), "without U+0000");
    check_refused(json!({"source": "/path"}), "`source` is \"/path\", expected the URL of a page");
    check_refused(
        json!({"referrer": "192.168.0.7"}),
        "`referrer` is \"192.168.0.7\", expected a host",
    );
    check_refused(
        json!({"utm_source": "me@a.example"}),
        "expected a text that is no e-mail address",
    );
    check_refused(json!({"country": 7}), "`country` is 7, expected two letters");
    check_refused(json!({"browser": "Netscape"}), "expected one of \"brave\", \"chrome\"");
    check_refused(json!({"duration": 0}), "leave out a duration that is unknown");
    check_refused(json!({"duration": 604_801}), "seconds from 0.001 to 604800");
    check_refused(json!({"segments": [[1, 1]]}), "`segments` is [1,1], expected");
    check_refused(json!({"segments": [[0, 604_861]]}), "to <= 604860");
    check_refused(json!({"segments": {"0": 1}}), "expected at most 10064 pairs");
    check_refused(json!({"seeks": -1}), "`seeks` is -1, expected a whole number");
    check_refused(json!({"language": "x".repeat(65)}), "at most 64 bytes");
    check_refused(json!({"startup_time": -0.5}), "expected seconds from 0");
    // Keys are secrets.
    let error = parse(json!({"key": "se cret"})).unwrap_err().to_string();
    assert!(!error.contains("cret"), "{error}");
}

#[test]
fn row_ids_are_of_the_content_or_the_id() {
    let (one, same) = (parse(json!({})).unwrap(), parse(json!({"view_time": 22.5})).unwrap());
    assert_eq!(one, same);
    assert_eq!(one.row.id, one.row_id(0));
    assert_ne!(one.row_id(0), one.row_id(1));
    // Row ids are stored, so they must never change.
    assert_eq!(one.row_id(0), RowId(4_324_458_503_975_052_460));
    for other in [
        json!({"key": "l"}),
        json!({"identifier": "a"}),
        json!({"seeks": 1}),
        json!({"source": "http://a/"}),
        json!({"device": "mobile"}),
        json!({"country": "NL"}),
        json!({"utm_source": "NL"}),
        json!({"last_event_at": "2024-02-29T12:00:00Z"}),
    ] {
        assert_ne!(parse(other).unwrap().row.id, one.row.id);
    }
    let named = |seeks: u32| parse(json!({"id": "7", "seeks": seeks})).unwrap().row.id;
    assert_eq!(named(1), named(2));
    assert_ne!(named(1), one.row.id);
}
