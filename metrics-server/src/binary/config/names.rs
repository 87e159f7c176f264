//! The known names of environment variables. Unknown names are rejected, so that a mistyped name is noticed.

use std::ffi::{OsStr, OsString};

use super::ConfigError;
use super::table::SETTINGS;

const PREFIX: &str = "METRICS_";

/// Variables of the tests and scripts of this repository, which start servers.
const OF_TESTS: [&str; 3] = ["METRICS_OUTAGE_SECONDS", "METRICS_SERVER", "METRICS_TIMESCALEDB_DIR"];

/// The prefixes of further variables of tests.
const PREFIXES_OF_TESTS: [&str; 2] = ["METRICS_TEST_", "METRICS_CHAOS_"];

/// The number of bytes of a name that are compared; longer names are no typing errors.
const NAME_BYTES_MAX: usize = 64;

/// Refuses an environment with a `METRICS_` variable that is none of the settings.
pub(super) fn check(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), ConfigError> {
    let known = || SETTINGS.iter().map(|about| about.variable).filter(|name| !name.is_empty());
    for (name, value) in environment {
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX)
            || known().any(|known| known == name)
            || OF_TESTS.contains(&&*name)
            || PREFIXES_OF_TESTS.iter().any(|prefix| name.starts_with(prefix))
            || is_service_link(&name, &value)
        {
            continue;
        }
        let similar = known().filter_map(|known| Some((similarity(&name, known)?, known))).min();
        let remedy = match similar {
            Some((_, known)) => format!("set {known}, or unset it"),
            None => "unset it".to_owned(),
        };
        let line = format!("{name} is not a setting: {remedy}; --help lists all settings");
        return Err(ConfigError::Refused(line));
    }
    Ok(())
}

/// Whether Kubernetes or Docker sets a variable, in every container beside a service that is called `metrics` or
/// `metrics-...`: `METRICS_SERVICE_HOST`, `METRICS_PORT=tcp://10.0.0.1:80`, `METRICS_PORT_80_TCP_ADDR` and the like.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let is_address =
        |value: &str| ["tcp://", "udp://", "sctp://"].iter().any(|it| value.starts_with(it));
    let of_port = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let mut words = rest.split('_');
        let number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
        number && words.next().is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"))
    });
    of_port
        || name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.to_str().is_some_and(is_address))
}

/// The name without the prefix that most settings have.
fn bare(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// The edit distance of two similar names: less than two fifths of the longer one differ, or one name consists of words
/// of the other.
fn similarity(name: &str, known: &str) -> Option<usize> {
    let (name, known) = (bare(name), bare(known));
    let distance = distance(name, known);
    let has_words_of = |one: &str, other: &str| {
        other.split('_').all(|word| !word.is_empty() && one.split('_').any(|it| it == word))
    };
    let length = name.len().max(known.len()).min(NAME_BYTES_MAX);
    let is_typing_error = distance * 5 < length * 2;
    (is_typing_error || has_words_of(name, known) || has_words_of(known, name)).then_some(distance)
}

/// The edit distance of two names (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<u8> = other.bytes().take(NAME_BYTES_MAX).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, byte) in one.bytes().take(NAME_BYTES_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, against) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(byte != *against);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_one(name: &str, value: &str, expected: Option<&str>) {
        let error = check([(name.into(), value.into())]).err().map(|err| err.to_string());
        let expected = expected
            .map(|remedy| format!("{name} is not a setting: {remedy}; --help lists all settings"));
        assert_eq!(error, expected);
    }

    #[test]
    fn a_mistyped_name_is_refused_and_the_nearest_one_named() {
        check_one("METRICS_RETENTON", "30 days", Some("set METRICS_RETENTION, or unset it"));
        check_one("METRICS_CORS_ORIGIN", "*", Some("set METRICS_CORS_ORIGINS, or unset it"));
        check_one("METRICS_MAX_CONNECTION", "1", Some("set METRICS_MAX_CONNECTIONS, or unset it"));
        check_one("METRICS_AUTH_ENABLE", "true", Some("set METRICS_AUTH_ENABLED, or unset it"));
        check_one("METRICS_PASSWORT", "x", Some("set METRICS_PASSWORD, or unset it"));
        check_one("METRICS_SERVER_LISTEN", "[::1]:3000", Some("set METRICS_LISTEN, or unset it"));
        check_one("METRICS_DATABASE_URL", "sqlite:a.db", Some("set DATABASE_URL, or unset it"));
        check_one("METRICS_KEY", "x", Some("set METRICS_DEFAULT_KEY, or unset it"));
        check_one("METRICS_RUST_LOG", "info", Some("set RUST_LOG, or unset it"));
        for far in ["METRICS_KEYZ", "METRICS_", "METRICS_ENABLE_TELEMETRY", "METRICS_X"] {
            check_one(far, "x", Some("unset it"));
        }
        let long = format!("METRICS_{}", "X".repeat(100_000));
        check_one(&long, "x", Some("unset it"));
    }

    #[test]
    fn known_variables_and_those_of_others_are_no_typing_errors() {
        for name in ["METRICS_LISTEN", "METRICS_HOSTS", "METRICS_TEST_STORE", "PATH", "METRIC"] {
            check_one(name, "", None);
        }
        for (name, value) in [
            ("METRICS_SERVICE_HOST", "10.0.0.1"),
            ("METRICS_SERVICE_PORT_HTTP", "80"),
            ("METRICS_PORT", "tcp://10.0.0.1:80"),
            ("METRICS_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("METRICS_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("METRICS_TIMESCALEDB_1_PORT_5432_TCP_PROTO", "tcp"),
        ] {
            check_one(name, value, None);
        }
        assert!(check([("METRICS_PORT".into(), "3000".into())]).is_err());
    }
}
