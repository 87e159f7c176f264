//! Records as JSON: an object, or an array of objects.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::dictionary::{Item, Scalar, Value};
use super::{Dictionary, InvalidRecord};

impl Dictionary<'static> {
    /// The keys of a JSON object. Values that a dictionary cannot have are ignored.
    pub(super) fn of_json(json: Json) -> Result<Self, InvalidRecord> {
        let Json::Object(members) = json else { return Err(InvalidRecord::NotAnObject) };
        let mut record = Self::default();
        for (key, json) in members {
            let value = match json {
                Json::Array(items) => {
                    let items = items.into_iter().filter_map(scalar);
                    let item = |value| Item { value, label: None };
                    Some(Value::List(items.map(item).collect()))
                }
                json => scalar(json).map(Value::Scalar),
            };
            if let Some(value) = value {
                record.insert(key.into(), value)?;
            }
        }
        Ok(record)
    }
}

fn scalar(json: Json) -> Option<Scalar<'static>> {
    match json {
        Json::Bool(is_true) => Some(Scalar::Boolean(is_true)),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Some(Scalar::Integer(integer)),
            None => number.as_f64().map(Scalar::Decimal),
        },
        Json::String(text) => Some(Scalar::String(Cow::Owned(text))),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
