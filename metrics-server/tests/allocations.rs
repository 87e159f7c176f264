//! What strangers have a server allocate is freed: all of it, when what is kept for a while is forgotten.
//!
//! The allocator counts here, and the only test has it for itself. What C code allocates is not counted.

use std::alloc::System;
use std::time::Duration;

use cap::Cap;
use metrics_server::Settings;
use metrics_server_testing::{Bystander, Database, abuses};
use tokio::time::sleep;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// How many times everything is done in a round.
const TIMES: usize = 10;

/// How many rounds there are before it counts. Buffers of connections to the database grow to the largest batch.
const WARM: usize = 3;

/// How much more there may be after a round than before, in percent.
const MORE_MAX: usize = 20;

/// How much more there must be during a round, or else it shows nothing.
const MEANWHILE_MIN: usize = 3_000_000;

/// Longer than anything is kept in memory for a viewer or a client who may come back, but for who was wrong and who was
/// right, which takes little.
const FORGOTTEN: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn after_all_abuses_everything_is_freed() {
    let database = Database::new().await.without_rates();
    let server = database.serve(Settings::default()).await;
    let bystander = Bystander::at_pace(&server, Duration::from_secs(20)).await;
    let abuse = async |name: &str| {
        abuses::all(&server, name, TIMES).await;
        let meanwhile = ALLOCATOR.allocated();
        sleep(FORGOTTEN).await;
        (meanwhile, ALLOCATOR.allocated())
    };
    let mut before = 0;
    for round in 0..WARM {
        (_, before) = abuse(&format!("before-{round}")).await;
    }
    let (meanwhile, after) = abuse("after").await;
    let told = format!("{before} bytes before, {meanwhile} meanwhile, {after} after");
    assert!(before + MEANWHILE_MIN <= meanwhile, "{told}");
    assert!(after <= before + before * MORE_MAX / 100, "{told}");
    bystander.expect_unharmed().await;
}
