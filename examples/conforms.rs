//! The store of `custom_store.rs` passes the suite that every store passes: a test per fact of the contract.

#[path = "custom_store.rs"]
#[expect(dead_code, reason = "the program is run by another test")]
mod custom_store;

use custom_store::MemoryStore;

metrics_core::store_conformance!(async { (MemoryStore::default(), ()) });
