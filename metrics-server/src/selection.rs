//! Reads selections of sessions from JSON, for the parameters of reports and for the claims of tokens, and joins two of
//! them to one that selects what both select.

use metrics_core::query::Filter;
use metrics_core::{ApiKey, Selection};
use serde_json::{Map, Value};

use crate::error::Error;

/// The largest `query`, in bytes of JSON: the cost of comparing two arrays is the product of their lengths.
const QUERY_BYTES_MAX: usize = 16 * 1_024;

/// The most identifiers of one selection.
const IDENTIFIERS_MAX: usize = 10_000;

/// Reads identifiers: a text, or an array of texts.
pub(crate) fn read_identifiers(value: &Value) -> Result<Vec<String>, Error> {
    let texts = match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(all) => all.iter().map(|it| it.as_str().map(str::to_owned)).collect(),
        _ => None,
    };
    texts.filter(|texts| texts.len() <= IDENTIFIERS_MAX).ok_or_else(|| {
        Error::parameter("identifier", "must be a string, or an array of at most 10000 strings")
    })
}

/// Reads a selection: an object with any of `video`, `session` and `key`.
pub(crate) fn read_query(value: &Value) -> Result<Selection, Error> {
    let wrong = |expected: &'static str| Error::parameter("query", expected);
    // A query string may hold it as a text that is no object.
    let Value::Object(members) = value else {
        return Err(wrong("must be an object with any of `video`, `session` and `key`"));
    };
    if QUERY_BYTES_MAX < value.to_string().len() {
        return Err(wrong("must have at most 16384 bytes"));
    }
    let object =
        |value: &Value, expected| value.as_object().cloned().ok_or_else(|| wrong(expected));
    let mut selection = Selection::default();
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "video" => selection.video = Some(object(value, "must have an object as `video`")?),
            "session" => {
                selection.session = Some(object(value, "must have an object as `session`")?);
            }
            "key" => {
                // A `+` that is not encoded in a query string arrives as a space, which no key has.
                let key = value.as_str().and_then(|text| ApiKey::new(&text.replace(' ', "+")).ok());
                selection.key = Some(key.ok_or_else(|| wrong("must have an API key as `key`"))?);
            }
            _ => return Err(wrong("must have no other members than `video`, `session` and `key`")),
        }
    }
    Ok(selection)
}

/// Checks that no member of a selection is null: it would narrow nothing, and may be missing by mistake.
pub(crate) fn check_set(query: &Value) -> Result<(), Error> {
    let members = query.as_object().into_iter().flatten();
    match members.into_iter().find(|(_, value)| value.is_null()) {
        Some((name, _)) => {
            Err(Error::parameter("query", format!("must not have null as `{name}`: leave it out")))
        }
        None => Ok(()),
    }
}

/// Selects the sessions that both selections select, except for their keys: that of `asked` counts.
pub(crate) fn both(own: &Selection, asked: Selection) -> Selection {
    let mut joined = Selection {
        identifiers: either(own.identifiers.as_ref(), asked.identifiers, |own, asked| {
            Some(asked.into_iter().filter(|it| own.contains(it)).collect())
        }),
        video: None,
        session: None,
        key: asked.key,
        filter: both_filters(own.filter.clone(), asked.filter),
    };
    let parts = [
        (own.video.as_ref(), asked.video, &mut joined.video),
        (own.session.as_ref(), asked.session, &mut joined.session),
    ];
    let mut contradicts = false;
    for (own, asked, part) in parts {
        let is_set = own.is_some() || asked.is_some();
        *part = either(own, asked, |own, asked| objects(own, &asked));
        contradicts |= is_set && part.is_none();
    }
    if contradicts {
        // Nothing contains both: no video has none of no identifiers.
        joined.identifiers = Some(Vec::new());
    }
    joined
}

/// The filter that holds where both hold.
pub(crate) fn both_filters(own: Filter, asked: Filter) -> Filter {
    // Nested no deeper than needed: depth is limited.
    let parts = |filter| match filter {
        Filter::And(parts) => parts,
        other => vec![other],
    };
    let mut all = parts(own);
    // A token repeats the filter of the user who created it.
    let others: Vec<_> = parts(asked).into_iter().filter(|part| !all.contains(part)).collect();
    all.extend(others);
    Filter::And(all)
}

fn either<T: Clone>(
    own: Option<&T>,
    asked: Option<T>,
    join: impl FnOnce(&T, T) -> Option<T>,
) -> Option<T> {
    match (own, asked) {
        (Some(own), Some(asked)) => join(own, asked),
        (own, asked) => asked.or_else(|| own.cloned()),
    }
}

/// The object that is contained in exactly the values that contain both; `None` if there are none.
fn objects(own: &Map<String, Value>, asked: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut joined = own.clone();
    for (name, asked) in asked {
        let value = match own.get(name) {
            Some(own) => values(own, asked)?,
            None => asked.clone(),
        };
        joined.insert(name.clone(), value);
    }
    Some(joined)
}

fn values(own: &Value, asked: &Value) -> Option<Value> {
    match (own, asked) {
        (Value::Object(own), Value::Object(asked)) => objects(own, asked).map(Value::Object),
        // An array contains another if it contains each of its elements.
        (Value::Array(own), Value::Array(asked)) => {
            Some(own.iter().chain(asked).cloned().collect())
        }
        // Equal numbers that are written differently count as unequal: that selects less, never more.
        (own, asked) => (own == asked).then(|| own.clone()),
    }
}

#[cfg(test)]
mod tests {
    use metrics_core::containment::contains;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            (0..3_u8).prop_map(Value::from),
            "[ab]".prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                proptest::collection::btree_map("[xy]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        proptest::collection::btree_map("[xyz]", value(), 0..3)
            .prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_value_contains_the_join_if_it_contains_both(
            own in object(),
            asked in object(),
            more in object(),
        ) {
            let joined = both(
                &Selection::default().with_video(own.clone()),
                Selection::default().with_video(asked.clone()),
            );
            let (own, asked) = (Value::Object(own), Value::Object(asked));
            // One that often contains both, and one that rarely does.
            let merged = joined.video.clone().map(Value::Object);
            for whole in merged.into_iter().chain([Value::Object(more)]) {
                let has_both = contains(&whole, &own) && contains(&whole, &asked);
                let is_selected = joined.identifiers.is_none()
                    && joined.video.as_ref().is_some_and(|it| contains(&whole, &Value::Object(it.clone())));
                prop_assert_eq!(is_selected, has_both);
            }
        }
    }

    #[test]
    fn identifiers_and_filters_are_those_of_both() {
        let filter = |json: Value| Filter::from_json(&json).unwrap();
        let own = Selection {
            identifiers: Some(vec!["a".to_owned(), "b".to_owned()]),
            filter: filter(json!([["is", "device", ["mobile"]], ["watched", 0, 1]])),
            ..Selection::default()
        };
        let asked = Selection {
            identifiers: Some(vec!["b".to_owned(), "c".to_owned()]),
            filter: filter(json!(["or", ["is", "device", ["desktop"]]])),
            ..Selection::default()
        };
        let joined = both(&own, asked);
        assert_eq!(joined.identifiers, Some(vec!["b".to_owned()]));
        assert_eq!(
            joined.filter.to_json(),
            json!([
                "and",
                ["is", "device", ["mobile"]],
                ["watched", 0.0, 1.0],
                ["or", ["is", "device", ["desktop"]]]
            ])
        );
        assert_eq!(both(&own, joined.clone()), joined);
        assert_eq!(both(&own, Selection::default()), own);
        assert_eq!(both(&Selection::default(), own.clone()), own);
    }
}
