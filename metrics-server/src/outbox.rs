//! The writing half of a connection, and the queue of answers from the reading half.
//!
//! Both halves run in one task, so this queue suffices between them: it uses no memory while it is empty.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics_core::recorder::NotStored;
use tokio::sync::Notify;

use crate::channel::{Pending, Reply};
use crate::phoenix::{Outgoing, Version};

/// The number of answers that may wait to be written before the connection reads no more.
const OUTBOX_MAX: usize = 32;

/// The number of events of one connection that may wait to be durable before the connection reads no more.
const PENDING_MAX: usize = 1_024;

/// Sends answers to a client. Answers are gathered until they are flushed.
pub(crate) trait Sink: Send {
    /// Gathers a text message.
    fn text(&mut self, text: &str);

    /// Gathers the answer to a ping.
    fn pong(&mut self, payload: &[u8]);

    /// Whether the gathered answers should be flushed before more are gathered.
    fn is_full(&self) -> bool;

    /// Sends the gathered answers.
    ///
    /// # Errors
    ///
    /// The client is gone, or reads nothing.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Answers that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    more: Notify,
    space: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    replies: VecDeque<Reply>,
    // No more answers follow.
    closed: bool,
}

impl Outbox {
    /// Waits until there is space for an answer. Cancel safe.
    pub(crate) async fn wait_for_space(&self) {
        while OUTBOX_MAX <= self.lock().replies.len() {
            self.space.notified().await;
        }
    }

    /// Takes as many of `replies` as fit, in their order.
    pub(crate) fn push(&self, replies: &mut Vec<Reply>) {
        let mut queue = self.lock();
        let space = OUTBOX_MAX.saturating_sub(queue.replies.len()).min(replies.len());
        queue.replies.extend(replies.drain(..space));
        self.more.notify_one();
    }

    /// Closes the queue: no more answers follow.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_one();
    }

    /// Waits for an answer. Returns `None` once the queue is closed and empty. Cancel safe.
    async fn next(&self) -> Option<Reply> {
        loop {
            if let Some(reply) = self.take() {
                return Some(reply);
            }
            if self.lock().closed {
                return None;
            }
            self.more.notified().await;
        }
    }

    /// Takes an answer, if there is one.
    fn take(&self) -> Option<Reply> {
        let mut queue = self.lock();
        let reply = pop(&mut queue.replies)?;
        if queue.replies.len() + 1 == OUTBOX_MAX {
            self.space.notify_one();
        }
        Some(reply)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the first element. With the last element, frees the memory of the queue.
fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front();
    if queue.is_empty() {
        *queue = VecDeque::new();
    }
    first
}

/// Writes answers in the order in which they become due, until the queue is closed and all events are answered.
pub(crate) async fn write_all(
    writer: &mut impl Sink,
    version: Version,
    outbox: &Outbox,
) -> io::Result<()> {
    let mut open = true;
    let mut answers = Answers { writer, version, pending: VecDeque::new(), text: String::new() };
    while open || !answers.pending.is_empty() {
        tokio::select! {
            biased;
            stored = first(&mut answers.pending) => answers.reply(stored),
            reply = outbox.next(), if open && answers.has_space() => match reply {
                Some(reply) => answers.take(reply),
                None => open = false,
            },
        }
        // Writes all other answers that are due by now in the same flush.
        while !answers.writer.is_full() {
            if let Some(stored) = answers.pending.front().and_then(Pending::resolved) {
                answers.reply(stored);
            } else if answers.has_space()
                && let Some(reply) = outbox.take()
            {
                answers.take(reply);
            } else {
                break;
            }
        }
        answers.writer.flush().await?;
        answers.text = String::new();
    }
    Ok(())
}

/// Waits until the oldest event is durable; forever, if there is none. Cancel safe.
async fn first(pending: &mut VecDeque<Pending>) -> Result<(), NotStored> {
    match pending.front_mut() {
        Some(event) => event.durable().await,
        None => std::future::pending().await,
    }
}

/// Answers on their way to the client.
struct Answers<'a, S> {
    writer: &'a mut S,
    version: Version,
    // In the order in which the events arrived.
    pending: VecDeque<Pending>,
    text: String,
}

impl<S: Sink> Answers<'_, S> {
    fn has_space(&self) -> bool {
        self.pending.len() < PENDING_MAX
    }

    fn take(&mut self, reply: Reply) {
        match reply {
            Reply::Durable(event) => self.pending.push_back(event),
            Reply::Now(text) => self.writer.text(&text),
            Reply::Pong(payload) => self.writer.pong(&payload),
        }
    }

    /// Answers the oldest event.
    fn reply(&mut self, stored: Result<(), NotStored>) {
        let Some(event) = pop(&mut self.pending) else { return };
        let Self { writer, version, text, .. } = self;
        event.answer(stored, |outgoing: Outgoing<'_>| {
            text.clear();
            outgoing.encode(*version, text);
            writer.text(text);
        });
    }
}
