//! Answers of PostgreSQL, and canonical texts written by hand.

use serde_json::json;

use super::*;

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Expects the answer of PostgreSQL 15.
#[track_caller]
fn check(whole: &str, part: &str, expected: bool) {
    assert_eq!(contains(&parse(whole), &parse(part)), expected, "{whole} @> {part}");
}

#[test]
fn a_value_of_any_depth_has_a_canonical_text() {
    // Deeper than the stack of a thread allows, so the value is also dropped by hand.
    const DEPTH: usize = 1_000_000;
    let mut value = json!("x");
    for level in 0..DEPTH {
        value = if level % 2 == 0 {
            Value::Array(vec![value])
        } else {
            Value::Object([("a".to_owned(), value)].into_iter().collect())
        };
    }
    let text = canonical(&value);
    assert!(text.starts_with(r#"{"a":[{"a":["#) && text.ends_with("]}]}"), "{}", &text[..20]);
    assert_eq!(text.len(), DEPTH / 2 * r#"{"a":[]}"#.len() + r#""x""#.len());
    assert!(is_too_deep(&text));
    loop {
        value = match value {
            Value::Array(mut elements) => elements.remove(0),
            Value::Object(mut members) => members.remove("a").unwrap(),
            _ => break,
        };
    }
}

#[test]
fn depth_is_that_of_arrays_and_objects() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = |depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(!is_too_deep(&nested(DEPTH_MAX)));
        assert!(is_too_deep(&nested(DEPTH_MAX + 1)));
    }
    assert!(!is_too_deep(&format!("[{}[]]", "[],".repeat(2 * DEPTH_MAX))));
    assert!(!is_too_deep(&format!(r#"["\"{}"]"#, "[".repeat(2 * DEPTH_MAX))));
}

#[test]
fn an_unmatched_closing_bracket_has_no_depth() {
    assert!(!is_too_deep(&format!("]]{}", "[],".repeat(2 * DEPTH_MAX))));
}

#[test]
fn nul_is_found_in_names_and_texts() {
    for (value, expected) in [
        (json!({"a": "\0"}), true),
        (json!({"a\0": 1}), true),
        (json!([[{"a": ["b", "\\\0"]}]]), true),
        (json!({"a": "\\u0000", "\\\\u0000": "\u{1}0000"}), false),
        (json!({"a": "u0000 0"}), false),
    ] {
        assert_eq!(has_nul(&canonical(&value)), expected, "{value}");
    }
}

#[test]
fn an_object_contains_some_of_its_keys() {
    check(r#"{"a":1,"b":2}"#, r#"{"b":2}"#, true);
    check(r#"{"a":1,"b":2}"#, "{}", true);
    check("{}", "{}", true);
    check(r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false);
    check(r#"{"a":1}"#, r#"{"a":2}"#, false);
    check(r#"{"a":null}"#, r#"{"a":null}"#, true);
    check("{}", r#"{"a":null}"#, false);
    check(r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"c":2}}"#, true);
    check(r#"{"a":{"b":{"c":2}}}"#, r#"{"b":{"c":2}}"#, false);
    check(r#"{"a":{"b":1}}"#, r#"{"a":{}}"#, true);
    check(r#"{"a":{"b":1}}"#, r#"{"a":[]}"#, false);
}

#[test]
fn arrays_are_sets() {
    check("[1,2,3]", "[3,1]", true);
    check("[1,2]", "[1,1,1]", true);
    check("[1,2]", "[]", true);
    check("[]", "[]", true);
    check("[1,2]", "[4]", false);
    check("[[1,2]]", "[[2]]", true);
    check("[[1,2]]", "[[]]", true);
    check("[[1],[2]]", "[[1,2]]", false);
    check("[[1]]", "[1]", false);
    check(r#"[{"a":1,"b":2}]"#, r#"[{"a":1},{"b":2}]"#, true);
    check(r#"[{"a":1},{"b":2}]"#, r#"[{"a":1,"b":2}]"#, false);
    check(r#"[{"a":1}]"#, r#"{"a":1}"#, false);
    check("[{}]", "[[]]", false);
}

#[test]
fn only_an_array_at_the_top_contains_a_lone_scalar() {
    check("[1,2]", "1", true);
    check("[1,2]", "1.0", true);
    check(r#"["a"]"#, r#""a""#, true);
    check("[[1]]", "1", false);
    check("1", "[1]", false);
    check("1", "[]", false);
    check(r#"{"a":[1,2]}"#, r#"{"a":1}"#, false);
    check(r#"{"a":1}"#, r#"{"a":[1]}"#, false);
    check("[[1,2]]", "[1]", false);
}

#[test]
fn scalars_contain_their_equals() {
    check("null", "null", true);
    check("true", "true", true);
    check("true", "false", false);
    check("1", r#""1""#, false);
    check(r#""a""#, r#""A""#, false);
    check(r#""\u00e9""#, r#""e\u0301""#, false);
    check(r#""a""#, r#""""#, false);
    check("{}", "null", false);
}

#[test]
fn numbers_are_compared_as_decimals() {
    check("1", "1.0", true);
    check("1.0", "1", true);
    check("0", "-0.0", true);
    check("1000", "1e3", true);
    check("0.1", "1e-1", true);
    check("9007199254740992", "9007199254740992.0", true);
    check("9007199254740993", "9007199254740992.0", false);
    check("9007199254740993", "9007199254740992", false);
    check("18446744073709551615", "1.8446744073709552e19", false);
    check("-9223372036854775808", "9223372036854775808", false);
    check("-1", "18446744073709551615", false);
}

#[test]
fn canonical_numbers_are_plain() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(canonical(&parse(text)), expected);
    }
    check("1.0", "1");
    check("-1.50", "-1.5");
    check("-0.0", "0");
    check("0e9", "0");
    check("1e3", "1000");
    check("120e-1", "12");
    check("1e-7", "0.0000001");
    check("-0.05", "-0.05");
    check("1e22", "10000000000000000000000");
    check("1.5e300", "15e299");
    check("5e-324", "5e-324");
    check("18446744073709551615", "18446744073709551615");
    check("-9223372036854775808", "-9223372036854775808");
}

#[test]
fn canonical_objects_are_sorted_by_bytes() {
    let value = json!({"b": [2.0, {"z": null, "y": true}], "aa": "q\"\n", "a": {}, "B": []});
    let expected = r#"{"B":[],"a":{},"aa":"q\"\n","b":[2,{"y":true,"z":null}]}"#;
    assert_eq!(canonical(&value), expected);
    assert_ne!(canonical(&json!([1, 2])), canonical(&json!([2, 1])));
    assert_ne!(canonical(&json!(1)), canonical(&json!("1")));
}
