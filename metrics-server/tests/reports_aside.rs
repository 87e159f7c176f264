//! Reports are made off the threads that serve: events are acknowledged while they wait for a processor.
//!
//! A file of its own, as it keeps all processors of its process busy.

use std::sync::mpsc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use metrics_core::compute::{compute, parallelism};
use metrics_core::{ApiKey, Join, PlayerEvent, Video};
use metrics_server::{Service, Settings};
use metrics_server_testing::TestServer;
use serde_json::{Value, json};

/// How many reports there are at once.
const REPORTS: usize = 16;

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

/// The dearest report: as many filled buckets as there may be.
fn dear() -> Request<Full<Bytes>> {
    let body = json!({
        "identifier": "intro", "interval": "1 minute", "fill": true, "timeframe": "9998 minutes",
    });
    let request = Request::builder().method(Method::POST).uri("/api/v1/plays");
    request.body(Full::from(body.to_string())).unwrap()
}

/// One thread serves everything, and all threads that compute are held up: if the first work of a report were done by the
/// thread that serves, the report would go on. Later work checks itself where it is done, by [`expect_aside`].
///
/// [`expect_aside`]: metrics_core::compute::expect_aside
#[tokio::test]
async fn events_are_acknowledged_while_reports_are_made() {
    let server = TestServer::new().await;
    let metrics = &server.metrics;
    let service = Service::new(metrics.clone(), Settings::default());
    let (release, held) = mpsc::channel::<()>();
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    let busy: Vec<_> = (0..parallelism())
        .map(|_| {
            let held = std::sync::Arc::clone(&held);
            tokio::spawn(compute(move || held.lock().unwrap().recv()))
        })
        .collect();
    tokio::task::yield_now().await;
    let exports = ["csv", "ndjson", "parquet"].map(|format| {
        let request = get(&format!("/api/v1/export/sessions?format={format}"));
        let service = service.clone();
        tokio::spawn(async move { service.respond(request).await })
    });
    let reports: Vec<_> = (0..REPORTS)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move { service.respond(dear()).await })
        })
        .collect();

    // The reports have begun by then, as far as they can.
    let key = ApiKey::new(&server.key).unwrap();
    let video = Video::new(Some("intro".to_owned()), None).unwrap();
    let viewing = metrics.join(Join::new(key, "bystander", video)).await.unwrap();
    for second in 0..20 {
        viewing.apply(PlayerEvent::play(f64::from(second))).await.unwrap();
        viewing.apply(PlayerEvent::pause(f64::from(second) + 1.0)).await.unwrap();
        assert_eq!(service.respond(get("/health/live")).await.status(), 200);
    }
    assert!(reports.iter().chain(&exports).all(|report| !report.is_finished()));

    drop(release);
    for busy in busy {
        busy.await.unwrap().unwrap().unwrap_err();
    }
    for report in reports {
        let response = report.await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let report: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(report["views"].as_array().unwrap().len(), 9_999);
    }
    for export in exports {
        let response = export.await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let parquet = status == 400 && String::from_utf8_lossy(&body).contains("`parquet`");
        assert!(status == 200 && !body.is_empty() || parquet, "{status}");
    }
}
