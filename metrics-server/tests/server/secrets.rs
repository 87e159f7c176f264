//! Secrets stay out of the log, however much is logged, and out of what is answered.

use metrics_server_testing::{CHROME, Database, Poller, Process, binary};
use serde_json::{Value, json};

/// `ada:open sesame` and `ada:open barley`, as a client sends them.
const RIGHT: &str = "Basic YWRhOm9wZW4gc2VzYW1l";
const WRONG: &str = "Basic YWRhOm9wZW4gYmFybGV5";

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_everything_holds_no_secret() {
    let database = Database::new().await;
    let mut command = binary();
    command.env("DATABASE_URL", database.url()).env("RUST_LOG", "trace");
    command.env("METRICS_AUTH_ENABLED", "true").env("METRICS_USER", "ada");
    command.env("METRICS_PASSWORD", "open sesame");
    let server = Process::run(command).await;
    let mut answers = Vec::new();
    let create = server.http("POST", "/api/v1/keys").header("authorization", RIGHT);
    let created = create.send().await;
    assert_eq!(created.status, 201, "{created:?}");
    let key = created.json()["key"].as_str().unwrap().to_owned();
    for (credentials, status) in [(WRONG, 401), (RIGHT, 200)] {
        let request = server.http("GET", "/api/v1/plays?identifier=intro&_=in-the-address");
        let answer = request.header("authorization", credentials).send().await;
        assert_eq!(answer.status, status, "{answer:?}");
        answers.push(answer.body);
    }
    let about = "key=c2VjcmV0&identifier=in-the-query";
    let mut client = server
        .connect_to(&format!("vsn=2.0.0&source_url=http://x.example/?q=in-the-page&{about}"))
        .await;
    Poller::open_as(&server, &format!("vsn=2.0.0&{about}"), &[]).await;
    for (key, reason) in [("d3Jvbmcga2V5IG9mIDE2IQ==", json!("invalid key")), (&*key, Value::Null)]
    {
        let join = json!({ "key": key, "identifier": "intro" });
        assert_eq!(client.call("session:name-of-the-session", "phx_join", &join).await, reason);
        let event = json!({ "name": "play", "session_id": "name-of-the-session", "embed_id": "intro",
            "video_time": 0, "timestamp": 1_718_000_012_345_i64, "key": key });
        let batch = server.http("POST", "/v1/events").json(&json!({ "events": [event] }));
        answers.push(batch.send().await.body);
    }
    client.event("session:name-of-the-session", &json!({ "name": "play", "from": 1 })).await;
    let log = server.terminate().await;
    assert!(log.contains("DEBUG"), "little is logged: {log}");
    let secrets = [
        "open sesame",
        "open barley",
        "YWRhOm9wZW4",
        "d3Jvbmcga2V5IG9mIDE2IQ==",
        &key,
        "in-the-address",
        "in-the-page",
        "in-the-query",
        "c2VjcmV0",
        "longpoll-",
        "name-of-the-session",
        "1718000012345",
        CHROME,
    ];
    for secret in secrets {
        assert!(!log.contains(secret), "{secret:?} is in the log:\n{log}");
        for answer in &answers {
            assert!(!String::from_utf8_lossy(answer).contains(secret), "{secret:?} was answered");
        }
    }
}
