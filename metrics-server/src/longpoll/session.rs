//! Runs one session from start to end: a task that acts on the posts of the client, until it stops polling or the
//! server stops.
//!
//! As on a websocket, answers are written while more is posted; see `connection.rs` and `outbox.rs`.

use std::pin::pin;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use metrics_core::Metrics;
use metrics_core::budget::Reservation;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::mailbox::{Mailbox, Writer};
use crate::body::CompleteBody;
use crate::channel::{Channels, ConnectionInfo};
use crate::code::Code;
use crate::connection::{
    Budget, Close, Connection, GOING_AWAY, Input, LINGER_MAX, UNJOINED, UNJOINED_MAX,
};
use crate::frames::ReadError;
use crate::outbox::{Outbox, write_all};
use crate::phoenix::{MESSAGE_BYTES_MAX, Version};
use crate::wire::Refusal;

/// The most posts that wait in a session. Further ones wait to enter the queue, each with its own connection.
const POSTS_MAX: usize = 1;

/// The messages of one request.
pub(super) struct Post {
    pub(super) body: CompleteBody,
    /// Whether each line of the body is a message, or all of it is one.
    pub(super) has_lines: bool,
    /// Receives the outcome: all messages were acted upon, or else the reason why the session ends.
    pub(super) outcome: oneshot::Sender<Result<(), Refusal>>,
}

/// The part of a session that its task shares with the requests of its client.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) mailbox: Mailbox,
    // Boxed: the queue reserves memory for many at once.
    pub(super) posts: mpsc::Sender<Box<Post>>,
}

impl Session {
    /// Creates a session without a task, and the receiver of its posts.
    ///
    /// `held` is the memory of the session, and grows by the waiting messages.
    pub(super) fn new(
        metrics: &Metrics,
        held: Reservation,
    ) -> (Arc<Self>, mpsc::Receiver<Box<Post>>) {
        let (posts, receiver) = mpsc::channel(POSTS_MAX);
        (Arc::new(Self { mailbox: Mailbox::new(metrics.moment(), held), posts }), receiver)
    }

    /// Runs until the client or the server ends it.
    pub(super) async fn run(
        &self,
        mut posts: mpsc::Receiver<Box<Post>>,
        metrics: &Metrics,
        version: Version,
        info: Arc<ConnectionInfo>,
        stopping: &CancellationToken,
    ) {
        let outbox = Outbox::default();
        let channels = Channels::new(metrics.clone(), version, info);
        let mut connection = Connection::new(channels, metrics.key_changes(), &outbox, stopping);
        let mut writer = Writer::new(&self.mailbox, version);
        let mut writing = pin!(write_all(&mut writer, version, &outbox));
        let lost = tokio::select! {
            biased;
            close = act_on_all(&mut posts, metrics, &mut connection) => {
                tracing::debug!(code = close.code, reason = close.reason, "closing a session");
                None
            }
            last_contact = self.mailbox.lost() => Some(last_contact),
            // A mailbox accepts all messages, so that writing ends no sooner than the outbox is closed.
            _ = &mut writing => Some(metrics.moment()),
        };
        // The store's writer needs no caller to wait for it.
        drop(connection.channels.lose(lost.unwrap_or_else(|| metrics.moment())));
        // Posts that wait are answered at once: none of them was acted upon.
        drop(posts);
        if lost.is_none() {
            // The response to the pending poll may be the last that the client receives, and waits for all messages.
            self.mailbox.begin_close();
            outbox.close();
            tokio::select! {
                _ = &mut writing => {}
                // The session ends with its client, even while the store is unavailable.
                _ = self.mailbox.lost() => {}
            }
        }
        self.mailbox.close();
        if lost.is_none() {
            drop(timeout(LINGER_MAX, self.mailbox.emptied()).await);
        }
    }
}

/// Acts on posts until there is a reason to close.
async fn act_on_all(
    posts: &mut mpsc::Receiver<Box<Post>>,
    metrics: &Metrics,
    connection: &mut Connection<'_>,
) -> Close {
    let mut budget = Budget::default();
    // The deadline for a session without a joined topic; polls do not extend it.
    let mut unjoined_at = Instant::now() + UNJOINED_MAX;
    loop {
        let late = connection.channels.is_empty().then_some(unjoined_at);
        let post = match connection.until(late, pin!(posts.recv())).await {
            Ok(Some(Some(post))) => *post,
            // The running session holds a sender.
            Ok(Some(None)) => continue,
            Ok(None) if connection.channels.is_empty() => {
                return Close::new(GOING_AWAY, &UNJOINED, Code::SessionOver);
            }
            Ok(None) => continue,
            Err(close) => return close,
        };
        let Post { body, has_lines, outcome } = post;
        // Boxed: most sessions wait most of the time.
        let acted = Box::pin(act_on(&body, has_lines, metrics, connection, &mut budget)).await;
        // A client that has disconnected does not change the outcome.
        let outcome_copy = acted.as_ref().copied();
        drop(outcome.send(outcome_copy.map_err(|it| Refusal::new(it.refusal, it.reason.clone()))));
        if let Err(close) = acted {
            return close;
        }
        if !connection.channels.is_empty() {
            unjoined_at = Instant::now() + UNJOINED_MAX;
        }
    }
}

/// Acts on the messages of one request, one after the other.
async fn act_on(
    body: &[u8],
    has_lines: bool,
    metrics: &Metrics,
    connection: &mut Connection<'_>,
    budget: &mut Budget,
) -> Result<(), Close> {
    let version = connection.channels.version();
    let body = str::from_utf8(body).map_err(|_| ReadError::NotUtf8)?;
    let messages = body.split(|character| has_lines && character == '\n');
    for message in messages.filter(|message| !message.is_empty()) {
        connection.until(None, pin!(metrics.ready())).await?;
        if MESSAGE_BYTES_MAX < message.len() {
            return Err(ReadError::TooLarge.into());
        }
        let binary = decode_binary(version, message);
        let input = match &binary {
            Some(bytes) => Input::binary(version, bytes)?,
            None => Input::text(version, message)?,
        };
        connection.act(input, budget).await?;
    }
    Ok(())
}

/// The binary message that a client sends as Base64, if it is one.
fn decode_binary(version: Version, message: &str) -> Option<Vec<u8>> {
    let is_text = version == Version::V1 || message.starts_with('[');
    if is_text { None } else { BASE64_STANDARD.decode(message).ok() }
}
