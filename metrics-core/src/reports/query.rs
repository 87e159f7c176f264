//! Answers queries: scans the sessions of each period in one snapshot.

use chrono::{DateTime, Utc};

use super::ReportError;
use super::read::{Reading, computed, read_from};
use super::scanning::{Scanning, scoped};
use crate::query::{Period, Periods, Query};
use crate::scan::{Answer, Scanner};
use crate::store::{Snapshot, Store};

/// Answers a query, and returns the periods it is about.
pub(crate) async fn query(
    store: &dyn Store,
    query: &Query,
    now: DateTime<Utc>,
) -> Result<(Answer, Periods), ReportError> {
    let query = Query { selection: query.selection.for_stores(), ..query.clone() };
    let periods = query.periods(now)?;
    let mut snapshot = store.snapshot().await?;
    let current = scan(&mut *snapshot, &query, periods.current, now).await?;
    let compared = match periods.compared {
        Some(period) => Some(scan(&mut *snapshot, &query, period, now).await?),
        None => None,
    };
    drop(snapshot);
    let answer = computed(|| Ok::<_, ReportError>(current.finish(compared)?)).await?;
    Ok((answer, periods))
}

async fn scan(
    snapshot: &mut dyn Snapshot,
    query: &Query,
    period: Period,
    now: DateTime<Utc>,
) -> Result<Scanner, ReportError> {
    let (query, scope) = scoped(query);
    let scanner = Scanner::new(&query, period)?.as_of(now);
    let reading = Reading::new(scope, scanner.needs_videos(), scanner.frame());
    let fold = Scanning::new(scanner, &reading);
    Ok(read_from(snapshot, &reading, fold).await?.scanner)
}
