//! A session as a store keeps it, and back.
//!
//! What every report needs are columns of their own; what only this session needs to go on (an open segment,
//! the events it has seen, who wrote it) is one opaque column, `resume`.

use super::fingerprint::Seen;
use super::playhead::{Playhead, Run};
use super::told::Told;
use super::{Counters, Moment, Reach, Session};
use crate::interval::Segments;
use crate::varint::{self, Damaged, Reader, unzigzag, zigzag};

/// How many writers of one session are remembered: those that wrote last. A write of unknown outcome may count
/// twice if four other instances write the same session before it is found out.
const WRITERS_MAX: usize = 4;

/// The layout of `resume`. Rows of an older layout are read for ever; one that is newer is refused.
const LAYOUT: u8 = 1;

/// What a store keeps of a session, beside whose it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// When the first `play` arrived, in Unix milliseconds.
    pub started_at_ms: i64,
    /// When the last event arrived, in Unix milliseconds.
    pub last_event_at_ms: i64,
    /// How long the video is, in milliseconds.
    pub duration_ms: Option<u32>,
    /// The view time, in milliseconds.
    pub view_ms: u64,
    /// The unique view time, in milliseconds.
    pub unique_ms: u64,
    /// All segments, as [`Segments::encode`] writes them. A segment that is open ends where it is known to
    /// have run.
    pub segments: Vec<u8>,
    /// The counters.
    pub counters: Counters,
    /// What the session needs to go on. Opaque.
    pub resume: Vec<u8>,
}

impl Stored {
    /// A session that was recorded elsewhere and is over: nothing is open in it, and no event of it was seen here.
    ///
    /// It has no counters, and its view times are those of `segments`. Times are Unix milliseconds, the duration is
    /// milliseconds of video.
    ///
    /// ```
    /// use metrics_core::interval::{Interval, Segments};
    /// use metrics_core::session::{Session, Stored};
    ///
    /// let segments: Segments = Interval::new(0, 12_500).into_iter().collect();
    /// let stored = Stored::finished(1_700_000_000_000, 1_700_000_013_000, None, &segments);
    /// assert_eq!((stored.view_ms, stored.unique_ms), (12_500, 12_500));
    /// assert!(!Session::load(&stored)?.viewing());
    /// # Ok::<(), metrics_core::Damaged>(())
    /// ```
    #[must_use]
    pub fn finished(
        started_at_ms: i64,
        last_event_at_ms: i64,
        duration_ms: Option<u32>,
        segments: &Segments,
    ) -> Self {
        Self {
            started_at_ms,
            last_event_at_ms,
            duration_ms,
            view_ms: segments.len_ms(),
            unique_ms: segments.union().len_ms(),
            segments: segments.encode(),
            counters: Counters::default(),
            resume: over(),
        }
    }

    /// What is left when the session cannot go on any more: all but what it would need for that.
    #[must_use]
    pub fn settled(mut self) -> Self {
        self.resume = over();
        self
    }
}

/// The `resume` of a session that is over: nothing is open in it, no event of it is remembered.
pub(crate) fn over() -> Vec<u8> {
    let mut resume = vec![LAYOUT];
    put_run(&mut resume, None, 0);
    Writers::default().put(&mut resume);
    Seen::default().put(&mut resume);
    resume
}

/// How many inputs each recorder has put into a session.
///
/// After a write whose outcome is unknown, or that another recorder overtook, this says which inputs are in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Writers {
    // The one that wrote last comes last.
    counts: Vec<(u32, u32)>,
}

impl Session {
    /// What a store is to keep, with an open segment as far as `reach` says it has run.
    #[must_use]
    pub fn store(&self, reach: Reach) -> Stored {
        let mut segments = self.settled.clone();
        let mut counters = self.counters.clone();
        let playhead = self.replay(&mut segments, &mut counters);
        let reached = self.reached(reach);
        segments.extend(playhead.running(reached, self.duration_ms));
        let mut resume = vec![LAYOUT];
        put_run(&mut resume, playhead.run(reached), self.started_at_ms);
        self.writers.put(&mut resume);
        self.seen.put(&mut resume);
        Stored {
            started_at_ms: self.started_at_ms,
            last_event_at_ms: self.last_event_at_ms,
            duration_ms: self.duration_ms,
            view_ms: segments.len_ms(),
            unique_ms: segments.union().len_ms(),
            segments: segments.encode(),
            counters,
            resume,
        }
    }

    /// The session that a store kept. A segment that was open counts as cut off until
    /// [`resume`](Self::resume) says that its viewer is back.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if it is nothing that [`store`](Self::store) made.
    pub fn load(stored: &Stored) -> Result<Self, Damaged> {
        let mut settled = Segments::decode(&stored.segments)?;
        let mut reader = Reader::new(&stored.resume);
        if reader.byte()? != LAYOUT {
            return Err(Damaged("it was written by a newer version"));
        }
        let run = take_run(&mut reader, stored.started_at_ms)?;
        let playhead = run.map_or_else(Playhead::default, Playhead::after);
        let running = run
            .and_then(|run| playhead.running(Moment::received(run.until_ms), stored.duration_ms));
        if running.is_some_and(|running| !settled.remove(running)) {
            return Err(Damaged("the open segment is not among the segments"));
        }
        Ok(Self {
            started_at_ms: stored.started_at_ms,
            last_event_at_ms: stored.last_event_at_ms,
            duration_ms: stored.duration_ms,
            settled,
            counters: stored.counters.clone(),
            playhead,
            recent: Vec::new(),
            startup: None,
            told: Told::default(),
            writers: Writers::take(&mut reader)?,
            seen: Seen::take(&mut reader)?,
        })
    }

    /// When the viewer's connection was lost by the server's clock, if a segment was open then.
    #[cfg(feature = "recorder")]
    pub(crate) fn lost_at_ms(&self) -> Option<i64> {
        self.standing().lost_at_ms()
    }

    /// Notes that the recorder `writer` put one more input into the session.
    pub fn count_input(&mut self, writer: u32) {
        self.writers.count(writer);
    }

    /// How many inputs of the recorder `writer` are in the session.
    #[must_use]
    pub fn inputs_of(&self, writer: u32) -> u32 {
        self.writers
            .counts
            .iter()
            .find(|(known, _)| *known == writer)
            .map_or(0, |(_, count)| *count)
    }
}

fn put_run(out: &mut Vec<u8>, run: Option<Run>, started_at_ms: i64) {
    out.push(u8::from(run.is_some()));
    if let Some(run) = run {
        varint::put(out, u64::from(run.from_ms));
        varint::put(out, u64::from(run.ran_ms));
        varint::put(out, zigzag(run.until_ms.saturating_sub(started_at_ms)));
    }
}

fn take_run(reader: &mut Reader<'_>, started_at_ms: i64) -> Result<Option<Run>, Damaged> {
    if reader.byte()? == 0 {
        return Ok(None);
    }
    let (from_ms, ran_ms) = (reader.narrow()?, reader.narrow()?);
    let until_ms = started_at_ms.saturating_add(unzigzag(reader.number()?));
    Ok(Some(Run { from_ms, ran_ms, until_ms }))
}

impl Writers {
    fn count(&mut self, writer: u32) {
        let known = self.counts.iter().position(|(known, _)| *known == writer);
        if known.is_none() && self.counts.len() == WRITERS_MAX {
            self.counts.remove(0);
        }
        let count = known.map_or(0, |at| self.counts.remove(at).1);
        self.counts.push((writer, count.saturating_add(1)));
    }

    fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, self.counts.len() as u64);
        for (writer, count) in &self.counts {
            out.extend_from_slice(&writer.to_le_bytes());
            varint::put(out, u64::from(*count));
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let len: usize = reader.narrow()?;
        let counts = (0..len).map(|_| Ok((reader.word()?, reader.narrow()?)));
        let mut counts = counts.collect::<Result<Vec<_>, Damaged>>()?;
        counts.drain(..counts.len().saturating_sub(WRITERS_MAX));
        Ok(Self { counts })
    }
}
