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

mod canonical;

use serde_json::{Number, Value};

pub use self::canonical::canonical;
use self::canonical::canonical_number;

/// The deepest nesting of JSON. It is far below the limit of parsing on the stack.
pub const DEPTH_MAX: usize = 64;

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

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
