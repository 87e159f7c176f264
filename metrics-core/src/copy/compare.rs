//! The comparison of both stores after a copy: their numbers of sessions, and their reports.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::CopyError;
use super::retry::with_retries;
use crate::budget::Account;
use crate::query::{Scan, Selection};
use crate::report::{ReportError, older};
use crate::scan::ScanError;
use crate::store::{Error, Store};
use crate::time::DAY_MS;
use crate::time_bucket::{Buckets, Width};
use crate::user_agent::{Browser, Device, Platform};

/// The timeframe of the first comparisons: a few short requests.
pub(super) const WINDOW_MS: i64 = 32 * DAY_MS;

pub(super) async fn compare_counts(from: &dyn Store, to: &dyn Store) -> Result<(), CopyError> {
    let (from, to) =
        tokio::join!(with_retries(|| from.count_sessions()), with_retries(|| to.count_sessions()));
    let (from, to) = (from.map_err(CopyError::Read)?, to.map_err(CopyError::Write)?);
    if from == to {
        return Ok(());
    }
    Err(CopyError::Unequal { name: "sessions".to_owned(), from, to })
}

/// Compares the reports of both stores for each timeframe in which sessions started.
pub(super) async fn compare_reports(
    from: &dyn Store,
    to: &dyn Store,
    windows: &BTreeSet<i64>,
) -> Result<(), CopyError> {
    let start_ms = |window: &i64| window.saturating_mul(WINDOW_MS);
    let mut windows: Vec<_> = windows.iter().map(|it| (start_ms(it), WINDOW_MS)).collect();
    while let Some((from_ms, len_ms)) = windows.pop() {
        let scan = Scan {
            selection: Selection::default(),
            from_ms,
            to_ms: from_ms.saturating_add(len_ms - 1),
            minimum_view_ms: 0,
        };
        let (expected, copied) = tokio::join!(sums(from, &scan), sums(to, &scan));
        let is_long = |sums: &Result<Sums, Error>| matches!(sums, Err(Error::TimedOut { .. }));
        if DAY_MS < len_ms && (is_long(&expected) || is_long(&copied)) {
            windows.extend([(from_ms, len_ms / 2), (from_ms + len_ms / 2, len_ms / 2)]);
            continue;
        }
        compare(&expected.map_err(CopyError::Read)?, &copied.map_err(CopyError::Write)?)?;
    }
    Ok(())
}

/// Numbers that must agree in both stores, by day and name.
type Sums = BTreeMap<(DateTime<Utc>, String), u64>;

async fn sums(store: &dyn Store, scan: &Scan) -> Result<Sums, Error> {
    let days = Buckets::new(Width::DAY);
    let mut sums = Sums::new();
    let plays =
        reported(|| older::plays(store, scan, days, Vec::new(), Account::UNLIMITED)).await?;
    for bucket in plays {
        let totals = &bucket.totals;
        let mut insert = |name: String, number| sums.insert((bucket.start, name), number);
        insert("plays".to_owned(), totals.plays);
        insert("milliseconds of view time".to_owned(), totals.view_ms);
        insert("milliseconds of unique view time".to_owned(), totals.unique_ms);
        for it in Browser::ALL {
            insert(format!("browser {it}"), totals.browser(it));
        }
        for it in Platform::ALL {
            insert(format!("platform {it}"), totals.platform(it));
        }
        for it in Device::ALL {
            insert(format!("device {it}"), totals.device(it));
        }
    }
    let sources = reported(|| older::sources(store, scan, days, Account::UNLIMITED)).await?;
    for bucket in sources {
        sums.insert((bucket.start, format!("plays on {}", bucket.source)), bucket.plays);
    }
    Ok(sums)
}

fn compare(expected: &Sums, copied: &Sums) -> Result<(), CopyError> {
    let number = |sums: &Sums, at| sums.get(at).copied().unwrap_or(0);
    for at in expected.keys().chain(copied.keys()) {
        let (from, to) = (number(expected, at), number(copied, at));
        if from != to {
            let (day, name) = at;
            let name = format!("{name} on {}", day.date_naive());
            return Err(CopyError::Unequal { name, from, to });
        }
    }
    Ok(())
}

/// Requests a report, with retries while the store is unavailable.
async fn reported<T, F: Future<Output = Result<T, ReportError>>>(
    report: impl Fn() -> F,
) -> Result<T, Error> {
    with_retries(async || match report().await {
        Ok(report) => Ok(report),
        Err(ReportError::Store(err)) => Err(err),
        Err(ReportError::Scan(ScanError::Damaged(err))) => Err(Error::Damaged(err)),
        // A month never has too many buckets or pages.
        Err(_) => Err(Error::TimedOut { store: "the report", seconds: 0 }),
    })
    .await
}
