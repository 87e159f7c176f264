//! The server frees the memory that strangers make it allocate: all of it, once its caches have expired.
//!
//! A counting allocator measures it, and the only test of this binary has it for itself. It does not count allocations
//! of C code.

use std::alloc::System;
use std::time::Duration;

use cap::Cap;
use metrics_server::Settings;
use metrics_server_testing::{Bystander, Database, abuses};
use tokio::time::sleep;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// How many times a round repeats each abuse.
const TIMES: usize = 10;

/// The number of rounds before the measurement. Buffers of connections to the database grow to the largest batch.
const WARM: usize = 3;

/// How much the memory may grow over a round, in percent.
const MORE_MAX: usize = 20;

/// How much the memory must grow during a round; otherwise the test proves nothing.
const GROWTH_MIN: usize = 3_000_000;

/// Longer than the server keeps state in memory for a viewer or a client who may return. It keeps the outcomes of
/// authentication for longer, but they take little.
const EVICTED_AFTER: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn after_all_abuses_everything_is_freed() {
    let database = Database::new().await.without_rates();
    let server = database.serve(Settings::default()).await;
    let bystander = Bystander::at_pace(&server, Duration::from_secs(20)).await;
    let abuse = async |name: &str| {
        abuses::all(&server, name, TIMES).await;
        let meanwhile = ALLOCATOR.allocated();
        sleep(EVICTED_AFTER).await;
        (meanwhile, ALLOCATOR.allocated())
    };
    let mut before = 0;
    for round in 0..WARM {
        (_, before) = abuse(&format!("before-{round}")).await;
    }
    let (meanwhile, after) = abuse("after").await;
    let message = format!("{before} bytes before, {meanwhile} meanwhile, {after} after");
    assert!(before + GROWTH_MIN <= meanwhile, "{message}");
    assert!(after <= before + before * MORE_MAX / 100, "{message}");
    bystander.expect_unharmed().await;
}
