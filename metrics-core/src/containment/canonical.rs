//! The canonical JSON text of a value.

use serde_json::{Number, Value};

/// Numbers are written in plain digits up to this number of zeros before or after, with an exponent beyond.
const ZEROS_MAX: i64 = 32;

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

/// The one text of a decimal number: no needless zeros, signs or exponents.
pub(super) fn canonical_number(number: &Number) -> String {
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
