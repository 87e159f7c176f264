//! Answers in pieces, and the permits and memory that they hold.

use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde_json::{Value, json};
use tokio::time::{Instant, advance};

use super::*;

const ANSWERS_BYTES: usize = 128 * 1024 * 1024;

#[derive(Serialize)]
struct Rows {
    rows: usize,
}

/// An array of `rows` numbers that accounts `bytes` bytes.
fn numbers(rows: usize, bytes: usize) -> Text {
    Text::list("numbers", bytes, 0..rows, Rows { rows })
}

async fn body(answers: &Answers, text: Text) -> Result<Body, Error> {
    answers.admit(Flow::Network(None)).await?.body(text).await
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
    // One flow may use half of the budget.
    let answers = Answers::within(Budget::new(20_000_000));
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
    // Reading an answer frees memory. Pieces on their way to a client count as well.
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
    let answers = Answers::within(Budget::new(8 * ANSWER_BYTES_MIN));
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

async fn turns() {
    // Runs the timer's task.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// Reads pieces of a large answer, pauses for `rest` after each, and returns how long the answer lasts.
async fn cut_after(rest: Duration) -> Duration {
    let answers = Answers::within(Budget::new(ANSWERS_BYTES));
    let mut slow = body(&answers, numbers(10_000_000, 1_000_000)).await.unwrap();
    let began = Instant::now();
    while let Some(Ok(piece)) = slow.frame().await {
        drop(piece);
        assert!(1_000_000 < answers.budget.used());
        // Advances in steps, because the timer checks the deadline in between.
        for _ in 0..10 {
            advance(rest / 10).await;
            turns().await;
        }
    }
    assert_eq!(answers.budget.used(), 0);
    assert!(slow.frame().await.is_none());
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_too_slowly_is_dropped() {
    assert_eq!(cut_after(READ_TIMEOUTS.all).await, READ_TIMEOUTS.all);
    assert_eq!(cut_after(READ_TIMEOUTS.piece + Duration::from_secs(1)).await.as_secs(), 121);
    let slow = cut_after(READ_TIMEOUTS.piece / 2).await;
    assert!(
        READ_TIMEOUTS.all <= slow && slow <= READ_TIMEOUTS.all + READ_TIMEOUTS.piece,
        "{slow:?}"
    );
}

/// The timer wakes the client: the task that makes the next piece, which would wake the client, is dropped.
#[tokio::test(start_paused = true)]
async fn a_client_that_waits_receives_408_when_it_is_late() {
    let step = Step(Box::pin(std::future::pending()));
    let mut body = Body::pieces(step, READ_TIMEOUTS);
    let frame = tokio::time::timeout(2 * READ_TIMEOUTS.all, body.frame()).await.unwrap();
    assert!(frame.unwrap().is_err());
}

#[tokio::test]
async fn a_caller_that_does_not_read_leaves_memory_to_others() {
    let answers = Answers::within(Budget::new(10_000_000));
    let flow = |last| Flow::Network(Some([192, 0, 2, last].into()));
    let send = async |flow| answers.admit(flow).await?.body(numbers(1_000_000, 900_000)).await;
    let mut unread = Vec::new();
    while let Ok(body) = send(flow(1)).await {
        unread.push(body);
    }
    assert_eq!(unread.len(), 5);
    drop(send(flow(2)).await.unwrap());
    // A flow keeps its budget as long as one of its answers exists.
    unread.drain(..4);
    for last in 3..100 {
        drop(send(flow(last)).await.unwrap());
    }
    assert!(answers.flows.lock().unwrap().len() < 20);
    let more: Vec<_> = [
        send(flow(1)).await,
        send(flow(1)).await,
        send(flow(1)).await,
        send(flow(1)).await,
        send(flow(1)).await,
    ]
    .into();
    assert_eq!(more.iter().filter(|body| body.is_ok()).count(), 4);
    drop((unread, more));
    assert_eq!(answers.budget.used(), 0);
}

#[tokio::test]
async fn an_answer_that_never_fits_is_not_to_be_tried_again() {
    let answers = Answers::within(Budget::new(10_000_000));
    let one = body(&answers, numbers(10, 6_000_000)).await;
    assert!(matches!(one, Err(Error::UsedUp(UsedUp::ByOne))));
    let held = body(&answers, numbers(1_000_000, 4_000_000)).await.unwrap();
    let other = body(&answers, numbers(10, 4_000_000)).await;
    assert!(matches!(other, Err(Error::UsedUp(UsedUp::ByAll))));
    drop(held);
}

#[tokio::test]
async fn keys_are_listed_while_answers_are_not_read() {
    let answers = Answers::within(Budget::new(8_000_000));
    let _held = answers.budget.charge(10_000_000);
    assert!(body(&answers, numbers(1, 0)).await.is_err());
    let list = answers.list(numbers(1_000_000, 2_000_000)).await.unwrap();
    // Lists of keys have a budget of their own. The last list that begins may exceed the budget.
    assert!(answers.list(numbers(1, 0)).await.is_err());
    drop(list);
    assert_eq!(read(answers.list(numbers(1, 0)).await.unwrap()).await["rows"], 1);
}

/// A report waits for the store most of the time, so one processor makes several reports at once.
#[tokio::test]
async fn several_reports_run_at_once_on_one_processor() {
    let answers = Answers::within(Budget::new(ANSWERS_BYTES));
    let mut made = Vec::new();
    for last in 0..PERMITS_MIN as u8 {
        made.push(answers.admit(Flow::Network(Some([192, 0, 2, last].into()))).await.unwrap());
    }
}

/// Sends the id of the thread that drops it.
struct Dropped(std::sync::mpsc::Sender<std::thread::ThreadId>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(std::thread::current().id());
    }
}

#[tokio::test]
async fn many_rows_are_dropped_on_another_thread() {
    for (bytes, is_here) in [(ASIDE_BYTES_MIN, false), (ASIDE_BYTES_MIN - 1, true)] {
        let (dropped, on) = std::sync::mpsc::channel();
        let rows = Dropped(dropped);
        drop(Text::new(bytes, move |_| {
            let _rows = &rows;
            Ok(false)
        }));
        let on = tokio::task::spawn_blocking(move || on.recv().unwrap()).await.unwrap();
        assert_eq!(on == std::thread::current().id(), is_here, "{bytes}");
    }
}
