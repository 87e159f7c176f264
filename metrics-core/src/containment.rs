//! Containment and identity of JSON values, as PostgreSQL's `jsonb` defines them.
//!
//! Reports select videos by part of their metadata on every store, whether or not its database supports that. The rules
//! are those of `@>`:
//!
//! * an object contains another if it has each of its keys, with a value that contains the other's;
//! * an array contains another if each element of the other is contained in one of its own, in any order and number; a
//!   scalar must equal one;
//! * a scalar contains the scalars equal to it; strings are compared byte by byte;
//! * an array at the top also contains a lone scalar that is one of its elements.
//!
//! Numbers are equal if they are the same decimal number as JSON text: `1`, `1.0` and `10e-1` are one,
//! `9007199254740993` and `9007199254740992.0` are two. A float stands for the shortest decimal that `serde_json`
//! writes for it, the text that a database would get.
//!
//! Values in a store are nested at most [`DEPTH_MAX`] deep. [`contains`] recurses as deep as both of its arguments are
//! nested, so one of them must respect that limit; a value built by hand may not.

use serde_json::{Number, Value};

/// The deepest nesting of JSON. It is far below the limit of parsing on the stack.
pub const DEPTH_MAX: usize = 64;

/// Numbers are written in plain digits up to this number of zeros before or after, with an exponent beyond.
const ZEROS_MAX: i64 = 32;

/// Returns true if `whole` contains `part`: PostgreSQL's `whole @> part`.
///
/// ```
/// use metrics_core::containment::contains;
/// use serde_json::json;
///
/// let metadata = json!({"course": {"id": 7, "title": "Rust"}, "tags": ["a", "b"]});
/// assert!(contains(&metadata, &json!({"course": {"id": 7.0}, "tags": ["b"]})));
/// assert!(!contains(&metadata, &json!({"course": 7})));
/// ```
///
/// The time grows with the product of the lengths of the compared arrays, so limit the size of both.
#[must_use]
pub fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Array(elements), scalar) if is_scalar(scalar) => has(elements, scalar),
        _ => contains_nested(whole, part),
    }
}

/// Canonical JSON text: two values have the same text exactly if `jsonb` considers them equal.
///
/// Keys are sorted by their bytes, there are no spaces, and numbers are plain decimals: `1.0` is `1`, `-0.0` is `0`,
/// `1e3` is `1000`. The order and the number of array elements count.
///
/// ```
/// use metrics_core::containment::canonical;
/// use serde_json::json;
///
/// assert_eq!(canonical(&json!({"b": [1.0, null], "a": "x"})), r#"{"a":"x","b":[1,null]}"#);
/// ```
#[must_use]
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    // A list and not the stack: the depth of the value is unchecked here.
    let mut rest = vec![Rest::Value(value)];
    while let Some(next) = rest.pop() {
        match next {
            Rest::Mark(mark) => text.push(mark),
            Rest::Name(name) => text.push_str(&Value::from(name).to_string()),
            Rest::Value(Value::Object(members)) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| name.as_bytes());
                text.push('{');
                rest.push(Rest::Mark('}'));
                for (index, (name, value)) in members.into_iter().enumerate().rev() {
                    rest.extend([Rest::Value(value), Rest::Mark(':'), Rest::Name(name)]);
                    rest.extend((0 < index).then_some(Rest::Mark(',')));
                }
            }
            Rest::Value(Value::Array(elements)) => {
                text.push('[');
                rest.push(Rest::Mark(']'));
                for (index, element) in elements.iter().enumerate().rev() {
                    rest.push(Rest::Value(element));
                    rest.extend((0 < index).then_some(Rest::Mark(',')));
                }
            }
            Rest::Value(Value::Number(number)) => text.push_str(&canonical_number(number)),
            Rest::Value(scalar) => text.push_str(&scalar.to_string()),
        }
    }
    // The text lives as long as a session: a grown string has up to twice the memory that it needs.
    text.shrink_to_fit();
    text
}

/// A part that is still to be written.
enum Rest<'a> {
    Value(&'a Value),
    Name(&'a str),
    Mark(char),
}

/// Returns true if arrays and objects are nested more than [`DEPTH_MAX`] deep in JSON. Text that is not well-formed may
/// get either answer.
#[must_use]
pub fn is_too_deep(json: &str) -> bool {
    // Text with few opening brackets cannot be too deep; counting them is many times faster than scanning.
    if json.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut in_string) = (0_usize, false);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match (in_string, byte) {
            (true, b'\\') => drop(bytes.next()), // The escaped byte may be a quote.
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => depth += 1,
            // Unparsed text may close more than it opened.
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if DEPTH_MAX < depth {
            return true;
        }
    }
    false
}

/// Returns true if a string in well-formed JSON contains U+0000, which PostgreSQL cannot store.
#[must_use]
pub(crate) fn has_nul(json: &str) -> bool {
    // After an escaped backslash, `u0000` is plain text.
    json.contains("\\u0000") && json.replace("\\\\", "").contains("\\u0000")
}

/// Containment below the top, where an array does not contain a lone scalar.
fn contains_nested(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(key, part)| whole.get(key).is_some_and(|whole| contains_nested(whole, part))),
        (Value::Array(whole), Value::Array(part)) => part.iter().all(|part| has(whole, part)),
        (Value::Number(whole), Value::Number(part)) => number_equals(whole, part),
        _ => is_scalar(part) && whole == part,
    }
}

/// Returns whether one of the elements contains `part`.
fn has(elements: &[Value], part: &Value) -> bool {
    elements.iter().any(|element| contains_nested(element, part))
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::Array(_) | Value::Object(_))
}

fn number_equals(a: &Number, b: &Number) -> bool {
    // An integer and a float are the same number if they have the same text; comparing them as floats first rules out
    // most unequal pairs without writing any text.
    a == b
        || (a.is_f64() != b.is_f64()
            && a.as_f64() == b.as_f64()
            && canonical_number(a) == canonical_number(b))
}

/// The one text of a decimal number: no needless zeros, signs or exponents.
fn canonical_number(number: &Number) -> String {
    let text = number.to_string();
    if number.is_u64() || number.is_i64() {
        return text;
    }
    let (sign, unsigned) = text.strip_prefix('-').map_or(("", text.as_str()), |it| ("-", it));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (Ok(exponent), Ok(fraction_len)) = (exponent.parse::<i64>(), i64::try_from(fraction.len()))
    else {
        return text;
    };
    // The number is `digits` times ten to the power of `exponent`.
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).unwrap_or(0);
    let exponent = exponent.saturating_sub(fraction_len).saturating_add(zeros);
    let digits = significant.trim_start_matches('0');
    if digits.is_empty() {
        return "0".to_owned();
    }
    format!("{sign}{}", decimal(digits, exponent))
}

/// Writes `digits` times ten to the power of `exponent`.
fn decimal(digits: &str, exponent: i64) -> String {
    if !(-ZEROS_MAX..=ZEROS_MAX).contains(&exponent) {
        return format!("{digits}e{exponent}");
    }
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(0);
    if exponent >= 0 {
        return format!("{digits}{}", "0".repeat(places));
    }
    // Pads the digits so that at least one precedes the point.
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    format!("{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
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
    fn what_closes_and_was_never_open_has_no_depth() {
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
    fn scalars_contain_what_they_equal() {
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
}

/// Compares with models that are obviously right.
#[cfg(test)]
mod properties {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A few scalars, so that values often match; some are equal to others.
    fn scalar() -> impl Strategy<Value = Value> {
        prop::sample::select(vec![
            json!(null),
            json!(true),
            json!(0),
            json!(-0.0),
            json!(1),
            json!(1.0),
            json!(2.5),
            json!(""),
            json!("a"),
            json!("1"),
            json!(9_007_199_254_740_993_u64),
            json!(9_007_199_254_740_992.0),
        ])
    }

    fn value() -> impl Strategy<Value = Value> {
        scalar().prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// A value without arrays.
    fn tree() -> impl Strategy<Value = Value> {
        scalar().prop_recursive(3, 16, 3, |inner| {
            prop::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        })
    }

    /// Removes parts of a value by `choices`, and reverses arrays.
    fn thinned(value: &Value, choices: &mut impl Iterator<Item = bool>) -> Value {
        let mut keep = || choices.next().unwrap_or(true);
        match value {
            Value::Object(members) => {
                let kept: Vec<_> = members.iter().filter(|_| keep()).collect();
                kept.into_iter().map(|(key, it)| (key.clone(), thinned(it, choices))).collect()
            }
            Value::Array(elements) => {
                let kept: Vec<_> = elements.iter().rev().filter(|_| keep()).collect();
                kept.into_iter().map(|it| thinned(it, choices)).collect()
            }
            scalar => scalar.clone(),
        }
    }

    /// JSON with comparable scalars.
    #[derive(Debug, PartialEq)]
    enum Model {
        Scalar(String),
        Array(Vec<Self>),
        Object(BTreeMap<String, Self>),
    }

    fn model(value: &Value) -> Model {
        match value {
            Value::Array(elements) => Model::Array(elements.iter().map(model).collect()),
            Value::Object(members) => {
                Model::Object(members.iter().map(|(key, it)| (key.clone(), model(it))).collect())
            }
            Value::Number(number) => {
                // All numbers of these tests are exact in tenths.
                let tenths = number.as_i128().map_or_else(
                    || number.as_f64().map(|float| (float * 10.0) as i128),
                    |integer| Some(integer * 10),
                );
                Model::Scalar(format!("{} tenths", tenths.unwrap()))
            }
            scalar => Model::Scalar(scalar.to_string()),
        }
    }

    /// PostgreSQL's definition, pair by pair.
    fn model_contains(whole: &Model, part: &Model, top: bool) -> bool {
        match (whole, part) {
            (Model::Array(whole), Model::Scalar(_)) if top => whole.contains(part),
            (Model::Scalar(_), _) | (_, Model::Scalar(_)) => whole == part,
            (Model::Object(whole), Model::Object(part)) => part.iter().all(|(part_key, part)| {
                whole.iter().any(|(key, it)| key == part_key && model_contains(it, part, false))
            }),
            (Model::Array(whole), Model::Array(part)) => {
                part.iter().all(|part| whole.iter().any(|it| model_contains(it, part, false)))
            }
            (Model::Array(_), Model::Object(_)) | (Model::Object(_), Model::Array(_)) => false,
        }
    }

    proptest! {
        #[test]
        fn containment_is_that_of_the_model(whole in value(), part in value()) {
            prop_assert_eq!(
                contains(&whole, &part),
                model_contains(&model(&whole), &model(&part), true)
            );
        }

        #[test]
        fn a_value_contains_itself_and_what_is_left_of_it(
            whole in value(),
            choices in prop::collection::vec(any::<bool>(), 0..24),
        ) {
            let part = thinned(&whole, &mut choices.into_iter());

            prop_assert!(contains(&whole, &whole));
            prop_assert!(contains(&whole, &part), "{}", part);
            prop_assert!(model_contains(&model(&whole), &model(&part), true));
        }

        #[test]
        fn canonical_texts_are_equal_where_models_are(a in value(), b in value()) {
            prop_assert_eq!(canonical(&a) == canonical(&b), model(&a) == model(&b));
        }

        #[test]
        fn without_arrays_values_that_contain_each_other_are_the_same(a in tree(), b in tree()) {
            prop_assert_eq!(canonical(&a) == canonical(&b), contains(&a, &b) && contains(&b, &a));
        }

        #[test]
        fn canonical_text_is_the_same_value_and_its_own_canonical_text(value in value()) {
            let text = canonical(&value);
            let parsed: Value = serde_json::from_str(&text).unwrap();

            prop_assert_eq!(model(&parsed), model(&value));
            prop_assert_eq!(canonical(&parsed), text);
        }

        #[test]
        fn canonical_numbers_are_the_same_number(float in any::<f64>()) {
            prop_assume!(float.is_finite());
            let text = canonical(&json!(float));

            prop_assert_eq!(text.parse::<f64>().unwrap(), float);
            // The text identifies a video: after a store decodes it, the same text must result.
            let parsed: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(canonical(&parsed), text.as_str());
            prop_assert!(!text.contains(['E', '+']) && !text.ends_with(".0"));
        }
    }
}
