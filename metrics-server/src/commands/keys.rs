//! `metrics-server keys`: lists, makes and revokes API keys, on the store itself.
//!
//! Servers that run on the same store heed it within a second, as they heed each other.

use std::error::Error;
use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use metrics_core::ApiKey;
use metrics_core::store::{KeyRecord, Store};
use metrics_server::{KeysCommand, KeysFormat};
use serde::Serialize;

#[derive(Serialize)]
struct Listed {
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    key: String,
    created_at: String,
    disabled_at: Option<String>,
}

/// Does what is to be done about the keys, and prints what comes of it.
///
/// # Errors
///
/// Why it was not done: the key is there already, or there is none, or the store could not.
pub(crate) async fn see_to_keys(
    store: &dyn Store,
    what: &KeysCommand,
) -> Result<(), Box<dyn Error>> {
    match what {
        KeysCommand::List(format) => list(&store.keys().await?, *format, &mut io::stdout().lock())?,
        KeysCommand::Create(key) => {
            let key = key.clone().unwrap_or_else(ApiKey::generate);
            if !store.create_key(&key, Utc::now()).await? {
                return Err("KEY exists already".into());
            }
            writeln!(io::stdout(), "{}", key.as_str())?;
        }
        KeysCommand::Revoke(key) => {
            if !store.revoke_key(key, Utc::now()).await? {
                return Err("there is no such KEY: `metrics-server keys list` lists all".into());
            }
        }
        _ => return Err(crate::UNKNOWN_COMMAND.into()),
    }
    Ok(())
}

fn list(records: &[KeyRecord], format: KeysFormat, out: &mut impl Write) -> io::Result<()> {
    let keys: Vec<_> = records.iter().map(key_of).collect();
    match format {
        KeysFormat::Json => writeln!(out, "{}", serde_json::to_string(&Listed { keys })?)?,
        // For people.
        _ => {
            let width = keys.iter().map(|key| key.key.len()).max().unwrap_or(0);
            for Key { key, created_at, disabled_at } in keys {
                let state =
                    disabled_at.map_or_else(|| "valid".to_owned(), |at| format!("revoked {at}"));
                writeln!(out, "{key:width$}  created {created_at}  {state}")?;
            }
        }
    }
    Ok(())
}

fn key_of(record: &KeyRecord) -> Key {
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    Key {
        key: record.key.as_str().to_owned(),
        created_at: text(record.created_at),
        disabled_at: record.disabled_at.map(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: KeysFormat, expected: &str) {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let record = |key, created, disabled_at| KeyRecord {
            key: ApiKey::new(key).unwrap(),
            created_at: at(created),
            disabled_at,
        };
        let revoked = Some(at("2024-01-02T00:00:00.5Z"));
        let records = [
            record("short", "2024-01-01T00:00:00Z", None),
            record("longer", "2024-01-01T12:00:00Z", revoked),
        ];
        let mut out = Vec::new();
        list(&records, format, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn keys_are_listed_for_people_and_for_programs() {
        check(
            KeysFormat::Text,
            "short   created 2024-01-01T00:00:00.000Z  valid\n\
             longer  created 2024-01-01T12:00:00.000Z  revoked 2024-01-02T00:00:00.500Z\n",
        );
        check(
            KeysFormat::Json,
            concat!(
                r#"{"keys":[{"key":"short","created_at":"2024-01-01T00:00:00.000Z","disabled_at":null},"#,
                r#"{"key":"longer","created_at":"2024-01-01T12:00:00.000Z","disabled_at":"2024-01-02T00:00:00.500Z"}]}"#,
                "\n"
            ),
        );
    }
}
