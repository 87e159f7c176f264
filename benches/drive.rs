//! Many connections with many viewers each, and the latency of the server's acknowledgements.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::process::{cpu, cpu_of_tree, resident};
use crate::viewers::{Messages, Tally, Viewers, Viewing};
use crate::websocket::{Socket, source};

/// The time limit for all outstanding acknowledgements at the end.
const FINISH_MAX: Duration = Duration::from_secs(60);

/// The time under load before the measurement begins.
pub const WARM_UP: Duration = Duration::from_secs(1);

/// The interval between the heartbeats of a client.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// The lateness of an event that does not count: timers are no finer than a millisecond.
const LATE_MAX: Duration = Duration::from_millis(2);

/// The number of messages that a connection may have in flight at a given rate. A server that cannot keep up shows in
/// the latency, and must not fill the memory of both.
const IN_FLIGHT_MAX: usize = 1_024;

/// The number of messages that a connection sends at once. The server accepts 4,096; the rest is for the end.
pub const BURST: u32 = 3_900;

/// The number of connections that are opened concurrently.
pub const OPENING_MAX: usize = 64;

/// The load on a server.
#[derive(Clone, Debug)]
pub struct Load {
    /// The address of the server.
    pub server: SocketAddr,
    /// The key of all viewers.
    pub key: String,
    /// The number of websockets.
    pub connections: usize,
    /// The number of viewers on each at a time.
    pub sessions: usize,
    /// The duration of the measurement.
    pub measured: Duration,
    /// Without a rate, the measurement ends at the latest when a connection has sent this number of messages.
    pub burst: Option<u32>,
    /// The number of messages that each connection keeps in flight, unless there is a rate.
    pub in_flight: usize,
    /// The number of events per second over all connections.
    pub rate: Option<f64>,
    /// The seed; equal seeds produce equal viewers.
    pub seed: u64,
    /// The process of the server, to be measured.
    pub pid: Option<u32>,
    /// The first process of PostgreSQL, to be measured.
    pub database_pid: Option<u32>,
}

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The number of events acknowledged during the measurement.
    pub events: u64,
    /// The number of viewers that have joined, over all.
    pub joins: u64,
    /// The duration of the measurement.
    pub measured: Duration,
    /// The latencies of acknowledgements, in microseconds, sorted.
    pub latencies: Vec<u32>,
    /// The processor time of the server during the measurement.
    pub cpu: Option<Duration>,
    /// The processor time of PostgreSQL during the measurement.
    pub database_cpu: Option<Duration>,
    /// The memory of the server at the end of the measurement.
    pub resident: Option<u64>,
    /// The expected reports of the server.
    pub tally: Tally,
}

impl Outcome {
    /// Returns the acknowledged events per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.measured.as_secs_f64()
    }

    /// Returns the latency that the share `of` of acknowledgements does not exceed.
    #[must_use]
    pub fn latency(&self, of: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * of).round() as usize;
        Duration::from_micros(self.latencies.get(index).copied().unwrap_or(0).into())
    }

    /// Returns the processor seconds per 100,000 events.
    #[must_use]
    pub fn per_events(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 100_000.0 / self.events.max(1) as f64
    }
}

/// The schedule of a run.
#[derive(Clone)]
struct Times {
    begin: Instant,
    from: Instant,
    to: Instant,
    // Ends the run early.
    over: watch::Sender<bool>,
}

impl Times {
    fn is_over(&self, now: Instant) -> bool {
        self.to <= now || *self.over.borrow()
    }
}

impl Load {
    /// Connects all viewers, plays their sessions, and closes them.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, rejects something, or does not acknowledge everything in the end.
    pub async fn run(&self) -> io::Result<Outcome> {
        let sockets = self.connect().await?;
        let begin = Instant::now();
        let from = begin + WARM_UP;
        let (over, mut ending) = watch::channel(false);
        let times = Times { begin, from, to: from + self.measured, over };
        let mut running = JoinSet::new();
        for (socket, viewers) in sockets {
            let page = Page::new(self, socket, viewers, times.clone());
            running.spawn(page.run());
        }
        let measure = || -> io::Result<_> {
            Ok((self.pid.map(cpu).transpose()?, self.database_pid.map(cpu_of_tree).transpose()?))
        };
        sleep_until(times.from).await;
        if *ending.borrow() {
            return Err(io::Error::other(
                "a connection had sent all that it may before anything was measured: take more connections",
            ));
        }
        let before = measure()?;
        tokio::select! {
            () = sleep_until(times.to) => {}
            _ = ending.wait_for(|over| *over) => {}
        }
        let after = measure()?;
        let measured = times.from.elapsed();
        let resident = self.pid.map(resident).transpose()?;
        let since = |before: Option<Duration>, after: Option<Duration>| {
            Some(after?.saturating_sub(before?))
        };
        let mut outcome = Outcome {
            events: 0,
            joins: 0,
            measured,
            latencies: Vec::new(),
            cpu: since(before.0, after.0),
            database_cpu: since(before.1, after.1),
            resident,
            tally: Tally::default(),
        };
        while let Some(page) = running.join_next().await {
            let page = page.map_err(io::Error::other)??;
            outcome.events += page.latencies.len() as u64;
            outcome.joins += page.joins;
            outcome.latencies.extend(page.latencies);
            outcome.tally.add(page.viewers.tally);
        }
        outcome.latencies.sort_unstable();
        Ok(outcome)
    }

    async fn connect(&self) -> io::Result<Vec<(Socket, Viewers)>> {
        let mut opening = JoinSet::new();
        let mut open = Vec::new();
        for number in 0..self.connections {
            if OPENING_MAX <= opening.len()
                && let Some(opened) = opening.join_next().await
            {
                open.push(opened.map_err(io::Error::other)??);
            }
            opening.spawn(connect(self.server, self.key.clone(), self.seed, number));
        }
        while let Some(opened) = opening.join_next().await {
            open.push(opened.map_err(io::Error::other)??);
        }
        Ok(open)
    }
}

/// Opens the connection with this number.
///
/// # Errors
///
/// The server cannot be reached, or refuses the websocket.
pub async fn connect(
    server: SocketAddr,
    key: String,
    seed: u64,
    number: usize,
) -> io::Result<(Socket, Viewers)> {
    let mut viewers = Viewers::new(seed, number, &key);
    let encoded = key.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let target = format!(
        "/socket/websocket?source_url=https%3A%2F%2Fsite.example%2Fwatch&key={encoded}&vsn=2.0.0"
    );
    let (user_agent, mask) = (viewers.user_agent(), viewers.mask());
    let socket = Socket::connect(server, source(number), &target, user_agent, mask).await?;
    Ok((socket, viewers))
}

/// A page with its viewers.
struct Page {
    socket: Socket,
    viewers: Viewers,
    times: Times,
    slots: Vec<Slot>,
    // The next viewer to act.
    next_slot: usize,
    in_flight: VecDeque<InFlight>,
    in_flight_max: usize,
    burst: Option<u32>,
    // None: at full speed.
    pace: Option<Pace>,
    heartbeat_at: Instant,
    last_ref: u32,
    latencies: Vec<u32>,
    joins: u64,
}

/// Events at random times, with a mean interval of `every`.
struct Pace {
    every: Duration,
    next: Instant,
}

struct Slot {
    viewing: Viewing,
    join_ref: u32,
    joined: bool,
    // No viewer follows this one.
    ended: bool,
}

/// A message that is not answered yet.
struct InFlight {
    message_ref: u32,
    since: Instant,
    kind: MessageKind,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum MessageKind {
    Join { slot: usize },
    Event,
    Other,
}

/// An answer of the server in the second serializer. A server that ignores refs answers without a ref, in the order of
/// the messages.
type Answer<'a> = (IgnoredAny, Option<&'a str>, IgnoredAny, &'a str, Status<'a>);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status<'a> {
    status: Option<&'a str>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
}

impl Page {
    fn new(load: &Load, socket: Socket, mut viewers: Viewers, times: Times) -> Self {
        let pace = load.rate.map(|rate| {
            let every = Duration::from_secs_f64(load.connections as f64 / rate);
            Pace { every, next: times.begin + every.mul_f64(viewers.gap()) }
        });
        let heartbeat_at = times.begin + HEARTBEAT.mul_f64(viewers.gap().fract());
        let mut page = Self {
            socket,
            viewers,
            times,
            slots: Vec::new(),
            next_slot: 0,
            in_flight: VecDeque::new(),
            in_flight_max: if pace.is_some() { IN_FLIGHT_MAX } else { load.in_flight },
            burst: load.burst.filter(|_| pace.is_none()),
            pace,
            heartbeat_at,
            last_ref: 0,
            latencies: Vec::new(),
            joins: 0,
        };
        for slot in 0..load.sessions {
            let viewing = page.viewers.begin();
            page.slots.push(Slot { viewing, join_ref: 0, joined: false, ended: false });
            page.join(slot);
        }
        page
    }

    async fn run(mut self) -> io::Result<Self> {
        while !self.times.is_over(Instant::now()) {
            if self.burst.is_some_and(|burst| burst <= self.last_ref) {
                self.times.over.send_replace(true);
                break;
            }
            self.go_on();
            self.socket.flush().await?;
            let wake = self.wake();
            tokio::select! {
                filled = self.socket.fill() => filled?,
                () = sleep_until(wake) => {}
            }
            self.listen()?;
        }
        let finishing = timeout(FINISH_MAX, self.finish()).await;
        finishing.map_err(|_| io::Error::other("not all that was sent was acknowledged"))??;
        Ok(self)
    }

    /// Returns the time of the next action that needs no message from the server.
    fn wake(&self) -> Instant {
        let wake = self.times.to.min(self.heartbeat_at);
        match &self.pace {
            Some(pace) if self.in_flight.len() < self.in_flight_max => wake.min(pace.next),
            _ => wake,
        }
    }

    /// Performs the viewers' actions that are due.
    fn go_on(&mut self) {
        let now = Instant::now();
        if self.heartbeat_at <= now {
            self.heartbeat_at += HEARTBEAT;
            self.send(None, "phoenix", "heartbeat", "{}", MessageKind::Other, now);
        }
        while self.in_flight.len() < self.in_flight_max {
            let due = match &self.pace {
                Some(pace) if now < pace.next => return,
                Some(pace) if pace.next + LATE_MAX < now => pace.next,
                _ => now,
            };
            let Some(slot) = self.next_slot() else { return };
            let messages = self.viewers.act(&mut self.slots[slot].viewing);
            if let Some(pace) = &mut self.pace {
                let events = messages.events.len() as f64;
                pace.next += pace.every.mul_f64(events * self.viewers.gap());
            }
            self.send_messages(slot, &messages, due);
            if messages.ends {
                self.slots[slot].viewing = self.viewers.begin();
                self.join(slot);
            }
        }
    }

    /// Returns the next viewer that has joined.
    fn next_slot(&mut self) -> Option<usize> {
        let count = self.slots.len();
        let slot = (self.next_slot..self.next_slot + count).map(|slot| slot % count);
        let slot = slot.into_iter().find(|slot| self.slots[*slot].joined)?;
        self.next_slot = (slot + 1) % count;
        Some(slot)
    }

    fn join(&mut self, slot: usize) {
        let viewing = &self.slots[slot].viewing;
        let (topic, payload) = (viewing.topic().to_owned(), self.viewers.join(viewing));
        let join_ref = self.last_ref + 1;
        self.slots[slot].join_ref = join_ref;
        self.slots[slot].joined = false;
        self.joins += 1;
        let kind = MessageKind::Join { slot };
        self.send(Some(join_ref), &topic, "phx_join", &payload, kind, Instant::now());
    }

    /// Sends the events of a viewer, and the leave after the last of them.
    fn send_messages(&mut self, slot: usize, messages: &Messages, since: Instant) {
        let Slot { viewing, join_ref, .. } = &self.slots[slot];
        let (topic, join_ref) = (viewing.topic().to_owned(), Some(*join_ref));
        for event in &messages.events {
            self.send(join_ref, &topic, "event", event, MessageKind::Event, since);
        }
        if messages.ends {
            self.send(join_ref, &topic, "phx_leave", "{}", MessageKind::Other, since);
        }
    }

    fn send(
        &mut self,
        join_ref: Option<u32>,
        topic: &str,
        event: &str,
        payload: &str,
        kind: MessageKind,
        since: Instant,
    ) {
        self.last_ref += 1;
        let message_ref = self.last_ref;
        let join_ref = join_ref.map_or("null".to_owned(), |join_ref| format!("\"{join_ref}\""));
        self.socket.push(&format!(r#"[{join_ref},"{message_ref}","{topic}","{event}",{payload}]"#));
        self.in_flight.push_back(InFlight { message_ref, since, kind });
    }

    /// Processes all messages from the server.
    fn listen(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let measured = self.times.from <= now && !self.times.is_over(now);
        let Self { socket, in_flight, slots, latencies, .. } = self;
        while socket.next(|text| {
            let Some(answered) = answered(in_flight, text)? else { return Ok(()) };
            match answered.kind {
                MessageKind::Join { slot } => slots[slot].joined = true,
                MessageKind::Event if measured => {
                    let latency = now.duration_since(answered.since).as_micros();
                    latencies.push(u32::try_from(latency).unwrap_or(u32::MAX));
                }
                MessageKind::Event | MessageKind::Other => {}
            }
            Ok(())
        })? {}
        Ok(())
    }

    /// Ends all sessions, and waits until everything is acknowledged.
    async fn finish(&mut self) -> io::Result<()> {
        loop {
            for slot in 0..self.slots.len() {
                if self.slots[slot].joined && !self.slots[slot].ended {
                    let mut messages = Messages::default();
                    self.viewers.finish(&mut self.slots[slot].viewing, &mut messages);
                    self.send_messages(slot, &messages, Instant::now());
                    self.slots[slot].ended = true;
                }
            }
            self.socket.flush().await?;
            if self.in_flight.is_empty() {
                return Ok(());
            }
            self.socket.fill().await?;
            self.listen()?;
        }
    }
}

/// Returns the message that this text answers, if it does.
fn answered(in_flight: &mut VecDeque<InFlight>, text: &str) -> io::Result<Option<InFlight>> {
    let answer: Answer<'_> = serde_json::from_str(text).map_err(io::Error::other)?;
    let (_, message_ref, _, event, Status { status, response }) = answer;
    if event != "phx_reply" {
        return Ok(None);
    }
    if status != Some("ok") {
        let response = response.map_or("", RawValue::get);
        return Err(io::Error::other(format!("the server refused something: {response}")));
    }
    let index = match message_ref {
        None => Some(0),
        Some(message_ref) => {
            let number: u32 = message_ref.parse().map_err(io::Error::other)?;
            in_flight.iter().position(|in_flight: &InFlight| in_flight.message_ref == number)
        }
    };
    let answered = index.and_then(|index| in_flight.remove(index));
    answered.map(Some).ok_or_else(|| io::Error::other(format!("nobody has asked for {text}")))
}
