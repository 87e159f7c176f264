//! The error of settings that cannot be those of a key.

use serde_json::Value;

/// The number of characters of a value that an error shows.
const SHOWN_CHARS_MAX: usize = 80;

/// The error of an invalid setting.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{field}` has {value:?}: it must be {expected}")]
pub struct InvalidKeySettings {
    /// The member.
    pub field: &'static str,
    /// The beginning of the value.
    pub value: String,
    /// The accepted values, to complete the sentence "it must be ...".
    pub expected: String,
}

impl InvalidKeySettings {
    pub(crate) fn new(field: &'static str, value: &str, expected: String) -> Self {
        Self { field, value: value.chars().take(SHOWN_CHARS_MAX).collect(), expected }
    }

    pub(super) fn of(field: &'static str, value: &Value, expected: String) -> Self {
        match value {
            Value::String(text) => Self::new(field, text, expected),
            value => Self::new(field, &value.to_string(), expected),
        }
    }
}
