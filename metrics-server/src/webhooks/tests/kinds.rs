//! Each kind of rule: when it tells, and what.

use metrics_core::PlayerEvent;
use serde_json::{Value, json};

use super::super::message;
use super::fixture::{Fixture, Receiver};

/// Pages choose the names of videos: they break no line of a mail, and turn no text around.
#[test]
fn names_in_messages_have_plain_characters() {
    assert_eq!(message::cut("knots\n1. \u{202e}ropes\u{2069}\u{2028}"), "knots 1.  ropes  ");
    assert_eq!(message::cut("שלום, 中 👩\u{200d}🚀"), "שלום, 中 👩\u{200d}🚀");
}

#[tokio::test]
async fn a_video_is_announced_at_each_milestone() {
    let (server, receiver) = (Fixture::new().await, Receiver::start().await);
    server.watch("old 1", "old").await;
    server.watch("old 2", "old").await;
    let rule = json!({"name": "popular", "kind": "milestone", "plays": [2, 4]});
    let mut engine = server.start(&receiver.rules(&json!([rule]))).await;
    server.turn(&mut engine).await;
    // The rule was added after the second play.
    receiver.check(&[]);
    for session in ["old 3", "old 4", "old 5"] {
        server.watch(session, "old").await;
    }
    server.watch("new 1", "new").await;
    server.after(&mut engine, 60.0).await;
    let [told] = &receiver.check(&["milestone.reached"])[..] else { panic!() };
    assert_eq!(told["data"], json!({"video": "old", "milestone": 4, "plays": 5}));
    assert_eq!(told["text"], "old has reached 4 plays (5).");
    assert_eq!((&told["rule"], &told["test"]), (&json!("popular"), &Value::Null));
    assert_eq!(told["timestamp"], "2026-03-30T12:01:00Z");
    server.watch("new 2", "new").await;
    server.after(&mut engine, 60.0).await;
    let [told] = &receiver.check(&["milestone.reached"])[..] else { panic!() };
    assert_eq!(told["data"]["video"], "new");
    server.after(&mut engine, 60.0).await;
    receiver.check(&[]);
}

#[tokio::test]
async fn a_failure_rate_fires_once_and_resolves() {
    let (server, receiver) = (Fixture::new().await, Receiver::start().await);
    let rule = json!({
        "name": "failing", "kind": "threshold", "metric": "failure_rate", "above": 0.4, "resolve": 0.2,
        "over": "5 minutes", "minimum_sessions": 4, "identifier": "intro",
    });
    let mut engine = server.start(&receiver.rules(&json!([rule]))).await;
    server.turn(&mut engine).await;
    for number in 0..3 {
        server.fail(&format!("fails {number}"), "intro").await;
    }
    // Another video does not count.
    server.fail("other", "other").await;
    server.after(&mut engine, 60.0).await;
    // Three sessions are too few to decide.
    receiver.check(&[]);
    server.watch("works", "intro").await;
    server.after(&mut engine, 60.0).await;
    let [told] = &receiver.check(&["threshold.fired"])[..] else { panic!() };
    assert_eq!(
        told["data"],
        json!({"metric": "failure_rate", "value": 0.75, "above": 0.4, "resolve": 0.2, "minutes": 5,
               "fired_at": "2026-03-30T12:02:00Z"})
    );
    assert_eq!(told["text"], "failure_rate is 0.7500, above 0.4, over the last 5 minutes.");
    for number in 0..6 {
        server.watch(&format!("works {number}"), "intro").await;
    }
    server.after(&mut engine, 60.0).await;
    // 3 of 10: no longer above, and not yet resolved.
    receiver.check(&[]);
    for number in 6..12 {
        server.watch(&format!("works {number}"), "intro").await;
    }
    server.after(&mut engine, 60.0).await;
    let [resolved] = &receiver.check(&["threshold.resolved"])[..] else { panic!() };
    assert_eq!(resolved["data"]["fired_at"], told["data"]["fired_at"]);
    server.after(&mut engine, 60.0).await;
    receiver.check(&[]);
}

#[tokio::test]
async fn concurrent_viewers_above_a_threshold_are_told() {
    let (server, receiver) = (Fixture::new().await, Receiver::start().await);
    let rule = json!({
        "name": "busy", "kind": "threshold", "metric": "peak_concurrent", "above": 1, "resolve": 0, "over": "2 minutes",
    });
    let mut engine = server.start(&receiver.rules(&json!([rule]))).await;
    server.turn(&mut engine).await;
    let viewers = [server.play("a", "intro").await, server.play("b", "intro").await];
    server.clock.pass(60.0);
    for viewer in &viewers {
        viewer.apply(PlayerEvent::pause(60.0)).await.unwrap();
    }
    server.turn(&mut engine).await;
    let [told] = &receiver.check(&["threshold.fired"])[..] else { panic!() };
    assert_eq!((&told["data"]["value"], &told["data"]["above"]), (&json!(2.0), &json!(1.0)));
    // Both have paused: two minutes later nobody played in the window.
    server.after(&mut engine, 120.0).await;
    server.after(&mut engine, 60.0).await;
    receiver.check(&["threshold.resolved"]);
}

#[tokio::test]
async fn silence_is_told_and_its_end() {
    let (server, receiver) = (Fixture::new().await, Receiver::start().await);
    let rule = json!({"name": "quiet", "kind": "silence", "after": "10 minutes"});
    server.watch("a", "intro").await;
    server.clock.pass(60.0);
    let mut engine = server.start(&receiver.rules(&json!([rule]))).await;
    for _ in 0..9 {
        server.turn(&mut engine).await;
        server.clock.pass(60.0);
    }
    receiver.check(&[]);
    server.after(&mut engine, 60.0).await;
    let [told] = &receiver.check(&["silence.fired"])[..] else { panic!() };
    assert_eq!(told["text"], "Nothing was played for 10 minutes.");
    server.after(&mut engine, 3_600.0).await;
    receiver.check(&[]);
    // A failure is an event, too.
    server.fail("b", "intro").await;
    server.after(&mut engine, 60.0).await;
    receiver.check(&["silence.resolved"]);
}

#[tokio::test]
async fn a_week_is_summed_up_on_monday_morning() {
    let (server, receiver) = (Fixture::new().await, Receiver::start().await);
    let rules = json!([
        {"name": "json", "kind": "weekly", "timezone": "America/New_York"},
        {"name": "text", "kind": "weekly", "timezone": "America/New_York", "format": "text"},
    ]);
    let mut engine = server.start(&receiver.rules(&rules)).await;
    // 08:00 in New York is 12:00 UTC: the summary of the week before was due 30 s ago, and is not sent.
    server.turn(&mut engine).await;
    server.watch("a", "intro").await;
    server.clock.pass(5.0 * 86_400.0);
    server.watch("b", "intro").await;
    server.watch("c", "outro").await;
    server.clock.pass(2.0 * 86_400.0 - 120.0);
    server.turn(&mut engine).await;
    receiver.check(&[]);
    server.after(&mut engine, 120.0).await;
    let mut got = receiver.take();
    got.sort_by_key(|it| it.body.starts_with('{'));
    let [text, told] = &got[..] else { panic!("{got:?}") };
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    let expected = "Videos from 30 March 2026 to 5 April 2026\n\n\
                    Plays                                3  (new)\n\
                    View time                         30 s  (new)\n\
                    Average percentage viewed            -\n\n\
                    Most played videos\n\n \
                    1. intro\n    2 plays, 20 s  (new)\n \
                    2. outro\n    1 play, 10 s  (new)\n";
    assert_eq!(text.body, expected);
    let told = told.json();
    assert_eq!((&told["type"], &told["text"]), (&json!("summary.weekly"), &json!(expected)));
    assert_eq!(told["data"]["plays"], json!({"value": 3, "before": 0, "change": null}));
    assert_eq!(told["data"]["videos"][0]["video"], "intro");
    // A week without plays.
    server.after(&mut engine, 7.0 * 86_400.0).await;
    let got = receiver.take();
    assert_eq!(got.len(), 2);
    let text = got.iter().find(|it| !it.body.starts_with('{')).unwrap();
    assert!(
        text.body.contains("(-100 %)") && text.body.ends_with("\nNo video was played.\n"),
        "{}",
        text.body
    );
}
