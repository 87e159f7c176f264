//! Viewers: what they do, sent to whichever server they are at, and noted in their log.

use chrono::{DateTime, Utc};
use metrics_core::event::Action;
use metrics_core::query::instant;
use metrics_core::recorder::Acknowledgement;
use metrics_core::session::Moment;
use metrics_core::{ApiKey, Join, Metrics, PlayerEvent, Video, Viewing};
use metrics_testing::WallClock;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::naive::{Log, What};
use super::soon;

/// How far two things are apart that happen one after the other: so far that all that is played fits between them.
const TICK_MS: i64 = 10_000;

/// How a viewer's client speaks with servers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Client {
    /// It is connected, and knows no time.
    Plain,
    /// It is connected, and says when things happened by its own clock, which is wrong.
    Stamping,
    /// It sends batches, each until it is acknowledged, and some again later.
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
    /// Connections that are gone, of which their servers do not know yet.
    ghosts: Vec<Connection>,
    acknowledgements: Vec<Acknowledgement>,
    /// Whether the session is in the database.
    begun: bool,
    /// What happened while there was no connection.
    buffer: Vec<What>,
    /// From where and since when the player plays, whatever servers know of it.
    plays: Option<(u32, i64)>,
    /// No two things happen at the same time by the client's clock.
    ticks_ms: i64,
    batches: Vec<Vec<PlayerEvent>>,
}

struct Connection {
    server: usize,
    viewing: Viewing,
    heard: Moment,
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
            ghosts: Vec::new(),
            acknowledgements: Vec::new(),
            begun: false,
            buffer: Vec::new(),
            plays: None,
            ticks_ms: 0,
            batches: Vec::new(),
        }
    }

    /// Which server it is connected to.
    pub(crate) fn server(&self) -> Option<usize> {
        self.here.as_ref().map(|here| here.server)
    }

    fn joining(&self) -> Join {
        Join::new(self.key.clone(), &self.name, self.video.clone()).page(self.page)
    }

    fn note(&mut self, what: What) {
        self.log.add(self.clock.now_ms(), what);
    }

    fn position(random: &mut StdRng) -> u32 {
        random.random_range(0..80_000)
    }

    /// Where the player pauses: anywhere, if nobody can tell how long it played.
    fn pause(&self, random: &mut StdRng) -> What {
        let to_ms = match self.plays {
            Some((from_ms, since_ms)) if self.client == Client::Stamping => {
                let ran_ms = self.clock.now_ms() - since_ms + random.random_range(0..300);
                let to_ms = from_ms.saturating_add(ran_ms.try_into().expect("a short test"));
                to_ms.min(self.duration_ms.unwrap_or(u32::MAX))
            }
            _ => Self::position(random),
        };
        What::Pause { to_ms }
    }

    fn event(&mut self, what: What) -> PlayerEvent {
        let seconds = |ms: u32| f64::from(ms) / 1_000.0;
        let mut event = match what {
            What::Play { from_ms } => PlayerEvent::play(seconds(from_ms)),
            What::Pause { to_ms } => PlayerEvent::pause(seconds(to_ms)),
            What::Failure => PlayerEvent::new(Action::PlaybackFailure),
            What::Seek => PlayerEvent::new(Action::Seeked),
            What::Lost | What::Back | What::Left => unreachable!("nobody tells a server"),
        };
        if let Some(duration_ms) = self.duration_ms {
            event = event.with_duration(seconds(duration_ms));
        }
        if self.client != Client::Plain {
            // Three hours behind.
            let mut timestamp_ms = self.clock.now_ms() - 10_800_000;
            // No two are the same; but where time is measured between two, it is the server's that passed.
            if self.client == Client::Batching || matches!(what, What::Failure | What::Seek) {
                self.ticks_ms += TICK_MS;
                timestamp_ms += self.ticks_ms;
            }
            // Never after a play that comes later: what is before the first counts for nothing.
            if self.client == Client::Stamping && matches!(what, What::Failure | What::Seek) {
                timestamp_ms -= 1_000_000_000;
            }
            event = event.with_timestamp(timestamp_ms);
        }
        event
    }

    fn submit(&mut self, what: What) {
        let event = self.event(what);
        self.note(what);
        let here = self.here.as_mut().expect("connected");
        here.heard = self.clock.moment();
        self.acknowledgements.push(here.viewing.submit(&event).expect("it is taken"));
    }

    /// Something happens in the player, and servers are told of it, now or later.
    pub(crate) fn act(&mut self, random: &mut StdRng) {
        let what = match random.random_range(0..7) {
            0 | 1 => What::Play { from_ms: Self::position(random) },
            2..=4 if self.plays.is_some() => self.pause(random),
            2..=4 => What::Play { from_ms: Self::position(random) },
            5 => What::Failure,
            _ => What::Seek,
        };
        if self.here.is_some() {
            self.happens(what);
            return;
        }
        // A play of which nobody is told before it is over: else nobody could know when it began.
        let is_play = matches!(what, What::Play { .. });
        if is_play && self.plays.is_some() {
            self.happens(self.pause(random));
        }
        self.happens(what);
        if is_play {
            self.happens(self.pause(random));
        }
    }

    /// Something is told of the viewing at a server that need not be the one it is at, which has both write to it.
    pub(crate) async fn fail_at(&mut self, metrics: &Metrics) {
        // Where no session is known, nothing can fail.
        if !self.begun {
            return;
        }
        let viewing = metrics.visit(self.joining()).await.expect("it may send");
        for _ in 0..2 {
            let event = self.event(What::Failure);
            self.note(What::Failure);
            self.acknowledgements.push(viewing.submit(&event).expect("it is taken"));
        }
    }

    /// The video cannot be played.
    pub(crate) fn fail(&mut self) {
        self.happens(What::Failure);
    }

    fn happens(&mut self, what: What) {
        match what {
            What::Play { from_ms } => self.plays = Some((from_ms, self.clock.now_ms())),
            What::Pause { .. } => self.plays = None,
            _ => {}
        }
        if self.here.is_some() {
            self.submit(what);
        } else {
            self.buffer.push(what);
        }
    }

    /// Connects, or connects elsewhere before the server finds out that the old connection is gone.
    ///
    /// What it did at another server is durable then: of what is still under way there, no server could know here.
    pub(crate) async fn connect(&mut self, server: usize, metrics: &Metrics) {
        if self.server() != Some(server) {
            self.durable().await;
        }
        let viewing = metrics.join(self.joining()).await.expect("it may join");
        if let Some(old) = self.here.take() {
            self.ghosts.push(old);
        } else {
            self.note(What::Back);
        }
        self.here = Some(Connection { server, viewing, heard: self.clock.moment() });
        for what in std::mem::take(&mut self.buffer) {
            self.submit(what);
        }
    }

    /// The client says that it is still there.
    pub(crate) fn beat(&mut self) {
        if let Some(here) = &mut self.here {
            here.heard = self.clock.moment();
        }
    }

    /// Loses the connection, and the server knows.
    pub(crate) fn disconnect(&mut self) {
        if let Some(here) = self.here.take() {
            self.note(What::Lost);
            drop(here);
        }
    }

    pub(crate) fn leave(&mut self) {
        if let Some(here) = self.here.take() {
            self.note(What::Left);
            self.plays = None;
            self.acknowledgements.push(here.viewing.leave());
        }
    }

    /// The servers find out about connections that are gone.
    pub(crate) fn bury_ghosts(&mut self) {
        for ghost in self.ghosts.drain(..) {
            self.acknowledgements.push(ghost.viewing.lose(ghost.heard));
        }
    }

    /// The server is gone without a word.
    pub(crate) fn crash(&mut self, server: usize) {
        // Dropping them would be a word.
        let (gone, ghosts): (Vec<_>, Vec<_>) =
            self.ghosts.drain(..).partition(|ghost| ghost.server == server);
        self.ghosts = ghosts;
        std::mem::forget(gone);
        if self.server() == Some(server) {
            std::mem::forget(self.here.take());
            self.note(What::Lost);
            // Nobody will ever know by these.
            self.acknowledgements.clear();
        }
    }

    /// Sends batches: new ones, in the wrong order now and then, and now and then an old one.
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

    /// Sends the last ones again, of which it was not told that they arrived.
    pub(crate) async fn send_again(&mut self, metrics: &Metrics) {
        self.acknowledgements.clear();
        for batch in self.batches.clone().iter().rev().take(4).rev() {
            self.deliver(batch, metrics).await;
        }
    }

    fn batch(&mut self, random: &mut StdRng) -> Vec<PlayerEvent> {
        let mut batch = Vec::new();
        for _ in 0..random.random_range(1..4) {
            // As far as it may have got in the time that it takes.
            let (one, other) = (Self::position(random), Self::position(random));
            let (from_ms, to_ms) = (one.min(other), one.max(other));
            let all = [What::Play { from_ms }, What::Failure, What::Seek, What::Pause { to_ms }];
            for what in all {
                self.note(what);
                batch.push(self.event(what));
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

    /// The session is no more; what is played from now on is another.
    pub(crate) fn erased(&mut self) {
        self.log = Log::default();
        self.begun = false;
    }

    /// Waits until everything is durable.
    pub(crate) async fn durable(&mut self) {
        for mut acknowledgement in self.acknowledgements.drain(..) {
            soon(acknowledgement.durable()).await.expect("it is stored");
        }
        self.log.acknowledged();
        self.begun = self.outcome().is_some();
    }

    /// What the session must come to now.
    pub(crate) fn outcome(&self) -> Option<super::naive::Outcome> {
        self.log.outcome(self.clock.now_ms(), self.duration_ms)
    }

    pub(crate) fn started_at(&self) -> Option<DateTime<Utc>> {
        self.outcome().map(|outcome| instant(outcome.started_at_ms))
    }
}
