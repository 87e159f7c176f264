//! Echoes: pauses of 0.1.5 that repeat the position before a jump.

use serde_json::json;

use super::Step::Close;
use super::{Site, check, event, lasting, pause, play};

#[tokio::test]
async fn an_echo_after_a_chapter_link() {
    check(
        2.5 + 2.25,
        vec![
            play(0, 0),
            pause(2_500, "2.51"),
            play(300, "20.00"),
            pause(255, 2.5071),
            Close(2_000),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_echo_of_a_segment_that_a_play_closed() {
    check(
        1.46 + 1.2 + 2.5,
        vec![
            play(0, 0),
            pause(2_500, "2.51"),
            play(300, "17.88"),
            lasting(120, pause(255, 2.5071)),
            lasting(120, play(1_205, "59.10")),
            lasting(120, pause(255, 19.2095)),
            Close(950),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_echo_where_a_loop_begins_again() {
    check(
        2.5 + 1.15 + 2.25,
        vec![
            play(0, 0),
            pause(2_500, "2.51"),
            play(300, "58.90"),
            pause(255, 2.5071),
            play(850, 0),
            pause(255, 59.8994),
            Close(2_000),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_echo_after_a_small_step_back() {
    check(
        5.0 + 2.25,
        vec![play(0, 0), pause(5_000, "5.00"), play(300, "4.20"), pause(255, 5.001), Close(2_000)],
    )
    .await;
}

#[tokio::test]
async fn an_echo_and_then_the_pause_that_is_never_sent() {
    check(
        2.5 + 3.0,
        vec![
            play(0, 0),
            pause(2_500, "2.51"),
            play(300, "20.00"),
            pause(255, 2.5071),
            event(2_745, json!({ "name": "ratechange" })),
            play(2_000, "23.00"),
            pause(100, "23.10"),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_echo_of_another_source() {
    check(
        3.0 + 2.0,
        vec![
            play(0, 0),
            pause(3_000, "3.00"),
            lasting(30, play(300, 0)),
            lasting(30, pause(255, 43.0877)),
            Close(1_745),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_echo_among_events_that_waited_for_a_connection() {
    let site = Site::new().await;
    site.play(vec![play(0, 0), pause(1_000, "1.00"), Close(500)]).await;
    site.clock.pass_ms(20_000);
    site.play(vec![
        play(0, "2.37"),
        pause(0, 19.27),
        play(0, "19.30"),
        pause(0, 3.9603),
        Close(400),
    ])
    .await;
    site.check(1.0 + 1.59 + 0.4).await;
}
