//! Measures the acknowledgement latency of events while the most expensive reports run.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::drive::connect;
use crate::http::{exchange, post, request};
use crate::websocket::Socket;

/// The number of concurrent requests for reports.
pub const REPORTS: usize = 16;

/// The pause between two events.
const PAUSE: Duration = Duration::from_millis(10);

/// The time limit for an acknowledgement.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The identifier of a day-long video, which one batch creates.
const LONG: &str = "a-day-long";

const DAY_SECONDS: u32 = 86_400;

/// A bystander and the reports beside it.
#[derive(Clone, Debug)]
pub struct BystanderTimes {
    /// The address of the server.
    pub server: SocketAddr,
    /// The key of the bystander.
    pub key: String,
    /// The duration of each half of the measurement.
    pub measured: Duration,
    /// The seed; equal seeds produce equal bystanders.
    pub seed: u64,
}

/// The latencies of a half, in order.
#[derive(Clone, Debug, Default)]
pub struct Half {
    /// From an event to its acknowledgement.
    pub events: Vec<Duration>,
    /// From a request for `/health/live` to its answer.
    pub health: Vec<Duration>,
    /// The number of reports that were read.
    pub reports: usize,
}

impl Half {
    /// Returns the latency that this share of events does not exceed.
    #[must_use]
    pub fn event(&self, of: f64) -> Duration {
        quantile(&self.events, of)
    }

    /// Returns the latency that this share of health checks does not exceed.
    #[must_use]
    pub fn health(&self, of: f64) -> Duration {
        quantile(&self.health, of)
    }
}

fn quantile(sorted: &[Duration], of: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((of * last as f64).round() as usize).copied().unwrap_or_default()
}

/// Returns a table of both halves.
#[must_use]
pub fn table(halves: &[Half; 2]) -> String {
    let mut table =
        "| reports at once | read | events | p50 ms | p99 ms | max ms | health p99 ms |\n\
                     |---|---|---|---|---|---|---|"
            .to_owned();
    for (at_once, half) in [0, REPORTS].into_iter().zip(halves) {
        let ms = |latency: Duration| latency.as_secs_f64() * 1_000.0;
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|of| ms(half.event(of)));
        let (events, health) = (half.events.len(), ms(half.health(0.99)));
        let reports = half.reports;
        // Writing to a text cannot fail.
        let _ = write!(
            table,
            "\n| {at_once} | {reports} | {events} | {p50:.1} | {p99:.1} | {max:.1} | {health:.1} |"
        );
    }
    table
}

impl BystanderTimes {
    /// Measures the bystander without reports, then with them.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses an event.
    pub async fn run(&self) -> io::Result<[Half; 2]> {
        post(self.server, "/api/v1/events", &self.long_session()).await?;
        let (mut socket, mut viewers) =
            connect(self.server, self.key.clone(), self.seed, 0).await?;
        let viewing = viewers.begin();
        let (topic, payload) = (viewing.topic().to_owned(), viewers.join(&viewing));
        send(&mut socket, &format!(r#"["1","1","{topic}","phx_join",{payload}]"#)).await?;
        let without = self.half(&mut socket, &topic).await?;
        let read = Arc::new(AtomicUsize::new(0));
        let mut reading = JoinSet::new();
        for number in 0..REPORTS {
            let (server, read) = (self.server, Arc::clone(&read));
            reading.spawn(async move {
                let (path, body) = report(number);
                loop {
                    // A full server refuses some of them.
                    let answer = exchange(server, &request(server, path, &body)).await;
                    if answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                        read.fetch_add(1, Ordering::Relaxed);
                    } else {
                        sleep(PAUSE).await;
                    }
                }
            });
        }
        let mut with = self.half(&mut socket, &topic).await?;
        with.reports = read.load(Ordering::Relaxed);
        Ok([without, with])
    }

    /// Sends events one after the other, and measures each.
    async fn half(&self, socket: &mut Socket, topic: &str) -> io::Result<Half> {
        let mut half = Half::default();
        let until = Instant::now() + self.measured;
        let mut number = 0_u32;
        while Instant::now() < until {
            number += 1;
            let (name, end) = if number % 2 == 1 { ("play", "from") } else { ("pause", "to") };
            let position = f64::from(number) / 100.0;
            let event = format!(
                r#"["1","{}","{topic}","event",{{"name":"{name}","{end}":{position}}}]"#,
                number + 1
            );
            let began = Instant::now();
            send(socket, &event).await?;
            half.events.push(began.elapsed());
            let began = Instant::now();
            alive(self.server).await?;
            half.health.push(began.elapsed());
            sleep(PAUSE).await;
        }
        half.events.sort_unstable();
        half.health.sort_unstable();
        Ok(half)
    }

    /// A batch with a session of a day.
    fn long_session(&self) -> Value {
        let event = |name: &str, position: u32| {
            json!({
                "name": name, "key": self.key, "session_id": "a-day-long", "embed_id": LONG,
                "video_time": position, "duration": DAY_SECONDS,
            })
        };
        json!({ "events": [event("play", 0), event("pause", DAY_SECONDS)] })
    }
}

/// The path and the body of one of the dearest reports: 10,000 filled buckets, or every second of a day.
fn report(number: usize) -> (&'static str, Value) {
    let timeframe = "9999 minutes";
    if number.is_multiple_of(2) {
        let body = json!({
            "identifier": LONG, "interval": "1 minute", "fill": true, "timeframe": timeframe,
            "timezone": "Europe/Amsterdam",
        });
        ("/api/v1/plays", body)
    } else {
        ("/api/v1/engagement", json!({ "identifier": LONG, "interval": "1 day" }))
    }
}

/// Requests `/health/live`.
async fn alive(server: SocketAddr) -> io::Result<()> {
    let request =
        format!("GET /health/live HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    let answer =
        timeout(ANSWER_MAX, exchange(server, &request)).await.map_err(io::Error::other)??;
    let is_alive = answer.starts_with("HTTP/1.1 200");
    is_alive.then_some(()).ok_or_else(|| io::Error::other(format!("not alive: {answer}")))
}

/// Sends an event, and waits for its acknowledgement.
async fn send(socket: &mut Socket, text: &str) -> io::Result<()> {
    socket.push(text);
    let answer = async {
        socket.flush().await?;
        loop {
            let is_answered = socket.next(|answer| {
                let is_yes = answer.contains(r#""status":"ok""#);
                is_yes.then_some(()).ok_or_else(|| io::Error::other(format!("refused: {answer}")))
            })?;
            if is_answered {
                return Ok(());
            }
            socket.fill().await?;
        }
    };
    timeout(ANSWER_MAX, answer).await.map_err(io::Error::other)?
}
