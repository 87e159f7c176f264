//! The values of a dimension that a filter accepts.

use std::collections::HashSet;

use chrono::DateTime;

use crate::query::{Dimension, Operator};
use crate::scan::column::ValueRef;

/// The accepted values of a dimension.
#[derive(Clone, Debug)]
pub(super) struct Values {
    operator: Operator,
    has_null: bool,
    texts: HashSet<String>,
    // Hours, days, or starts of time buckets in Unix milliseconds.
    numbers: HashSet<i64>,
}

impl Values {
    pub(super) fn is(texts: HashSet<String>) -> Self {
        Self { operator: Operator::Is, has_null: false, texts, numbers: HashSet::new() }
    }

    pub(super) fn of(dimension: &Dimension, operator: Operator, values: &[Option<String>]) -> Self {
        let has_null = values.contains(&None);
        let texts = values.iter().flatten();
        let number = |text: &String| {
            if dimension.is_time() {
                DateTime::parse_from_rfc3339(text).ok().map(|start| start.timestamp_millis())
            } else {
                text.parse().ok()
            }
        };
        if dimension.is_text() {
            let texts = texts.cloned().collect();
            Self { operator, has_null, texts, numbers: HashSet::new() }
        } else {
            let numbers = texts.filter_map(number).collect();
            Self { operator, has_null, texts: HashSet::new(), numbers }
        }
    }

    /// Returns whether a session with this value counts.
    pub(super) fn matches(&self, value: &ValueRef<'_>) -> bool {
        let matches = match value {
            ValueRef::Null => self.has_null,
            ValueRef::Number(number) | ValueRef::Time(number) => self.numbers.contains(number),
            ValueRef::Text(text) => match self.operator {
                Operator::Is | Operator::IsNot => self.texts.contains(&**text),
                Operator::Contains | Operator::ContainsNot => {
                    self.texts.iter().any(|part| text.contains(part))
                }
                Operator::StartsWith => self.texts.iter().any(|part| text.starts_with(part)),
            },
        };
        matches != self.operator.is_negated()
    }
}
