//! A selection matches exactly the sessions that it describes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::draft::{
    Draft, all, close, days, described, fill, key, later, numbered, object, selected, start,
};
use super::older;
use crate::arrival::ArrivalPart;
use crate::engagement::Resolution;
use crate::key::ApiKey;
use crate::query::{Dimension, Filter, Metric, Query, Selection, Timeframe};
use crate::report::Reports;
use crate::scan::DimensionValue;
use crate::store::{Instance, Store};
use crate::time_bucket::{Buckets, Width};
use crate::video::Video;

fn identifiers<const N: usize>(identifiers: [&str; N]) -> Selection {
    let identifiers = identifiers.map(str::to_owned).to_vec();
    Selection { identifiers: Some(identifiers), ..Selection::default() }
}

fn video(part: &Value) -> Selection {
    Selection::default().with_video(object(part))
}

fn session(part: &Value) -> Selection {
    Selection::default().with_session(object(part))
}

/// One session of each video, numbered in their order.
async fn fill_with(store: &dyn Store, key: &ApiKey, videos: impl IntoIterator<Item = Video>) {
    let drafts = videos.into_iter().enumerate();
    let drafts = drafts.map(|(number, video)| Draft::new(key, &number.to_string(), video));
    fill(store, &numbered(drafts)).await;
}

/// Several identifiers select the videos that have any of them, each once.
pub async fn every_identifier_is_selected(store: &dyn Store) {
    let key = key(store).await;
    fill_with(store, &key, ["a", "b", "c"].map(Video::labelled)).await;
    assert_eq!(selected(store, identifiers(["a"])).await, [0]);
    assert_eq!(selected(store, identifiers(["c", "a"])).await, [0, 2]);
    assert_eq!(selected(store, identifiers(["b", "b", "x"])).await, [1]);
}

/// A list without an identifier is not the same as no list.
pub async fn no_identifier_selects_nothing(store: &dyn Store) {
    let key = key(store).await;
    fill_with(store, &key, [Video::labelled("a"), described(&json!({"a": 1}))]).await;
    assert!(selected(store, identifiers([])).await.is_empty());
    assert!(selected(store, Selection { key: Some(key), ..identifiers([]) }).await.is_empty());
}

/// A request may name any number of identifiers, and some twice.
pub async fn more_identifiers_than_a_statement_takes_are_selected(store: &dyn Store) {
    let key = key(store).await;
    fill_with(store, &key, ["0", "39999", "40000"].map(Video::labelled)).await;
    let requested = (0..40_000).chain([0]).map(|number| number.to_string()).collect();
    let selection = Selection { identifiers: Some(requested), ..Selection::default() };
    assert_eq!(selected(store, selection).await, [0, 1]);
}

/// Identifiers are opaque: case, spaces, wildcards and normal forms have no meaning.
pub async fn identifiers_are_compared_byte_by_byte(store: &dyn Store) {
    let key = key(store).await;
    let texts = ["a", "A", "a ", "", "%", "_", "\u{e9}", "e\u{301}", "'; drop table keys; --"];
    fill_with(store, &key, texts.map(Video::labelled)).await;
    for (number, text) in (0..).zip(texts) {
        assert_eq!(selected(store, Selection::identifier(text)).await, [number], "{text:?}");
    }
}

/// The same identifier under two keys is two videos: the identifier selects both, a key selects one.
pub async fn an_identifier_is_selected_under_every_key(store: &dyn Store) {
    let (one, two) = (key(store).await, key(store).await);
    let drafts = [&one, &two].map(|key| Draft::new(key, "same", Video::labelled("intro")));
    fill(store, &numbered(drafts)).await;
    let both = Selection::identifier("intro");
    assert_eq!(selected(store, both.clone()).await, [0, 1]);
    assert_eq!(selected(store, Selection { key: Some(one), ..both.clone() }).await, [0]);
    assert_eq!(selected(store, Selection { key: Some(two), ..both }).await, [1]);
}

/// A key selects its videos, labelled or not, and no others.
pub async fn a_key_selects_its_own_videos(store: &dyn Store) {
    let (one, two, unused) = (key(store).await, key(store).await, key(store).await);
    let drafts = [
        Draft::new(&one, "a", Video::labelled("a")),
        Draft::new(&two, "b", Video::labelled("b")),
        Draft::new(&one, "c", described(&json!({"c": 1}))),
    ];
    fill(store, &numbered(drafts)).await;
    assert_eq!(selected(store, Selection::key(one)).await, [0, 2]);
    assert_eq!(selected(store, Selection::key(two)).await, [1]);
    assert!(selected(store, Selection::key(unused)).await.is_empty());
    assert!(selected(store, Selection::key(ApiKey::generate())).await.is_empty());
    assert_eq!(selected(store, Selection::default()).await, [0, 1, 2]);
}

/// Containment is that of PostgreSQL's `@>`: nested objects, arrays as sets.
pub async fn metadata_is_selected_by_containment(store: &dyn Store) {
    let key = key(store).await;
    let videos = [
        Video::labelled("no metadata"),
        described(&json!({})),
        described(&json!({"course": {"id": 7, "title": "knots"}, "tags": ["a", "b"]})),
        described(&json!({"course": {"id": 8}, "tags": ["b", {"c": [1, 2]}], "none": null})),
        described(&json!({"course": 7, "it's": "a \"quote\" \\ \u{1f600}"})),
    ];
    fill_with(store, &key, videos).await;
    let cases = [
        (json!({}), vec![1, 2, 3, 4]),
        (json!({"course": {}}), vec![2, 3]),
        (json!({"course": {"id": 7}}), vec![2]),
        (json!({"course": {"title": "knots"}, "tags": ["b"]}), vec![2]),
        (json!({"course": 7}), vec![4]),
        (json!({"id": 7}), vec![]),
        (json!({"tags": []}), vec![2, 3]),
        (json!({"tags": ["b", "b"]}), vec![2, 3]),
        (json!({"tags": ["b", "a"]}), vec![2]),
        (json!({"tags": "b"}), vec![]),
        (json!({"tags": [{"c": [2]}]}), vec![3]),
        (json!({"tags": [["c"]]}), vec![]),
        (json!({"none": null}), vec![3]),
        (json!({"course": null}), vec![]),
        (json!({"it's": "a \"quote\" \\ \u{1f600}"}), vec![4]),
    ];
    for (part, expected) in cases {
        assert_eq!(selected(store, video(&part)).await, expected, "{part}");
    }
}

/// `1`, `1.0` and `10e-1` are one number; numbers that are equal only as floats are two.
pub async fn numbers_are_compared_by_value(store: &dyn Store) {
    let key = key(store).await;
    let values = [json!(1), json!("1"), json!(9_007_199_254_740_993_u64), json!(0.1), json!(-0.0)];
    fill_with(store, &key, values.map(|value| described(&json!({"n": value})))).await;
    let cases = [
        (json!(1.0), vec![0]),
        (json!(true), vec![]),
        (json!(9_007_199_254_740_993_u64), vec![2]),
        (json!(9_007_199_254_740_992_u64), vec![]),
        (json!(0.1), vec![3]),
        (json!(0), vec![4]),
    ];
    for (number, expected) in cases {
        assert_eq!(selected(store, video(&json!({"n": number}))).await, expected, "{number}");
    }
}

/// Metadata with another order of members or spelling of numbers identifies the same video.
pub async fn the_order_of_metadata_keys_does_not_matter(store: &dyn Store) {
    let key = key(store).await;
    let texts =
        [r#"{"a": 1, "b": {"c": [2], "d": null}}"#, r#"{"b":{"d":null,"c":[2.0]},"a":1e0}"#];
    let videos = texts.map(|text| described(&serde_json::from_str(text).expect("JSON")));
    assert_eq!(videos[0].digest(&key), videos[1].digest(&key));
    fill_with(store, &key, videos).await;
    assert_eq!(selected(store, video(&json!({"b": {"d": null}}))).await, [0, 1]);
    assert_eq!(selected(store, video(&json!({"b": {"c": [2]}, "a": 1}))).await, [0, 1]);
}

/// A video with an identifier, one with metadata and one with both are three.
pub async fn identifier_and_metadata_each_distinguish_videos(store: &dyn Store) {
    let key = key(store).await;
    let metadata = object(&json!({"a": 1}));
    let other = object(&json!({"a": 1, "b": 2}));
    let videos = [
        (Some("intro"), None),
        (None, Some(metadata.clone())),
        (Some("intro"), Some(metadata.clone())),
        (Some("outro"), Some(metadata.clone())),
        (Some("intro"), Some(other)),
    ];
    let videos = videos.map(|(identifier, metadata)| {
        Video::new(identifier.map(str::to_owned), metadata).expect("a video")
    });
    fill_with(store, &key, videos).await;
    assert_eq!(selected(store, Selection::identifier("intro")).await, [0, 2, 4]);
    assert_eq!(selected(store, video(&json!({"a": 1}))).await, [1, 2, 3, 4]);
    let both = Selection::identifier("intro").with_video(metadata);
    assert_eq!(selected(store, both).await, [2, 4]);
}

/// Session data selects among sessions of one video, also if they start at the same instant.
pub async fn session_data_is_selected_by_containment(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name| Draft::new(&key, name, Video::labelled("intro"));
    let drafts = [
        draft("none"),
        draft("empty").with_session_data(&json!({})),
        draft("one").with_session_data(&json!({"user": {"plan": "free"}, "ab": [1, 2]})),
        draft("two")
            .with_session_data(&json!({"user": {"plan": "paid", "since": 2020.0}, "ab": [2]})),
        draft("like one").with_session_data(&json!({"user": {"plan": "free"}, "ab": [1, 2]})),
    ];
    fill(store, &numbered(drafts)).await;
    let cases = [
        (json!({}), vec![1, 2, 3, 4]),
        (json!({"user": {}}), vec![2, 3, 4]),
        (json!({"user": {"plan": "free"}}), vec![2, 4]),
        (json!({"user": {"since": 2020}}), vec![3]),
        (json!({"ab": [2.0]}), vec![2, 3, 4]),
        (json!({"ab": [1]}), vec![2, 4]),
        (json!({"user": "free"}), vec![]),
    ];
    for (part, expected) in cases {
        assert_eq!(selected(store, session(&part)).await, expected, "{part}");
    }
}

/// Parts of where viewers come from group and select sessions, open ones, closed ones and one that goes on.
pub async fn where_viewers_come_from_is_a_dimension(store: &dyn Store) {
    let key = key(store).await;
    let draft = |name| Draft::new(&key, name, Video::labelled("intro"));
    let closed = [
        draft("none"),
        draft("one").from(r#"{"referrer":"a.example","country":"NL"}"#),
        draft("two").from(r#"{"utm_source":"a","utm_medium":"b","utm_campaign":"c"}"#),
    ];
    fill(store, &closed).await;
    close(store).await;
    let goes_on = draft("one").expecting(1).played(&[(0, 20_000)]);
    let open = draft("three").from(r#"{"referrer":"a.example","country":"BE"}"#);
    fill(store, &[goes_on, open.open_at(Instance(1))]).await;

    let count = async |dimension: &str, filter: &Filter| {
        let dimension = dimension.parse().expect("a dimension");
        let query = Query::new([Metric::Plays]).by(dimension).with_filter(filter.clone());
        let query = query.during(Timeframe::ALL);
        let answer = Reports::new(store, later(30_000)).query(&query).await.expect("answered").0;
        let rows = answer.results.into_iter().map(|row| {
            let value = match &row.dimensions[..] {
                [DimensionValue::Text(text)] => text.to_string(),
                other => format!("{other:?}"),
            };
            (value, row.numbers.metrics[0].unwrap_or_default())
        });
        rows.collect::<BTreeMap<_, _>>()
    };
    let check = async |dimension, filter: &Filter, expected: &[(&str, f64)]| {
        let expected = expected.iter().map(|(value, plays)| ((*value).to_owned(), *plays));
        assert_eq!(count(dimension, filter).await, expected.collect(), "{dimension}");
    };
    let (all, none) = (Filter::default(), "[Null]");
    check("referrer", &all, &[(none, 2.0), ("a.example", 2.0)]).await;
    check("country", &all, &[(none, 2.0), ("NL", 1.0), ("BE", 1.0)]).await;
    check("utm_source", &all, &[(none, 3.0), ("a", 1.0)]).await;
    check("utm_medium", &all, &[(none, 3.0), ("b", 1.0)]).await;
    check("utm_campaign", &all, &[(none, 3.0), ("c", 1.0)]).await;
    let dutch = Filter::is(Dimension::Arrival(ArrivalPart::Country), ["NL"]);
    check("referrer", &dutch, &[("a.example", 1.0)]).await;
}

/// A session must match all parts of a selection.
pub async fn every_part_of_a_selection_narrows_it(store: &dyn Store) {
    let (one, two) = (key(store).await, key(store).await);
    let mut drafts = Vec::new();
    for number in 0..16_u32 {
        let bit = |bit: u32| number >> bit & 1;
        let metadata = object(&json!({"m": bit(1)}));
        let video = Video::new(Some(format!("v{}", bit(0))), Some(metadata)).expect("a video");
        let key = if bit(2) == 0 { &one } else { &two };
        let draft = Draft::new(key, &number.to_string(), video);
        drafts.push(draft.with_session_data(&json!({"s": bit(3)})));
    }
    fill(store, &numbered(drafts)).await;

    let selection = identifiers(["v1", "other"]);
    assert_eq!(selected(store, selection.clone()).await, [1, 3, 5, 7, 9, 11, 13, 15]);
    let selection = selection.with_video(object(&json!({"m": 1})));
    assert_eq!(selected(store, selection.clone()).await, [3, 7, 11, 15]);
    let selection = selection.with_session(object(&json!({"s": 0})));
    assert_eq!(selected(store, selection.clone()).await, [3, 7]);
    let selection = Selection { key: Some(two), ..selection };
    assert_eq!(selected(store, selection).await, [7]);
}

/// A selection without sessions has empty reports.
pub async fn an_unknown_selection_is_empty(store: &dyn Store) {
    let key = key(store).await;
    let draft = Draft::new(&key, "a", described(&json!({"a": 1}))).on("http://a/");
    fill(store, &[draft.open_at(Instance(1))]).await;
    store.heartbeat(Instance(1), start()).await.expect("noted");
    let selections = [
        Selection::identifier("unknown"),
        Selection::key(ApiKey::generate()),
        video(&json!({"a": 2})),
        session(&json!({"a": 1})),
        Selection { key: Some(key), ..Selection::identifier("unknown") },
    ];
    for selection in selections {
        let scan = all(selection.clone());
        assert_eq!(older::plays(store, &scan, days(), Vec::new()).await.expect("summed"), []);
        assert_eq!(older::sources(store, &scan, days()).await.expect("summed"), []);
        assert_eq!(older::parts(store, &scan, 10).await.expect("counted"), []);
        let seconds = older::seconds(store, &scan, Buckets::new(Width::DAY), Resolution::default())
            .await
            .expect("counted");
        assert_eq!(seconds, []);
        assert_eq!(older::watching(store, &selection, start()).await.expect("counted"), 0);
    }
}
