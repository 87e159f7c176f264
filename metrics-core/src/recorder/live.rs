//! One session in memory: what is durable of it, and what is not yet.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::{Progress, lock};
use crate::event::{CheckedEvent, Step};
use crate::key::SessionId;
use crate::session::{Moment, Reach, Session};
use crate::store::{Instance, Loaded, SessionWrite, Subject, Version};
use crate::varint::Damaged;

/// How long a session without a connection is kept in memory after its last input, in milliseconds: batches come
/// every few seconds, and a page that lost its connection is back within a minute or not at all.
const KEPT_MS: i64 = 60_000;

/// How long a segment that was opened in a batch counts as open without another batch, in milliseconds, if the
/// video is not known to end before. Who watches without a stop sends nothing.
const UNHEARD_MS_MAX: i64 = 3_600_000;

/// Something that changes a session.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Event(CheckedEvent, Moment),
    Resume(Moment),
    Lose(Moment),
    Leave(Moment),
}

impl Input {
    pub(super) fn is_play(&self) -> bool {
        matches!(self, Self::Event(CheckedEvent { step: Step::Play { .. }, .. }, _))
    }

    fn received_ms(&self) -> i64 {
        let (Self::Event(_, at) | Self::Resume(at) | Self::Lose(at) | Self::Leave(at)) = self;
        at.received_ms
    }

    /// Folds it into a session, and returns whether it changed anything.
    fn fold(&self, session: &mut Option<Session>, instance: Instance) -> bool {
        let changed = match (&mut *session, self) {
            (None, Self::Event(event, at)) => {
                *session = Session::begin(event, *at);
                session.is_some()
            }
            (None, _) => false,
            (Some(session), Self::Event(event, at)) => session.apply(event, *at),
            (Some(session), Self::Resume(at)) => session.resume(*at),
            (Some(session), Self::Lose(at)) => session.lose(*at),
            (Some(session), Self::Leave(at)) => session.leave(*at),
        };
        if let (true, Some(session)) = (changed, session) {
            session.count_input(instance.0);
        }
        changed
    }
}

/// The connection that speaks for a viewer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Owner(pub(super) u64);

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: SessionId,
    pub(super) subject: Arc<Subject>,
    live: Mutex<Live>,
}

impl Entry {
    pub(super) fn new(id: SessionId, subject: Subject) -> Self {
        Self { id, subject: Arc::new(subject), live: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }

    /// What is to be written now, if anything is.
    pub(super) fn write(&self, now_ms: i64, instance: Instance) -> Option<SessionWrite> {
        let mut live = self.lock();
        let Base::Known { version, .. } = live.base else { return None };
        if live.inputs.is_empty() && !live.checkpoint {
            return None;
        }
        let reach = if live.owner.is_some() { Reach::Until(now_ms) } else { Reach::Heard };
        let session = live.session.as_ref()?;
        let written = session.inputs_of(instance.0);
        let write = SessionWrite {
            id: self.id,
            subject: Arc::clone(&self.subject),
            expected: version,
            stored: session.store(reach),
            watched_at: session.viewing().then_some(instance),
        };
        live.writing = Some(Writing { inputs: live.inputs.len(), written });
        live.checkpoint = false;
        Some(write)
    }
}

#[derive(Debug, Default)]
pub(super) struct Live {
    // With all inputs folded in; nothing before the first `play`.
    session: Option<Session>,
    base: Base,
    // Those that are not durable, the oldest first. Before the base is known they are not folded either.
    inputs: Vec<Input>,
    // What the write that is under way covers.
    writing: Option<Writing>,
    // Whether an open segment is to be written as far as it has run.
    checkpoint: bool,
    queued: bool,
    progress: Option<watch::Receiver<Progress>>,
    // How many viewings there are of it.
    pins: usize,
    owner: Option<Owner>,
    touched_ms: i64,
}

/// What is in the store.
#[derive(Clone, Copy, Debug, Default)]
enum Base {
    #[default]
    Unknown,
    Known {
        // 0 if there is no row.
        version: Version,
        // How many inputs of this recorder are in it.
        counted: u32,
    },
}

#[derive(Clone, Copy, Debug)]
struct Writing {
    inputs: usize,
    // How many inputs of this recorder are in what is written.
    written: u32,
}

impl Live {
    pub(super) fn pin(&mut self, owner: Option<Owner>) {
        self.pins += 1;
        if owner.is_some() {
            self.owner = owner;
        }
    }

    /// Takes a viewing away, and returns whether it was the one that spoke for the viewer.
    pub(super) fn unpin(&mut self, owner: Option<Owner>) -> bool {
        self.pins -= 1;
        let spoke = owner.is_some() && self.owner == owner;
        if spoke {
            self.owner = None;
        }
        spoke
    }

    pub(super) fn is_full(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_full)
    }

    /// Folds an input, and returns whether there is something to write now.
    pub(super) fn fold(&mut self, input: Input, instance: Instance) -> bool {
        self.touched_ms = self.touched_ms.max(input.received_ms());
        let news = match self.base {
            Base::Unknown => true,
            Base::Known { .. } => input.fold(&mut self.session, instance),
        };
        if news {
            self.inputs.push(input);
        }
        news
    }

    pub(super) fn is_known(&self) -> bool {
        matches!(self.base, Base::Known { .. })
    }

    /// How many inputs are not durable.
    pub(super) fn waiting(&self) -> usize {
        self.inputs.len()
    }

    /// Takes the session as the store has it, and folds in what that lacks.
    pub(super) fn rebase(
        &mut self,
        loaded: Option<&Loaded>,
        instance: Instance,
    ) -> Result<(), Damaged> {
        let mut session = loaded.map(|loaded| Session::load(&loaded.stored)).transpose()?;
        let counted = session.as_ref().map_or(0, |session| session.inputs_of(instance.0));
        if let Base::Known { counted: known, .. } = self.base {
            let landed = counted.wrapping_sub(known) as usize;
            self.inputs.drain(..landed.min(self.inputs.len()));
        }
        self.base = Base::Known { version: loaded.map_or(0, |loaded| loaded.version), counted };
        self.inputs.retain(|input| input.fold(&mut session, instance));
        // A viewer who is connected here watches on, whatever another instance made of it.
        if let (Some(_), Some(it)) = (self.owner, &mut session)
            && !it.viewing()
            && self.session.as_ref().is_some_and(Session::viewing)
        {
            let resume = Input::Resume(Moment::received(self.touched_ms));
            if resume.fold(&mut session, instance) {
                self.inputs.push(resume);
            }
        }
        self.session = session;
        self.writing = None;
        Ok(())
    }

    /// The write that was under way is durable. Returns how many inputs it covered.
    pub(super) fn written(&mut self) -> usize {
        let Some(writing) = self.writing.take() else { return 0 };
        if let Base::Known { version, .. } = self.base {
            self.base = Base::Known { version: version + 1, counted: writing.written };
        }
        self.inputs.drain(..writing.inputs);
        writing.inputs
    }

    /// The store never will take this. Returns how many inputs are lost.
    pub(super) fn refused(&mut self) -> usize {
        let lost = self.inputs.len();
        *self = Self {
            pins: self.pins,
            owner: self.owner,
            queued: self.queued,
            progress: self.progress.take(),
            touched_ms: self.touched_ms,
            ..Self::default()
        };
        lost
    }

    pub(super) fn is_queued(&self) -> bool {
        self.queued
    }

    pub(super) fn queue(&mut self, progress: watch::Receiver<Progress>) {
        self.queued = true;
        self.progress = Some(progress);
    }

    /// The batch is taken: what comes from now on is for the next.
    pub(super) fn taken(&mut self) {
        self.queued = false;
    }

    /// What resolves when everything that was put in so far is durable, if it is not.
    pub(super) fn progress(&self) -> Option<watch::Receiver<Progress>> {
        if self.inputs.is_empty() { None } else { self.progress.clone() }
    }

    /// Looks at the session now and then, and says what is to be done with it.
    pub(super) fn look(&mut self, now_ms: i64) -> Care {
        let open = self.session.as_ref().filter(|session| session.viewing());
        match (open, self.owner) {
            (Some(_), Some(_)) => {
                self.checkpoint = true;
                Care::Checkpoint
            }
            (Some(session), None) => {
                let heard_ms = session.last_event_at_ms();
                let ends_ms = session.duration_ms().map_or(UNHEARD_MS_MAX, i64::from);
                if heard_ms.saturating_add(ends_ms.min(UNHEARD_MS_MAX)) < now_ms {
                    Care::Lose(Moment::received(heard_ms))
                } else {
                    Care::Keep
                }
            }
            (None, _) => {
                let busy = 0 < self.pins || self.queued || !self.inputs.is_empty();
                let young = now_ms < self.touched_ms.saturating_add(KEPT_MS);
                if busy || young { Care::Keep } else { Care::Forget }
            }
        }
    }
}

/// What a session needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Care {
    Keep,
    Checkpoint,
    /// It was last heard of at this moment, too long ago.
    Lose(Moment),
    Forget,
}
