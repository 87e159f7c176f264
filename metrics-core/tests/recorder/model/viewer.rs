//! Viewers: each sends its actions to the server that it is connected to, and keeps a log of them.

use chrono::{DateTime, Utc};
use metrics_core::event::Action;
use metrics_core::query::instant;
use metrics_core::recorder::Acknowledgement;
use metrics_core::session::Moment;
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Video, Viewing};
use metrics_testing::WallClock;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::naive::{Log, ViewerEvent};
use super::soon;

/// The time between two successive events: enough to play any segment.
const TICK_MS: i64 = 10_000;

/// How a viewer reports events to servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Client {
    /// Connected, without timestamps.
    Plain,
    /// Connected, with timestamps by its own clock, which is wrong.
    Stamping,
    /// Sends batches, each until it is acknowledged, and some again later.
    Batching,
}

pub(crate) struct Viewer {
    pub(crate) name: String,
    pub(crate) key: ApiKey,
    pub(crate) video: Video,
    pub(crate) page: &'static str,
    pub(crate) client: Client,
    pub(crate) duration_ms: Option<u32>,
    pub(crate) log: Log,
    clock: WallClock,
    here: Option<Connection>,
    /// Lost connections that their servers still consider open.
    half_open: Vec<Connection>,
    acknowledgements: Vec<Acknowledgement>,
    /// Whether the session is in the database.
    begun: bool,
    /// Actions during a disconnection.
    buffer: Vec<ViewerEvent>,
    /// The position and the time of the last `play` that is still open in the player, reported or not.
    plays: Option<(u32, i64)>,
    /// Added to timestamps, so that no two events have the same.
    ticks_ms: i64,
    batches: Vec<Vec<PlayerEvent>>,
}

struct Connection {
    server: usize,
    viewing: Viewing,
    last_received: Moment,
}

impl Viewer {
    pub(crate) fn new(number: usize, key: ApiKey, clock: WallClock) -> Self {
        let described = serde_json::json!({ "vid": number % 2 });
        Self {
            name: format!("viewer {number}"),
            key,
            video: match number % 3 {
                0 => Video::labelled("intro"),
                1 => Video::labelled("outro"),
                _ => Video::new(None, described.as_object().cloned()).expect("a video"),
            },
            page: ["https://example.com/a", "https://example.com/b"][number % 2],
            client: [Client::Plain, Client::Stamping, Client::Batching][number / 2 % 3],
            duration_ms: number.is_multiple_of(4).then_some(3_600_000),
            log: Log::default(),
            clock,
            here: None,
            half_open: Vec::new(),
            acknowledgements: Vec::new(),
            begun: false,
            buffer: Vec::new(),
            plays: None,
            ticks_ms: 0,
            batches: Vec::new(),
        }
    }

    /// The number of the server that it is connected to.
    pub(crate) fn server(&self) -> Option<usize> {
        self.here.as_ref().map(|here| here.server)
    }

    fn joining(&self) -> Join {
        Join::new(self.key.clone(), &self.name, self.video.clone()).page(self.page)
    }

    fn log_event(&mut self, viewer_event: ViewerEvent) {
        self.log.add(self.clock.now_ms(), viewer_event);
    }

    fn position(random: &mut StdRng) -> u32 {
        random.random_range(0..80_000)
    }

    /// A pause of the player: at any position, unless timestamps show how long it played.
    fn pause(&self, random: &mut StdRng) -> ViewerEvent {
        let to_ms = match self.plays {
            Some((from_ms, since_ms)) if self.client == Client::Stamping => {
                let ran_ms = self.clock.now_ms() - since_ms + random.random_range(0..300);
                let to_ms = from_ms.saturating_add(ran_ms.try_into().expect("a short test"));
                to_ms.min(self.duration_ms.unwrap_or(u32::MAX))
            }
            _ => Self::position(random),
        };
        ViewerEvent::Pause { to_ms }
    }

    fn event(&mut self, viewer_event: ViewerEvent) -> PlayerEvent {
        let seconds = |ms: u32| f64::from(ms) / 1_000.0;
        let mut event = match viewer_event {
            ViewerEvent::Play { from_ms } => PlayerEvent::play(seconds(from_ms)),
            ViewerEvent::Pause { to_ms } => PlayerEvent::pause(seconds(to_ms)),
            ViewerEvent::Failure => PlayerEvent::new(Action::PlaybackFailure),
            ViewerEvent::Seek => PlayerEvent::new(Action::Seeked),
            ViewerEvent::Lost | ViewerEvent::Back | ViewerEvent::Left => {
                unreachable!("nobody tells a server")
            }
        };
        if let Some(duration_ms) = self.duration_ms {
            event = event.with_duration(seconds(duration_ms));
        }
        if self.client != Client::Plain {
            // The client's clock is three hours behind.
            let mut timestamp_ms = self.clock.now_ms() - 10_800_000;
            // Timestamps are unique; but between `play` and `pause` as much time passes as by the server's clock.
            if self.client == Client::Batching
                || matches!(viewer_event, ViewerEvent::Failure | ViewerEvent::Seek)
            {
                self.ticks_ms += TICK_MS;
                timestamp_ms += self.ticks_ms;
            }
            // The timestamp precedes that of any later play: an event before the first play must not count.
            if self.client == Client::Stamping
                && matches!(viewer_event, ViewerEvent::Failure | ViewerEvent::Seek)
            {
                timestamp_ms -= 1_000_000_000;
            }
            event = event.with_timestamp(timestamp_ms);
        }
        event
    }

    fn submit(&mut self, viewer_event: ViewerEvent) {
        let event = self.event(viewer_event);
        self.log_event(viewer_event);
        let here = self.here.as_mut().expect("connected");
        here.last_received = self.clock.moment();
        self.acknowledgements.push(here.viewing.submit(&event).expect("it is taken"));
    }

    /// Does something in the player, and reports it now or after the next connect.
    pub(crate) fn act(&mut self, random: &mut StdRng) {
        let viewer_event = match random.random_range(0..7) {
            0 | 1 => ViewerEvent::Play { from_ms: Self::position(random) },
            2..=4 if self.plays.is_some() => self.pause(random),
            2..=4 => ViewerEvent::Play { from_ms: Self::position(random) },
            5 => ViewerEvent::Failure,
            _ => ViewerEvent::Seek,
        };
        if self.here.is_some() {
            self.emit(viewer_event);
            return;
        }
        // A play without a connection ends before it is reported: servers could not determine when an open one began.
        let is_play = matches!(viewer_event, ViewerEvent::Play { .. });
        if is_play && self.plays.is_some() {
            self.emit(self.pause(random));
        }
        self.emit(viewer_event);
        if is_play {
            self.emit(self.pause(random));
        }
    }

    /// Reports failures to a server that the viewer need not be connected to, so that two servers write the session.
    pub(crate) async fn fail_at(&mut self, metrics: &Metrics) {
        // A failure without a session does not count.
        if !self.begun {
            return;
        }
        let viewing = metrics.visit(self.joining()).await.expect("it may send");
        for _ in 0..2 {
            let event = self.event(ViewerEvent::Failure);
            self.log_event(ViewerEvent::Failure);
            self.acknowledgements.push(viewing.submit(&event).expect("it is taken"));
        }
    }

    /// Reports a playback failure.
    pub(crate) fn fail(&mut self) {
        self.emit(ViewerEvent::Failure);
    }

    fn emit(&mut self, viewer_event: ViewerEvent) {
        match viewer_event {
            ViewerEvent::Play { from_ms } => self.plays = Some((from_ms, self.clock.now_ms())),
            ViewerEvent::Pause { .. } => self.plays = None,
            _ => {}
        }
        if self.here.is_some() {
            self.submit(viewer_event);
        } else {
            self.buffer.push(viewer_event);
        }
    }

    /// Connects, possibly to another server before the old one detects the loss of the connection.
    ///
    /// Events at the old server become durable first, because the new server cannot load events that are in progress.
    pub(crate) async fn connect(&mut self, server: usize, metrics: &Metrics) {
        if self.server() != Some(server) {
            self.durable().await;
        }
        let viewing = metrics.join(self.joining()).await.expect("it may join");
        if let Some(old) = self.here.take() {
            self.half_open.push(old);
        } else {
            self.log_event(ViewerEvent::Back);
        }
        self.here = Some(Connection { server, viewing, last_received: self.clock.moment() });
        for viewer_event in std::mem::take(&mut self.buffer) {
            self.submit(viewer_event);
        }
    }

    /// Receives a sign of life from the client.
    pub(crate) fn heartbeat(&mut self) {
        if let Some(here) = &mut self.here {
            here.last_received = self.clock.moment();
        }
    }

    /// Loses the connection, which the server detects.
    pub(crate) fn disconnect(&mut self) {
        if let Some(here) = self.here.take() {
            self.log_event(ViewerEvent::Lost);
            drop(here);
        }
    }

    pub(crate) fn leave(&mut self) {
        if let Some(here) = self.here.take() {
            self.log_event(ViewerEvent::Left);
            self.plays = None;
            self.acknowledgements.push(here.viewing.leave());
        }
    }

    /// Servers detect all lost connections.
    pub(crate) fn close_lost(&mut self) {
        for connection in self.half_open.drain(..) {
            self.acknowledgements.push(connection.viewing.lose(connection.last_received));
        }
    }

    /// A server crashes and detects nothing any more.
    pub(crate) fn crash(&mut self, server: usize) {
        // Dropping a connection would report it to the server.
        let (gone, half_open): (Vec<_>, Vec<_>) =
            self.half_open.drain(..).partition(|connection| connection.server == server);
        self.half_open = half_open;
        std::mem::forget(gone);
        if self.server() == Some(server) {
            std::mem::forget(self.here.take());
            self.log_event(ViewerEvent::Lost);
            // These are never resolved.
            self.acknowledgements.clear();
        }
    }

    /// Sends new batches, sometimes in the wrong order, and sometimes an old one again.
    pub(crate) async fn send(&mut self, random: &mut StdRng, metrics: &Metrics) {
        let new = random.random_range(0..3);
        let mut batches: Vec<_> = (0..new).map(|_| self.batch(random)).collect();
        self.batches.extend(batches.clone());
        if random.random_bool(0.4) {
            batches.reverse();
        }
        if !self.batches.is_empty() && random.random_bool(0.4) {
            batches.push(self.batches[random.random_range(0..self.batches.len())].clone());
        }
        for batch in &batches {
            self.deliver(batch, metrics).await;
        }
    }

    /// Sends the last four batches again, because a crash lost their acknowledgements.
    pub(crate) async fn send_again(&mut self, metrics: &Metrics) {
        self.acknowledgements.clear();
        for batch in self.batches.clone().iter().rev().take(4).rev() {
            self.deliver(batch, metrics).await;
        }
    }

    fn batch(&mut self, random: &mut StdRng) -> Vec<PlayerEvent> {
        let mut batch = Vec::new();
        for _ in 0..random.random_range(1..4) {
            // A player can play this in the time between the timestamps.
            let (one, other) = (Self::position(random), Self::position(random));
            let (from_ms, to_ms) = (one.min(other), one.max(other));
            let all = [
                ViewerEvent::Play { from_ms },
                ViewerEvent::Failure,
                ViewerEvent::Seek,
                ViewerEvent::Pause { to_ms },
            ];
            for viewer_event in all {
                self.log_event(viewer_event);
                batch.push(self.event(viewer_event));
            }
        }
        batch
    }

    async fn deliver(&mut self, batch: &[PlayerEvent], metrics: &Metrics) {
        let viewing = metrics.visit(self.joining()).await.expect("it may send");
        for event in batch {
            self.acknowledgements.push(viewing.submit(event).expect("it is taken"));
        }
    }

    /// The session was erased; later plays form another one.
    pub(crate) fn erased(&mut self) {
        self.log = Log::default();
        self.begun = false;
    }

    /// Waits until all events are durable.
    pub(crate) async fn durable(&mut self) {
        for mut acknowledgement in self.acknowledgements.drain(..) {
            soon(acknowledgement.durable()).await.expect("it is stored");
        }
        self.log.acknowledged();
        self.begun = self.outcome().is_some();
    }

    /// The session that is expected now.
    pub(crate) fn outcome(&self) -> Option<super::naive::Outcome> {
        self.log.outcome(self.clock.now_ms(), self.duration_ms)
    }

    pub(crate) fn started_at(&self) -> Option<DateTime<Utc>> {
        self.outcome().map(|outcome| instant(outcome.started_at_ms))
    }
}
