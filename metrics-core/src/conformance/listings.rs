//! Videos are listed with their metrics, their newest metadata and their newest duration.

use serde_json::{Value, json};

use super::draft::{Draft, START_MS, fill, key, later, object};
use crate::key::ApiKey;
use crate::query::{Column, Compare, Dimension, Direction, Filter, Metric, Query, Selection};
use crate::report::{Reports, VideoEntry, VideoList, VideosQuery};
use crate::store::Store;
use crate::time::DAY_MS;
use crate::time_bucket::Span;
use crate::video::Video;
use crate::{Timeframe, upkeep};

/// A session of a video that starts `days` after [`START_MS`].
fn draft(key: &ApiKey, days: i64, video: Video, duration_ms: Option<u32>) -> Draft {
    let name = format!("{days} {:?} {:?}", video.identifier(), video.metadata());
    let mut draft = Draft::new(key, &name, video).at(START_MS + days * DAY_MS);
    draft.stored.last_event_at_ms = draft.stored.started_at_ms;
    draft.stored.duration_ms = duration_ms;
    draft
}

fn titled(identifier: &str, title: &str) -> Video {
    let metadata = object(&json!({ "title": title }));
    Video::new(Some(identifier.to_owned()), Some(metadata)).expect("a video")
}

fn described(metadata: &Value) -> Video {
    Video::described(metadata).expect("an object")
}

async fn list(store: &dyn Store, query: &VideosQuery) -> VideoList {
    let now = later(10 * DAY_MS);
    Reports::new(store, now).videos(query).await.expect("listed").0
}

fn names(list: &VideoList) -> Vec<&str> {
    list.videos.iter().map(|video| &*video.name).collect()
}

fn plays(video: &VideoEntry) -> Option<f64> {
    video.numbers.metrics[0]
}

async fn filled(store: &dyn Store) -> ApiKey {
    let key = key(store).await;
    let sessions = [
        draft(&key, 0, titled("intro", "Old"), Some(60_000)),
        draft(&key, 1, titled("intro", "Old"), None),
        draft(&key, 5, titled("intro", "New Knots"), Some(61_000)),
        draft(&key, 6, titled("intro", "New Knots"), None),
        draft(&key, 7, described(&json!({ "title": "Knots again" })), None),
        draft(&key, 8, described(&json!({ "course": 1 })), Some(9_000)),
        draft(&key, 2, Video::labelled("quiet"), None),
    ];
    fill(store, &sessions).await;
    key
}

/// Every video is listed once, with metrics of the timeframe and with title, duration and first play of all time.
pub async fn videos_are_listed_once(store: &dyn Store) {
    filled(store).await;
    let week = Timeframe::Last(Span::WEEK);
    let query = Query::default().during(week).compared_with(Compare::PreviousPeriod);
    let listed = list(store, &VideosQuery::from(query.with_totals(true))).await;
    // By plays, then by name.
    assert_eq!(names(&listed), ["intro", "Knots again", r#"{"course":1}"#, "quiet"]);
    assert_eq!(listed.rows, 4);
    let counts: Vec<_> = listed.videos.iter().map(|video| plays(video).unwrap_or(-1.0)).collect();
    assert_eq!(counts, [2.0, 1.0, 1.0, 0.0]);
    assert_eq!(listed.totals.as_ref().expect("asked for").metrics[0], Some(4.0));

    let intro = &listed.videos[0];
    assert_eq!(intro.identifier.as_deref(), Some("intro"));
    assert_eq!(intro.title.as_deref(), Some("New Knots"));
    assert_eq!(intro.metadata.as_deref(), Some(r#"{"title":"New Knots"}"#));
    assert_eq!(intro.duration_ms, Some(61_000));
    assert_eq!(intro.first_played_at, Some(later(0)));
    assert_eq!(intro.last_played_at, Some(later(6 * DAY_MS)));
    assert_eq!(intro.numbers.comparison.as_ref().expect("compared").metrics[0], Some(2.0));
    let described = &listed.videos[2];
    assert_eq!((&described.identifier, &described.title), (&None, &None));
    assert_eq!(described.duration_ms, Some(9_000));
    let quiet = &listed.videos[3];
    assert_eq!((quiet.duration_ms, quiet.last_played_at), (None, Some(later(2 * DAY_MS))));
}

/// A search matches identifiers and titles, old ones too, in any case. A match counts all sessions of the video.
pub async fn videos_are_searched(store: &dyn Store) {
    let key = filled(store).await;
    let all = Query::new([Metric::Plays]).during(Timeframe::ALL);
    let search = |text: &str| VideosQuery::from(all.clone()).with_search(text);
    let found = list(store, &search("kNoTs")).await;
    assert_eq!(names(&found), ["intro", "Knots again"]);
    assert_eq!(found.videos.iter().map(plays).collect::<Vec<_>>(), [Some(4.0), Some(1.0)]);
    assert_eq!(names(&list(store, &search("old")).await), ["intro"]);
    assert!(list(store, &search("nothing")).await.videos.is_empty());

    let other = ApiKey::new("another").expect("a key");
    let of = |key: &ApiKey| VideosQuery::from(all.clone().of(Selection::key(key.clone())));
    assert_eq!(list(store, &of(&key)).await.rows, 4);
    assert_eq!(list(store, &of(&other)).await.rows, 0);
}

/// Filters, order and limits work as in queries. A filter on videos removes videos from the list; other filters remove
/// only their plays.
pub async fn videos_are_filtered_sorted_and_paged(store: &dyn Store) {
    filled(store).await;
    let all = Query::new([Metric::Plays]).during(Timeframe::ALL);
    let quiet = all.clone().with_filter(Filter::is(Dimension::Video, ["quiet"]));
    assert_eq!(names(&list(store, &quiet.into()).await), ["quiet"]);
    let mobile = all.clone().with_filter(Filter::is(Dimension::Device, ["mobile"]));
    let listed = list(store, &mobile.into()).await;
    assert_eq!((listed.rows, plays(&listed.videos[0])), (4, Some(0.0)));

    let by_name = all.order_by(Column::Dimension(Dimension::Video), Direction::Descending);
    let page = list(store, &by_name.page(2, 1).into()).await;
    assert_eq!((names(&page), page.rows), (vec!["quiet", "intro"], 4));
}

/// After a deletion by age, `first_played_at` is the first remaining play.
pub async fn videos_without_sessions_stay_listed(store: &dyn Store) {
    filled(store).await;
    upkeep::delete_before(store, START_MS + 4 * DAY_MS).await.expect("deleted");
    let all = VideosQuery::from(Query::new([Metric::Plays]).during(Timeframe::ALL));
    let listed = list(store, &all).await;
    let quiet = listed.videos.iter().find(|video| &*video.name == "quiet");
    // A store may delete a video without sessions.
    if let Some(quiet) = quiet {
        assert_eq!((plays(quiet), quiet.first_played_at), (Some(0.0), None));
    }
    let intro = listed.videos.iter().find(|video| &*video.name == "intro").expect("listed");
    assert_eq!(intro.first_played_at, Some(later(5 * DAY_MS)));
}
