//! Reads what players sent, bad records one by one, and any text.

use proptest::prelude::*;

use super::*;

/// The reports of one viewing, by player.
const CAPTURES: [(&str, &str); 4] = [
    ("hls.js", include_str!("captures/hls.txt")),
    ("dash.js", include_str!("captures/dash.txt")),
    ("Shaka", include_str!("captures/shaka.txt")),
    ("hls.js with positions", include_str!("captures/hls-positions.txt")),
];

fn read(line: &str) -> Result<Record, InvalidRecord> {
    records(line.as_bytes(), Format::Lines).unwrap().remove(0)
}

#[test]
fn every_report_of_the_players_is_read() {
    for (player, capture) in CAPTURES {
        let records = records(capture.as_bytes(), Format::Lines).unwrap();
        assert_eq!(records.len(), capture.lines().count());
        for (record, line) in records.into_iter().zip(capture.lines()) {
            let record = record.unwrap_or_else(|err| panic!("{player}: {line}: {err}"));
            let known = Dictionary::parse(line).unwrap();
            let is_other = matches!(known.text("e"), Some("b" | "um"));
            assert_eq!(record.kind == Kind::Other, is_other, "{player}: {line}");
            assert_eq!(known.get("sta").is_some(), record.state.is_some(), "{line}");
            assert_eq!(known.get("br").is_some(), record.bitrate.is_some(), "{line}");
            assert_eq!(Some(record.sequence.into()), known.integer("sn"));
            assert_eq!(known.to_string(), line, "{player} writes as we do");
        }
    }
}

#[test]
fn the_keys_of_a_record_are_read() {
    let line = r#"br=(145;v 96;a),cid="video \"ä\" 1",e=bc,msd=174,pr=2,pt=1500,sid=ab,sn=7,st=v,sta=p,ts=1795922100627,v=2"#;
    let expected = Record {
        kind: Kind::BitrateChange,
        timestamp_ms: 1_795_922_100_627,
        session: "ab".to_owned(),
        sequence: 7,
        content: Some("video \"ä\" 1".to_owned()),
        state: Some(State::Playing),
        position_ms: Some(1_500),
        rate: Some(2.0),
        startup_ms: Some(174),
        bitrate: Some(145_000),
    };
    assert_eq!(read(line), Ok(expected.clone()));
    let json = r#"[{"br":[145,96],"cid":"video \"ä\" 1","e":"bc","msd":174,"pr":2,"pt":1500.2,"sid":"ab","sn":7,
        "st":"v","sta":"p","ts":1795922100627,"v":2,"com.example-x":{},"bg":null}]"#;
    assert_eq!(records(json.as_bytes(), Format::Json), Ok(vec![Ok(expected.clone())]));
    let object = json.trim_matches(['[', ']']).replace("[145,96]", "145");
    assert_eq!(records(object.as_bytes(), Format::Json), Ok(vec![Ok(expected)]));
}

#[test]
fn positions_are_of_videos_only() {
    let position = |keys: &str| read(&format!("e=t,sid=a,ts=1,{keys}")).unwrap().position_ms;
    assert_eq!(position("pt=5"), Some(5));
    assert_eq!(position("video.metrics-pt=\"3046\""), Some(3_046));
    assert_eq!(position("pt=7,video.metrics-pt=\"3046\""), Some(7));
    assert_eq!(position("pt=1795922100627,st=v"), None);
    assert_eq!(position("pt=5,st=l"), None);
    assert_eq!(position("pt=-1"), None);
}

#[test]
fn a_rate_that_is_left_out_is_1_and_0_is_a_pause() {
    let rate = |keys: &str| read(&format!("e=t,sid=a,ts=1{keys}")).unwrap().rate;
    assert_eq!(
        [rate(""), rate(",pr=2"), rate(",pr=0.5"), rate(",pr=0")],
        [Some(1.0), Some(2.0), Some(0.5), None]
    );
    assert_eq!(rate(",pr=-1"), Some(1.0));
}

#[track_caller]
fn check_refused(line: &str, expected: &str) {
    assert_eq!(read(line).unwrap_err().to_string(), expected, "{line}");
}

#[test]
fn bad_records_name_what_is_wrong() {
    check_refused("ts=1,sid=a", "`e` must be the kind of the record");
    check_refused("e=7,ts=1,sid=a", "`e` must be the kind of the record");
    check_refused("e=ps,sid=a", "`ts` must be a number of Unix milliseconds");
    check_refused("e=ps,ts=now,sid=a", "`ts` must be a number of Unix milliseconds");
    check_refused("e=ps,ts=1", "`sid` must be the random id of the session");
    check_refused("e=ps,ts=1,sid=\"\"", "`sid` must be the random id of the session");
    let long = "x".repeat(65);
    check_refused(
        &format!("e=ps,ts=1,sid={long}"),
        "`sid` must be a text of at most 64 characters",
    );
    check_refused(
        &format!("e=ps,ts=1,sid=a,cid=\"{long}{long}\""),
        "`cid` must be a text of at most 128 characters",
    );
    check_refused("e=ps,ts=1,sid=a,v=3", "`v` is 3, and must be 2");
    check_refused("sid=\"a", "a record must be a list of `key=value`: byte 5 is neither");
    check_refused("e=ps,=1", "a record must be a list of `key=value`: byte 5 is neither");
    check_refused("{\"e\":\"ps\"}", "a record must be a list of `key=value`: byte 0 is neither");
    let keys: String = (0..129).map(|key| format!("k{key},")).collect();
    check_refused(&keys, "a record must have at most 128 keys");
    check_refused(&"x".repeat(RECORD_BYTES_MAX + 1), "a record must have at most 16384 bytes");
}

#[test]
fn a_bad_record_leaves_the_others() {
    let body = b"e=ps,ts=1,sid=a\r\n\n\xff\xfe\n  e=ps,ts=2,sid=\"b\" , v=2 ,\ne=ps";
    let records = records(body, Format::Lines).unwrap();
    let sessions = records.iter().map(|it| it.as_ref().ok().map(|it| it.session.as_str()));
    assert_eq!(sessions.collect::<Vec<_>>(), [Some("a"), None, Some("b"), None]);
    assert_eq!(records[1], Err(InvalidRecord::NotUtf8));
    let found = super::records(br#"[1,{"e":"ps","ts":1,"sid":"a"}]"#, Format::Json).unwrap();
    assert_eq!(found[0], Err(InvalidRecord::NotAnObject));
    assert!(found[1].is_ok());
}

#[test]
fn a_body_is_bounded() {
    let body = |count: usize| "e=t,ts=1,sid=a\n".repeat(count);
    assert_eq!(records(body(256).as_bytes(), Format::Lines).unwrap().len(), 256);
    let too_many = Err(InvalidBody::TooManyRecords);
    assert_eq!(records(body(257).as_bytes(), Format::Lines), too_many);
    let elements = format!("[{}0]", "0,".repeat(256));
    assert_eq!(records(elements.as_bytes(), Format::Json), too_many);
    for body in ["", "7", "\"e\"", "{", "e=ps"] {
        assert_eq!(records(body.as_bytes(), Format::Json), Err(InvalidBody::NotJson), "{body}");
    }
}

#[test]
fn values_that_cannot_be_read_are_ignored_one_by_one() {
    for (value, is_read) in [
        ("1", true),
        ("-1.5", true),
        ("@1795922100", true),
        ("?0", true),
        ("\"a,\\\"b=(\"", true),
        ("()", true),
        ("(1;v \"x\";a=2;b tok)", true),
        ("http://a/b?c=d", true),
        ("1;p=?1;q", true),
        ("", false),
        ("?2", false),
        (":AQ==:", false),
        ("%\"x\"", false),
        ("1 2", false),
        ("1.2.3", false),
        ("99999999999999999999", true),
        ("(1", false),
        ("(1;=)", false),
        ("1;", false),
        ("12 \"x,y\" z", false),
    ] {
        let line = format!("a={value},b=2");
        let record = Dictionary::parse(&line).unwrap();
        assert_eq!(record.get("a").is_some(), is_read, "{line}");
        assert_eq!(record.integer("b"), Some(2), "{line}");
    }
    let items = format!("a=({}),b=2", "1 ".repeat(65));
    let record = Dictionary::parse(&items).unwrap();
    assert!(record.get("a").is_none() && record.integer("b") == Some(2));
}

#[test]
fn the_last_value_of_a_key_counts() {
    let record = Dictionary::parse("a=1,b,a=2").unwrap();
    assert_eq!(record.to_string(), "a=2,b");
}

#[test]
fn numbers_are_of_the_video_if_a_list_tells() {
    let number = |value: &str| Dictionary::parse(&format!("a={value}")).unwrap().number("a");
    assert_eq!(number("(96;a 145;v)"), Some(145.0));
    assert_eq!(number("(96 145)"), Some(96.0));
    assert_eq!(number("()"), None);
    assert_eq!(number("\"12.5\""), Some(12.5));
    assert_eq!([number("\"inf\""), number("tok"), number("?1")], [None; 3]);
}

#[test]
fn requests_carry_keys_in_their_query_or_headers() {
    // As hls.js sends it.
    let query = "CMCD=br%3D(300)%2Ccid%3D%22video+%5C%22%C3%A4%5C%22+1%22%2Csid%3D%22a%22%2Csu&x=1";
    let keys = Dictionary::of_query(query).unwrap().unwrap();
    assert_eq!(keys.to_string(), r#"br=(300),cid="video \"ä\" 1",sid="a",su"#);
    assert_eq!(Dictionary::of_query("cmcd=a&x"), None);
    assert!(Dictionary::of_query("CMCD=%22").unwrap().is_err());
    let headers = [("cmcd-object", "br=300,d=2000"), ("Accept", "="), ("CMCD-Request", "su,br=1")];
    assert_eq!(Dictionary::of_headers(headers).unwrap().to_string(), "br=1,d=2000,su");
    assert!(Dictionary::of_headers([("CMCD-Status", "=")]).is_err());
}

fn scalar() -> impl Strategy<Value = Scalar<'static>> {
    prop_oneof![
        any::<i64>().prop_map(Scalar::Integer),
        any::<f64>().prop_filter("finite", |it| it.is_finite()).prop_map(Scalar::Decimal),
        "[^\n]{0,12}".prop_map(|text| Scalar::String(text.into())),
        "[a-zA-Z*][a-zA-Z0-9:/!#$%&'*+.^_`|~-]{0,8}".prop_map(|it| Scalar::Token(it.into())),
        any::<bool>().prop_map(Scalar::Boolean),
    ]
}

fn value() -> impl Strategy<Value = Value<'static>> {
    let item = (scalar(), prop::option::of("[a-z]{1,3}"));
    let item = item.prop_map(|(value, label)| Item { value, label: label.map(Into::into) });
    prop_oneof![
        scalar().prop_map(Value::Scalar),
        prop::collection::vec(item, 0..4).prop_map(Value::List),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        members in prop::collection::vec(("[a-z][a-z0-9_.*-]{0,6}", value()), 0..8),
    ) {
        let mut written = Dictionary::default();
        for (key, value) in members {
            written.insert(key.into(), value).unwrap();
        }
        let text = written.to_string();
        prop_assert_eq!(Dictionary::parse(&text).unwrap(), written);
    }

    #[test]
    fn no_text_makes_it_panic(
        text in prop_oneof![any::<String>(), "[a-c=,;()\"\\\\ ?0-9.-]{0,40}"],
    ) {
        check_text(text.as_bytes());
    }
}

/// A text and its canonical form are read alike.
fn check_text(text: &[u8]) {
    crate::fuzzing::cmcd(text);
}
