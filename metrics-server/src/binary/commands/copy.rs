//! `metrics-server copy` and `import mave`: fill a store from another database.

use std::error::Error;

use metrics_core::copy::{self, copy};
use metrics_core::mave::{self, Mave};
use metrics_core::source::PageDetail;
use metrics_core::store::Store;

use super::progress::Progress;

/// Copies everything in one store to another.
///
/// # Errors
///
/// Why not everything was copied.
pub(super) async fn copy_all(from: &dyn Store, to: &dyn Store) -> Result<(), Box<dyn Error>> {
    let mut shown = Progress::new("sessions");
    let copied = copy(from, to, |it: &copy::Progress| {
        shown.show(it.sessions_done, it.sessions_total);
    })
    .await;
    drop(shown);
    let copied = copied?;
    tracing::info!(
        "copied {} keys and {} sessions; {} sessions were there already; both databases have the same totals",
        copied.keys,
        copied.sessions,
        copied.already_there
    );
    Ok(())
}

/// Imports what a mave/metrics server has recorded, with as much of its pages as `page_detail` keeps.
///
/// # Errors
///
/// Why not everything was imported.
pub(super) async fn import_mave(
    url: &str,
    store: &dyn Store,
    page_detail: PageDetail,
) -> Result<(), Box<dyn Error>> {
    let mave = Mave::connect(url).await?.page_detail(page_detail);
    let mut shown = Progress::new("sessions");
    let progress = |it: &mave::Progress| shown.show(it.sessions_done, it.sessions_total);
    let imported = mave.import(store, progress).await;
    drop(shown);
    let imported = imported?;
    for left_out in &imported.left_out {
        tracing::warn!("not imported: {left_out}");
    }
    tracing::info!(
        "imported {} keys and {} sessions; {} were there already",
        imported.keys,
        imported.sessions,
        imported.already_there
    );
    Ok(())
}
