//! The view time of a session whose events arrive late, twice, in pieces and at servers that are killed: it is that of
//! the player, whatever happens on the way.
//!
//! The page behaves as `metrics.js` does. It keeps each event until the event is acknowledged, and sends all of them
//! again on each new websocket and with each batch; so events first arrive in their order. Its video advances at any
//! speed, so an end that the server estimates differs from the end that the player reports.

use std::collections::VecDeque;

use metrics_core::PlayerEvent;
use metrics_core::event::Action;
use metrics_core::session::{Moment, Reach, Session, Stored};
use proptest::prelude::*;

const START_MS: i64 = 1_700_000_000_000;

/// The most events in a batch.
const BATCH_MAX: usize = 50;

/// A segment, and the event of the viewer that ends it.
#[derive(Clone, Debug)]
struct Played {
    after_ms: i64,
    // At most three times the time that passes.
    moved_ms: u32,
    end: End,
}

#[derive(Clone, Debug)]
enum End {
    Seek { to_ms: u32 },
    Pause { rest_ms: i64 },
}

fn played() -> impl Strategy<Value = Played> {
    let end = prop_oneof![
        (0_u32..500_000).prop_map(|to_ms| End::Seek { to_ms }),
        prop_oneof![3 => 0_i64..3, 1 => 0_i64..90_000].prop_map(|rest_ms| End::Pause { rest_ms }),
    ];
    let after_ms = prop_oneof![5 => 1_i64..2_000, 1 => 1_i64..100_000];
    (after_ms, 0_u32..3_000, end).prop_map(|(after_ms, speed_milli, end)| {
        let moved_ms = (after_ms * i64::from(speed_milli) / 1_000) as u32;
        Played { after_ms, moved_ms, end }
    })
}

/// Returns the events of a player in their order, and the view time.
fn script(played: &[Played]) -> (Vec<PlayerEvent>, u64) {
    let seconds = |ms: u32| f64::from(ms) / 1_000.0;
    let (mut clock_ms, mut position_ms) = (10, 0);
    let mut events = vec![PlayerEvent::play(0.0).with_timestamp(clock_ms)];
    for (number, Played { after_ms, moved_ms, end }) in played.iter().enumerate() {
        clock_ms += after_ms;
        position_ms += moved_ms;
        events.push(PlayerEvent::pause(seconds(position_ms)).with_timestamp(clock_ms));
        clock_ms += 1;
        match *end {
            End::Seek { to_ms } => {
                position_ms = to_ms;
                events.push(PlayerEvent::new(Action::Seeked).with_timestamp(clock_ms));
                clock_ms += 1;
            }
            End::Pause { rest_ms } => clock_ms += rest_ms,
        }
        if number + 1 < played.len() {
            events.push(PlayerEvent::play(seconds(position_ms)).with_timestamp(clock_ms));
        }
    }
    let view_ms = played.iter().map(|played| u64::from(played.moved_ms)).sum();
    (events, view_ms)
}

/// Something that happens to a page, a connection or a server.
#[derive(Clone, Debug)]
enum ViewerStep {
    /// Time passes, and the player goes on.
    Pass { ms: i64 },
    /// The page connects, and sends all that is not acknowledged.
    Connect,
    /// Some messages of the websocket arrive at the server.
    Arrive { messages: usize },
    /// The writer commits. The replies reach the page, unless they are lost.
    Commit { is_told: bool },
    /// The websocket breaks. The server may learn it later.
    Break { is_noticed: bool },
    /// The server learns of a websocket that broke.
    Notice,
    /// The page sends batches. They may arrive much later, in any order, and mixed with other events.
    Post,
    /// Some events of a batch are read.
    Read { batch: prop::sample::Index, events: usize },
    /// The server is killed and starts again.
    Kill,
    /// The server evicts the session from memory.
    Evict,
}

fn viewer_step() -> impl Strategy<Value = ViewerStep> {
    let pass_ms = prop_oneof![6 => 0_i64..3_000, 1 => 0_i64..150_000];
    prop_oneof![
        8 => pass_ms.prop_map(|ms| ViewerStep::Pass { ms }),
        3 => Just(ViewerStep::Connect),
        8 => (1_usize..8).prop_map(|messages| ViewerStep::Arrive { messages }),
        4 => any::<bool>().prop_map(|is_told| ViewerStep::Commit { is_told }),
        3 => any::<bool>().prop_map(|is_noticed| ViewerStep::Break { is_noticed }),
        1 => Just(ViewerStep::Notice),
        2 => Just(ViewerStep::Post),
        6 => (any::<prop::sample::Index>(), 1_usize..20)
            .prop_map(|(batch, events)| ViewerStep::Read { batch, events }),
        1 => Just(ViewerStep::Kill),
        1 => Just(ViewerStep::Evict),
    ]
}

/// Events on their way to the server, other than those of the page's websocket.
struct Batch {
    events: VecDeque<usize>,
    // Whether the server has begun to read them: they end with the server.
    is_begun: bool,
}

/// A page, the network and a server.
struct World {
    events: Vec<PlayerEvent>,
    now_ms: i64,
    // Number of events that happened.
    happened: usize,
    is_acknowledged: Vec<bool>,
    // The messages of the page's websocket that are in transit, if it is connected.
    socket: Option<VecDeque<usize>>,
    batches: Vec<Batch>,
    session: Option<Session>,
    // Whether a websocket reports for the viewer, as far as the server knows.
    is_owned: bool,
    // Events in memory that are not durable.
    waiting: Vec<usize>,
    durable: Option<Stored>,
}

impl World {
    fn new(events: Vec<PlayerEvent>) -> Self {
        Self {
            now_ms: START_MS,
            happened: 0,
            is_acknowledged: vec![false; events.len()],
            events,
            socket: None,
            batches: Vec::new(),
            session: None,
            is_owned: false,
            waiting: Vec::new(),
            durable: None,
        }
    }

    fn now(&self) -> Moment {
        Moment::received(self.now_ms)
    }

    fn viewer_step(&mut self, viewer_step: &ViewerStep) {
        match viewer_step {
            ViewerStep::Pass { ms } => self.pass(*ms),
            ViewerStep::Connect => self.connect(),
            ViewerStep::Arrive { messages } => {
                let socket = self.socket.as_mut();
                let arrived = socket.map(|it| it.drain(..(*messages).min(it.len())).collect());
                self.apply(arrived.unwrap_or_default());
            }
            ViewerStep::Commit { is_told } => self.commit(*is_told),
            ViewerStep::Break { is_noticed } => {
                let unread = self.socket.take();
                if *is_noticed {
                    self.notice();
                } else {
                    // The server may still read what arrived before.
                    let events = unread.unwrap_or_default();
                    self.batches.push(Batch { events, is_begun: true });
                }
            }
            ViewerStep::Notice if self.socket.is_none() => self.notice(),
            ViewerStep::Notice => {}
            ViewerStep::Post => self.post(),
            ViewerStep::Read { batch, events } => {
                if !self.batches.is_empty() {
                    let batch = batch.index(self.batches.len());
                    let Batch { events: batch, is_begun } = &mut self.batches[batch];
                    *is_begun = true;
                    let read = batch.drain(..(*events).min(batch.len())).collect();
                    self.apply(read);
                }
            }
            ViewerStep::Kill => {
                self.socket = None;
                self.batches.retain(|batch| !batch.is_begun);
                self.reload();
            }
            ViewerStep::Evict if !self.is_owned && self.waiting.is_empty() => self.reload(),
            ViewerStep::Evict => {}
        }
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        let clock_ms = self.now_ms - START_MS;
        while let Some(event) = self.events.get(self.happened) {
            if event.timestamp_ms.is_some_and(|timestamp_ms| clock_ms < timestamp_ms) {
                break;
            }
            if let Some(socket) = &mut self.socket {
                socket.push_back(self.happened);
            }
            self.happened += 1;
        }
    }

    fn unacknowledged(&self) -> VecDeque<usize> {
        (0..self.happened).filter(|event| !self.is_acknowledged[*event]).collect()
    }

    fn connect(&mut self) {
        if self.socket.is_none() {
            self.socket = Some(self.unacknowledged());
            self.is_owned = true;
            let now = self.now();
            self.session.iter_mut().for_each(|session| _ = session.resume(now));
        }
    }

    fn post(&mut self) {
        let mut events = self.unacknowledged();
        events.truncate(BATCH_MAX);
        self.batches.push(Batch { events, is_begun: false });
    }

    fn apply(&mut self, arrived: Vec<usize>) {
        for number in arrived {
            let event = &self.events[number];
            let at = Moment { timestamp_ms: event.timestamp_ms, ..self.now() };
            let event = event.check(0).expect("valid");
            match &mut self.session {
                Some(session) => _ = session.apply(&event, at),
                None => self.session = Session::begin(&event, at),
            }
            self.waiting.push(number);
        }
    }

    fn commit(&mut self, is_told: bool) {
        let reach = if self.is_owned { Reach::Until(self.now()) } else { Reach::LastEvent };
        self.durable = self.session.as_ref().map(|session| session.snapshot(reach));
        for number in self.waiting.drain(..) {
            self.is_acknowledged[number] |= is_told;
        }
    }

    fn notice(&mut self) {
        let now = self.now();
        if std::mem::take(&mut self.is_owned) {
            self.session.iter_mut().for_each(|session| _ = session.lose(now));
        }
    }

    fn reload(&mut self) {
        self.is_owned = false;
        self.waiting.clear();
        let load = |stored: &Stored| Session::load(stored).expect("it was just stored");
        self.session = self.durable.as_ref().map(load);
    }

    /// Everything happens and arrives, the batches last.
    fn end(&mut self) {
        let last_ms = self.events.last().and_then(|event| event.timestamp_ms).expect("a play");
        self.pass((START_MS + last_ms - self.now_ms).max(0));
        self.connect();
        let batches = std::mem::take(&mut self.batches).into_iter().map(|batch| batch.events);
        let rest = self.socket.take().into_iter().chain(batches);
        rest.for_each(|rest| self.apply(rest.into()));
        self.now_ms += 90_000;
        self.notice();
    }
}

proptest! {
    #[test]
    fn the_view_time_is_that_of_the_player(
        played in prop::collection::vec(played(), 1..40),
        turns in prop::collection::vec(viewer_step(), 0..200),
    ) {
        let (events, view_ms) = script(&played);
        let mut world = World::new(events);
        turns.iter().for_each(|viewer_step| world.viewer_step(viewer_step));
        world.end();
        let session = world.session.expect("it begins with a play");
        prop_assert_eq!(session.viewed(Reach::LastEvent).view_ms(), view_ms);
        prop_assert_eq!(session.viewed(Reach::Until(Moment::received(world.now_ms))).view_ms(), view_ms);
    }

    /// A beacon may overtake the beacon before it, and reach another server.
    #[test]
    fn segments_that_arrive_after_a_later_one_was_loaded_count_as_they_were_played(
        played in prop::collection::vec(played(), 2..20),
        first in any::<prop::sample::Index>(),
    ) {
        let (events, view_ms) = script(&played);
        let is_play = |event: &usize| matches!(events[*event].action, Action::Play { .. });
        let is_pause = |event: &usize| matches!(events[*event].action, Action::Pause { .. });
        let plays: Vec<_> = (1..events.len()).filter(is_play).collect();
        let (first, count) = (plays[first.index(plays.len())], events.len());
        let last = (0..count).rfind(is_pause).expect("a pause");
        let mut world = World::new(events);
        world.pass(10_000_000);
        world.apply((first..last).collect());
        world.commit(false);
        world.reload();
        world.apply((0..first).collect());
        world.apply((last..count).collect());
        let session = world.session.expect("it begins with a play");
        prop_assert_eq!(session.viewed(Reach::LastEvent).view_ms(), view_ms);
    }
}
