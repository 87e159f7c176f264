//! A batch of events over HTTP, from its bytes to its response, without the store: no event begins a session.
#![allow(missing_docs, reason = "criterion's macros define public items")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use metrics_core::store::SqliteStore;
use metrics_core::{ApiKey, Metrics};
use metrics_server::{Service, Settings};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// The number of events that clients send at once.
const EVENTS: u64 = 50;

const KEY: &str = "HDsj3NfKQTNwn5Ix9g+cfQ==";

fn batch(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let directory = TempDir::new().expect("a directory");
    let service = runtime.block_on(async {
        let store = SqliteStore::open(directory.path().join("metrics.db")).await.expect("a store");
        let metrics = Metrics::new(store);
        let key = ApiKey::new(KEY).expect("a key");
        metrics.import_key(&key).await.expect("the store takes a key");
        Service::new(metrics, Settings::default().default_key(key))
    });
    let events: Vec<_> = (0..EVENTS)
        .map(|second| {
            json!({
                "name": "pause", "session_id": "2d3f5b0e-6a4b-4c1f-9d2e-0a1b2c3d4e5f", "embed_id": "intro",
                "video_time": second as f64 + 0.25, "duration": 60.1, "source_url": "https://example.com/a/page",
                "component": "player",
            })
        })
        .collect();
    let body = Bytes::from(json!({ "events": events }).to_string());

    let post = || {
        let request = Request::post("/v1/events").header("content-type", "application/json");
        service.respond(request.body(Full::new(body.clone())).expect("a request"))
    };
    let answer = runtime.block_on(async { post().await.into_body().collect().await });
    let answer = answer.expect("a whole answer").to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer, json!({"accepted": EVENTS, "rejected": []}));

    let mut group = c.benchmark_group("batch");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("answer", |b| {
        b.iter(|| {
            let response = runtime.block_on(post());
            assert_eq!(response.status(), 200);
            black_box(response)
        });
    });
    group.finish();
}

criterion_group!(benches, batch);
criterion_main!(benches);
