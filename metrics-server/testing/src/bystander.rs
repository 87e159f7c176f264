//! A viewer who must not notice the abuses of others.

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Server, Watched, soon};

const TOPIC: &str = "session:bystander";

/// A viewer who plays one second of a video after another. Every event must be acknowledged within the usual timeout.
#[derive(Debug)]
pub struct Bystander {
    server: Server,
    rounds: watch::Receiver<u32>,
    stop: watch::Sender<bool>,
    watching: JoinHandle<()>,
}

impl Bystander {
    /// Joins and begins to watch.
    pub async fn of(server: &Server) -> Self {
        Self::at_pace(server, Duration::from_millis(100)).await
    }

    /// Joins and begins to watch, with a pause of `rest` after every second of video.
    pub async fn at_pace(server: &Server, rest: Duration) -> Self {
        let mut client = server.connect().await;
        client.join(TOPIC, "bystander").await;
        let (watched, rounds) = watch::channel(0);
        let (stop, mut stopped) = watch::channel(false);
        let watching = tokio::spawn(async move {
            for second in 0.. {
                client.play(TOPIC, f64::from(second)).await;
                client.pause(TOPIC, f64::from(second + 1)).await;
                watched.send_replace(second + 1);
                if timeout(rest, stopped.wait_for(|stop| *stop)).await.is_ok() {
                    return;
                }
            }
        });
        let mut this = Self { server: server.clone(), rounds, stop, watching };
        this.watches_on().await;
        this
    }

    /// Moves the final check to another server on the same database.
    pub fn counted_by(self, server: &Server) -> Self {
        Self { server: server.clone(), ..self }
    }

    /// Waits until the viewer has watched a whole second that began after this call.
    pub async fn watches_on(&mut self) {
        let begun = *self.rounds.borrow();
        let watched = self.rounds.wait_for(|rounds| begun + 2 <= *rounds).await;
        assert!(watched.is_ok(), "the bystander was cut off");
    }

    /// Checks after an attack that the bystander still watches, watched all the time, and is counted for exactly that
    /// time.
    pub async fn expect_unharmed(mut self) {
        self.watches_on().await;
        self.stop.send_replace(true);
        soon(self.watching).await.unwrap();
        let rounds = *self.rounds.borrow();
        assert_eq!(self.server.watched("bystander").await, Watched::once(f64::from(rounds)));
    }
}
