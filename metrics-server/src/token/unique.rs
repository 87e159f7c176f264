//! JSON objects whose members occur once each, at every level. Of two members with one name, libraries keep the first or
//! the last: a text that narrows what may be read must not mean two things.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most characters of a name in an error message.
const NAME_CHARS_MAX: usize = 40;

/// The members of an object, in which none occurs twice.
#[derive(Debug)]
pub(crate) struct UniqueMembers(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueMembers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object).map(Self)
    }
}

/// Reads the members of an object.
struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if members.contains_key(&name) {
                let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                return Err(A::Error::custom(format_args!("`{name}` occurs twice")));
            }
            let Unique(value) = access.next_value()?;
            members.insert(name, value);
        }
        Ok(members)
    }
}

/// Any value, whose objects have no member twice.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any).map(Self)
    }
}

/// Reads any value.
struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        let number = Number::from_f64(number);
        number.map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unique(value)) = access.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Value, A::Error> {
        Object.visit_map(access).map(Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                proptest::collection::btree_map(".{0,2}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn objects_without_repetition_are_read_as_they_are(value in value()) {
            let object = json!({ "a": value });
            let read: UniqueMembers = serde_json::from_str(&object.to_string()).unwrap();
            prop_assert_eq!(Value::Object(read.0), object);
        }
    }

    #[test]
    fn a_member_that_occurs_twice_is_named() {
        for text in [
            r#"{"key":"a","key":"a"}"#,
            r#"{"key":"a","k\u0065y":"b"}"#,
            r#"{"query":{"key":"a","video":{},"key":"b"}}"#,
            r#"{"filters":[["is",{"key":1,"key":2}]]}"#,
        ] {
            let err = serde_json::from_str::<UniqueMembers>(text).unwrap_err();
            assert!(err.is_data() && err.to_string().starts_with("`key` occurs twice"), "{text}");
        }
        assert!(serde_json::from_str::<UniqueMembers>(r#"[{"key":"a"}]"#).is_err());
        assert!(serde_json::from_str::<UniqueMembers>(r#"{"a":{"key":1},"b":{"key":1}}"#).is_ok());
    }
}
