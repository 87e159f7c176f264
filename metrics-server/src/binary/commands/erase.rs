//! `metrics-server erase` and `delete`: delete sessions, or count them in a dry run.
//!
//! Servers on the same store may keep running: deleted sessions in their memory begin anew.

use std::error::Error;
use std::io::{self, Write as _};

use chrono::{SecondsFormat, Utc};
use metrics_core::query::instant;
use metrics_core::retention::{delete_old, due};
use metrics_core::store::Store;
use metrics_core::time_bucket::Span;
use metrics_core::upkeep::{Erased, Selected, count_selected};

use crate::api::erase::EraseSelection;

/// Erases the selected sessions, or counts them.
///
/// # Errors
///
/// The store failed. The same command deletes the remaining sessions.
pub(super) async fn erase_sessions(
    store: &dyn Store,
    selected: &EraseSelection,
    dry_run: bool,
) -> Result<(), Box<dyn Error>> {
    if dry_run {
        let counted = count_selected(store, &selected.erasure).await?;
        writeln!(io::stdout(), "{} would be erased", described(counted))?;
        return Ok(());
    }
    let erased = selected.erase(store, None).await?;
    writeln!(io::stdout(), "erased {}", all_of(&erased))?;
    Ok(())
}

/// Deletes the sessions that are older than the retention period, or counts them.
///
/// # Errors
///
/// No retention period is set, or the store failed. The same command deletes the remaining sessions.
pub(super) async fn delete_sessions(
    store: &dyn Store,
    retention: Option<Span>,
    dry_run: bool,
) -> Result<(), Box<dyn Error>> {
    let span = retention.ok_or("--retention is missing: set how long sessions are kept")?;
    let now = Utc::now();
    let Some(due) = due(store, span, now).await? else {
        writeln!(io::stdout(), "0 sessions are older than this retention")?;
        return Ok(());
    };
    let before = due.before.to_rfc3339_opts(SecondsFormat::Secs, true);
    if dry_run {
        let (sessions, total) = (described(due.sessions), due.total);
        writeln!(io::stdout(), "{sessions} started before {before}, of {total}")?;
        return Ok(());
    }
    let erased = delete_old(store, span, now).await?;
    let Selected { sessions, .. } = erased.sessions;
    tracing::info!(sessions, %before, videos = erased.videos, "deleted old sessions on request");
    writeln!(io::stdout(), "deleted {}", all_of(&erased))?;
    Ok(())
}

fn described(Selected { sessions, first_start_ms, .. }: Selected) -> String {
    let first = first_start_ms.map(|ms| instant(ms).to_rfc3339_opts(SecondsFormat::Secs, true));
    let first = first.map(|first| format!(" (the first of {first})")).unwrap_or_default();
    format!("{sessions} sessions{first}")
}

fn all_of(erased: &Erased) -> String {
    let Erased { sessions, videos, pages, .. } = erased;
    format!("{}, {videos} videos and {pages} pages", described(*sessions))
}
