//! Random values, compared with models that are obviously right.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A few scalars, so that values often match; some are equal to others.
fn scalar() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-0.0),
        json!(1),
        json!(1.0),
        json!(2.5),
        json!(""),
        json!("a"),
        json!("1"),
        json!(9_007_199_254_740_993_u64),
        json!(9_007_199_254_740_992.0),
    ])
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A value without arrays.
fn tree() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 16, 3, |inner| {
        prop::collection::btree_map("[ab]", inner, 0..3)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    })
}

/// Removes parts of a value by `choices`, and reverses arrays.
fn thinned(value: &Value, choices: &mut impl Iterator<Item = bool>) -> Value {
    let mut keep = || choices.next().unwrap_or(true);
    match value {
        Value::Object(members) => {
            let kept: Vec<_> = members.iter().filter(|_| keep()).collect();
            kept.into_iter().map(|(key, it)| (key.clone(), thinned(it, choices))).collect()
        }
        Value::Array(elements) => {
            let kept: Vec<_> = elements.iter().rev().filter(|_| keep()).collect();
            kept.into_iter().map(|it| thinned(it, choices)).collect()
        }
        scalar => scalar.clone(),
    }
}

/// JSON with comparable scalars.
#[derive(Debug, PartialEq)]
enum Model {
    Scalar(String),
    Array(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

fn model(value: &Value) -> Model {
    match value {
        Value::Array(elements) => Model::Array(elements.iter().map(model).collect()),
        Value::Object(members) => {
            Model::Object(members.iter().map(|(key, it)| (key.clone(), model(it))).collect())
        }
        Value::Number(number) => {
            // All numbers of these tests are exact in tenths.
            let tenths = number.as_i128().map_or_else(
                || number.as_f64().map(|float| (float * 10.0) as i128),
                |integer| Some(integer * 10),
            );
            Model::Scalar(format!("{} tenths", tenths.unwrap()))
        }
        scalar => Model::Scalar(scalar.to_string()),
    }
}

/// PostgreSQL's definition, pair by pair.
fn model_contains(whole: &Model, part: &Model, top: bool) -> bool {
    match (whole, part) {
        (Model::Array(whole), Model::Scalar(_)) if top => whole.contains(part),
        (Model::Scalar(_), _) | (_, Model::Scalar(_)) => whole == part,
        (Model::Object(whole), Model::Object(part)) => part.iter().all(|(part_key, part)| {
            whole.iter().any(|(key, it)| key == part_key && model_contains(it, part, false))
        }),
        (Model::Array(whole), Model::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|it| model_contains(it, part, false)))
        }
        (Model::Array(_), Model::Object(_)) | (Model::Object(_), Model::Array(_)) => false,
    }
}

proptest! {
    #[test]
    fn containment_is_that_of_the_model(whole in value(), part in value()) {
        prop_assert_eq!(
            contains(&whole, &part),
            model_contains(&model(&whole), &model(&part), true)
        );
    }

    #[test]
    fn a_value_contains_itself_and_its_parts(
        whole in value(),
        choices in prop::collection::vec(any::<bool>(), 0..24),
    ) {
        let part = thinned(&whole, &mut choices.into_iter());

        prop_assert!(contains(&whole, &whole));
        prop_assert!(contains(&whole, &part), "{}", part);
        prop_assert!(model_contains(&model(&whole), &model(&part), true));
    }

    #[test]
    fn canonical_texts_are_equal_where_models_are(a in value(), b in value()) {
        prop_assert_eq!(canonical(&a) == canonical(&b), model(&a) == model(&b));
    }

    #[test]
    fn without_arrays_values_that_contain_each_other_are_the_same(a in tree(), b in tree()) {
        prop_assert_eq!(canonical(&a) == canonical(&b), contains(&a, &b) && contains(&b, &a));
    }

    #[test]
    fn canonical_text_is_the_same_value_and_its_own_canonical_text(value in value()) {
        let text = canonical(&value);
        let parsed: Value = serde_json::from_str(&text).unwrap();

        prop_assert_eq!(model(&parsed), model(&value));
        prop_assert_eq!(canonical(&parsed), text);
    }

    #[test]
    fn canonical_numbers_are_the_same_number(float in any::<f64>()) {
        prop_assume!(float.is_finite());
        let text = canonical(&json!(float));

        prop_assert_eq!(text.parse::<f64>().unwrap(), float);
        // The text identifies a video: after a store decodes it, the same text must result.
        let parsed: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(canonical(&parsed), text.as_str());
        prop_assert!(!text.contains(['E', '+']) && !text.ends_with(".0"));
    }
}
