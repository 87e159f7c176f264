//! Viewers, who watch one video after another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::events::{EventKind, RetryPolicy, acknowledge, event};
use super::ledger::{EventTimes, Pair, STRIDE_MS, Sheet, lock};
use super::page::{Loss, Page, Stage};
use metrics_server_testing::{Http, Server, split_head};

/// The number of videos, and the number of pages that hold them.
pub(crate) const VIDEOS: usize = 5;
pub(crate) const PAGES: usize = 3;

/// The maximum number of pairs of a session before its end: together with those of the end, all of them are within the
/// longest video.
const PAIRS_MAX: usize = 25;

/// The length of a segment, in milliseconds: short enough to have been watched in no time, since players round, and
/// long enough not to be scrubbing.
const LEN_MS: std::ops::RangeInclusive<u32> = 250..=300;

/// How long a client waits for the response to a batch.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// The maximum error of viewers' clocks: two hours.
const SKEW_MS_MAX: i64 = 7_200_000;

/// The number of viewers of each kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Population {
    pub(crate) plain: usize,
    pub(crate) stamped: usize,
    pub(crate) repeating: usize,
    pub(crate) batches: usize,
    pub(crate) watchers: usize,
}

impl Population {
    /// Starts all viewers.
    pub(crate) fn enter(self, stage: &Arc<Stage>, random: &mut StdRng) -> JoinSet<()> {
        let mut viewers = JoinSet::new();
        let mut viewer =
            || Viewer { stage: Arc::clone(stage), random: StdRng::seed_from_u64(random.random()) };
        for (count, retry_policy) in [
            (self.plain, RetryPolicy::Plain),
            (self.stamped, RetryPolicy::Stamped),
            (self.repeating, RetryPolicy::Repeats),
        ] {
            for _ in 0..count {
                viewers.spawn(viewer().watch_videos(retry_policy));
            }
        }
        for _ in 0..self.batches {
            viewers.spawn(viewer().send_batches());
        }
        for _ in 0..self.watchers {
            viewers.spawn(viewer().watch_on());
        }
        viewers
    }
}

struct Viewer {
    stage: Arc<Stage>,
    random: StdRng,
}

impl Viewer {
    fn sheet(&mut self, retry_policy: RetryPolicy) -> Sheet {
        Sheet {
            session: format!("{:032x}", self.random.random::<u128>()),
            video: self.random.random_range(0..VIDEOS),
            page: self.random.random_range(0..PAGES),
            repeats: retry_policy == RetryPolicy::Repeats,
            ..Sheet::default()
        }
    }

    fn open(&mut self, retry_policy: RetryPolicy) -> Page {
        let sheet = self.sheet(retry_policy);
        let skew_ms = self.random.random_range(-SKEW_MS_MAX..SKEW_MS_MAX);
        Page::open(&self.stage, sheet, retry_policy, skew_ms)
    }

    fn len_ms(&mut self) -> u32 {
        self.random.random_range(LEN_MS)
    }

    fn moment(&mut self, ms_max: u64) -> Duration {
        Duration::from_millis(self.random.random_range(0..=ms_max))
    }

    async fn watch_videos(mut self, retry_policy: RetryPolicy) {
        while !self.stage.is_enough() {
            let mut page = self.open(retry_policy);
            for _ in 0..self.random.random_range(1..=PAIRS_MAX) {
                self.watch_some(&mut page, retry_policy).await;
                if self.stage.is_enough() {
                    break;
                }
            }
            self.finish(&mut page).await;
        }
    }

    /// Plays one pair, and perhaps causes another event.
    async fn watch_some(&mut self, page: &mut Page, retry_policy: RetryPolicy) {
        let len_ms = self.len_ms();
        let pair = page.play(len_ms).await;
        if self.random.random_bool(0.8) {
            page.run_for(self.moment(60)).await;
        }
        match self.random.random_range(0..10) {
            0 | 1 => page.add(EventKind::Seek).await,
            2 => page.add(EventKind::Failure).await,
            // A network failure loses the messages in transit. Without timestamps, a server that has not read them yet
            // could not order them before those of the next connection.
            3 if retry_policy != RetryPolicy::Plain || !page.has_unanswered() => {
                page.drop_connection();
            }
            _ => {}
        }
        page.pause(pair).await;
        if self.random.random_bool(0.8) {
            page.run_for(self.moment(120)).await;
        }
    }

    /// Plays pairs until the pause of the last one is acknowledged.
    async fn finish(&mut self, page: &mut Page) {
        loop {
            page.await_answers().await;
            let last = lock(&page.sheet).pairs.last().copied();
            if last.is_some_and(|pair| pair.pause.acknowledged.is_some()) {
                return;
            }
            let len_ms = self.len_ms();
            let pair = page.play(len_ms).await;
            page.pause(pair).await;
        }
    }

    /// Plays, and goes on for as long as possible. Some viewers never return after a crash.
    async fn watch_on(mut self) {
        while !self.stage.is_enough() {
            let mut page = self.open(RetryPolicy::Plain);
            let pair = loop {
                let pair = page.play(0).await;
                page.await_answers().await;
                if lock(&page.sheet).pairs[pair].play.acknowledged.is_some() {
                    break pair;
                }
            };
            let mut abandoned = false;
            while !self.stage.is_enough() && !abandoned {
                page.heartbeat().await;
                let loss = page.run_for(Duration::from_secs(10)).await;
                abandoned = loss == Some(Loss::Ended) && self.random.random_bool(0.1);
            }
            if abandoned {
                lock(&page.sheet).abandoned = Some(Instant::now());
                continue;
            }
            {
                let mut sheet = lock(&page.sheet);
                let pair = &mut sheet.pairs[pair];
                let watched = pair.play.sent.expect("it was sent").elapsed().as_millis();
                pair.to_ms = pair.from_ms + (watched as u32).clamp(1, STRIDE_MS - 1);
            }
            page.pause(pair).await;
            self.finish(&mut page).await;
        }
    }

    /// Sends batches, and repeats each of them until it is accepted.
    async fn send_batches(mut self) {
        while !self.stage.is_enough() {
            let sheet = self.sheet(RetryPolicy::Repeats);
            let sheet = self.stage.ledger.open(sheet);
            let mut batch =
                Batch { sheet: sheet.clone(), stamp_ms: 0, events: Vec::new(), kinds: Vec::new() };
            let skew_ms = self.random.random_range(-SKEW_MS_MAX..SKEW_MS_MAX);
            batch.stamp_ms = chrono::Utc::now().timestamp_millis() + skew_ms;
            for _ in 0..self.random.random_range(1..=PAIRS_MAX) {
                let pair = {
                    let mut sheet = lock(&sheet);
                    let from_ms = STRIDE_MS * sheet.pairs.len() as u32;
                    let (to_ms, times) = (from_ms + self.len_ms(), EventTimes::default());
                    sheet.pairs.push(Pair { from_ms, to_ms, play: times, pause: times });
                    sheet.pairs.len() - 1
                };
                batch.add(EventKind::Play(pair));
                if self.random.random_bool(0.3) {
                    batch.add(EventKind::Seek);
                }
                if self.random.random_bool(0.2) {
                    self.send(&mut batch).await;
                }
                batch.add(EventKind::Pause(pair));
                if self.random.random_bool(0.4) {
                    self.send(&mut batch).await;
                    sleep(self.moment(100)).await;
                }
                if self.stage.is_enough() {
                    break;
                }
            }
            self.send(&mut batch).await;
        }
    }

    async fn send(&mut self, batch: &mut Batch) {
        let body = json!({ "events": batch.events });
        loop {
            let server = self.stage.server().await;
            match timeout(ANSWER_MAX, post(&server, &body)).await {
                Ok(Some(answer)) => {
                    assert_eq!(answer["rejected"], json!([]), "{answer}");
                    break;
                }
                _ => sleep(self.moment(100)).await,
            }
        }
        let mut sheet = lock(&batch.sheet);
        batch.kinds.drain(..).for_each(|kind| acknowledge(&mut sheet, kind));
        batch.events.clear();
    }
}

/// Events of one request.
struct Batch {
    sheet: Arc<std::sync::Mutex<Sheet>>,
    stamp_ms: i64,
    events: Vec<Value>,
    kinds: Vec<EventKind>,
}

impl Batch {
    fn add(&mut self, kind: EventKind) {
        self.stamp_ms += 10;
        let mut sheet = lock(&self.sheet);
        let mut event = event(&mut sheet, kind, ["video_time"; 2], Some(self.stamp_ms));
        event["session_id"] = json!(sheet.session);
        event["embed_id"] = json!(format!("video {}", sheet.video));
        event["source_url"] = json!(format!("https://example.com/page/{}", sheet.page));
        self.events.push(event);
        self.kinds.push(kind);
    }
}

/// The response to an accepted batch, or `None` if the batch must be sent again.
async fn post(server: &Server, body: &Value) -> Option<Value> {
    let key = server.key.replace('+', "%2B").replace('=', "%3D");
    let request = Http::new(server.address, "POST", &format!("/v1/events?key={key}"));
    let request = request.header("connection", "close").json(body).bytes();
    let mut stream = TcpStream::connect(server.address).await.ok()?;
    stream.write_all(&request).await.ok()?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.ok()?;
    let (head, body) = split_head(&received)?;
    if head.starts_with(b"HTTP/1.1 503 ") {
        return None;
    }
    let head = String::from_utf8_lossy(head);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    serde_json::from_slice(body).ok()
}
