//! The common parts of the rows of all databases: columns as values.

use serde_json::{Map, Value};

use crate::arrival::Arrival;
use crate::session::{Counters, Details, Minutes, Stored};
use crate::source::Source;
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::varint::Damaged;

/// The columns of a session that change while it is open, as wide as in databases.
pub(super) struct Columns {
    pub(super) started_at_ms: i64,
    pub(super) last_event_at_ms: i64,
    pub(super) duration_ms: Option<i64>,
    pub(super) view_ms: i64,
    pub(super) unique_ms: i64,
    pub(super) segments: Vec<u8>,
    /// Empty for a session that was recorded without minutes.
    pub(super) minutes: Vec<u8>,
    pub(super) rebufferings: i64,
    pub(super) rebuffering_ms: i64,
    pub(super) failures: i64,
    pub(super) startup_ms: Option<i64>,
    pub(super) details: Option<String>,
    pub(super) resume: Vec<u8>,
}

impl Columns {
    pub(super) fn stored(self) -> Result<Stored, Damaged> {
        let details = self.details.as_deref().map(serde_json::from_str).transpose();
        let counters = Counters {
            rebufferings: column_as(self.rebufferings)?,
            rebuffering_ms: column_as(self.rebuffering_ms)?,
            failures: column_as(self.failures)?,
            startup_ms: self.startup_ms.map(column_as).transpose()?,
            details: details.map_err(|_| Damaged("details are not JSON"))?.unwrap_or_default(),
        };
        let view_ms = column_as(self.view_ms)?;
        let minutes = match &self.minutes[..] {
            [] => Minutes::of_view(self.started_at_ms, view_ms),
            bytes => Minutes::decode(bytes)?,
        };
        Ok(Stored {
            started_at_ms: self.started_at_ms,
            last_event_at_ms: self.last_event_at_ms,
            duration_ms: self.duration_ms.map(column_as).transpose()?,
            view_ms,
            unique_ms: column_as(self.unique_ms)?,
            segments: self.segments,
            minutes,
            counters,
            resume: self.resume,
        })
    }
}

pub(super) fn column_as<T: TryFrom<i64>>(number: i64) -> Result<T, Damaged> {
    number.try_into().map_err(|_| Damaged("a column is out of range"))
}

/// The classes with these codes. An unknown code is `other`.
pub(super) fn user_agent(browser: i32, platform: i32, device: i32) -> UserAgentClass {
    let code = |stored: i32| stored.try_into().unwrap_or(0);
    UserAgentClass {
        browser: Browser::from_code(code(browser)),
        platform: Platform::from_code(code(platform)),
        device: Device::from_code(code(device)),
    }
}

pub(super) fn page(url: &str) -> Result<Source, Damaged> {
    Source::parse(url).ok_or(Damaged("a page is not a URL"))
}

/// Decodes the column of the arrival, which is null without a known part.
pub(super) fn arrival(json: Option<&str>) -> Result<Arrival, Damaged> {
    let arrival =
        json.map(|json| Arrival::from_json(json).ok_or(Damaged("an arrival is not JSON")));
    Ok(arrival.transpose()?.unwrap_or_default())
}

pub(super) fn object(text: &str) -> Result<Map<String, Value>, Damaged> {
    serde_json::from_str(text).map_err(|_| Damaged("metadata is not JSON"))
}

/// Converts the JSON of an object back to the form in which it was stored.
#[cfg(feature = "timescale")]
pub(super) fn canonical(text: &str) -> Result<String, Damaged> {
    Ok(crate::containment::canonical(&Value::Object(object(text)?)))
}

impl Details {
    /// Encodes the details as JSON; `None` if all are default.
    pub(super) fn encode(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        // Plain numbers and texts always have a JSON form.
        serde_json::to_string(self).ok()
    }
}
