//! `/api/v1/export/{table}`: a report, or sessions, as a file.

use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use metrics_core::budget::{Account, Budget};
use metrics_core::{Metrics, Reports};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Export, Exporting};
use crate::answer::{Making, Text, charged};
use crate::api::params::Params;
use crate::error::Error;
use crate::queue::{Flow, Permit, Queue};
use crate::response::{self, Body, Cut, ReadTimeouts, Step};
use crate::table::Table;

/// The number of concurrent exports of sessions. Each holds some memory until its client has read the file.
const SESSIONS_MAX: usize = 4;

/// The time that an export waits for a permit.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The time limit for making a piece. A selective export reads many sessions for each one that it writes.
const PIECE_MAX: Duration = Duration::from_secs(600);

/// The time limit of an export whose client reads slowly, because the export holds a permit. Ten million sessions are
/// some gigabytes.
const EXPORT_MAX: Duration = Duration::from_secs(6 * 3_600);

/// The time limits of a client. A client that writes the file into a database may pause.
const READ_TIMEOUTS: ReadTimeouts =
    ReadTimeouts { piece: Duration::from_secs(600), all: EXPORT_MAX };

/// The memory that an export needs to begin, in bytes: about a page of sessions.
const BYTES_MIN: usize = 4 * 1024 * 1024;

/// Permits for exports of sessions. One caller never holds all of them.
pub(crate) struct Exports {
    permits: Queue,
}

/// An export that its client is reading.
struct Sending {
    metrics: Metrics,
    exporting: Exporting,
    ends_at: Instant,
    stopping: CancellationToken,
    // The memory budget of the caller.
    budget: Budget,
    _permit: Permit,
}

impl Exports {
    pub(crate) fn new() -> Self {
        Self { permits: Queue::new(SESSIONS_MAX) }
    }

    /// Waits until an export of sessions may begin.
    pub(crate) async fn enter(&self, flow: Flow) -> Result<Permit, Error> {
        Ok(self.permits.enter(flow, WAIT_MAX).await?)
    }
}

/// Responds with sessions, which are read from the store while the client reads the response. The response ends with
/// the client, or when the server stops.
pub(crate) async fn sessions(
    metrics: &Metrics,
    export: Export,
    making: Making,
    permit: Permit,
    stopping: &CancellationToken,
) -> Result<Response<Body>, Error> {
    let Making { account, budget, .. } = making;
    account.hold(BYTES_MIN)?;
    let reports = metrics.reports().within(&account);
    let exporting = export.begin_within(reports, Account::new(&budget)).await?;
    let ends_at = Instant::now() + EXPORT_MAX;
    let (metrics, stopping) = (metrics.clone(), stopping.clone());
    let mut sending = Sending { metrics, exporting, ends_at, stopping, budget, _permit: permit };
    // Makes the first piece before the response begins, because later errors cannot change the status.
    let first = timeout(PIECE_MAX, sending.exporting.next(sending.metrics.store()));
    let first = first.await.map_err(|_| Error::TooLong)??;
    let step = Step(Box::pin(async { Ok(first.map(|piece| sending.charge(piece))) }));
    Ok(file(&export, Body::pieces(step, READ_TIMEOUTS)))
}

/// Makes a report as a file.
pub(crate) async fn report(
    reports: Reports<'_>,
    table: Table,
    params: &Params,
) -> Result<(Text, Export), Error> {
    let export = Export::read(table, params.format()?, params)?;
    Ok((export.text(reports).await?, export))
}

/// A response with an export as a file.
pub(crate) fn file(export: &Export, body: Body) -> Response<Body> {
    let Export { table, format, .. } = export;
    let name = format!("{}.{}", table.name(), format.extension());
    response::file(format.content_type(), &name, body)
}

impl Sending {
    /// Accounts a piece, and returns it with the step that makes the next piece.
    fn charge(self, piece: Bytes) -> (Bytes, Step) {
        (charged(&self.budget, piece), self.rest())
    }

    /// Makes the next piece on demand.
    fn rest(mut self) -> Step {
        Step(Box::pin(async move {
            let store = self.metrics.store();
            let until = self.ends_at.min(Instant::now() + PIECE_MAX);
            let made = tokio::select! {
                made = timeout_at(until, self.exporting.next(store)) => made,
                () = self.stopping.cancelled() => return Err(Cut::silently()),
            };
            let piece =
                made.map_err(|late| Cut::because(&late))?.map_err(|err| Cut::because(&err))?;
            Ok(piece.map(|piece| self.charge(piece)))
        }))
    }
}
