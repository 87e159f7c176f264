//! Takes the members of a record one by one, and validates them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use chrono::{DateTime, SecondsFormat};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::RecordError;
use crate::query::{distance, excerpt, instant};

/// Every member of a record, in the order of the export.
const NAMES: [&str; 39] = [
    "id",
    "started_at",
    "last_event_at",
    "key",
    "identifier",
    "metadata",
    "session_data",
    "source",
    "referrer",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "country",
    "browser",
    "platform",
    "device",
    "duration",
    "view_time",
    "unique_view_time",
    "segments",
    "startup_time",
    "rebufferings",
    "rebuffering_time",
    "failures",
    "seeks",
    "seek_waits",
    "seek_wait_time",
    "scrubbed_time",
    "unplaced_time",
    "fullscreens",
    "tracks",
    "language",
    "renditions",
    "width",
    "height",
    "bitrate",
    "codec",
    "clamped",
    "others",
];

/// The members that have not been taken yet.
pub(super) struct Members(BTreeMap<String, Value>);

impl Members {
    pub(super) fn parse(line: &[u8]) -> Result<Self, RecordError> {
        let members: Self = serde_json::from_slice(line)
            .map_err(|err| RecordError::NotAnObject { reason: excerpt(&err.to_string()) })?;
        let unknown = members.0.keys().find(|name| !NAMES.contains(&name.as_str()));
        let Some(name) = unknown else { return Ok(members) };
        let nearest = NAMES.into_iter().min_by_key(|known| distance(name, known));
        Err(RecordError::Unknown { name: excerpt(name), nearest: nearest.unwrap_or_default() })
    }

    /// Takes a member, unless it is missing or null.
    pub(super) fn take(&mut self, member: &'static str) -> Option<Value> {
        self.0.remove(member).filter(|value| !value.is_null())
    }

    /// Takes a text without U+0000, which not every store can keep.
    pub(super) fn text(
        &mut self,
        member: &'static str,
        bytes_max: usize,
    ) -> Result<Option<String>, RecordError> {
        match self.take(member) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= bytes_max && !text.contains('\0') => {
                Ok(Some(text))
            }
            Some(value) => {
                let expected = format!("a text of at most {bytes_max} bytes, without U+0000");
                Err(invalid(member, &value, expected))
            }
        }
    }

    pub(super) fn class<T: Copy + Default + fmt::Display>(
        &mut self,
        member: &'static str,
        find: impl Fn(&str) -> Option<T>,
        all: &[T],
    ) -> Result<T, RecordError> {
        let Some(value) = self.take(member) else { return Ok(T::default()) };
        value.as_str().and_then(find).ok_or_else(|| {
            let names: Vec<_> =
                all.iter().map(|class| format!("{class:?}", class = class.to_string())).collect();
            invalid(member, &value, format!("one of {}", names.join(", ")))
        })
    }

    pub(super) fn count(&mut self, member: &'static str) -> Result<Option<u32>, RecordError> {
        let Some(value) = self.take(member) else { return Ok(None) };
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        let expected = || format!("a whole number from 0 to {}", u32::MAX);
        count.map(Some).ok_or_else(|| invalid(member, &value, expected()))
    }

    /// Takes a number of seconds, as milliseconds.
    pub(super) fn span_ms(
        &mut self,
        member: &'static str,
        ms_max: u64,
    ) -> Result<Option<u64>, RecordError> {
        let Some(value) = self.take(member) else { return Ok(None) };
        let expected = || format!("seconds from 0 to {}", ms_max / 1_000);
        let ms = milliseconds(&value, ms_max);
        ms.map(Some).ok_or_else(|| invalid(member, &value, expected()))
    }

    /// Takes the duration of a video, in milliseconds.
    pub(super) fn duration_ms(
        &mut self,
        member: &'static str,
        ms_max: u32,
    ) -> Result<Option<u32>, RecordError> {
        let Some(value) = self.take(member) else { return Ok(None) };
        let expected = || {
            format!(
                "seconds from 0.001 to {}; leave out a duration that is unknown",
                ms_max / 1_000
            )
        };
        let ms = milliseconds(&value, ms_max.into()).filter(|ms| 0 < *ms);
        let ms = ms.and_then(|ms| u32::try_from(ms).ok());
        ms.map(Some).ok_or_else(|| invalid(member, &value, expected()))
    }

    /// Takes a time of day, in Unix milliseconds from `from_ms` to `to_ms`.
    pub(super) fn time(
        &mut self,
        member: &'static str,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Option<i64>, RecordError> {
        let Some(value) = self.take(member) else { return Ok(None) };
        let at = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let at_ms = at.map(|at| at.timestamp_millis()).filter(|at| (from_ms..=to_ms).contains(at));
        at_ms.map(Some).ok_or_else(|| {
            let text = |ms| instant(ms).to_rfc3339_opts(SecondsFormat::Secs, true);
            let expected = format!("an RFC 3339 time, from {} to {}", text(from_ms), text(to_ms));
            invalid(member, &value, expected)
        })
    }
}

/// Converts seconds to milliseconds, at most `ms_max`.
pub(super) fn milliseconds(seconds: &Value, ms_max: u64) -> Option<u64> {
    let ms = (seconds.as_f64()? * 1_000.0).round();
    // Both fit: 10 years are 2^39 ms.
    (0.0 <= ms && ms <= ms_max as f64).then_some(ms as u64)
}

pub(super) fn invalid(member: &'static str, value: &Value, expected: String) -> RecordError {
    RecordError::Invalid { member, value: excerpt(&value.to_string()), expected }
}

/// Makes the error for a time that contradicts another one.
pub(super) fn differs(
    member: &'static str,
    ms: u64,
    relation: &str,
    expected_ms: u64,
    because: &str,
) -> RecordError {
    let seconds = |ms: u64| ms as f64 / 1_000.0;
    let relation = if relation.is_empty() { String::new() } else { format!("{relation} ") };
    let expected = format!("{relation}{}, {because}", seconds(expected_ms));
    RecordError::Invalid { member, value: seconds(ms).to_string(), expected }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            // Otherwise the last of two members with one name would silently replace the first.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    match members.entry(name) {
                        Entry::Vacant(vacant) => drop(vacant.insert(value)),
                        Entry::Occupied(there) => {
                            let name = excerpt(there.key());
                            return Err(A::Error::custom(format_args!("`{name}` occurs twice")));
                        }
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
