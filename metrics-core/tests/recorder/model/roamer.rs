//! A viewer whose events go to any server, and who waits for none.

use metrics_core::event::Action;
use metrics_core::key::SessionId;
use metrics_core::recorder::Acknowledgement;
use metrics_core::{Join, PlayerEvent, Video, Viewing};
use metrics_testing::WallClock;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::naive::{Log, ViewerEvent};
use super::soon;
use super::world::{World, matches};

/// The time by the player's clock between two successive actions: enough to play any segment.
const TICK_MS: i64 = 10_000;

/// Each action is a whole segment of a second or more, a failure or a seek, so that the order in which servers write
/// them changes nothing.
pub(crate) struct Roamer {
    name: String,
    clock: WallClock,
    log: Log,
    /// The connection on which the session began. It stays.
    first: Viewing,
    /// A further connection to each server.
    viewings: Vec<Viewing>,
    acknowledgements: Vec<Acknowledgement>,
    /// The player's clock.
    now_ms: i64,
}

impl Roamer {
    /// Begins the session at one server, and connects to all of them then.
    pub(crate) async fn begin(world: &World, random: &mut StdRng, seed: u64) -> Self {
        let name = seed.to_string();
        let mut roamer = Self {
            clock: world.clock.clone(),
            log: Log::default(),
            first: join(world, &name, random.random_range(0..world.servers.len())).await,
            name,
            viewings: Vec::new(),
            acknowledgements: Vec::new(),
            now_ms: 0,
        };
        for (viewer_event, event) in segment(0, 1) {
            roamer.log_event(viewer_event);
            roamer.acknowledgements.push(roamer.first.submit(&event).expect("it is taken"));
        }
        roamer.last_is_durable().await;
        for server in 0..world.servers.len() {
            roamer.viewings.push(join(world, &roamer.name, server).await);
        }
        roamer
    }

    fn log_event(&mut self, viewer_event: ViewerEvent) {
        self.log.add(self.clock.now_ms(), viewer_event);
    }

    fn submit_to(&mut self, server: usize, events: &[PlayerEvent]) {
        let viewing = &self.viewings[server];
        let submitted = events.iter().map(|event| viewing.submit(event).expect("it is taken"));
        self.acknowledgements.extend(submitted);
    }

    /// Sends a segment, a failure or a seek; some with the player's clock, and some of those twice.
    pub(crate) fn act(&mut self, random: &mut StdRng) {
        let servers = self.viewings.len();
        let server = random.random_range(0..servers);
        self.now_ms += TICK_MS;
        let is_stamped = random.random_bool(0.3);
        let actions = match random.random_range(0..4) {
            0 => vec![(ViewerEvent::Failure, PlayerEvent::new(Action::PlaybackFailure))],
            1 => vec![(ViewerEvent::Seek, PlayerEvent::new(Action::Seeked))],
            _ => {
                let from = random.random_range(0..100);
                segment(from, from + random.random_range(1..20)).into()
            }
        };
        let mut events = Vec::new();
        // No more than a player can play in this time at its fastest rate.
        for ((viewer_event, event), ms) in actions.into_iter().zip([0, TICK_MS / 2]) {
            self.log_event(viewer_event);
            events.push(if is_stamped { event.with_timestamp(self.now_ms + ms) } else { event });
        }
        self.submit_to(server, &events);
        // They are never repeated on the same join, where they would count again.
        if is_stamped && 1 < servers && random.random_bool(0.3) {
            self.submit_to((server + random.random_range(1..servers)) % servers, &events);
        }
    }

    /// Replaces the connection to a server, which notices the end of the old one after the new one began.
    pub(crate) async fn join_again(&mut self, world: &World, server: usize) {
        self.viewings[server] = join(world, &self.name, server).await;
    }

    pub(crate) async fn last_is_durable(&mut self) {
        let last = self.acknowledgements.last_mut().expect("an event");
        soon(last.durable()).await.expect("it is stored");
    }

    /// Waits until all events are durable.
    pub(crate) async fn durable(&mut self) {
        for acknowledgement in &mut self.acknowledgements {
            soon(acknowledgement.durable()).await.expect("it is stored");
        }
    }

    /// Compares the session with the model, once all events are durable.
    pub(crate) async fn check(&self, world: &World) {
        let outcome = self.log.outcome(self.clock.now_ms(), None);
        let stored = world.stored(SessionId::new(&world.keys[0], &self.name)).await;
        assert!(
            outcome.is_some() && matches(outcome.as_ref(), stored.as_ref()),
            "seed {}: {outcome:?}\n{stored:?}",
            self.name
        );
    }
}

async fn join(world: &World, session: &str, server: usize) -> Viewing {
    let join = Join::new(world.keys[0].clone(), session, Video::labelled("intro"));
    world.servers[server].metrics.join(join).await.expect("it may join")
}

/// A segment between two seconds of the video.
fn segment(from: u32, to: u32) -> [(ViewerEvent, PlayerEvent); 2] {
    let play = ViewerEvent::Play { from_ms: 1_000 * from };
    let pause = ViewerEvent::Pause { to_ms: 1_000 * to };
    [(play, PlayerEvent::play(from.into())), (pause, PlayerEvent::pause(to.into()))]
}
