//! The parameters of a connection: the query string of a websocket or of a long-polling session.

use std::borrow::Cow;

use metrics_core::containment::is_too_deep;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::phoenix::MESSAGE_BYTES_MAX;
use crate::wire;

/// The first parameter of a query string with this name.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Restores a key. A page that forgets to encode a `+` sends a space, which no key has.
pub(crate) fn restore_key(key: &str) -> String {
    key.replace(' ', "+")
}

/// The members of a join that a client may give as parameters of its connection.
#[derive(Serialize)]
struct JoinParameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_data: Option<&'a RawValue>,
}

/// The members of joins that a query string gives, as one JSON object: connections by the thousand keep it, and most have
/// a key at most. Parameters of other names, or of other types, count as missing, and so do all of them where they have
/// more bytes than a join may.
pub(crate) fn join_parameters(query: &str) -> Option<Box<str>> {
    let text = |name| parameter(query, name).filter(|text| !text.is_empty());
    let (key, identifier) = (text("key"), text("identifier"));
    let (metadata, session_data) = (text("metadata"), text("session_data"));
    if [&key, &identifier, &metadata, &session_data].iter().all(|it| it.is_none()) {
        return None;
    }
    let parameters = JoinParameters {
        key: key.as_deref().map(restore_key).map(Cow::Owned),
        identifier: identifier.as_deref(),
        metadata: metadata.as_deref().and_then(object),
        session_data: session_data.as_deref().and_then(object),
    };
    let json = serde_json::to_string(&parameters).ok()?;
    (json.len() <= MESSAGE_BYTES_MAX).then(|| json.into())
}

/// The JSON object that a text is.
fn object(text: &str) -> Option<&RawValue> {
    let is_short = text.len() <= MESSAGE_BYTES_MAX;
    let is_object =
        is_short && !is_too_deep(text) && wire::object::<Map<String, Value>>(text).is_some();
    is_object.then(|| serde_json::from_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Option<&str>) {
        assert_eq!(join_parameters(query).as_deref(), expected, "{query}");
    }

    #[test]
    fn a_query_may_give_the_members_of_a_join() {
        check("", None);
        check("vsn=2.0.0&source_url=http%3A%2F%2Fa%2F&title=knots", None);
        check("key=a%2Bb%2Fc%3D%3D&vsn=2.0.0", Some(r#"{"key":"a+b/c=="}"#));
        check("key=a+b", Some(r#"{"key":"a+b"}"#));
        check(
            "session_data=%7B%22plan%22:%22pro%22%7D&metadata=%7B%22a%22:1.10%7D&identifier=in%22tro",
            Some(r#"{"identifier":"in\"tro","metadata":{"a":1.10},"session_data":{"plan":"pro"}}"#),
        );
    }

    #[test]
    fn metadata_that_are_no_object_are_missing() {
        let deep = format!("{}{}", "{\"a\":".repeat(200), "}".repeat(200));
        for text in ["7", "[]", "null", "{", "{}x", "knots", r#"{"a":"\ud800"}"#, &deep] {
            let query = form_urlencoded::Serializer::new("identifier=a".to_owned())
                .append_pair("metadata", text)
                .finish();
            check(&query, Some(r#"{"identifier":"a"}"#));
        }
    }

    #[test]
    fn no_more_is_kept_than_a_join_may_have() {
        let longest = "x".repeat(MESSAGE_BYTES_MAX - r#"{"key":""}"#.len());
        assert!(join_parameters(&format!("key={longest}")).is_some());
        check(&format!("key={longest}x"), None);
    }
}
