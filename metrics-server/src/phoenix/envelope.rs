//! The parts of a channel message, parsed from its JSON in one pass.
//!
//! Written by hand, because serde's derived code is stricter than clients: it rejects an array that is too long and a
//! member that is repeated.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The five parts of a message, before they are validated.
pub(super) struct Envelope<'a> {
    pub(super) join_ref: &'a RawValue,
    pub(super) message_ref: &'a RawValue,
    pub(super) topic: Cow<'a, str>,
    pub(super) event: Cow<'a, str>,
    pub(super) payload: &'a RawValue,
}

/// An envelope in V2.
pub(super) struct Array<'a>(pub(super) Envelope<'a>);

impl<'de> Deserialize<'de> for Array<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArrayVisitor;

        impl<'de> Visitor<'de> for ArrayVisitor {
            type Value = Array<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of five")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Array<'de>, A::Error> {
                let missing = || A::Error::custom("too few elements");
                let envelope = Envelope {
                    join_ref: array.next_element()?.ok_or_else(missing)?,
                    message_ref: array.next_element()?.ok_or_else(missing)?,
                    topic: array.next_element::<Text<'_>>()?.ok_or_else(missing)?.0,
                    event: array.next_element::<Text<'_>>()?.ok_or_else(missing)?.0,
                    payload: array.next_element()?.ok_or_else(missing)?,
                };
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Array(envelope))
            }
        }

        deserializer.deserialize_seq(ArrayVisitor)
    }
}

/// An envelope in V1.
pub(super) struct Object<'a>(pub(super) Envelope<'a>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Object<'de>, A::Error> {
                let (mut topic, mut event) = (None, None);
                let (mut join_ref, mut message_ref, mut payload) =
                    (RawValue::NULL, RawValue::NULL, RawValue::NULL);
                while let Some(Text(member)) = object.next_key()? {
                    match &*member {
                        "topic" => topic = Some(object.next_value::<Text<'_>>()?.0),
                        "event" => event = Some(object.next_value::<Text<'_>>()?.0),
                        "payload" => payload = object.next_value()?,
                        "ref" => message_ref = object.next_value()?,
                        "join_ref" => join_ref = object.next_value()?,
                        _ => drop(object.next_value::<IgnoredAny>()?),
                    }
                }
                let topic = topic.ok_or_else(|| A::Error::missing_field("topic"))?;
                let event = event.ok_or_else(|| A::Error::missing_field("event"))?;
                Ok(Object(Envelope { join_ref, message_ref, topic, event, payload }))
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// A string, borrowed if it has no escapes. (Serde's `Cow` is copied unless derived.)
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}
