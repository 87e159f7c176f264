//! The older reports, without a memory limit.

use chrono::{DateTime, Utc};

use crate::budget::Account;
use crate::engagement::{Part, Resolution, SecondsBucket};
use crate::query::{Scan, Selection};
use crate::report::{ReportError, older};
use crate::response::{PlaysBucket, SourceBucket};
use crate::store::Store;
use crate::time_bucket::Buckets;

pub(super) async fn plays(
    store: &dyn Store,
    scan: &Scan,
    buckets: Buckets,
    also: Vec<DateTime<Utc>>,
) -> Result<Vec<PlaysBucket>, ReportError> {
    older::plays(store, scan, buckets, also, Account::UNLIMITED).await
}

pub(super) async fn sources(
    store: &dyn Store,
    scan: &Scan,
    buckets: Buckets,
) -> Result<Vec<SourceBucket>, ReportError> {
    older::sources(store, scan, buckets, Account::UNLIMITED).await
}

pub(super) async fn parts(
    store: &dyn Store,
    scan: &Scan,
    parts: u32,
) -> Result<Vec<Part>, ReportError> {
    older::parts(store, scan, parts, Account::UNLIMITED).await
}

pub(super) async fn seconds(
    store: &dyn Store,
    scan: &Scan,
    buckets: Buckets,
    resolution: Resolution,
) -> Result<Vec<SecondsBucket>, ReportError> {
    older::seconds(store, scan, buckets, resolution, Account::UNLIMITED).await
}

pub(super) async fn watching(
    store: &dyn Store,
    selection: &Selection,
    now: DateTime<Utc>,
) -> Result<u64, ReportError> {
    older::watching(store, selection, now, Account::UNLIMITED).await
}
