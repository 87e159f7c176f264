//! Sessions are erased on request, by those who may, and no more of them than a dry run counted.

use http::request::Parts;
use metrics_core::ApiKey;
use metrics_server::{Access, Decision, Purpose, Settings};
use metrics_server_testing::{Answer, Database, TestServer};
use serde_json::{Value, json};

use crate::commands::{printed, run};

const OURS: &str = "ours";
const THEIRS: &str = "theirs";

/// Lets everybody do everything with one key.
#[derive(Debug)]
struct OnlyOurs;

#[async_trait::async_trait]
impl Access for OnlyOurs {
    async fn decide(&self, request: &Parts, wanted: Purpose) -> Decision {
        match request.headers.get("x-who") {
            Some(_) if wanted == Purpose::Report => Decision::Allow,
            Some(_) => Decision::forbidden(),
            None => Decision::AllowKeys(vec![ApiKey::new(OURS).unwrap()]),
        }
    }
}

/// A server on which two keys have three sessions each, on pages of their own.
async fn filled(settings: Settings) -> TestServer {
    let server = Database::new().await.serve(settings).await;
    for key in [OURS, THEIRS] {
        assert!(server.metrics.import_key(&ApiKey::new(key).unwrap()).await.unwrap());
        for number in 0..3 {
            let event = |name: &str, at: f64| {
                json!({ "name": name, "key": key, "session_id": number.to_string(), "embed_id": "intro",
                    "source_url": format!("https://example.com/reset/{number}"), "video_time": at })
            };
            let batch = json!({ "events": [event("play", 0.0), event("pause", 5.0)] });
            let sent = server.http("POST", "/v1/events").json(&batch).send().await;
            assert_eq!(sent.json(), json!({ "accepted": 2, "rejected": [] }));
        }
    }
    server
}

async fn erase(server: &TestServer, body: &Value) -> Answer {
    server.http("POST", "/api/v1/erase").json(body).send().await
}

async fn left(server: &TestServer) -> u64 {
    server.metrics.store().count_sessions().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_the_same_request_erases() {
    let server = filled(Settings::default()).await;
    let by = json!({ "query": { "key": OURS }, "page": "https://example.com/reset/1" });
    let counted = erase(&server, &by).await.json();
    assert_eq!((&counted["dry_run"], &counted["sessions"]), (&json!(true), &json!(1)));
    assert_eq!(left(&server).await, 6);

    let mut request = by.clone();
    request["timeframe"] = counted["timeframe"].clone();
    request["dry_run"] = json!(false);
    let refused = erase(&server, &request).await;
    assert_eq!(refused.status, 400);
    assert!(refused.error().contains("`expect`"), "{}", refused.error());
    request["expect"] = json!(0);
    let refused = erase(&server, &request).await;
    assert_eq!((refused.status, left(&server).await), (409, 6));
    request["expect"] = counted["sessions"].clone();
    let erased = erase(&server, &request).await.json();
    assert_eq!((&erased["dry_run"], &erased["sessions"]), (&json!(false), &json!(1)));
    assert_eq!(left(&server).await, 5);
    // It is repeated where nobody knows if it finished.
    assert_eq!(erase(&server, &request).await.json()["sessions"], json!(0));

    let id =
        json!({ "query": { "key": THEIRS }, "session_id": "2", "dry_run": false, "expect": 1 });
    assert_eq!(erase(&server, &id).await.json()["sessions"], json!(1));
    let all = json!({ "timeframe": "7 days", "dry_run": false, "expect": 4 });
    let whenever = erase(&server, &json!({ "identifier": "intro" })).await.json();
    assert_eq!(whenever["timeframe"]["to"], json!("9999-12-31T23:59:59.999Z"));
    let erased = erase(&server, &all).await.json();
    assert_eq!((&erased["sessions"], &erased["videos"]), (&json!(4), &json!(2)));
    assert_eq!(left(&server).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_not_fully_valid_erases_nothing() {
    let server = filled(Settings::default()).await;
    let wrong = [
        (json!({}), "is required"),
        (json!({ "dry_run": false, "expect": 6 }), "is required"),
        (json!({ "identifer": "intro", "query": { "key": OURS } }), "\"identifer\" is unknown"),
        (json!({ "query": { "kee": OURS } }), "`query`"),
        (json!({ "session_id": "1" }), "requires the key"),
        // Each of these would select more than its sender means.
        (json!({ "timeframe": { "from": 0, "until": 1 } }), "`timeframe`"),
        (json!({ "identifier": null, "query": { "key": OURS } }), "`identifier` must not be null"),
        (json!({ "query": { "key": null, "video": {} } }), "`query.key` must not be null"),
        (json!({ "timeframe": { "from": 0, "to": null } }), "`timeframe.to` must not be null"),
        (json!({ "page": "" }), "`page`"),
        (json!({ "identifier": "intro", "dry_run": "no" }), "`dry_run`"),
        (json!({ "identifier": "intro", "dry_run": false, "expect": -1 }), "`expect`"),
    ];
    for (body, expected) in wrong {
        let refused = erase(&server, &body).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(refused.error().contains(expected), "{body}: {}", refused.error());
    }
    // As the form of another site sends it.
    let form = r#"{"identifier": "intro", "dry_run": false, "expect": 6}"#;
    let refused = server
        .http("POST", "/api/v1/erase")
        .header("content-type", "text/plain")
        .body(form)
        .send()
        .await;
    assert_eq!((refused.status, left(&server).await), (415, 6));
    assert_eq!(server.http("GET", "/api/v1/erase").send().await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_one_key_erases_only_its_sessions() {
    let server = filled(Settings::default().access(OnlyOurs)).await;
    let theirs = json!({ "query": { "key": THEIRS } });
    assert_eq!(erase(&server, &theirs).await.status, 403);
    let any = json!({ "identifier": "intro", "dry_run": false, "expect": 100 });
    let reader = server.http("POST", "/api/v1/erase").header("x-who", "reader").json(&any);
    assert_eq!((reader.send().await.status, left(&server).await), (403, 6));
    let erased = erase(&server, &any).await.json();
    assert_eq!(erased["sessions"], json!(3));
    // The videos may be those of others.
    assert_eq!((erased.get("videos"), erased.get("pages")), (None, None));
    assert_eq!(left(&server).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_count_and_erase() {
    let server = filled(Settings::default()).await;
    let database = server.stop().await;
    let url = database.url();
    let ours = ["erase", "--key", OURS];
    let counted = printed(&url, &[&ours[..], &["--dry-run"]].concat());
    assert!(counted.starts_with("3 sessions (the first of 20"), "{counted}");
    assert_eq!(database.count_sessions().await, 6);
    let erased = printed(&url, &[&ours[..], &["--yes"]].concat());
    assert!(erased.starts_with("erased 3 sessions") && erased.contains("1 videos"), "{erased}");
    assert_eq!(database.count_sessions().await, 3);

    let old = ["delete", "--retention", "30 days"];
    let counted = printed(&url, &[&old[..], &["--dry-run"]].concat());
    assert!(counted.contains("sessions") && counted.contains("of 3"), "{counted}");
    printed(&url, &[&old[..], &["--yes"]].concat());
    for (arguments, text) in [
        (&["erase", "--yes"][..], "is required"),
        (&["erase", "--key", OURS], "--dry-run"),
        (&["erase", "--session-id", "1", "--yes"], "--key"),
        (&["erase", "--key", OURS, "--dry-run", "--yes"], "--dry-run"),
        (&["delete", "--dry-run"], "--retention is missing"),
    ] {
        let output = run(&url, arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains(text), "{arguments:?}: {stderr}");
    }
}
