//! An export returns complete sessions, page by page.

use std::collections::HashMap;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::draft::{Draft, START_MS, commit, exported, fill, key, later, object};
use super::sessions::{everything, nothing};
use crate::block::RowId;
use crate::export;
use crate::key::ApiKey;
use crate::session::{Counters, Details};
use crate::store::Store;
use crate::upkeep;
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::video::Video;

/// The export of an empty store is one empty page.
pub async fn an_empty_store_exports_nothing(store: &dyn Store) {
    assert_eq!(exported(store, 1_000).await, []);
    key(store).await;
    assert_eq!(exported(store, 1).await, []);
}

/// Sessions of many videos. Several start at the same instant.
fn drafts(keys: &[ApiKey; 2], count: usize) -> Vec<Draft> {
    (0..count)
        .map(|number| {
            let video = Video::labelled(format!("video {}", number % 5));
            let at = START_MS + 86_400_000 * (number as i64 % 7);
            Draft::new(&keys[number % 2], &number.to_string(), video).at(at)
        })
        .collect()
}

pub(super) fn ids(drafts: &[Draft]) -> Vec<RowId> {
    let mut ids: Vec<_> = drafts.iter().map(|draft| RowId::from(draft.id)).collect();
    ids.sort_unstable();
    ids
}

pub(super) async fn exported_ids(store: &dyn Store, limit: usize) -> Vec<RowId> {
    exported(store, limit).await.iter().map(|record| record.id).collect()
}

/// Holds for every limit, also if the last page is full.
pub async fn every_session_is_on_one_page(store: &dyn Store) {
    let keys = [key(store).await, key(store).await];
    let drafts = drafts(&keys, 1_005);
    let (some, rest) = drafts.split_at(105);
    fill(store, some).await;
    let expected = ids(some);
    for limit in [1, 5, 7, 105, 106, 1_000] {
        assert_eq!(exported_ids(store, limit).await, expected, "pages of {limit}");
    }
    // Each turn adds sessions that start at the same instant as sessions in the store.
    for (number, some) in rest.chunks(100).enumerate() {
        fill(store, some).await;
        let expected = ids(&drafts[..105 + 100 * (number + 1)]);
        assert_eq!(exported_ids(store, 20).await, expected, "after {number}");
    }
    let expected = ids(&drafts);
    for limit in [7, 1_000] {
        assert_eq!(exported_ids(store, limit).await, expected, "pages of {limit}");
    }
}

/// JSON of every kind, with numbers and strings that are easily corrupted.
fn awkward() -> Value {
    json!({
        "null": null, "yes": true, "no": false, "": "", "empty": [[], {}],
        "whole": [0, -1, i64::MIN, i64::MAX, u64::MAX, 9_007_199_254_740_993_u64],
        "decimal": [0.1, -2.5, 0.947_473_286_009_698_7, 1e21, 1e300, 2.5e-50],
        "extreme": [f64::MAX, f64::MIN_POSITIVE, 5e-324],
        "text": "\u{1}\t\u{7f} '\"\\\\u0041 e\u{301} \u{e9} \u{1f600} \u{ffff}",
        "Z": {"b": {"a": [{"deep": [[["x"]]]}]}, "a": 1},
    })
}

/// A record has the key, the video and all metrics of its session.
pub async fn a_record_has_the_written_values(store: &dyn Store) {
    let (one, two) = (key(store).await, key(store).await);
    assert!(store.revoke_key(&two, later(1)).await.expect("stored"));
    let metadata = Some(object(&awkward()));
    let videos = [
        Video::labelled(""),
        Video::labelled("intro '\"\\ \u{1f600} %"),
        Video::new(None, metadata.clone()).expect("a video"),
        Video::new(None, Some(object(&json!({})))).expect("a video"),
        Video::new(Some("intro".to_owned()), metadata).expect("a video"),
    ];
    let user_agent = UserAgentClass {
        browser: Browser::Brave,
        platform: Platform::Linux,
        device: Device::Tablet,
    };
    let startup = Counters { startup_ms: Some(0), ..Counters::default() };
    let tracks = Details { tracks: 1, language: Some(String::new()), ..Details::default() };
    let mut drafts = Vec::new();
    for (number, (key, video)) in
        [&one, &two].into_iter().flat_map(|key| videos.iter().map(move |it| (key, it))).enumerate()
    {
        let draft = |name: &str| Draft::new(key, &format!("{number} {name}"), video.clone());
        let full = draft("full").with(user_agent).on("https://a.example:8443/%C3%A9/b%20c");
        let full = full.from(
            r#"{"referrer":"b.example","utm_source":"'\"\\ \u00e9","utm_medium":"a","utm_campaign":"%","country":"NL"}"#,
        );
        drafts.push(Draft { stored: everything(), ..full.with_session_data(&awkward()) });
        drafts.push(Draft { stored: nothing(), ..draft("empty").with_session_data(&json!({})) });
        let mut counts = draft("counts").on("http://[::1]/").from(r#"{"country":"BE"}"#);
        counts.stored.counters = startup.clone();
        drafts.push(counts);
        let mut with_details = draft("tells");
        with_details.stored.counters.details = tracks.clone();
        drafts.push(with_details);
    }
    fill(store, &drafts).await;

    let mut expected: Vec<_> = drafts.iter().map(Draft::record).collect();
    expected.sort_by_key(|record| record.id);
    for limit in [3, 1_000] {
        for (record, expected) in exported(store, limit).await.iter().zip(&expected) {
            assert_eq!(record, expected);
        }
        assert_eq!(exported_ids(store, limit).await, ids(&drafts));
    }
}

/// Writes, new sessions and deletions during an export neither repeat nor skip other sessions.
pub async fn pages_stay_apart_while_sessions_come_and_go(store: &dyn Store) {
    let keys = [key(store).await, key(store).await];
    let drafts = drafts(&keys, 60);
    fill(store, &drafts).await;
    let long_ago = START_MS - TimeDelta::days(30).num_milliseconds();
    let old = (0..30).map(|number| {
        let video = Video::labelled(format!("video {}", number % 5));
        Draft::new(&keys[0], &format!("old {number}"), video).at(long_ago)
    });
    fill(store, &old.collect::<Vec<_>>()).await;

    let mut seen: HashMap<RowId, usize> = HashMap::new();
    let mut cursor = None;
    for (turn, draft) in drafts.iter().enumerate() {
        let page = export::page(store, None, cursor, 4).await.expect("read");
        page.records.iter().for_each(|record| *seen.entry(record.id).or_default() += 1);
        let new = Draft::new(&keys[1], &format!("new {turn}"), Video::labelled("video 1"));
        commit(store, &[draft.clone().expecting(1).played(&[(0, 1)]), new]).await;
        if turn == 5 {
            let start_ms = START_MS - TimeDelta::days(8).num_milliseconds();
            upkeep::delete_before(store, start_ms).await.expect("deleted");
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }

    assert_eq!(cursor, None, "the pages have no end");
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    for draft in &drafts {
        assert!(seen.contains_key(&draft.id.into()), "{:?} was lost", draft.id);
    }
}
