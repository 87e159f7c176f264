//! Retention: deletes sessions that exceed their maximum age.
//!
//! Deleted sessions cannot be restored, so no single reading of a clock decides. All instances of a store share the
//! **retention clock**, the latest time that retention trusts, and every turn follows four rules:
//!
//! * A store has one turn per hour, however many instances use it: an instance skips its turn if another has set the
//!   retention clock within the last hour, and then only sets the clock back if its own time is earlier.
//! * Retention goes by the time of day, but by no time more than a [day](AHEAD_MAX) ahead of the retention clock.
//! * The retention clock follows the time of day: it goes forward by at most [6 hours](CATCH_UP_MAX) per turn, and back
//!   by at most [a day](BACK_MAX), so that of two instances that disagree, the earlier one wins. Before the first turn
//!   it is at the newest session that the store had when the process started.
//! * A turn deletes at most a [quarter](SHARE_MAX) of all sessions, or one. The next turns delete the others, and each
//!   logs a warning.
//!
//! So a server that was off for three months catches up in 18 days, keeps sessions for that much longer, and logs that
//! in each turn; and a clock that is years ahead deletes at most six days of sessions per day, while each turn logs a
//! warning. The log shows a mistyped retention before many sessions are gone. [`delete_old`] deletes at once, by the
//! time of day alone, for an operator who has verified clock and setting.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::query::{Selection, instant};
use crate::shutdown::Shutdown;
use crate::store::{Error, OpenScan, Outcome, Store, Videos};
use crate::time_bucket::Span;
use crate::upkeep::{Erased, Erasure, Selected, count_selected, erase, every};

/// The time between turns, and from the start to the first turn: by then, the clock of a machine that has just started
/// is set.
const TURN: Duration = Duration::from_secs(3_600);

/// The minimum age of deletion, regardless of the setting: younger sessions may still be watched.
const KEPT_MIN: TimeDelta = TimeDelta::days(1);

/// How far ahead of the retention clock retention goes: a server that is off for a night or a day has no delay.
pub const AHEAD_MAX: TimeDelta = TimeDelta::days(1);

/// How far the retention clock goes forward per turn, which is an hour: far enough that a server that runs for a few
/// hours a day keeps up; not so far that a wrong clock does much harm before an operator reads a warning.
pub const CATCH_UP_MAX: TimeDelta = TimeDelta::hours(6);

/// How far the retention clock goes back per turn: further than forward, so that several wrong clocks do not outrun one
/// that is right; and not at once, so that it recovers soon from a clock that began in 1970.
pub const BACK_MAX: TimeDelta = TimeDelta::days(1);

/// A turn deletes at most one part in `SHARE_MAX` of all sessions, and always one.
pub const SHARE_MAX: NonZeroU64 = NonZeroU64::new(4).expect("not zero");

/// Number of summaries or open sessions read at a time.
const PAGE: u32 = 10_000;

/// How often a turn retries to set the retention clock while other instances set it as well.
const TRIES: u32 = 16;

/// The remedy if a turn deletes only a part, or is late.
const REMEDY: &str = "if the clock and the setting are right, run `metrics-server delete --dry-run` to count the \
                      sessions, and `metrics-server delete --yes` to delete them at once";

/// Sessions that exceed their maximum age.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Due {
    /// The start before which sessions are due.
    pub before: DateTime<Utc>,
    /// The due sessions.
    pub sessions: Selected,
    /// Number of all sessions.
    pub total: u64,
}

impl Due {
    /// The largest number of due sessions that one turn deletes.
    #[must_use]
    pub fn at_most(&self) -> u64 {
        // One of fewer than four, or they would stay for ever.
        (self.total / SHARE_MAX).max(1)
    }
}

/// Counts the sessions that are older than `span` at `now`, and deletes none. Returns `None` if `span` reaches before
/// the calendar.
///
/// # Errors
///
/// [`Error`] if the store fails.
pub async fn due(store: &dyn Store, span: Span, now: DateTime<Utc>) -> Result<Option<Due>, Error> {
    let Some(before) = before(span, now) else { return Ok(None) };
    let sessions = count_selected(store, &erasure(before)).await?;
    Ok(Some(Due { before, sessions, total: store.count_sessions().await? }))
}

/// Deletes all sessions that are older than `span` at `now`, regardless of the retention clock, and sets that clock to
/// `now`.
///
/// # Errors
///
/// [`Error`] if the store fails; the same call deletes the rest.
pub async fn delete_old(
    store: &dyn Store,
    span: Span,
    now: DateTime<Utc>,
) -> Result<Erased, Error> {
    set(store, |_| now).await?;
    match before(span, now) {
        Some(before) => erase(store, &erasure(before)).await,
        None => Ok(Erased::default()),
    }
}

/// The start before which sessions are too old; `None` before the beginning of the calendar.
fn before(span: Span, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    Some(span.before(now)?.min(shifted(now, -KEPT_MIN)))
}

fn erasure(before: DateTime<Utc>) -> Erasure {
    Erasure::of(Selection::default()).during(i64::MIN, before.timestamp_millis() - 1)
}

/// The time that a turn uses, and the retention clock after it.
fn trusted_time(clock: DateTime<Utc>, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    let at = now.min(shifted(clock, AHEAD_MAX));
    (at, now.clamp(shifted(clock, -BACK_MAX), shifted(clock, CATCH_UP_MAX)))
}

/// `at` shifted `by`, or `at` beyond the calendar.
fn shifted(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by).unwrap_or(at)
}

/// Sets the retention clock, and returns the value before.
async fn set(
    store: &dyn Store,
    next: impl Fn(Option<DateTime<Utc>>) -> DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    for _ in 0..TRIES {
        let clock = store.retention_clock().await?;
        if store.set_retention_clock(clock, next(clock)).await? == Outcome::Written {
            return Ok(clock);
        }
    }
    let source = "other instances set the retention clock at the same time".into();
    Err(Error::Unavailable { store: "the store", source })
}

/// Retention in a store.
pub(crate) struct Retention {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) span: Span,
}

/// The retention clock that this instance last read or set, if it did.
type Seen = Mutex<Option<Option<DateTime<Utc>>>>;

fn replace_seen(seen: &Seen, clock: Option<DateTime<Utc>>) -> Option<Option<DateTime<Utc>>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner).replace(clock)
}

impl Retention {
    /// Deletes old sessions every hour, until `shutdown` announces the end.
    pub(crate) async fn run(self, shutdown: watch::Receiver<Shutdown>) {
        let started_at = self.clock.now();
        let (seen, mut is_start) = (Seen::default(), true);
        every(TURN, shutdown, || {
            let (this, seen) = (&self, &seen);
            let is_start = std::mem::take(&mut is_start);
            async move { this.turn(started_at, seen, is_start).await }
        })
        .await;
    }

    async fn turn(&self, started_at: DateTime<Utc>, seen: &Seen, is_start: bool) {
        let done = async {
            let clock = self.store.retention_clock().await?;
            let before = replace_seen(seen, clock);
            if is_start {
                return Ok(());
            }
            let is_ours = before == Some(clock);
            match self.take_turn(clock, started_at, seen, is_ours).await? {
                Some(trusted) => self.delete_until(trusted).await,
                None => Ok(()),
            }
        };
        if let Err(err) = done.await {
            let err: Error = err;
            tracing::warn!(
                error = &err as &dyn std::error::Error,
                "could not delete old sessions; trying again in an hour"
            );
        }
    }

    /// Sets the retention clock, and returns the time of this turn, unless another instance has the turn.
    async fn take_turn(
        &self,
        clock: Option<DateTime<Utc>>,
        started_at: DateTime<Utc>,
        seen: &Seen,
        is_ours: bool,
    ) -> Result<Option<DateTime<Utc>>, Error> {
        let (store, now) = (&*self.store, self.clock.now());
        let first = match clock {
            Some(clock) => clock,
            None => first_clock(store, started_at, now).await?,
        };
        // The earliest clock of all instances wins, in every turn.
        if !is_ours && first <= now {
            return Ok(None);
        }
        let (at, next) = trusted_time(first, now);
        if store.set_retention_clock(clock, next).await? == Outcome::Conflict {
            return Ok(None);
        }
        // A store keeps milliseconds.
        replace_seen(seen, Some(instant(next.timestamp_millis())));
        if at < now {
            tracing::warn!(
                clock = %now,
                trusted = %at,
                "the clock is ahead of the retention clock: sessions are deleted later, as if the time were \
                 `believed`; {REMEDY}"
            );
        } else if shifted(now, AHEAD_MAX) < first {
            tracing::warn!(
                clock = %now,
                seen = %first,
                "the clock is behind the retention clock: old sessions are deleted by the clock; correct it, or \
                 the clock of the other servers, if it is wrong"
            );
        }
        Ok(is_ours.then_some(at))
    }

    /// Deletes sessions that are too old at `at`, at most the share of one turn.
    async fn delete_until(&self, at: DateTime<Utc>) -> Result<(), Error> {
        let store = &*self.store;
        let Some(due) = due(store, self.span, at).await? else { return Ok(()) };
        let Selected { sessions, first_start_ms, .. } = due.sessions;
        if sessions == 0 {
            return Ok(());
        }
        let from = first_start_ms.map(instant).unwrap_or(due.before);
        let at_most = due.at_most();
        let erased = erase(store, &erasure(due.before).at_most(at_most)).await?;
        if erased.is_cut {
            tracing::warn!(
                sessions,
                deleted = erased.sessions.sessions,
                total = due.total,
                %from,
                before = %due.before,
                "more than a quarter of all sessions are older than the retention: a turn deletes a quarter, and the next \
                 follows in an hour; set a longer retention and restart if this one is wrong, else {REMEDY}"
            );
        }
        tracing::info!(
            sessions = erased.sessions.sessions,
            %from,
            before = %due.before,
            videos = erased.videos,
            pages = erased.pages,
            "deleted old sessions, and the videos and pages without sessions"
        );
        Ok(())
    }
}

/// The first value of the retention clock: the start of the newest session from before the process started, which no
/// clock of this process has dated; else of the oldest session; else now.
async fn first_clock(
    store: &dyn Store,
    started_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    let started_ms = started_at.timestamp_millis();
    let (mut newest_ms, mut oldest_ms): (Option<i64>, Option<i64>) = (None, None);
    let mut note = |start_ms: i64| {
        oldest_ms = Some(oldest_ms.map_or(start_ms, |oldest_ms| oldest_ms.min(start_ms)));
        if start_ms < started_ms {
            newest_ms = newest_ms.max(Some(start_ms));
        }
    };
    let mut snapshot = store.snapshot().await?;
    let mut after = None;
    loop {
        let page = snapshot.blocks(&Videos::All, i64::MIN, i64::MAX, after, PAGE).await?;
        after = page.last().map(|summary| summary.id);
        page.iter()
            .flat_map(|summary| [summary.first_start_ms, summary.last_start_ms])
            .for_each(&mut note);
        if page.len() < PAGE as usize {
            break;
        }
    }
    let scan =
        OpenScan { videos: Videos::All, from_ms: i64::MIN, to_ms: i64::MAX, watched_at: None };
    let mut after = None;
    loop {
        let page = snapshot.open_sessions(&scan, after, PAGE).await?;
        after = page.last().map(|session| session.id);
        page.iter().for_each(|session| note(session.row.stored.started_at_ms));
        if page.len() < PAGE as usize {
            break;
        }
    }
    Ok(newest_ms.or(oldest_ms).map_or(now, instant).min(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time of a turn and the retention clock after it, in hours since the beginning of the calendar.
    fn turn(clock: i64, now: i64) -> (i64, i64) {
        let at = |hours| instant(hours * 3_600_000);
        let hours = |at: DateTime<Utc>| at.timestamp_millis() / 3_600_000;
        let (trusted, next) = trusted_time(at(clock), at(now));
        (hours(trusted), hours(next))
    }

    #[test]
    fn the_retention_clock_follows_the_time_of_day() {
        assert_eq!(turn(100, 101), (101, 101));
        assert_eq!(turn(100, 106), (106, 106));
        // After a night and a day.
        assert_eq!(turn(100, 124), (124, 106));
        // After months, or with a wrong clock.
        assert_eq!(turn(100, 125), (124, 106));
        assert_eq!(turn(100, 100_000), (124, 106));
        // If another instance has a later clock.
        assert_eq!(turn(100, 90), (90, 90));
        assert_eq!(turn(100_000, 90), (90, 99_976));
    }
}
