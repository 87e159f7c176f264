//! Settings that all stores on a database of SQL share.

use std::num::NonZeroUsize;
use std::time::Duration;

use chrono::TimeDelta;

/// How long a report may take.
pub(super) const STATEMENT_MAX: Duration = Duration::from_secs(30);

/// Number of cached row ids of videos: those being watched.
pub(super) const IDS_MAX: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// How long the row of a dead instance is kept. The instance left the count of watching sessions long before.
pub(super) const INSTANCE_KEPT: TimeDelta = TimeDelta::hours(1);

/// The last migration of the version before.
pub(super) const BEFORE: &str = "20261129";
