//! Deliveries: at least once, under one id, to a receiver that misbehaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeZone as _, Utc};
use metrics_testing::Authority;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::super::Webhooks;
use super::super::engine::Engine;
use super::fixture::{Act, Fixture, Got, Receiver, SECRET};

/// A rule that fires in the first turn.
fn quiet() -> Value {
    json!([{"name": "quiet", "kind": "silence", "after": "10 minutes"}])
}

/// A server that has noticed silence, and a receiver that treats the first attempts in these ways.
async fn noticed(acts: impl IntoIterator<Item = Act>) -> (Fixture, Receiver, Engine) {
    let (server, receiver) = (Fixture::new().await, Receiver::start().await);
    receiver.act(acts);
    let mut engine = server.start(&receiver.rules(&quiet())).await;
    server.turn(&mut engine).await;
    (server, receiver, engine)
}

/// The signature as RFC 2104 defines it, from nothing but a hash.
fn naive_signature(got: &Got) -> String {
    let mut key = [0; 64];
    key[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
    let hash = |pad: u8, message: &[u8]| {
        Sha256::new().chain_update(key.map(|byte| byte ^ pad)).chain_update(message).finalize()
    };
    let signed = format!("{}.{}.{}", got.id(), got.headers["webhook-timestamp"], got.body);
    format!("v1,{}", STANDARD.encode(hash(0x5c, &hash(0x36, signed.as_bytes()))))
}

#[tokio::test]
async fn a_delivery_is_a_signed_request() {
    let (server, receiver, _engine) = noticed([]).await;
    let [got] = &receiver.take()[..] else { panic!() };
    assert_eq!((&*got.path, &*got.headers["content-type"]), ("/hook?a=b", "application/json"));
    assert_eq!(got.headers["host"], receiver.address.to_string());
    assert!(got.headers["user-agent"].starts_with("metrics/"));
    let seconds = server.clock.now().timestamp().to_string();
    assert_eq!(got.headers["webhook-timestamp"], seconds);
    assert_eq!(got.headers["webhook-signature"], naive_signature(got));
    assert_eq!(got.json()["id"], *got.id());
    assert_eq!(server.outcomes(), BTreeMap::from([("delivered", 1)]));
    assert_eq!((server.counters.webhooks().rules(), server.counters.webhooks().queue()), (1, 0));
}

/// Checks that an attempt that a receiver treats in this way fails, and that the next one has the same id.
async fn check_repeated(act: Act) {
    let (server, receiver, mut engine) = noticed([act.clone()]).await;
    assert_eq!(server.outcomes(), BTreeMap::from([("failed", 1)]), "{act:?}");
    assert_eq!(server.counters.webhooks().queue(), 1);
    server.after(&mut engine, 4.0).await;
    let first = receiver.take();
    assert_eq!(first.len(), 1, "{act:?}: the pause is not over");
    server.after(&mut engine, 7.0).await;
    let again = receiver.take();
    assert_eq!((again.len(), again[0].id()), (1, first[0].id()), "{act:?}");
    assert_eq!(again[0].body, first[0].body);
    assert_eq!(again[0].headers["webhook-signature"], naive_signature(&again[0]));
    assert_ne!(again[0].headers["webhook-timestamp"], first[0].headers["webhook-timestamp"]);
    assert_eq!(server.outcomes(), BTreeMap::from([("delivered", 1), ("failed", 1)]));
    server.after(&mut engine, 30.0).await;
    assert!(receiver.take().is_empty());
}

#[tokio::test]
async fn a_failed_delivery_is_repeated_under_its_id() {
    for act in [Act::Answer(500), Act::Answer(404), Act::Answer(302), Act::Begin(500), Act::Reset] {
        check_repeated(act).await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Receiver::start().await;
    check_repeated(Act::Redirect(format!("http://{}/", elsewhere.address))).await;
    assert!(elsewhere.take().is_empty());
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_left() {
    let (server, receiver) = (Fixture::new().await, Receiver::start().await);
    receiver.act([Act::Hang]);
    let mut engine = server.start(&receiver.rules(&quiet())).await;
    let began = tokio::time::Instant::now();
    // The turn waits for nothing else, so time passes at once.
    let turn = server.turn(&mut engine);
    tokio::pin!(turn);
    while receiver.seen() == 0 {
        tokio::select! {
            _ = &mut turn => panic!("the attempt ended"),
            () = tokio::task::yield_now() => {}
        }
    }
    tokio::time::pause();
    turn.await;
    assert!(Duration::from_secs(15) <= began.elapsed());
    assert_eq!(server.outcomes(), BTreeMap::from([("failed", 1)]));
}

#[tokio::test]
async fn a_slow_answer_is_one() {
    let (server, receiver) = (Fixture::new().await, Receiver::start().await);
    let go = Arc::new(Notify::new());
    receiver.act([Act::Wait(Arc::clone(&go))]);
    let mut engine = server.start(&receiver.rules(&quiet())).await;
    let turn = server.turn(&mut engine);
    tokio::pin!(turn);
    while receiver.seen() == 0 {
        tokio::select! {
            _ = &mut turn => panic!("the attempt ended"),
            () = tokio::task::yield_now() => {}
        }
    }
    go.notify_one();
    turn.await;
    assert_eq!(server.outcomes(), BTreeMap::from([("delivered", 1)]));
}

#[tokio::test]
async fn the_status_decides_and_the_body_is_not_awaited() {
    let (server, receiver, _engine) = noticed([Act::Begin(200)]).await;
    assert_eq!(receiver.take().len(), 1);
    assert_eq!(server.outcomes(), BTreeMap::from([("delivered", 1)]));
    // The part of the body that arrived is shown to an operator who tries a rule.
    receiver.act([Act::Begin(202)]);
    let webhooks = Webhooks::from_file(server.rules_file()).unwrap();
    let tried = webhooks.try_rule("quiet", server.clock.now()).await.unwrap();
    assert_eq!((tried.status, &*tried.text), (202, "we"));
}

#[tokio::test]
async fn a_receiver_that_is_down_is_attempted_for_three_days() {
    let (server, receiver) = (Fixture::new().await, Receiver::start().await);
    let rules = receiver.rules(&quiet());
    receiver.act((0..1_000).map(|_| Act::Answer(503)));
    let mut engine = server.start(&rules).await;
    let mut attempts = 0;
    for _ in 0..80 {
        server.after(&mut engine, 3_600.0).await;
        attempts += receiver.take().len();
    }
    assert_eq!(server.outcomes().get("given_up"), Some(&1));
    assert_eq!(server.outcomes().get("failed"), Some(&(attempts as u64)));
    assert!((70..80).contains(&attempts), "{attempts}");
    assert_eq!(server.counters.webhooks().queue(), 0);
}

#[tokio::test]
async fn a_restart_between_attempts_forgets_and_repeats_nothing() {
    let (server, receiver, engine) = noticed([Act::Reset]).await;
    drop(engine);
    let [first] = &receiver.take()[..] else { panic!() };
    server.clock.pass(20.0);
    let mut engine = server.start(&receiver.rules(&quiet())).await;
    server.turn(&mut engine).await;
    // The alert does not fire again: the delivery waited.
    let [again] = &receiver.take()[..] else { panic!() };
    assert_eq!((again.id(), &again.body), (first.id(), &first.body));
    drop(engine);
    let mut engine = server.start(&receiver.rules(&quiet())).await;
    server.after(&mut engine, 60.0).await;
    assert!(receiver.take().is_empty());
    server.watch("a", "intro").await;
    server.after(&mut engine, 60.0).await;
    receiver.check(&["silence.resolved"]);
}

#[tokio::test]
async fn two_servers_tell_under_one_id() {
    let (server, receiver, _engine) = noticed([]).await;
    let webhooks = Webhooks::from_file(server.rules_file()).unwrap();
    let mut other = Engine::start(webhooks).await;
    server.turn(&mut other).await;
    let got = receiver.take();
    assert_eq!((got.len(), got[0].id()), (2, got[1].id()));
}

#[tokio::test]
async fn rules_are_read_again_when_they_are_replaced() {
    let (server, receiver, mut engine) = noticed([Act::Reset]).await;
    receiver.take();
    let replace = |text: &str| {
        let new = server.directory.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, server.rules_file()).unwrap();
    };
    // Rules that cannot be used change nothing.
    replace("{");
    server.after(&mut engine, 60.0).await;
    let [waited] = &receiver.take()[..] else { panic!() };
    assert_eq!(waited.json()["type"], "silence.fired");
    let other = Receiver::start().await;
    let mut rules = other.rules(&quiet());
    replace(&rules.to_string());
    server.watch("a", "intro").await;
    server.after(&mut engine, 60.0).await;
    // The state of the rule stays, and the receiver is another.
    other.check(&["silence.resolved"]);
    assert!(receiver.take().is_empty());
    rules["rules"][0]["name"] = json!("another");
    other.act([Act::Answer(500)]);
    replace(&rules.to_string());
    server.after(&mut engine, 1_200.0).await;
    other.check(&["silence.fired"]);
    // A delivery of a rule that is gone is dropped.
    replace(&other.rules(&json!([{"name": "rest", "kind": "milestone"}])).to_string());
    server.after(&mut engine, 60.0).await;
    assert_eq!(
        (server.outcomes().get("dropped"), server.counters.webhooks().queue()),
        (Some(&1), 0)
    );
}

#[tokio::test]
async fn a_damaged_state_begins_anew() {
    let (server, receiver, engine) = noticed([]).await;
    drop(engine);
    receiver.take();
    std::fs::write(server.directory.path().join("state"), "{").unwrap();
    let mut engine = server.start(&receiver.rules(&quiet())).await;
    server.turn(&mut engine).await;
    receiver.check(&["silence.fired"]);
    // It is written again.
    drop(engine);
    let mut engine = server.start(&receiver.rules(&quiet())).await;
    server.turn(&mut engine).await;
    receiver.check(&[]);
}

#[tokio::test]
async fn only_a_trusted_certificate_receives_anything() {
    let server = Fixture::new().await;
    let (authority, stranger) = (Authority::new("known"), Authority::new("unknown"));
    let trusted = Receiver::secure(authority.issue_certificate(&["localhost"], 2020..=2999)).await;
    let untrusted = Receiver::secure(stranger.issue_certificate(&["localhost"], 2020..=2999)).await;
    let misnamed =
        Receiver::secure(authority.issue_certificate(&["example.com"], 2020..=2999)).await;
    let rule = |name: &str, receiver: &Receiver| {
        let url = format!("https://localhost:{}/", receiver.address.port());
        json!({"name": name, "kind": "silence", "after": "10 minutes", "url": url})
    };
    let rules = json!({
        "secret": SECRET, "ca_file": authority.file(),
        "rules": [rule("a", &trusted), rule("b", &untrusted), rule("c", &misnamed)],
    });
    let mut engine = server.start(&rules).await;
    server.turn(&mut engine).await;
    assert_eq!(trusted.take().len(), 1);
    assert!(untrusted.take().is_empty() && misnamed.take().is_empty());
    assert_eq!(server.outcomes(), BTreeMap::from([("delivered", 1), ("failed", 2)]));
}

#[tokio::test]
async fn the_next_turn_is_after_the_next_minute() {
    let (server, _receiver, mut engine) = noticed([]).await;
    // Rules are evaluated 20 s after the beginning of a minute.
    assert_eq!(server.clock.now(), Utc.with_ymd_and_hms(2026, 3, 30, 12, 0, 30).unwrap());
    assert_eq!(server.turn(&mut engine).await, Duration::from_secs(50));
    assert_eq!(server.after(&mut engine, 50.0).await, Duration::from_secs(60));
}
