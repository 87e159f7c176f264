//! Answers: made and written off the threads that serve, a piece at a time, within one budget of memory.
//!
//! A report holds a [`Permit`] while it is made: several reports are made at once. As many of them fold as there are
//! processors for it, while the others wait for the store. Then the rows of a report are folded, and become text only
//! as fast as the client reads: a piece is made when the one before was taken, and needs a processor for a millisecond.
//! A client that does not read holds no processor, only the bytes of the rows, which are accounted until the answer is
//! gone; and not for longer than [`READ_TIMEOUTS`]. All answers of one caller hold at most half of the budget, so that
//! a caller who does not read cannot block the reports of others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use metrics_core::budget::{Account, Budget, UsedUp};
use metrics_core::compute::{compute, expect_aside, is_aside, parallelism};
use metrics_core::store;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::error::Error;
use crate::queue::{Flow, Permit, Queue};
use crate::response::{Body, Cut, ReadTimeouts, Step};

/// The fewest bytes that an answer holds, which bounds the number of answers.
const ANSWER_BYTES_MIN: usize = 16 * 1024;

/// The approximate size of a piece in bytes: enough that little of the time goes into handing it on.
const PIECE_BYTES: usize = 64 * 1024;

/// Rows of at least this many bytes take longer to drop than to hand on to another thread.
const ASIDE_BYTES_MIN: usize = 256 * 1024;

/// The timeout of a report. The store itself gives up on one after 30 s, but it may have to finish others first.
const REPORT_MAX: Duration = Duration::from_secs(60);

/// How long a report waits for the others.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The longest time in which a client may read an answer: 40 MB, the largest, at 350 kbit/s. A connection takes some
/// pieces at once, so it may be a while before it takes the next one.
const READ_TIMEOUTS: ReadTimeouts =
    ReadTimeouts { piece: Duration::from_secs(120), all: Duration::from_secs(900) };

/// The fewest reports that are made at once: most of them wait for the store, which may be far away. A TimescaleDB
/// store has six connections for them by default, and sessions that go on need one as well.
const PERMITS_MIN: usize = 4;

/// All answers of one flow take at most the budget divided by this.
const FLOW_PART: usize = 2;

/// Lists of keys take about the budget of all answers divided by this, in addition to it.
const LISTS_PART: usize = 8;

/// Gives up on a report that takes too long.
pub(crate) async fn within_time<T>(
    answering: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(REPORT_MAX, answering).await.unwrap_or(Err(Error::TooLong))
}

/// The state that all answers of a service share.
pub(crate) struct Answers {
    budget: Budget,
    // The budget of each flow whose answers hold something.
    flows: Mutex<HashMap<Flow, Budget>>,
    // A budget that other answers cannot use up: an operator who revokes a key during a flood needs the list.
    lists: Budget,
    queue: Queue,
}

impl Answers {
    /// All answers together hold at most this budget: those that are made, and those that are not read yet.
    pub(crate) fn within(budget: Budget) -> Self {
        let lists = Budget::new(budget.max() / LISTS_PART);
        let queue = Queue::new(PERMITS_MIN.max(parallelism() + 1));
        Self { budget, flows: Mutex::default(), lists, queue }
    }

    /// Waits until a report may be made.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyReports`] if too many reports wait, [`Error::UsedUp`] if too many answers are not read.
    pub(crate) async fn admit(&self, flow: Flow) -> Result<Making, Error> {
        let permit = self.queue.enter(flow.clone(), WAIT_MAX).await?;
        Ok(Making { permit: Some(permit), ..self.admit_now(flow)? })
    }

    /// Begins an answer that has a permit of another kind, or costs next to nothing to make.
    ///
    /// # Errors
    ///
    /// [`Error::UsedUp`] if too many answers are not read.
    pub(crate) fn admit_now(&self, flow: Flow) -> Result<Making, Error> {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it grows, so that it costs little.
        if flows.len() == flows.capacity() {
            flows.retain(|_, held| 0 < held.used());
        }
        let part = || self.budget.part(self.budget.max() / FLOW_PART);
        let budget = flows.entry(flow).or_insert_with(part).clone();
        let account = Account::new(&budget);
        // Under the lock: a flow that holds nothing may be dropped.
        account.hold(ANSWER_BYTES_MIN)?;
        Ok(Making { account, budget, permit: None })
    }

    /// Makes an answer that lists keys. Unread reports do not block it.
    ///
    /// # Errors
    ///
    /// [`Error::UsedUp`] if too many such lists are not read.
    pub(crate) async fn list(&self, text: Text) -> Result<Body, Error> {
        if self.lists.is_used_up() {
            return Err(UsedUp::ByAll.into());
        }
        let account = Account::new(&self.lists);
        // A list of any length is charged: there is no other way to get it.
        account.charge(text.bytes.saturating_add(ANSWER_BYTES_MIN));
        Making { account, budget: self.lists.clone(), permit: None }.body(text).await
    }
}

/// A report that is being made.
pub(crate) struct Making {
    /// The account of its memory.
    pub(crate) account: Account,
    /// The budget of the caller.
    pub(crate) budget: Budget,
    permit: Option<Permit>,
}

impl Making {
    /// Makes the first piece of an answer, and a body of it and the others.
    ///
    /// # Errors
    ///
    /// [`Error::UsedUp`] if there is no memory for its rows.
    pub(crate) async fn body(self, text: Text) -> Result<Body, Error> {
        let Self { account, budget, permit } = self;
        account.hold(text.bytes.saturating_add(ANSWER_BYTES_MIN))?;
        let (first, text) = compute(move || text.piece()).await.map_err(store::Error::from)?;
        drop(permit);
        let bytes = first?;
        let Some(text) = text else {
            account.hold(ANSWER_BYTES_MIN.max(bytes.len()))?;
            return Ok(Body::from(Bytes::from_owner(Piece { bytes, _held: account })));
        };
        let first = charged(&budget, bytes);
        let rest = Sending { text, account, budget };
        let step = Step(Box::pin(async { Ok(Some((first, rest.next()))) }));
        Ok(Body::pieces(step, READ_TIMEOUTS))
    }
}

/// An answer whose first piece was made.
struct Sending {
    text: Text,
    account: Account,
    budget: Budget,
}

impl Sending {
    fn next(self) -> Step {
        Step(Box::pin(async move {
            let Self { text, account, budget } = self;
            let (piece, text) =
                compute(move || text.piece()).await.map_err(|err| Cut::because(&err))?;
            let bytes = piece.map_err(|err| Cut::because(&err))?;
            let piece = charged(&budget, bytes);
            let Some(text) = text else {
                let end = Step(Box::pin(async { Ok(None) }));
                return Ok((!piece.is_empty()).then_some((piece, end)));
            };
            Ok(Some((piece, Self { text, account, budget }.next())))
        }))
    }
}

/// Bytes that are accounted until they are sent.
struct Piece<B, Held> {
    bytes: B,
    _held: Held,
}

impl<B: AsRef<[u8]>, Held> AsRef<[u8]> for Piece<B, Held> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// A piece that is made already, and counts in `budget` until it is sent, even if that exceeds the budget.
pub(crate) fn charged(budget: &Budget, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
    let held = budget.charge(bytes.as_ref().len());
    Bytes::from_owner(Piece { bytes, _held: held })
}

/// Appends a part of a text, a few rows at most, and returns whether there is more.
type Write = Box<dyn FnMut(&mut Vec<u8>) -> Result<bool, store::Error> + Send>;

/// A text that is written a piece at a time.
pub(crate) struct Text {
    // The bytes that the rows hold.
    bytes: usize,
    write: Write,
}

impl Text {
    /// Creates a text that `write` writes, which holds `bytes`.
    pub(crate) fn new(
        bytes: usize,
        write: impl FnMut(&mut Vec<u8>) -> Result<bool, store::Error> + Send + 'static,
    ) -> Self {
        Self { bytes, write: Box::new(write) }
    }

    /// A small JSON value.
    pub(crate) fn json(value: impl Serialize + Send + 'static) -> Self {
        Self::new(0, move |out| {
            append_json(out, &value);
            Ok(false)
        })
    }

    /// A JSON object whose first member, `name`, is an array of `rows` that hold about `bytes`; then come the members
    /// of the object `rest`.
    pub(crate) fn list<Row: Serialize>(
        name: &'static str,
        bytes: usize,
        rows: impl Iterator<Item = Row> + Send + 'static,
        rest: impl Serialize + Send + 'static,
    ) -> Self {
        let mut is_first = true;
        let write = move |row: &Row, out: &mut Vec<u8>, _| {
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            append_json(out, row);
        };
        Self::fragments(name, bytes, rows, write, rest)
    }

    /// Like `list`, but `write` appends each row, or a part of one, with the commas between them. It
    /// receives the preceding byte.
    pub(crate) fn fragments<Row>(
        name: &'static str,
        bytes: usize,
        mut rows: impl Iterator<Item = Row> + Send + 'static,
        mut write: impl FnMut(&Row, &mut Vec<u8>, u8) + Send + 'static,
        rest: impl Serialize + Send + 'static,
    ) -> Self {
        let mut last = None;
        Self::new(bytes, move |out| {
            let before = last.unwrap_or_else(|| {
                out.extend_from_slice(format!("{{\"{name}\":[").as_bytes());
                b'['
            });
            if let Some(row) = rows.next() {
                write(&row, out, before);
                last = out.last().copied();
                return Ok(true);
            }
            out.push(b']');
            let mut members = Vec::new();
            append_json(&mut members, &rest);
            match members.strip_prefix(b"{").filter(|members| *members != b"}") {
                Some(members) => {
                    out.push(b',');
                    out.extend_from_slice(members);
                }
                None => out.push(b'}'),
            }
            Ok(false)
        })
    }

    /// Writes the next piece, and returns `None` after the last.
    fn piece(mut self) -> (Result<Vec<u8>, store::Error>, Option<Self>) {
        expect_aside();
        let mut out = Vec::new();
        while out.len() < PIECE_BYTES {
            match (self.write)(&mut out) {
                Ok(true) => {}
                Ok(false) => return (Ok(out), None),
                Err(err) => return (Err(err), None),
            }
        }
        (Ok(out), Some(self))
    }

    /// Writes the next piece on a thread that may block, if there is one.
    pub(crate) async fn next(text: &mut Option<Self>) -> Result<Option<Bytes>, store::Error> {
        let Some(taken) = text.take() else { return Ok(None) };
        let (piece, rest) = compute(move || taken.piece()).await?;
        *text = rest;
        Ok(Some(piece?.into()))
    }
}

impl Drop for Text {
    /// Millions of rows take long to drop: unwritten rows are dropped off the threads that serve.
    fn drop(&mut self) {
        if self.bytes < ASIDE_BYTES_MIN || is_aside() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let rows = std::mem::replace(&mut self.write, Box::new(|_| Ok(false)));
        drop(runtime.spawn_blocking(move || drop(rows)));
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({} bytes)", self.bytes)
    }
}

/// Appends a value as JSON. Encoding into memory cannot fail: all keys of maps are texts.
pub(crate) fn append_json(out: &mut Vec<u8>, value: &impl Serialize) {
    let before = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

/// An object without members, to follow an array.
#[derive(Serialize)]
pub(crate) struct Nothing {}

#[cfg(test)]
mod tests;
