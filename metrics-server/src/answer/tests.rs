use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde_json::{Value, json};
use tokio::time::advance;

use super::*;

const ANSWERS_BYTES: usize = 128 * 1024 * 1024;

#[derive(Serialize)]
struct Rows {
    rows: usize,
}

/// An array of `rows` numbers, which hold `bytes`.
fn numbers(rows: usize, bytes: usize) -> Text {
    Text::list("numbers", bytes, 0..rows, Rows { rows })
}

async fn body(answers: &Answers, text: Text) -> Result<Body, Error> {
    answers.admit(Lane::Network(None)).await?.body(text).await
}

async fn read(body: Body) -> Value {
    serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn pieces_are_one_json_text() {
    let answers = Answers::within(Budget::new(ANSWERS_BYTES));
    for rows in [0, 1, 2, 100_000] {
        let expected = json!({ "numbers": (0..rows).collect::<Vec<_>>(), "rows": rows });
        let body = body(&answers, numbers(rows, 0)).await.unwrap();
        assert_eq!(body.size_hint().exact().is_some(), rows < 100_000);
        assert_eq!(read(body).await, expected);
    }
    let nothing = Text::list("numbers", 0, 0..1, Nothing {});
    assert_eq!(read(body(&answers, nothing).await.unwrap()).await, json!({ "numbers": [0] }));
    assert_eq!(answers.budget.used(), 0);
}

#[tokio::test]
async fn unread_answers_hold_no_more_than_the_budget() {
    let answers = Answers::within(Budget::new(10_000_000));
    let mut unread = Vec::new();
    let mut refused = 0;
    for _ in 0..40 {
        match body(&answers, numbers(1_000_000, 1_000_000)).await {
            Ok(body) => unread.push(body),
            Err(Error::UsedUp(_)) => refused += 1,
            Err(err) => panic!("{err}"),
        }
        assert!(answers.budget.used() <= answers.budget.max());
    }
    assert_eq!((unread.len(), refused), (9, 31));
    // Room is there again when one is read, and pieces on their way count as well.
    let mut read = unread.pop().unwrap();
    let held = answers.budget.used();
    let first = read.frame().await.unwrap().unwrap();
    let second = read.frame().await.unwrap().unwrap();
    assert!(held < answers.budget.used());
    drop(read);
    assert!(held - 1_000_000 < answers.budget.used() && answers.budget.used() < held);
    drop((first, second));
    unread.push(body(&answers, numbers(1_000_000, 1_000_000)).await.unwrap());
    drop(unread);
    assert_eq!(answers.budget.used(), 0);
}

#[tokio::test]
async fn small_answers_count_until_they_are_sent() {
    let answers = Answers::within(Budget::new(4 * ANSWER_BYTES_MIN));
    let mut bodies = Vec::new();
    for _ in 0..4 {
        bodies.push(body(&answers, numbers(1, 0)).await.unwrap());
    }
    assert!(matches!(body(&answers, numbers(1, 0)).await, Err(Error::UsedUp(_))));
    let sent = bodies.pop().unwrap().collect().await.unwrap().to_bytes();
    assert!(matches!(body(&answers, numbers(1, 0)).await, Err(Error::UsedUp(_))));
    drop(sent);
    assert!(body(&answers, numbers(1, 0)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_too_slowly_is_given_up() {
    let answers = Answers::within(Budget::new(ANSWERS_BYTES));
    let mut slow = body(&answers, numbers(1_000_000, 1_000_000)).await.unwrap();
    drop(slow.frame().await.unwrap().unwrap());
    assert!(1_000_000 < answers.budget.used());
    advance(SEND_MAX).await;
    // The timer has its turn.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(answers.budget.used(), 0);
    let polled = Pin::new(&mut slow).poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Some(Err(_)))));
    assert!(slow.frame().await.is_none());
}
