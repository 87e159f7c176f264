//! The progress of a command: a line that is redrawn on a terminal, or else logged now and then.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often progress is drawn on a terminal, and how often it is logged.
const SHOWN_EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// The progress of a command.
pub(super) struct Progress {
    began: Instant,
    shown: Instant,
    on_terminal: bool,
    // The plural of the items that are counted.
    unit: &'static str,
}

impl Progress {
    pub(super) fn new(unit: &'static str) -> Self {
        let now = Instant::now();
        Self { began: now, shown: now, on_terminal: std::io::stderr().is_terminal(), unit }
    }

    /// Clears the line, so that the log can write there.
    fn clear(&self) {
        if self.on_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }

    pub(super) fn show(&mut self, done: u64, total: u64) {
        let (on_terminal, in_log) = SHOWN_EVERY;
        let every = if self.on_terminal { on_terminal } else { in_log };
        if self.shown.elapsed() < every {
            return;
        }
        self.shown = Instant::now();
        let line = line(done, total, self.unit, self.began.elapsed());
        if self.on_terminal {
            // A terminal that is gone does not end the work.
            let _ = write!(std::io::stderr(), "\r{line}\x1b[K");
        } else {
            tracing::info!("{line}");
        }
    }
}

impl Drop for Progress {
    /// Clears the terminal, also if the command is interrupted.
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(done: u64, total: u64, unit: &str, elapsed: Duration) -> String {
    const WIDTH: usize = 30;
    if total == 0 && 0 < done {
        // The total is unknown, such as that of a pipe.
        return format!("{done} {unit}, {:.0}/s", done as f64 / elapsed.as_secs_f64().max(0.001));
    }
    let share = if total == 0 { 1.0 } else { (done as f64 / total as f64).min(1.0) };
    let filled = (share * WIDTH as f64) as usize;
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    format!(
        "[{}{}] {:3.0} %  {done} of {total} {unit}, {rate:.0}/s",
        "#".repeat(filled),
        " ".repeat(WIDTH - filled),
        // Rounded down, so that 100 means all.
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
}
