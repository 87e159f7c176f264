//! The server's end of a connection to a client, over a websocket or over long polling: acts on input within its
//! limits, and meanwhile watches for revoked keys and for the stop of the server.

use std::future::pending;
use std::pin::{Pin, pin};
use std::time::Duration;

use metrics_core::KeyChanges;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::channel::{Channels, Reply};
use crate::code::Code;
use crate::frames::ReadError;
use crate::outbox::Outbox;
use crate::phoenix::{BinaryPush, DecodeError, Message, Version};
use crate::rate::{Bucket, Rate};

/// The longest time without input. Heartbeats come every 30 s, and polls follow one another.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The longest time without a joined topic. Clients join as soon as they are connected.
pub(crate) const UNJOINED_MAX: Duration = Duration::from_secs(30);

/// The reason that a client receives if it joins nothing.
pub(crate) const UNJOINED: &str = "no topic was joined in time";

/// The longest time in which a client may receive the end of a connection: a round trip over a bad network.
pub(crate) const LINGER_MAX: Duration = Duration::from_secs(1);

/// The rate limit of messages of a connection, of any kind. A player sends a few a second when its viewer seeks about.
/// A client that was offline sends all its kept events at once: the burst covers hours of them. Excess is read later.
const MESSAGES: Rate = Rate { burst: 4_096, every: Duration::from_millis(10) };

/// The rate limit of joins of a connection: a page with all its videos, and again after each loss of the network. Each
/// join costs a read of the store.
const JOINS: Rate = Rate { burst: 256, every: Duration::from_millis(100) };

/// The close code of a connection that ends normally.
pub(crate) const NORMAL: u16 = 1000;

/// The close code of a connection that the server ends early. Phoenix's clients reconnect after it, unlike after 1000.
pub(crate) const GOING_AWAY: u16 = 1001;

/// How a connection ends.
#[derive(Debug)]
pub(crate) struct Close {
    /// A code of RFC 6455, section 7.4. `None`: the connection is gone.
    pub(crate) code: Option<u16>,
    /// The reason, for the client.
    pub(crate) reason: String,
    /// The code of the reason, which only answers to long polling have.
    pub(crate) refusal: Code,
}

impl Close {
    pub(crate) fn new(code: u16, reason: &impl ToString, refusal: Code) -> Self {
        Self { code: Some(code), reason: reason.to_string(), refusal }
    }
}

impl From<DecodeError> for Close {
    fn from(err: DecodeError) -> Self {
        Self::new(err.close_code(), &err, err.into())
    }
}

impl From<ReadError> for Close {
    fn from(err: ReadError) -> Self {
        Self { code: err.close_code(), reason: err.to_string(), refusal: Code::from(&err) }
    }
}

/// One input from a client.
pub(crate) enum Input<'a> {
    Message(Message<'a>),
    Push(BinaryPush<'a>),
    Ping(&'a [u8]),
    Nothing,
    Close(Option<u16>),
}

impl<'a> Input<'a> {
    /// Decodes a text message.
    pub(crate) fn text(version: Version, text: &'a str) -> Result<Self, Close> {
        Ok(Self::Message(Message::decode(version, text)?))
    }

    /// Decodes a binary message.
    pub(crate) fn binary(version: Version, bytes: &'a [u8]) -> Result<Self, Close> {
        Ok(Self::Push(BinaryPush::decode(version, bytes)?))
    }
}

/// The budget for the input of one connection.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    messages: Bucket,
    joins: Bucket,
}

impl Budget {
    /// Charges the budget for an input, and returns the moment from which it may be acted upon. No more is read before.
    fn take(&mut self, input: &Input<'_>, now: Instant) -> Instant {
        let at = self.messages.take(MESSAGES, now);
        match input {
            Input::Message(message) if message.is_join() => at.max(self.joins.take(JOINS, now)),
            _ => at,
        }
    }
}

/// The server's end of a connection.
pub(crate) struct Connection<'a> {
    pub(crate) channels: Channels,
    keys: KeyChanges,
    outbox: &'a Outbox,
    stopping: &'a CancellationToken,
    // Replies on their way to the outbox; empty, and without memory, in between.
    replies: Vec<Reply>,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(
        channels: Channels,
        keys: KeyChanges,
        outbox: &'a Outbox,
        stopping: &'a CancellationToken,
    ) -> Self {
        Self { channels, keys, outbox, stopping, replies: Vec::new() }
    }

    /// Acts on an input, once the budget allows it.
    ///
    /// A function of its own, so that a connection that waits for input holds no memory for acting on it.
    pub(crate) async fn act(&mut self, input: Input<'_>, budget: &mut Budget) -> Result<(), Close> {
        let now = Instant::now();
        let allowed_at = budget.take(&input, now);
        if now < allowed_at
            // Boxed: hardly any connection ever exceeds its budget.
            && let Err(close) = Box::pin(self.until(Some(allowed_at), pin!(pending::<()>()))).await
            // Input that was read is handled to its end, also when the server stops meanwhile.
            && close.code.is_none()
        {
            return Err(close);
        }
        match input {
            Input::Message(ref message) => self.channels.handle(message, &mut self.replies).await,
            Input::Push(ref push) => self.channels.refuse(push, &mut self.replies),
            Input::Ping(payload) => self.replies.push(Reply::Pong(payload.to_vec())),
            Input::Nothing => {}
            Input::Close(code) => {
                return Err(Close::new(code.unwrap_or(NORMAL), &"", Code::SessionOver));
            }
        }
        self.forward().await;
        Ok(())
    }

    /// Waits for a future, until the moment at the latest. Revokes channels and reacts to a stop meanwhile.
    ///
    /// Takes the future pinned: by value, this future would hold it twice, in every connection all the time.
    pub(crate) async fn until<T>(
        &mut self,
        moment: Option<Instant>,
        mut future: Pin<&mut impl Future<Output = T>>,
    ) -> Result<Option<T>, Close> {
        let mut late = pin!(sleep_until(moment.unwrap_or_else(Instant::now)));
        loop {
            // A ready future comes first. A client that sends without a pause soon has to wait for its budget, and the
            // other branches get their turn then.
            tokio::select! {
                biased;
                output = &mut future => return Ok(Some(output)),
                () = self.keys.changed() => {
                    self.channels.revoke(&self.keys, &mut self.replies);
                    self.forward().await;
                }
                () = &mut late, if moment.is_some() => return Ok(None),
                () = self.stopping.cancelled() => {
                    return Err(Close::new(GOING_AWAY, &"the server stops", Code::Stopping));
                }
            }
        }
    }

    /// Hands replies to the write half.
    async fn forward(&mut self) {
        while !self.replies.is_empty() {
            self.outbox.wait_for_space().await;
            self.outbox.push(&mut self.replies);
        }
        self.replies = Vec::new();
    }
}
