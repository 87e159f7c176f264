//! The half of a socket that answers, and what the other half has for it.
//!
//! Both are parts of one task, so a queue is all that is between them: it takes no memory while there is nothing to say.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics_core::recorder::NotStored;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::channel::{Pending, Reply};
use crate::frames::Writer;
use crate::patience::WRITE_MAX;
use crate::phoenix::{Outgoing, Version};

/// How many answers may wait to be written before no more is read.
const OUTBOX_MAX: usize = 32;

/// How many events of one socket may wait to be durable before no more is read.
const PENDING_MAX: usize = 1_024;

/// Answers that are to be written.
#[derive(Debug, Default)]
pub(super) struct Outbox {
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
    pub(super) async fn room(&self) {
        while OUTBOX_MAX <= self.lock().replies.len() {
            self.room.notified().await;
        }
    }

    /// Takes as many of these answers as there is room for, the first of them first.
    pub(super) fn put(&self, replies: &mut Vec<Reply>) {
        let mut queue = self.lock();
        let room = OUTBOX_MAX.saturating_sub(queue.replies.len()).min(replies.len());
        queue.replies.extend(replies.drain(..room));
        self.more.notify_one();
    }

    /// Says that there will be no more.
    pub(super) fn close(&self) {
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
pub(super) async fn write_all(
    writer: &mut Writer<impl AsyncWrite + Unpin>,
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
        let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
        timeout(WRITE_MAX, answers.writer.flush()).await.map_err(slow)??;
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
struct Answers<'a, W> {
    writer: &'a mut Writer<W>,
    version: Version,
    // In the order of what was said.
    pending: VecDeque<Pending>,
    text: String,
}

impl<W: AsyncWrite + Unpin> Answers<'_, W> {
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
