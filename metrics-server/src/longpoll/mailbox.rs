//! Holds the messages of a long-polling session until the client's next poll, and tracks polls as signs of life.

use std::io;
use std::mem;
use std::time::Duration;

use metrics_core::Metrics;
use metrics_core::budget::Reservation;
use metrics_core::session::Moment;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::connection::SILENCE_MAX;
use crate::outbox::Sink;
use crate::phoenix::{Version, push_json};

/// The time that a poll waits for messages. Phoenix's clients abort a poll after 20 s, and proxies a request after 30 s
/// or more.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// The time that a new session waits for its first poll, which clients send at once.
const FIRST_POLL_MAX: Duration = Duration::from_secs(10);

/// The time that a session waits for the next poll after the client aborted one. The page was closed, or its network is
/// gone, and Phoenix's clients then begin a new session; others may repeat the poll.
const BROKEN_OFF_MAX: Duration = Duration::from_secs(5);

/// The number of message bytes that wait for a poll before the session writes no more: some hundred acknowledgements.
const BYTES_MAX: usize = 16 * 1024;

/// The result of a poll.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Polled {
    /// Messages, as the elements of a JSON array.
    Messages(String),
    /// There are no messages yet.
    Nothing,
    /// There will be no messages: the session is over.
    Gone,
}

/// Messages between a session, which writes them, and the polls of its client, which take them.
#[derive(Debug)]
pub(super) struct Mailbox {
    state: watch::Sender<State>,
}

#[derive(Debug)]
struct State {
    // The elements of a JSON array.
    messages: String,
    // The memory of the session, messages included.
    held: Reservation,
    phase: Phase,
    // The number of the latest poll. Only this poll takes messages: the connections of earlier polls may be closed.
    latest_poll: u64,
    // The client's last sign of life.
    last_contact: Moment,
    // The time at which the client is lost, unless it polls before.
    lost_at: Instant,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Open,
    // The last messages are gathered for one response: the client may get no other.
    Closing,
    Closed,
}

impl Mailbox {
    /// `held` is the memory of the session, without messages.
    pub(super) fn new(last_contact: Moment, held: Reservation) -> Self {
        let lost_at = Instant::now() + FIRST_POLL_MAX;
        let (messages, phase) = (String::new(), Phase::Open);
        let state = State { messages, held, phase, latest_poll: 0, last_contact, lost_at };
        Self { state: watch::Sender::new(state) }
    }

    /// Waits for messages, and takes them. Cancel safe: a dropped poll loses no messages.
    pub(super) async fn poll(&self, metrics: &Metrics) -> Polled {
        let poll = Poll::begin(self, metrics);
        let is_due = |state: &State| {
            state.latest_poll != poll.number
                || match state.phase {
                    Phase::Open => !state.messages.is_empty(),
                    Phase::Closing => false,
                    Phase::Closed => true,
                }
        };
        drop(timeout(HOLD_MAX, self.state.subscribe().wait_for(is_due)).await);
        poll.take()
    }

    /// Records a sign of life of the client.
    pub(super) fn record_contact(&self, last_contact: Moment) {
        self.state.send_modify(|state| state.last_contact = last_contact);
    }

    /// Waits until the client's polls have stopped for too long, and returns its last sign of life. Cancel safe.
    pub(super) async fn lost(&self) -> Moment {
        let mut state = self.state.subscribe();
        loop {
            let State { last_contact, lost_at, .. } = *state.borrow_and_update();
            if lost_at <= Instant::now() {
                return last_contact;
            }
            tokio::select! {
                () = sleep_until(lost_at) => {}
                _ = state.changed() => {}
            }
        }
    }

    /// Gathers all further messages for one response.
    pub(super) fn begin_close(&self) {
        self.state.send_modify(|state| state.phase = Phase::Closing);
    }

    /// Ends the mailbox: the session writes no more messages.
    pub(super) fn close(&self) {
        self.state.send_modify(|state| state.phase = Phase::Closed);
    }

    /// Waits until a poll has taken all messages. Cancel safe.
    pub(super) async fn emptied(&self) {
        drop(self.state.subscribe().wait_for(|state| state.messages.is_empty()).await);
    }
}

/// A poll that waits. The client aborted it, if it is dropped before it took its answer.
struct Poll<'a> {
    mailbox: &'a Mailbox,
    metrics: &'a Metrics,
    number: u64,
    is_answered: bool,
}

impl<'a> Poll<'a> {
    fn begin(mailbox: &'a Mailbox, metrics: &'a Metrics) -> Self {
        let mut number = 0;
        mailbox.state.send_modify(|state| {
            state.latest_poll += 1;
            number = state.latest_poll;
            state.last_contact = metrics.moment();
            state.lost_at = Instant::now() + SILENCE_MAX;
        });
        Self { mailbox, metrics, number, is_answered: false }
    }

    fn take(mut self) -> Polled {
        self.is_answered = true;
        let mut polled = Polled::Nothing;
        self.mailbox.state.send_if_modified(|state| {
            if state.latest_poll != self.number {
                return false;
            }
            state.held.shrink(state.messages.len());
            polled = match (mem::take(&mut state.messages), state.phase) {
                (messages, Phase::Closed) if messages.is_empty() => Polled::Gone,
                (messages, _) if messages.is_empty() => Polled::Nothing,
                (messages, _) => Polled::Messages(messages),
            };
            true
        });
        polled
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        self.mailbox.state.send_if_modified(|state| {
            let is_latest = state.latest_poll == self.number;
            if is_latest {
                state.last_contact = self.metrics.moment();
                state.lost_at = state.lost_at.min(Instant::now() + BROKEN_OFF_MAX);
            }
            is_latest
        });
    }
}

/// Writes the messages of a session to its mailbox, in the format of a version of the serializer.
pub(super) struct Writer<'a> {
    mailbox: &'a Mailbox,
    version: Version,
    gathered: String,
}

impl<'a> Writer<'a> {
    pub(super) fn new(mailbox: &'a Mailbox, version: Version) -> Self {
        Self { mailbox, version, gathered: String::new() }
    }
}

impl Sink for Writer<'_> {
    fn text(&mut self, text: &str) {
        if !self.gathered.is_empty() {
            self.gathered.push(',');
        }
        match self.version {
            // The only client of this version, of Phoenix 1.2, encodes the messages as texts itself.
            Version::V1 => self.gathered.push_str(text),
            Version::V2 => push_json(&mut self.gathered, text),
        }
    }

    /// Clients send no pings over HTTP.
    fn pong(&mut self, _: &[u8]) {}

    fn is_full(&self) -> bool {
        BYTES_MAX <= self.gathered.len()
    }

    /// Puts the gathered messages into the mailbox, once a poll has freed space for them. Never fails.
    async fn flush(&mut self) -> io::Result<()> {
        let state = &self.mailbox.state;
        let has_space =
            |state: &State| state.messages.len() < BYTES_MAX || state.phase != Phase::Open;
        drop(state.subscribe().wait_for(has_space).await);
        let gathered = mem::take(&mut self.gathered);
        state.send_modify(|state| {
            let before = state.messages.len();
            match &mut state.messages {
                messages if messages.is_empty() => *messages = gathered,
                messages if !gathered.is_empty() => {
                    messages.push(',');
                    messages.push_str(&gathered);
                }
                _ => {}
            }
            // The messages answer frames that were read already, and are few: no more is read before a poll has taken
            // them.
            state.held.charge(state.messages.len() - before);
        });
        Ok(())
    }
}
