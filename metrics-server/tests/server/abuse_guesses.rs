//! Fast guesses of keys and passwords: the server refuses the guessing caller, and nobody else.

use std::time::Duration;

use metrics_server::{Credentials, Settings};
use metrics_server_testing::{
    Answer, Bystander, CHROME, Database, Http, Server, TestServer, Watched,
};
use serde_json::{Value, json};
use tokio::time::advance;

/// How many guesses the server checks at once, and the period after which it checks one more.
const GUESSES: usize = 20;
const EVERY: Duration = Duration::from_secs(15);

/// `ada:open sesame`
const AUTHORIZATION: &str = "Basic YWRhOm9wZW4gc2VzYW1l";

const HEADER: &str = "x-forwarded-for";

async fn guarded() -> TestServer {
    let credentials = Credentials::new("ada", "open sesame").unwrap();
    TestServer::with(Settings::default().access(credentials)).await
}

async fn behind_a_proxy() -> TestServer {
    TestServer::with(Settings::default().forwarded_header(HEADER.parse().unwrap())).await
}

/// Joins with a key, and returns the reply.
async fn join_with(server: &Server, headers: &[(&str, &str)], key: &str) -> Value {
    let headers = [headers, &[("user-agent", CHROME)]].concat();
    let mut client = server.upgrade("vsn=2.0.0", &headers).await.unwrap();
    let join = json!({ "key": key, "identifier": "guessed" });
    client.call("session:guess", "phx_join", &join).await
}

/// Joins with one unknown key after another on one socket, and returns each reply.
async fn guess_keys(server: &Server, name: &str, count: usize) -> Vec<Value> {
    let mut client = server.connect().await;
    let mut reported = Vec::new();
    for number in 0..count {
        let join = json!({ "key": format!("{name}-{number}"), "identifier": "guessed" });
        reported.push(client.call(&format!("session:{number}"), "phx_join", &join).await);
    }
    reported
}

/// Uses up all guesses of this address.
async fn use_up(server: &Server) {
    let reported = guess_keys(server, "guess", GUESSES + 10).await;
    let (examined, refused) = reported.split_at(GUESSES);
    assert!(examined.iter().all(|reported| reported == "invalid key"), "{reported:?}");
    assert!(refused.iter().all(|reported| reported == "too many attempts"), "{reported:?}");
}

fn batch(server: &Server, events: &[(&str, &str)]) -> Http {
    let events = events.iter().enumerate().map(|(index, (key, session))| {
        json!({ "name": "play", "key": key, "session_id": session, "embed_id": "intro",
            "video_time": 0, "timestamp": index })
    });
    server.http("POST", "/v1/events").json(&json!({ "events": events.collect::<Vec<_>>() }))
}

#[track_caller]
fn expect_refused(answer: &Answer) {
    assert_eq!((answer.status, answer.error().as_str()), (429, "too many attempts"), "{answer:?}");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=EVERY.as_secs()).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn keys_guessed_at_joins_are_refused_unchecked_after_some() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    use_up(&server).await;
    // A new socket does not reset the limit.
    assert_eq!(join_with(&server, &[], "another").await, "too many attempts");
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn a_key_that_was_valid_from_an_address_is_accepted_again() {
    let server = TestServer::new().await;
    let other = server.metrics.create_key().await.unwrap();
    let bystander = Bystander::of(&server).await;
    use_up(&server).await;
    // All callers of this test have the same address.
    assert_eq!(join_with(&server, &[], &server.key).await, Value::Null);
    let answer = batch(&server, &[(&server.key, "a"), (&server.key, "b")]).send().await;
    assert_eq!(answer.json(), json!({ "accepted": 2, "rejected": [] }));
    // This address never used the other site's key, so it could be a guess.
    assert_eq!(join_with(&server, &[], other.as_str()).await, "too many attempts");
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn keys_guessed_in_batches_are_refused_unchecked_after_some() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let guesses: Vec<_> = (0..100).map(|number| format!("guess-{number}")).collect();
    let events: Vec<_> = guesses.iter().map(|key| (key.as_str(), "a")).collect();
    expect_refused(&batch(&server, &events).send().await);
    expect_refused(&batch(&server, &[("another", "a")]).send().await);
    let by_address = server.http("POST", "/v1/events").query("key=more");
    let event = json!({ "name": "play", "session_id": "a", "embed_id": "intro", "video_time": 0 });
    expect_refused(&by_address.json(&json!({ "events": [event] })).send().await);

    // An event with a valid key is recorded, even among guesses.
    let mut mixed = events;
    mixed.push((&server.key, "b"));
    let answer = batch(&server, &mixed).send().await.json();
    assert_eq!(answer["accepted"], 1, "{answer}");
    let rejected = answer["rejected"].as_array().unwrap();
    let reported = |reason: &str| rejected.iter().filter(|it| it["reason"] == reason).count();
    assert_eq!((reported("invalid key"), reported("too many attempts")), (GUESSES, 100 - GUESSES));
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn a_page_with_a_mistyped_key_is_no_attack() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    for _ in 0..10 * GUESSES {
        assert_eq!(batch(&server, &[("mistyped", "a")]).send().await.status, 401);
    }
    assert_eq!(join_with(&server, &[], "mistyped").await, "invalid key");
    let new = server.metrics.create_key().await.unwrap();
    assert_eq!(join_with(&server, &[], new.as_str()).await, Value::Null);
    bystander.expect_unharmed().await;
}

#[tokio::test]
async fn a_revoked_key_on_a_popular_page_is_no_guess() {
    let server = TestServer::new().await;
    let bystander = Bystander::of(&server).await;
    let revoked = server.metrics.create_key().await.unwrap();
    assert!(server.metrics.revoke_key(&revoked).await.unwrap());
    for _ in 0..10 * GUESSES {
        assert_eq!(join_with(&server, &[], revoked.as_str()).await, "invalid key");
    }
    let new = server.metrics.create_key().await.unwrap();
    assert_eq!(join_with(&server, &[], new.as_str()).await, Value::Null);
    bystander.expect_unharmed().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_guessed_is_accepted_again_after_a_while() {
    let server = TestServer::new().await;
    use_up(&server).await;
    advance(EVERY).await;
    let reported = guess_keys(&server, "again", GUESSES).await;
    assert_eq!(
        (&reported[0], &reported[GUESSES - 1]),
        (&json!("invalid key"), &json!("too many attempts"))
    );
    advance(EVERY).await;
    let new = server.metrics.create_key().await.unwrap();
    assert_eq!(join_with(&server, &[], new.as_str()).await, Value::Null);
}

/// Requests the list of keys with these credentials.
async fn list_keys(server: &Server, authorization: &str) -> Answer {
    server.http("GET", "/api/v1/keys").header("authorization", authorization).send().await
}

#[tokio::test]
async fn guessed_passwords_are_refused_unchecked_after_some() {
    let server = guarded().await;
    let bystander = Bystander::of(&server).await;
    // All guarded routes share one limit.
    let guesses = (0..GUESSES).map(|number| format!("Basic guess{number}"));
    let requests = [("DELETE", "/api/v1/keys/a"), ("GET", "/"), ("POST", "/api/v1/plays")];
    for (guess, (method, path)) in guesses.zip(requests.iter().cycle()) {
        let request = server.http(method, path).header("authorization", &guess);
        assert_eq!(request.send().await.status, 401);
    }
    for (method, path) in requests {
        expect_refused(&server.http(method, path).header("authorization", "Basic x").send().await);
    }
    // Correct credentials are refused as well, so that a guesser does not learn that they are correct.
    expect_refused(&list_keys(&server, AUTHORIZATION).await);
    // A browser first sends a request without credentials.
    let answer = server.http("GET", "/api/v1/keys").send().await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.header("www-authenticate").is_some());
    assert_eq!(server.http("GET", "/health/ready").send().await.status, 200);
    let open = server.database.serve(Settings::default()).await;
    bystander.counted_by(&open).expect_unharmed().await;
}

#[tokio::test]
async fn a_user_with_a_correct_password_from_an_address_is_accepted_again() {
    let server = guarded().await;
    assert_eq!(list_keys(&server, AUTHORIZATION).await.status, 200);
    for number in 0..10 * GUESSES {
        list_keys(&server, &format!("Basic guess{number}")).await;
    }
    expect_refused(&list_keys(&server, "Basic guess").await);
    assert_eq!(list_keys(&server, AUTHORIZATION).await.status, 200);
}

#[tokio::test]
async fn a_dashboard_with_an_old_password_is_no_attack() {
    let server = guarded().await;
    for _ in 0..10 * GUESSES {
        assert_eq!(list_keys(&server, "Basic b2xk").await.status, 401);
    }
    assert_eq!(list_keys(&server, AUTHORIZATION).await.status, 200);
}

#[tokio::test]
async fn behind_a_proxy_guesses_count_for_the_forwarded_address() {
    fn from(address: &str) -> [(&str, &str); 2] {
        [("user-agent", CHROME), (HEADER, address)]
    }
    let server = behind_a_proxy().await;
    for number in 0..2 * GUESSES {
        // A caller can put any address before the one that the proxy appends.
        let address = format!("198.51.100.{number}, 203.0.113.7");
        join_with(&server, &from(&address), &format!("guess-{number}")).await;
    }
    let reported = join_with(&server, &from("203.0.113.7"), &server.key).await;
    assert_eq!(reported, "too many attempts");
    assert_eq!(join_with(&server, &from("198.51.100.1"), &server.key).await, Value::Null);
    assert_eq!(join_with(&server, &from("nonsense"), &server.key).await, Value::Null);
}

#[tokio::test]
async fn without_a_trusted_proxy_forwarded_addresses_are_ignored() {
    let server = TestServer::new().await;
    for number in 0..2 * GUESSES {
        let address = format!("198.51.100.{number}");
        join_with(&server, &[(HEADER, &address)], &format!("guess-{number}")).await;
    }
    let reported = join_with(&server, &[(HEADER, "203.0.113.7")], &server.key).await;
    assert_eq!(reported, "too many attempts");
}

#[tokio::test]
async fn an_embedded_service_without_addresses_has_no_limit() {
    use http_body_util::{BodyExt as _, Full};
    use metrics_server::{CallerAddress, Service};

    let database = Database::new().await;
    let server = database.serve(Settings::default()).await;
    let service = Service::new(server.metrics.clone(), Settings::default());
    let post = async |number: usize, caller_address: Option<CallerAddress>| {
        let event = json!({ "name": "play", "key": format!("guess-{number}"), "session_id": "a",
            "embed_id": "intro", "video_time": 0 });
        let body = json!({ "events": [event] }).to_string();
        let mut request = hyper::Request::post("/v1/events").body(Full::from(body)).unwrap();
        if let Some(caller_address) = caller_address {
            request.extensions_mut().insert(caller_address);
        }
        let response = service.respond(request).await;
        let status = response.status().as_u16();
        assert!(!response.into_body().collect().await.unwrap().to_bytes().is_empty());
        status
    };
    for number in 0..3 * GUESSES {
        assert_eq!(post(number, None).await, 401);
    }
    let caller_address = Some(CallerAddress([203, 0, 113, 7].into()));
    for number in 0..GUESSES {
        assert_eq!(post(number, caller_address).await, 401);
    }
    assert_eq!(post(GUESSES, caller_address).await, 429);
    assert_eq!(server.watched("intro").await, Watched::NOTHING);
}
