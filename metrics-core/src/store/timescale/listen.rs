//! The listening connection, which receives a notification for each change of a key.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::time::timeout;

use super::connect::{Purpose, Target};
use crate::store::KEYS_POLL;

/// The period in which keys are read without a notification, in case one was lost.
const KEYS_READ_AGAIN: Duration = Duration::from_secs(10);

/// The delay before listening again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// The state of the listening connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listening {
    /// Increases whenever keys may have changed.
    number: u64,
    /// Whether the connection is open.
    is_open: bool,
}

/// Listens for changed keys until the store is dropped.
pub(super) async fn listen(target: Target, state: watch::Sender<Listening>) {
    let report_change = |is_open| {
        state.send_modify(|state| {
            state.number += 1;
            state.is_open = is_open;
        });
    };
    loop {
        if let Ok(mut connection) = target.connect(Purpose::Upkeep).await
            && connection.batch_execute("listen metrics_keys").await.is_ok()
        {
            // Also the first time: PostgreSQL does not report earlier changes.
            report_change(true);
            let mut notifications = std::pin::pin!(connection.notifications_stream());
            while let Some(Ok(_)) = notifications.next().await {
                report_change(true);
            }
            report_change(false);
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

/// Waits until the keys may have changed since the call that returned `seen`, or until their periodic read is due.
pub(super) async fn keys_changed(mut state: watch::Receiver<Listening>, seen: u64) -> u64 {
    let period = if state.borrow().is_open { KEYS_READ_AGAIN } else { KEYS_POLL };
    let changed = timeout(period, state.wait_for(|state| state.number != seen)).await;
    let changed = changed.map(|state| state.map(|state| state.number));
    match changed {
        Ok(Ok(number)) => number,
        // The next periodic read of the keys is due.
        Err(_) => seen,
        // The listening task has ended.
        Ok(Err(_)) => {
            tokio::time::sleep(KEYS_POLL).await;
            seen
        }
    }
}
