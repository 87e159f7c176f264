//! A database at known times, and its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use http_body_util::BodyExt as _;
use hyper::Response;
use metrics_core::budget::Budget;
use metrics_core::recorder::Clock;
use metrics_core::store::SqliteStore;
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Video, Viewing};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access::Grant;
use crate::answer::{Answers, Text};
use crate::api::params::Params;
use crate::api::{dimensions, engagement, keys, plays, query, sources, videos, watching};
use crate::error::Error;
use crate::queue::Flow;
use crate::response::{self, Body};

pub(super) const KEY: &str = "HDsj3NfKQTNwn5Ix9g+cfQ==";

const CHROME: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 \
    (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";

/// A database of its own, with a clock that only tests advance.
pub(super) struct Fixture {
    pub(super) metrics: Metrics,
    pub(super) now_ms: Arc<AtomicI64>,
    _directory: TempDir,
}

impl Fixture {
    pub(super) async fn new(now: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
        let now_ms = Arc::new(AtomicI64::new(ms(now)));
        let clock = Arc::clone(&now_ms);
        let clock =
            move || DateTime::<Utc>::from_timestamp_millis(clock.load(Ordering::Relaxed)).unwrap();
        let metrics = Metrics::builder(Arc::new(store)).clock(Clock::new(clock)).start();
        assert!(metrics.import_key(&ApiKey::new(KEY).unwrap()).await.unwrap());
        Self { metrics, now_ms, _directory: directory }
    }

    /// Starts a session with Chrome on a Mac, of the video `intro` on `page`.
    pub(super) async fn play(&self, session: &str, page: &str, at: &str) -> Viewing {
        self.now_ms.store(ms(at), Ordering::Relaxed);
        let video = Video::new(
            Some("intro".to_owned()),
            json!({ "vid": 1, "tags": ["a", "b"] }).as_object().cloned(),
        );
        let join = Join::new(ApiKey::new(KEY).unwrap(), session, video.unwrap());
        let viewing = self.metrics.join(join.user_agent(CHROME).page(page)).await.unwrap();
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        viewing
    }

    pub(super) async fn watch(&self, session: &str, page: &str, at: &str, seconds: f64) {
        let viewing = self.play(session, page, at).await;
        viewing.apply(PlayerEvent::pause(seconds)).await.unwrap();
        viewing.leave().durable().await.unwrap();
    }

    /// Without `meta`, which has the time of the request.
    pub(super) async fn plays(&self, params: Value) -> Value {
        rows(respond(plays::plays(self.metrics.reports(), &parse(&params)).await).await).await
    }

    pub(super) async fn engagement(&self, params: Value) -> Value {
        rows(respond(engagement::engagement(self.metrics.reports(), &parse(&params)).await).await)
            .await
    }

    pub(super) async fn sources(&self, params: Value) -> Value {
        rows(respond(sources::sources(self.metrics.reports(), &parse(&params)).await).await).await
    }

    pub(super) async fn watching(&self, params: Value) -> Value {
        answer(
            respond(watching::watching(self.metrics.reports(), &parse(&params)).await).await,
            200,
        )
        .await
    }

    pub(super) async fn query(&self, params: Value) -> Value {
        answer(respond(query::query(self.metrics.reports(), &parse(&params)).await).await, 200)
            .await
    }

    pub(super) async fn videos(&self, params: Value) -> Value {
        answer(respond(videos::videos(self.metrics.reports(), &parse(&params)).await).await, 200)
            .await
    }

    pub(super) async fn refused_videos(&self, params: Value) -> String {
        let refused = answer(
            respond(videos::videos(self.metrics.reports(), &parse(&params)).await).await,
            400,
        )
        .await;
        refused["error"].as_str().unwrap().to_owned()
    }

    pub(super) async fn refused_query(&self, params: Value) -> String {
        let refused =
            answer(respond(query::query(self.metrics.reports(), &parse(&params)).await).await, 400)
                .await;
        refused["error"].as_str().unwrap().to_owned()
    }

    pub(super) async fn values(&self, name: &str, params: Value) -> Value {
        rows(respond(dimensions::values(self.metrics.reports(), name, &parse(&params)).await).await)
            .await
    }

    pub(super) async fn keys(&self) -> Value {
        let listed = respond(keys::list(&self.metrics, &Grant::all()).await).await;
        let mut listed = answer(listed, 200).await;
        for key in listed["keys"].as_array_mut().unwrap() {
            key.as_object_mut().unwrap().remove("usage").unwrap();
        }
        listed
    }
}

/// The response with a text.
pub(super) async fn respond(text: Result<Text, Error>) -> Result<Response<Body>, Error> {
    let answers = Answers::within(Budget::new(1 << 30));
    Ok(response::json_body(answers.admit_now(Flow::Network(None))?.body(text?).await?))
}

pub(super) fn ms(time: &str) -> i64 {
    time.parse::<DateTime<Utc>>().unwrap().timestamp_millis()
}

pub(super) fn parse(params: &Value) -> Params {
    Params::parse(None, params.to_string().as_bytes(), Grant::all()).unwrap()
}

/// The JSON of an answer, without its `meta`.
async fn rows(result: Result<Response<Body>, Error>) -> Value {
    let mut answer = answer(result, 200).await;
    assert!(answer.as_object_mut().unwrap().remove("meta").is_some(), "{answer}");
    answer
}

/// The JSON of an answer, whose status must be `status`.
pub(super) async fn answer(result: Result<Response<Body>, Error>, status: u16) -> Value {
    let response = result.unwrap_or_else(Error::into_response);
    assert_eq!(response.status(), status, "{response:?}");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}
