//! Why a query cannot be answered as it is.

/// How much of a value an error repeats, in characters.
const EXCERPT_CHARS_MAX: usize = 64;

/// Why a query is refused. Every variant names the parameter.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// A name is none of those that are accepted.
    #[error("{parameter}: {value:?} is unknown, expected {}", one_of(accepted))]
    Unknown {
        /// The parameter.
        parameter: &'static str,
        /// The name, cut after 64 characters.
        value: String,
        /// The names that are accepted, the nearest first.
        accepted: Vec<&'static str>,
    },
    /// A value is not of the form that is expected.
    #[error("{parameter}: {value:?} is invalid, expected {expected}")]
    Invalid {
        /// The parameter.
        parameter: &'static str,
        /// The value, cut after 64 characters.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// A parameter has too few or too many values.
    #[error("{parameter}: {count} values, expected {min} to {max}")]
    Count {
        /// The parameter.
        parameter: &'static str,
        /// How many values it has.
        count: u64,
        /// How many it must have at least.
        min: u64,
        /// How many it may have at most.
        max: u64,
    },
    /// Filters are nested too deeply.
    #[error("filters: nested more than {max} deep")]
    TooDeep {
        /// How deep they may be nested.
        max: usize,
    },
}

impl QueryError {
    /// A parameter that does not exist, where `known` are those that do.
    #[must_use]
    pub fn unknown_parameter(name: &str, known: impl IntoIterator<Item = &'static str>) -> Self {
        Self::unknown("parameter", name, known)
    }

    /// A name that is none of `accepted`.
    pub(crate) fn unknown(
        parameter: &'static str,
        value: &str,
        accepted: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let mut accepted: Vec<_> = accepted.into_iter().collect();
        // The part of a name that users choose, such as `<path>`, is like any text.
        let distance = |name: &str| distance(value, name.split(['<', ':']).next().unwrap_or(name));
        accepted.sort_by_cached_key(|name| distance(name));
        Self::Unknown { parameter, value: excerpt(value), accepted }
    }

    /// A value of another form.
    pub(crate) fn invalid(
        parameter: &'static str,
        value: &str,
        expected: impl Into<String>,
    ) -> Self {
        Self::Invalid { parameter, value: excerpt(value), expected: expected.into() }
    }

    /// The same error of another parameter: names of dimensions also stand in filters.
    pub(crate) fn of_parameter(mut self, name: &'static str) -> Self {
        match &mut self {
            Self::Unknown { parameter, .. }
            | Self::Invalid { parameter, .. }
            | Self::Count { parameter, .. } => *parameter = name,
            Self::TooDeep { .. } => {}
        }
        self
    }
}

/// Fails if a parameter has fewer values than `min` or more than `max`.
pub(crate) fn check_count(
    parameter: &'static str,
    count: u64,
    (min, max): (u64, u64),
) -> Result<(), QueryError> {
    if (min..=max).contains(&count) {
        return Ok(());
    }
    Err(QueryError::Count { parameter, count, min, max })
}

/// The beginning of a value, for an error that repeats it.
pub(crate) fn excerpt(value: &str) -> String {
    value.chars().take(EXCERPT_CHARS_MAX).collect()
}

fn one_of(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(", ")
}

/// How many characters must be added, removed or replaced to make one text the other.
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().take(EXCERPT_CHARS_MAX).collect();
    let mut row: Vec<usize> = (0..=one.len()).collect();
    for (index, char) in other.chars().enumerate() {
        let mut before = index;
        row[0] = index + 1;
        for (at, mine) in one.iter().enumerate() {
            let replaced = before + usize::from(*mine != char);
            before = row[at + 1];
            row[at + 1] = replaced.min(before + 1).min(row[at] + 1);
        }
    }
    row[one.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_counts_changes_of_characters() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("plays", "plays", 0),
            ("play", "plays", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
            assert_eq!(distance(other, one), expected, "{other} {one}");
        }
    }
}
