//! `metrics-server keys`: lists, creates, changes and revokes API keys in the store.
//!
//! Running servers on the same store apply a change within a second, as they apply each other's changes.

use std::error::Error;
use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use metrics_core::ApiKey;
use metrics_core::store::{KeyChange, KeyRecord, Store};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::binary::config::{KeysCommand, KeysFormat};

#[derive(Serialize)]
struct Listed {
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    key: String,
    created_at: String,
    disabled_at: Option<String>,
    settings: Map<String, Value>,
}

const UNKNOWN_KEY: &str = "KEY does not exist: `metrics-server keys list` lists all keys";

/// Runs a command on keys, and prints its result.
///
/// # Errors
///
/// The key exists already, the key does not exist, or the store failed.
pub(super) async fn run(store: &dyn Store, command: &KeysCommand) -> Result<(), Box<dyn Error>> {
    match command {
        KeysCommand::List(format) => list(&store.keys().await?, *format, &mut io::stdout().lock())?,
        KeysCommand::Create(key, settings) => {
            let key = key.clone().unwrap_or_else(ApiKey::generate);
            let record =
                KeyRecord { settings: settings.clone(), ..KeyRecord::new(key.clone(), Utc::now()) };
            if !store.add_key(&record).await? {
                return Err("KEY exists already".into());
            }
            writeln!(io::stdout(), "{}", key.as_str())?;
        }
        KeysCommand::Change(key, settings) => {
            change(store, key, &KeyChange::Settings(settings.clone())).await?;
        }
        KeysCommand::Revoke(key) => change(store, key, &KeyChange::Revoke(Utc::now())).await?,
        KeysCommand::Restore(key) => change(store, key, &KeyChange::Restore).await?,
    }
    Ok(())
}

async fn change(store: &dyn Store, key: &ApiKey, change: &KeyChange) -> Result<(), Box<dyn Error>> {
    if store.change_key(key, change).await? { Ok(()) } else { Err(UNKNOWN_KEY.into()) }
}

fn list(records: &[KeyRecord], format: KeysFormat, out: &mut impl Write) -> io::Result<()> {
    let keys: Vec<_> = records.iter().map(key_of).collect();
    match format {
        KeysFormat::Json => writeln!(out, "{}", serde_json::to_string(&Listed { keys })?)?,
        KeysFormat::Text => {
            let width = keys.iter().map(|key| key.key.len()).max().unwrap_or(0);
            for Key { key, created_at, disabled_at, settings } in keys {
                let state =
                    disabled_at.map_or_else(|| "valid".to_owned(), |at| format!("revoked {at}"));
                write!(out, "{key:width$}  created {created_at}  {state}")?;
                // As JSON, so that a name cannot look like something else.
                for (member, value) in settings {
                    write!(out, "  {member} {value}")?;
                }
                writeln!(out)?;
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
        settings: record.settings.to_json(),
    }
}

#[cfg(test)]
mod tests {
    use metrics_core::key::KeySettings;

    use super::*;

    #[track_caller]
    fn check(format: KeysFormat, expected: &str) {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let named = serde_json::json!({ "name": "Shop", "hosts": ["*.example.com"] });
        let settings = KeySettings::from_json(named.as_object().unwrap()).unwrap();
        let record = |key, created, disabled_at| KeyRecord {
            disabled_at,
            ..KeyRecord::new(ApiKey::new(key).unwrap(), at(created))
        };
        let revoked = Some(at("2024-01-02T00:00:00.5Z"));
        let records = [
            record("short", "2024-01-01T00:00:00Z", None),
            KeyRecord { settings, ..record("longer", "2024-01-01T12:00:00Z", revoked) },
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
             longer  created 2024-01-01T12:00:00.000Z  revoked 2024-01-02T00:00:00.500Z  \
             hosts [\"*.example.com\"]  name \"Shop\"\n",
        );
        check(
            KeysFormat::Json,
            concat!(
                r#"{"keys":[{"key":"short","created_at":"2024-01-01T00:00:00.000Z","disabled_at":null,"settings":{}},"#,
                r#"{"key":"longer","created_at":"2024-01-01T12:00:00.000Z","disabled_at":"2024-01-02T00:00:00.500Z","settings":{"hosts":["*.example.com"],"name":"Shop"}}]}"#,
                "\n"
            ),
        );
    }
}
