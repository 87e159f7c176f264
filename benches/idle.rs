//! Measures the cost of many viewers who are connected and idle.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::drive::{OPENING_MAX, connect};
use crate::process::{allow_files, cpu, resident};
use crate::websocket::Socket;

/// The time limit for one viewer to join.
const JOIN_MAX: Duration = Duration::from_secs(30);

/// The number of viewers that join before the measurement: the first ones cost more than the others.
const BEFORE: usize = 100;

/// The number of open files beside connections.
const OTHER_FILES: usize = 100;

/// The idle viewers of a server.
#[derive(Clone, Debug)]
pub struct Idle {
    /// The address of the server.
    pub server: SocketAddr,
    /// The key of all viewers.
    pub key: String,
    /// The number of connections.
    pub connections: usize,
    /// The time that viewers stay before memory is measured.
    pub stay: Duration,
    /// The seed; equal seeds produce equal viewers.
    pub seed: u64,
    /// The process of the server.
    pub pid: u32,
}

/// The cost of idle viewers.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The number of viewers.
    pub connections: usize,
    /// The growth of the server's resident memory, in bytes per viewer.
    pub resident: f64,
    /// The processor time of the connection and the join of each viewer.
    pub cpu: Duration,
    /// The time until all viewers had joined.
    pub took: Duration,
}

impl Idle {
    /// Connects all viewers and joins their sessions, measures, and checks that all are still connected.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses a viewer.
    pub async fn run(&self) -> io::Result<Cost> {
        allow_files(BEFORE + self.connections + OTHER_FILES)?;
        let mut before = self.join(0..BEFORE).await?;
        let (began, cpu_before, resident_before) =
            (Instant::now(), cpu(self.pid)?, resident(self.pid)?);
        let mut sockets = self.join(BEFORE..BEFORE + self.connections).await?;
        let took = began.elapsed();
        let cpu_after = cpu(self.pid)?;
        sleep(self.stay).await;
        let resident_after = resident(self.pid)?;
        for socket in before.iter_mut().chain(&mut sockets) {
            send(socket, r#"[null,"2","phoenix","heartbeat",{}]"#).await?;
        }
        let each = self.connections.max(1) as f64;
        Ok(Cost {
            connections: self.connections,
            resident: (resident_after as f64 - resident_before as f64) / each,
            cpu: cpu_after.saturating_sub(cpu_before).div_f64(each),
            took,
        })
    }

    async fn join(&self, numbers: std::ops::Range<usize>) -> io::Result<Vec<Socket>> {
        let mut joining = JoinSet::new();
        let mut sockets = Vec::new();
        for number in numbers {
            if OPENING_MAX <= joining.len()
                && let Some(joined) = joining.join_next().await
            {
                sockets.push(joined.map_err(io::Error::other)??);
            }
            joining.spawn(join(self.server, self.key.clone(), self.seed, number));
        }
        while let Some(joined) = joining.join_next().await {
            sockets.push(joined.map_err(io::Error::other)??);
        }
        Ok(sockets)
    }
}

async fn join(server: SocketAddr, key: String, seed: u64, number: usize) -> io::Result<Socket> {
    let (mut socket, mut viewers) = connect(server, key, seed, number).await?;
    let viewing = viewers.begin();
    let (topic, payload) = (viewing.topic(), viewers.join(&viewing));
    send(&mut socket, &format!(r#"["1","1","{topic}","phx_join",{payload}]"#)).await?;
    Ok(socket)
}

/// Sends a message, and waits for a successful answer.
async fn send(socket: &mut Socket, text: &str) -> io::Result<()> {
    socket.push(text);
    let answer = async {
        socket.flush().await?;
        loop {
            let answered = socket.next(|answer| {
                let is_yes = answer.contains(r#""status":"ok""#);
                is_yes.then_some(()).ok_or_else(|| io::Error::other(format!("refused: {answer}")))
            })?;
            if answered {
                return Ok(());
            }
            socket.fill().await?;
        }
    };
    timeout(JOIN_MAX, answer).await.map_err(io::Error::other)?
}
