//! Runs queries: scans the sessions of each period in one snapshot.

use chrono::{DateTime, Utc};

use super::ReportError;
use super::scanning::{Scanning, scoped};
use crate::budget::Account;
use crate::query::{Period, Periods, Query};
use crate::read::{Reading, computed, read_from};
use crate::scan::{Answer, Scanner, Scans};
use crate::store::{Snapshot, Store};

/// Runs a query, and returns its response and the periods that it covers.
pub(crate) async fn query(
    store: &dyn Store,
    query: &Query,
    now: DateTime<Utc>,
    account: &Account,
) -> Result<(Answer, Periods), ReportError> {
    let query = Query { selection: query.selection.for_stores(), ..query.clone() };
    let periods = query.periods(now)?;
    let mut snapshot = store.snapshot().await?;
    let current = scanner(&query, periods.current, now)?;
    let current = scan(&mut *snapshot, &query, current, now, (account, 0)).await?;
    let compared = match periods.compared {
        Some(period) => {
            let compared = scanner(&query, period, now)?;
            Some(scan(&mut *snapshot, &query, compared, now, (account, current.bytes())).await?)
        }
        None => None,
    };
    drop(snapshot);
    let answer = computed(|| Ok::<_, ReportError>(current.finish(compared)?)).await?;
    Ok((answer, periods))
}

fn scanner(query: &Query, period: Period, now: DateTime<Utc>) -> Result<Scanner, ReportError> {
    let (query, _) = scoped(query);
    Ok(Scanner::new(&query, period)?.with_now(now))
}

/// Scans the sessions of a query. The account includes the bytes that the caller holds beside the scanner.
async fn scan(
    snapshot: &mut dyn Snapshot,
    query: &Query,
    scanner: Scanner,
    now: DateTime<Utc>,
    (account, further_bytes): (&Account, usize),
) -> Result<Scanner, ReportError> {
    let (_, scope) = scoped(query);
    let reading = Reading::new(scope, scanner.needs_videos(), scanner.frame());
    let reading = Reading { minutes_until: scanner.minutes_until(now), ..reading };
    let fold = Scanning::new(scanner, &reading, account).with_further_bytes(further_bytes);
    Ok(read_from(snapshot, &reading, fold).await?.scanner)
}
