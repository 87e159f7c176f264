//! What the binary does beside serving: moving and exporting databases, seeing to keys, and asking a server for its health.

mod erase;
mod export;
mod import;
mod keys;

use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use metrics_core::copy::{self, copy};
use metrics_core::mave::{self, Mave};
use metrics_core::store::Store;
use metrics_core::upkeep::verify;
use metrics_server::Database;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) use self::erase::{erase_sessions, forget_sessions};
pub(crate) use self::export::write_export;
pub(crate) use self::import::{import_sessions, open_file};
pub(crate) use self::keys::see_to_keys;

/// How often progress is shown to somebody who watches, and how often it is logged.
const SHOWN_EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// How long a server may take to say how it is.
const HEALTH_MAX: Duration = Duration::from_secs(5);

/// Refuses to read a file that is not there: to open it would make it, and there would be nothing in it.
///
/// # Errors
///
/// Which file it is.
pub(crate) fn check_there(from: &Database) -> Result<(), Box<dyn Error>> {
    match from {
        Database::Sqlite(path) if !path.exists() => {
            Err(format!("there is no database: no file {}", path.display()).into())
        }
        _ => Ok(()),
    }
}

/// Copies everything in one store to another.
///
/// # Errors
///
/// Why not everything was copied.
pub(crate) async fn copy_all(from: &dyn Store, to: &dyn Store) -> Result<(), Box<dyn Error>> {
    let mut shown = Shown::new("sessions");
    let copied = copy(from, to, |it: &copy::Progress| {
        shown.show(it.sessions_done, it.sessions_total);
    })
    .await;
    drop(shown);
    let copied = copied?;
    tracing::info!(
        "copied {} keys and {} sessions; {} sessions were there already; both databases give the same sums",
        copied.keys,
        copied.sessions,
        copied.already_there
    );
    Ok(())
}

/// Imports what a mave/metrics server has recorded.
///
/// # Errors
///
/// Why not everything was imported.
pub(crate) async fn import_mave(url: &str, store: &dyn Store) -> Result<(), Box<dyn Error>> {
    let mave = Mave::connect(url).await?;
    let mut shown = Shown::new("sessions");
    let progress = |it: &mave::Progress| shown.show(it.sessions_done, it.sessions_total);
    let imported = mave.import(store, progress).await;
    drop(shown);
    let imported = imported?;
    for left_out in &imported.left_out {
        tracing::warn!("left out: {left_out}");
    }
    tracing::info!(
        "imported {} keys and {} sessions; {} were there already",
        imported.keys,
        imported.sessions,
        imported.already_there
    );
    Ok(())
}

/// Decodes every block, compares the totals of days with their sessions, and mends those that are wrong if `mend` says so.
///
/// # Errors
///
/// The store failed, a block is damaged, or totals are wrong and stay so.
pub(crate) async fn check_blocks(store: &dyn Store, mend: bool) -> Result<(), Box<dyn Error>> {
    let mut shown = Shown::new("sessions");
    let total = store.count_sessions().await?;
    let checked = verify(store, mend, |done| shown.show(done, total)).await?;
    drop(shown);
    let sessions = checked.sessions;
    for day in checked.wrong.iter().filter_map(|totals| totals.date()) {
        tracing::warn!("the totals of {day} were wrong{}", if mend { "; mended" } else { "" });
    }
    match (checked.wrong.len(), mend) {
        (0, _) => tracing::info!("decoded {sessions} sessions: all totals are right"),
        (wrong, true) => tracing::info!("decoded {sessions} sessions: mended {wrong} totals"),
        (wrong, false) => {
            let advice = "run `metrics-server blocks rebuild` to mend them";
            return Err(format!("{wrong} totals of days are wrong: {advice}").into());
        }
    }
    Ok(())
}

/// Asks the server that listens at `listen` whether it can record.
///
/// # Errors
///
/// What it says, or that it does not answer.
pub(crate) async fn ask_health(listen: SocketAddr) -> Result<(), Box<dyn Error>> {
    let asking = async {
        let mut socket = TcpStream::connect(&*reachable(listen)).await?;
        socket.write_all(b"GET /health/ready HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(HEALTH_MAX, asking).await.map_err(|_| "the server does not answer")?;
    let answer =
        answer.map_err(|err| format!("the server at {listen} cannot be reached: {err}"))?;
    match answer.lines().next() {
        Some(status) if status.split(' ').nth(1) == Some("200") => Ok(()),
        status => Err(format!("the server says {}", status.unwrap_or("nothing")).into()),
    }
}

/// The addresses at which a server that listens there may be reached from here.
fn reachable(listen: SocketAddr) -> Vec<SocketAddr> {
    let here: &[IpAddr] = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => &[Ipv4Addr::LOCALHOST.into()],
        // It takes both, and a container may have only the first.
        IpAddr::V6(ip) if ip.is_unspecified() => {
            &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        ip => &[ip],
    };
    here.iter().map(|ip| SocketAddr::new(*ip, listen.port())).collect()
}

/// How far something is: a line that is drawn again and again on a terminal, else one in the log now and then.
struct Shown {
    began: Instant,
    shown: Instant,
    on_terminal: bool,
    // Of what there are so many.
    what: &'static str,
}

impl Shown {
    fn new(what: &'static str) -> Self {
        let now = Instant::now();
        Self { began: now, shown: now, on_terminal: std::io::stderr().is_terminal(), what }
    }

    /// Makes room for a line of the log.
    fn clear(&self) {
        if self.on_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    fn show(&mut self, done: u64, total: u64) {
        let (on_terminal, in_log) = SHOWN_EVERY;
        let every = if self.on_terminal { on_terminal } else { in_log };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let line = line(done, total, self.what, self.began.elapsed());
        if self.on_terminal {
            // A terminal that is gone does not end the work.
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
        } else {
            tracing::info!("{line}");
        }
    }
}

impl Drop for Shown {
    /// Leaves nothing on the terminal, also if what was shown is interrupted.
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(done: u64, total: u64, what: &str, elapsed: Duration) -> String {
    const WIDTH: usize = 30;
    if total == 0 && 0 < done {
        // The total is unknown, such as that of a pipe.
        return format!("{done} {what}, {:.0}/s", done as f64 / elapsed.as_secs_f64().max(0.001));
    }
    let share = if total == 0 { 1.0 } else { (done as f64 / total as f64).min(1.0) };
    let filled = (share * WIDTH as f64) as usize;
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    format!(
        "[{}{}] {:3.0} %  {done} of {total} {what}, {rate:.0}/s",
        "#".repeat(filled),
        " ".repeat(WIDTH - filled),
        // Down, so that 100 is all.
        (share * 100.0).floor()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_one_line() {
        let second = Duration::from_secs(1);
        let half =
            format!("[{}{}]  50 %  50 of 100 sessions, 50/s", "#".repeat(15), " ".repeat(15));
        assert_eq!(line(50, 100, "sessions", second), half);
        assert!(line(99_999, 100_000, "days", second).contains(" 99 %"));
        // More may come while it runs, and there may be nothing to do.
        assert!(line(101, 100, "days", second).contains("100 %  101 of 100"));
        assert_eq!(line(50, 0, "bytes", second), "50 bytes, 50/s");
        assert!(line(0, 0, "days", Duration::ZERO).contains("100 %  0 of 0"));
    }

    #[test]
    fn a_server_that_listens_everywhere_is_asked_here() {
        let asked = |listen: &str| -> Vec<String> {
            let asked = reachable(listen.parse().unwrap());
            asked.iter().map(ToString::to_string).collect()
        };
        assert_eq!(asked("0.0.0.0:3000"), ["127.0.0.1:3000"]);
        assert_eq!(asked("[::]:3000"), ["127.0.0.1:3000", "[::1]:3000"]);
        assert_eq!(asked("192.0.2.1:80"), ["192.0.2.1:80"]);
    }
}
