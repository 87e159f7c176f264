//! The memory of sessions without a connected viewer, and the results of acknowledgements.

#![cfg(feature = "sqlite")]

use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::sleep;

use super::*;
use crate::arrival::Arrival;
use crate::event::PlayerEvent;
use crate::interval::Segments;
use crate::key::ApiKey;
use crate::shutdown::Shutdown;
use crate::store::{SqliteStore, Subject};
use crate::upkeep;
use crate::user_agent::UserAgentClass;
use crate::video::Video;

/// Memory for some sessions.
const FEW: usize = 20_000;

/// Number of sessions.
const SESSIONS: usize = 200;

struct Site {
    // Removed at the end.
    _directory: TempDir,
    recorder: Arc<Recorder>,
    lifeline: Lifeline,
}

impl Site {
    async fn with_space(idle_bytes_max: usize) -> Self {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(directory.path().join("metrics.db")).await.unwrap();
        store.create_key(&key(), Utc::now()).await.unwrap();
        let memory = Budget::new(MEMORY);
        let recorder = Recorder::new(Arc::new(store), Clock::system(), VIDEOS_MAX, memory);
        let recorder = Arc::new(Recorder { idle_bytes_max, ..recorder });
        let lifeline: Lifeline = Arc::new(watch::Sender::new(Shutdown::Running));
        tokio::spawn(Arc::clone(&recorder).run(lifeline.subscribe()));
        Self { _directory: directory, recorder, lifeline }
    }

    /// Records an event that arrives in a batch.
    async fn send(&self, number: usize, event: PlayerEvent) {
        let viewing = self.recorder.visit(&self.lifeline, admitted(number)).unwrap();
        viewing.apply(event).await.unwrap();
    }

    fn sessions(&self) -> usize {
        self.recorder.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }
}

fn key() -> ApiKey {
    ApiKey::new("key").unwrap()
}

fn admitted(number: usize) -> Admitted {
    let (key, name) = (key(), number.to_string());
    Admitted {
        id: SessionId::new(&key, &name),
        salt: key.salt(&name),
        clock_shift_ms: key.clock_shift_ms(&name),
        subject: Subject {
            key,
            video: Video::labelled("x".repeat(1_000)),
            source: None,
            user_agent: UserAgentClass::default(),
            session_data: None,
            arrival: Arrival::default(),
        },
        charge: None,
        sends_heartbeats: false,
    }
}

#[tokio::test(start_paused = true)]
async fn idle_sessions_are_evicted_and_lose_nothing() {
    let site = Site::with_space(FEW).await;
    for number in 0..SESSIONS {
        site.send(number, PlayerEvent::play(0.0).with_duration(600.0)).await;
    }
    // One visit of the writer closes their open segments, and the next one evicts them.
    sleep(Duration::from_secs(1)).await;
    assert!(site.sessions() * 3_000 <= FEW, "{}", site.sessions());
    assert!(site.recorder.idle_bytes.load(Ordering::Relaxed) <= FEW);
    for number in 0..SESSIONS {
        site.send(number, PlayerEvent::pause(7.0)).await;
    }
    let ids: Vec<_> = (0..SESSIONS).map(|number| admitted(number).id).collect();
    for loaded in upkeep::load(&*site.recorder.store, &ids).await.unwrap() {
        let stored = loaded.unwrap().stored;
        assert_eq!(Segments::decode(&stored.segments).unwrap().iter().count(), 1);
        assert_eq!(stored.view_ms, 7_000);
    }
}

#[tokio::test(start_paused = true)]
async fn connected_sessions_do_not_block_others() {
    let site = Site::with_space(FEW).await;
    let mut connected = Vec::new();
    for number in 0..SESSIONS {
        let viewing = site.recorder.connect(&site.lifeline, admitted(number)).unwrap();
        viewing.apply(PlayerEvent::play(0.0)).await.unwrap();
        connected.push(viewing);
    }
    site.send(SESSIONS, PlayerEvent::play(0.0).with_duration(600.0)).await;
    site.send(SESSIONS, PlayerEvent::pause(7.0)).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(site.sessions(), SESSIONS + 1, "there is room for the one that is idle");
}

#[tokio::test(start_paused = true)]
async fn memory_of_sessions_is_freed() {
    let site = Site::with_space(FEW).await;
    for number in 0..10 * SESSIONS {
        site.send(number, PlayerEvent::play(0.0).with_duration(600.0)).await;
    }
    sleep(CHECKPOINT * 2).await;
    let capacity: usize =
        site.recorder.shards.iter().map(|shard| lock(shard).entries.capacity()).sum();
    assert!(capacity <= SESSIONS, "{capacity}");
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_has_the_same_result_polled_or_awaited() {
    let site = Site::with_space(FEW).await;
    let viewing = site.recorder.visit(&site.lifeline, admitted(0)).unwrap();
    let mut play = viewing.submit(&PlayerEvent::play(0.0)).unwrap();
    assert_eq!(play.resolved(), None, "the writer had no turn yet");
    assert_eq!(play.durable().await, Ok(()));
    assert_eq!(play.resolved(), Some(Ok(())));
    let nothing = viewing.submit(&PlayerEvent::play(f64::NAN));
    assert!(nothing.is_err());

    let lost = viewing.submit(&PlayerEvent::pause(1.0)).unwrap();
    assert_eq!(lost.resolved(), None);
    site.lifeline.send_replace(Shutdown::Abort);
    let mut waited = lost;
    let durable = waited.durable().await;
    assert_eq!(waited.resolved(), Some(durable));
}
