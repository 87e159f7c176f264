//! Many viewers who are connected and do nothing: what each of them costs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::drive::{OPENING_MAX, connect};
use crate::process::{allow_files, cpu, resident};
use crate::websocket::Socket;

/// How long one viewer may take to join.
const JOIN_MAX: Duration = Duration::from_secs(30);

/// How many come before it is measured: the first of them cost more than those who follow.
const BEFORE: usize = 100;

/// Files that are no connections.
const OTHER_FILES: usize = 100;

/// Who connects to what.
#[derive(Clone, Debug)]
pub struct Idle {
    /// Where the server listens.
    pub server: SocketAddr,
    /// The key of all viewers.
    pub key: String,
    /// How many connect.
    pub connections: usize,
    /// How long they stay before memory is measured.
    pub stay: Duration,
    /// The same seed is the same viewers.
    pub seed: u64,
    /// The process of the server.
    pub pid: u32,
}

/// What they cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// How many there were.
    pub connections: usize,
    /// How much more memory of the server was resident, in bytes for each.
    pub resident: f64,
    /// How long processors were busy with the connection and the join of each.
    pub cpu: Duration,
    /// How long it took until all had joined.
    pub took: Duration,
}

impl Idle {
    /// Has them connect and join, measures, and makes sure that all are still there.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or refuses one of them.
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
            say(socket, r#"[null,"2","phoenix","heartbeat",{}]"#).await?;
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
    say(&mut socket, &format!(r#"["1","1","{topic}","phx_join",{payload}]"#)).await?;
    Ok(socket)
}

/// Says something, and waits for the answer, which must be yes.
async fn say(socket: &mut Socket, text: &str) -> io::Result<()> {
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
