//! A key has as many videos as its operator allows.

use metrics_server_testing::{Database, Process, Watched, binary};
use serde_json::{Value, json};

const REFUSAL: &str = "the key has 2 videos, its limit: sessions of further videos are refused";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_invented_metadata_gets_the_limit_and_harms_nobody() {
    let database = Database::new().await;
    let mut command = binary();
    command.env("DATABASE_URL", database.url()).env("METRICS_VIDEOS_PER_KEY", "2");
    let server = Process::run(command).await;
    let mut client = server.connect().await;
    client.join("session:one", "intro").await;
    client.play("session:one", 0.0).await;
    let mut answers = Vec::new();
    for number in 0..4 {
        let topic = format!("session:random {number}");
        let join = json!({ "key": server.key, "metadata": { "random": number } });
        assert_eq!(client.call(&topic, "phx_join", &join).await, Value::Null);
        answers.push(client.call(&topic, "event", &json!({ "name": "play", "from": 0 })).await);
    }
    assert_eq!(answers, [Value::Null, json!(REFUSAL), json!(REFUSAL), json!(REFUSAL)]);

    let event = |name: &str, video: &str, time: f64, timestamp: i64| {
        json!({ "name": name, "session_id": video, "embed_id": video, "video_time": time,
            "timestamp": timestamp, "key": server.key })
    };
    let batch = json!({ "events": [
        event("play", "another", 0.0, 1), event("play", "intro", 0.0, 2), event("pause", "another", 3.0, 3_001),
        event("pause", "intro", 4.0, 4_002),
    ] });
    let answer = server.http("POST", "/v1/events").json(&batch).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let rejected =
        [0, 2].map(|index| json!({ "index": index, "reason": REFUSAL, "code": "too_many_videos" }));
    assert_eq!(answer.json(), json!({ "accepted": 2, "rejected": rejected }));

    client.pause("session:one", 5.0).await;
    let expected = Watched { plays: 2, seconds: 9.0, unique: 9.0 };
    assert_eq!(server.watched("intro").await, expected);
    assert_eq!(server.watched("another").await, Watched::NOTHING);
}
