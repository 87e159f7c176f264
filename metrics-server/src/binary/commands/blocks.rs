//! `metrics-server blocks`: verifies the blocks and totals of a store.

use std::error::Error;

use metrics_core::store::Store;
use metrics_core::upkeep::{rebuild, verify};

use super::progress::Progress;

/// Decodes every block, compares the totals of days with their sessions, and mends those that are wrong if `repair` says so.
///
/// # Errors
///
/// The store failed, a block is damaged, or totals are wrong and stay so.
pub(super) async fn check_blocks(store: &dyn Store, repair: bool) -> Result<(), Box<dyn Error>> {
    let mut shown = Progress::new("sessions");
    let total = store.count_sessions().await?;
    let progress = |done| shown.show(done, total);
    let checked =
        if repair { rebuild(store, progress).await? } else { verify(store, progress).await? };
    drop(shown);
    let sessions = checked.sessions;
    for day in checked.wrong.iter().filter_map(|totals| totals.date()) {
        tracing::warn!("the totals of {day} were wrong{}", if repair { "; repaired" } else { "" });
    }
    match (checked.wrong.len(), repair) {
        (0, _) => tracing::info!("decoded {sessions} sessions: all totals are correct"),
        (wrong, true) => tracing::info!("decoded {sessions} sessions: repaired {wrong} totals"),
        (wrong, false) => {
            let advice = "run `metrics-server blocks rebuild` to repair them";
            return Err(format!("{wrong} totals of days are wrong: {advice}").into());
        }
    }
    Ok(())
}
