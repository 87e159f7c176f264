//! Reports of players by CMCD: what hls.js, dash.js and Shaka sent, in any order, twice; and refusals.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use metrics_core::ApiKey;
use metrics_core::key::SettingsChange;
use metrics_core::store::KeyChange;
use metrics_server::Settings;
use metrics_server_testing::{Answer, CHROME, Database, GOOGLEBOT, Http, TestServer, Watched};
use metrics_testing::Faults;
use serde_json::{Value, json};

const HLS: &str = include_str!("../../../metrics-core/src/cmcd/captures/hls.txt");
const DASH: &str = include_str!("../../../metrics-core/src/cmcd/captures/dash.txt");
const SHAKA: &str = include_str!("../../../metrics-core/src/cmcd/captures/shaka.txt");
const POSITIONS: &str = include_str!("../../../metrics-core/src/cmcd/captures/hls-positions.txt");

const PLAY: &str = "cid=\"intro\",e=ps,sid=\"a\",sn=1,sta=p,ts=1795922100000,v=2\n";
const PAUSE: &str = "cid=\"intro\",e=ps,sid=\"a\",sn=2,sta=a,ts=1795922105000,v=2\n";

/// A request as a player makes it in a browser.
fn report(server: &TestServer, body: impl Into<Vec<u8>>) -> Http {
    report_to(server, "/cmcd", "", body)
}

fn report_to(server: &TestServer, path: &str, more: &str, body: impl Into<Vec<u8>>) -> Http {
    let key = server.key.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    server
        .http("POST", &format!("{path}?key={key}{more}"))
        .header("user-agent", CHROME)
        .header("content-type", "application/cmcd")
        .header("origin", "https://site.example")
        .header("referer", "https://site.example/")
        .body(body)
}

#[track_caller]
fn expect_durable(answer: &Answer) {
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

async fn send(server: &TestServer, body: impl Into<Vec<u8>>) {
    expect_durable(&report(server, body).send().await);
}

/// The first session in the export, of the only one of `identifier`.
async fn exported(server: &TestServer, identifier: &str) -> Value {
    let query = json!({ "identifier": identifier, "format": "ndjson" });
    let answer = server.http("POST", "/api/v1/export/sessions").json(&query).send().await;
    let text = answer.body.clone();
    let start = text.iter().position(|byte| *byte == b'{').unwrap();
    let end = text.iter().rposition(|byte| *byte == b'}').unwrap();
    serde_json::from_slice(&text[start..=end]).unwrap()
}

/// Sends the lines of a capture twice: one by one from the last to the first, and again in one body.
async fn check(capture: &str, identifier: &str, expected: Watched, startup: f64) {
    let server = TestServer::new().await;
    for line in capture.lines().rev() {
        send(&server, format!("{line}\n")).await;
    }
    send(&server, capture).await;
    assert_eq!(server.watched(identifier).await, expected);
    let session = exported(&server, identifier).await;
    assert_eq!(session["startup_time"], startup);
    assert_eq!((&session["rebufferings"], &session["seeks"]), (&json!(0), &json!(2)));
    let unplaced = if expected.unique == 0.0 { expected.seconds } else { 0.0 };
    assert_eq!(session["unplaced_time"], unplaced);
    assert_eq!(session["source"], "https://site.example/");
    let server = server.restart(Settings::default()).await;
    send(&server, capture).await;
    assert_eq!(server.watched(identifier).await, expected, "after a restart");
    assert_eq!(server.database.count_sessions().await, 1);
}

fn unplaced(seconds: f64) -> Watched {
    Watched { plays: 1, seconds, unique: 0.0 }
}

#[tokio::test]
async fn a_viewing_by_hls_js_is_one_play() {
    check(HLS, "video \"ä\" 1", unplaced(10.617), 0.563).await;
}

#[tokio::test]
async fn a_viewing_by_dash_js_is_one_play() {
    check(DASH, "dash-1", unplaced(8.742), 0.184).await;
}

#[tokio::test]
async fn a_viewing_by_shaka_is_one_play() {
    check(SHAKA, "shaka-1", unplaced(7.905), 0.174).await;
}

#[tokio::test]
async fn positions_of_the_page_give_places() {
    check(POSITIONS, "v1", Watched::once(9.394), 0.285).await;
    let server = TestServer::new().await;
    send(&server, POSITIONS).await;
    let session = exported(&server, "v1").await;
    let segments = json!([[0.124, 3.088], [3.088, 3.366], [15.004, 19.623], [22.5, 24.033]]);
    assert_eq!(session["segments"], segments);
}

#[tokio::test]
async fn a_viewer_counts_as_watching_while_the_player_plays() {
    let server = TestServer::new().await;
    let watching = || async {
        server.report("watching", &json!({ "identifier": "intro" })).await["watching"].clone()
    };
    send(&server, PLAY).await;
    assert_eq!(watching().await, 1);
    send(&server, PAUSE).await;
    assert_eq!(watching().await, 0);
}

#[tokio::test]
async fn records_may_be_json_and_under_both_paths() {
    let server = TestServer::new().await;
    let records = json!([
        { "cid": "intro", "e": "ps", "sid": "a", "sn": 1, "sta": "p", "ts": 1_795_922_100_000_u64 },
        { "cid": "intro", "e": "ps", "sid": "a", "sn": 2, "sta": "a", "ts": 1_795_922_105_000_u64 },
    ]);
    let body = records.to_string();
    expect_durable(&report_to(&server, "/api/v1/cmcd", "", body).send().await);
    send(&server, [PLAY, PAUSE].concat()).await;
    assert_eq!(server.watched("intro").await, unplaced(5.0));
}

#[tokio::test]
async fn the_url_may_name_the_video() {
    let server = TestServer::new().await;
    let body = [PLAY, PAUSE].concat().replace("cid=\"intro\",", "");
    let answer = report(&server, body.clone()).send().await;
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("invalid_video")));
    expect_durable(&report_to(&server, "/cmcd", "&video=intro", body).send().await);
    assert_eq!(server.watched("intro").await, unplaced(5.0));
}

#[tokio::test]
async fn a_bad_record_leaves_the_others() {
    let server = TestServer::new().await;
    let body = [PLAY, "e=ps,sid=\"a\"\n", PAUSE, "cid=\"other\",e=ps,sid=\"a\",sta=p,ts=1\n"];
    let answer = report(&server, body.concat()).send().await;
    let rejected = json!([
        { "index": 1, "reason": "`ts` must be a number of Unix milliseconds", "code": "invalid_event" },
        { "index": 3, "reason": answer.json()["rejected"][1]["reason"], "code": "another_video" },
    ]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json(), json!({ "accepted": 2, "rejected": rejected }));
    assert!(answer.json()["rejected"][1]["reason"].as_str().unwrap().contains("`cid`"));
    assert_eq!(server.watched("intro").await, unplaced(5.0));
}

#[tokio::test]
async fn bodies_without_a_good_record_are_refused() {
    let server = TestServer::new().await;
    for (body, code) in [
        ("", "invalid_body"),
        ("\n\n", "invalid_body"),
        ("[", "invalid_body"),
        ("e=ps\n", "invalid_event"),
        ("\u{0}", "invalid_event"),
        ("v=3,e=ps,sid=a,ts=1", "invalid_event"),
        (&"e=t\n".repeat(257), "too_many_events"),
    ] {
        let answer = report(&server, body).send().await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!(code)), "{body:?}");
    }
    assert_eq!(server.database.count_sessions().await, 0);
}

#[tokio::test]
async fn a_player_stops_if_its_reports_never_count() {
    let server = TestServer::with(Settings::default().refuse_opted_out()).await;
    let gone = |answer: Answer, code: &str| {
        assert_eq!((answer.status, &answer.json()["code"]), (410, &json!(code)), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    };
    gone(report(&server, PLAY).header("dnt", "1").send().await, "opted_out");
    let bot = server.http("POST", "/cmcd").query(&format!("key={}", server.key)).body(PLAY);
    gone(bot.header("user-agent", GOOGLEBOT).send().await, "bot");
    send(&server, PLAY).await;
    let key = ApiKey::new(&server.key).unwrap();
    assert!(server.metrics.revoke_key(&key).await.unwrap());
    gone(report(&server, PAUSE).send().await, "invalid_key");
    let answer = server.http("POST", "/cmcd").body(PLAY).send().await;
    assert_eq!((answer.status, &answer.json()["code"]), (401, &json!("missing_key")));
}

#[tokio::test]
async fn a_key_s_limits_hold_for_reports() {
    let server = TestServer::new().await;
    let settings = json!({ "limits": { "events": "4/day" } });
    let settings = SettingsChange::from_json(settings.as_object().unwrap().clone()).unwrap();
    let key = ApiKey::new(&server.key).unwrap();
    assert!(server.metrics.change_key(&key, &KeyChange::Settings(settings)).await.unwrap());
    let mut statuses = Vec::new();
    for line in HLS.lines() {
        statuses.push(report(&server, line).send().await.status);
    }
    assert!(statuses.contains(&204) && statuses.ends_with(&[429]), "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn reports_are_refused_for_now_while_the_store_is_unavailable() {
    let database = Database::new().await;
    let store = Faults::default().over(database.open().await);
    let failures = store.intercept.failures();
    let server = database.serve_over(Arc::new(store), Settings::default(), 100).await;
    assert!(server.metrics.accepts_key(&ApiKey::new(&server.key).unwrap()).await.unwrap());
    failures.store(100, Relaxed);
    let answer = report(&server, [PLAY, PAUSE].concat()).send_untimed().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    failures.store(0, Relaxed);
    send(&server, [PLAY, PAUSE].concat()).await;
    assert_eq!(server.watched("intro").await, unplaced(5.0));
}

#[tokio::test]
async fn a_page_of_any_origin_may_report() {
    let server = TestServer::new().await;
    let preflight = server
        .http("OPTIONS", "/cmcd?key=abc")
        .header("origin", "https://site.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type");
    let answer = preflight.send().await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert!(answer.header("access-control-allow-headers").unwrap().contains("content-type"));
    assert_eq!(answer.header("access-control-max-age"), Some("7200"));
}
