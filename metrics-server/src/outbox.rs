//! The half of a connection that writes answers, and the queue between it and the half that reads.
//!
//! Both are parts of one task, so a queue is all that is between them: it takes no memory while there are no answers.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics_core::recorder::NotStored;
use tokio::sync::Notify;

use crate::channel::{Pending, Reply};
use crate::phoenix::{Outgoing, Version};

/// How many answers may wait to be written before no more is read.
const OUTBOX_MAX: usize = 32;

/// How many events of one connection may wait to be durable before no more is read.
const PENDING_MAX: usize = 1_024;

/// Takes answers on their way to a client. They are gathered until they are flushed.
pub(crate) trait Sink: Send {
    /// Gathers a text message.
    fn text(&mut self, text: &str);

    /// Gathers the answer to a ping.
    fn pong(&mut self, payload: &[u8]);

    /// Whether gathered answers should be flushed before there are more of them.
    fn is_full(&self) -> bool;

    /// Sends the gathered answers.
    ///
    /// # Errors
    ///
    /// The client is gone, or takes nothing.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Answers that are to be written.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    more: Notify,
    room: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    replies: VecDeque<Reply>,
    // There will be no more.
    closed: bool,
}

impl Outbox {
    /// Waits until there is room for an answer. Cancel safe.
    pub(crate) async fn room(&self) {
        while OUTBOX_MAX <= self.lock().replies.len() {
            self.room.notified().await;
        }
    }

    /// Takes as many of these answers as there is room for, the first of them first.
    pub(crate) fn put(&self, replies: &mut Vec<Reply>) {
        let mut queue = self.lock();
        let room = OUTBOX_MAX.saturating_sub(queue.replies.len()).min(replies.len());
        queue.replies.extend(replies.drain(..room));
        self.more.notify_one();
    }

    /// Says that there will be no more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_one();
    }

    /// Waits for an answer; none will come after `None`. Cancel safe.
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
            self.room.notify_one();
        }
        Some(reply)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the first, and with the last of them the memory that they took.
fn pop<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let first = queue.pop_front();
    if queue.is_empty() {
        *queue = VecDeque::new();
    }
    first
}

/// Writes answers in the order in which they are due, until there will be no more.
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
            stored = first(&mut answers.pending) => answers.settle(stored),
            reply = outbox.next(), if open && answers.has_room() => match reply {
                Some(reply) => answers.take(reply),
                None => open = false,
            },
        }
        // Whatever else is due by now goes with it.
        while !answers.writer.is_full() {
            if let Some(stored) = answers.pending.front().and_then(Pending::settled) {
                answers.settle(stored);
            } else if answers.has_room()
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

/// Waits for the oldest event to be durable; for ever, if there is none. Cancel safe.
async fn first(pending: &mut VecDeque<Pending>) -> Result<(), NotStored> {
    match pending.front_mut() {
        Some(event) => event.durable().await,
        None => std::future::pending().await,
    }
}

/// Answers on their way.
struct Answers<'a, S> {
    writer: &'a mut S,
    version: Version,
    // In the order of what was said.
    pending: VecDeque<Pending>,
    text: String,
}

impl<S: Sink> Answers<'_, S> {
    fn has_room(&self) -> bool {
        self.pending.len() < PENDING_MAX
    }

    fn take(&mut self, reply: Reply) {
        match reply {
            Reply::Durable(event) => self.pending.push_back(event),
            Reply::Now(text) => self.writer.text(&text),
            Reply::Pong(payload) => self.writer.pong(&payload),
        }
    }

    /// Says what became of the oldest event.
    fn settle(&mut self, stored: Result<(), NotStored>) {
        let Some(event) = pop(&mut self.pending) else { return };
        let Self { writer, version, text, .. } = self;
        event.answer(stored, |outgoing: Outgoing<'_>| {
            text.clear();
            outgoing.encode(*version, text);
            writer.text(text);
        });
    }
}
