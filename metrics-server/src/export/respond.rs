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
use crate::queue::{Lane, Place, Queue};
use crate::response::{self, Body, Cut, Patience, Step};
use crate::table::Table;

/// How many exports of sessions may be under way at once: each holds some memory for as long as its client takes.
const SESSIONS_MAX: usize = 4;

/// How long one waits for the others.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a piece may take to be made. Where few of the sessions are asked for, many are read for it.
const PIECE_MAX: Duration = Duration::from_secs(600);

/// How long an export may take in all, for a client that reads slowly: it holds a place that others wait for. Ten
/// million sessions are some gigabytes.
const EXPORT_MAX: Duration = Duration::from_secs(6 * 3_600);

/// How long a client may take. One that writes what it reads into a database may pause.
const PATIENCE: Patience = Patience { piece: Duration::from_secs(600), all: EXPORT_MAX };

/// How much memory there must be for an export to begin, in bytes: a page of sessions, about.
const BYTES_MIN: usize = 4 * 1024 * 1024;

/// Room for exports of sessions. No caller has all of it.
pub(crate) struct Exports {
    places: Queue,
}

/// An export whose client reads it.
struct Sending {
    metrics: Metrics,
    exporting: Exporting,
    ends_at: Instant,
    stopping: CancellationToken,
    // What the caller may hold.
    budget: Budget,
    _place: Place,
}

impl Exports {
    pub(crate) fn new() -> Self {
        Self { places: Queue::new(SESSIONS_MAX) }
    }

    /// Waits until an export of sessions may begin.
    pub(crate) async fn enter(&self, lane: Lane) -> Result<Place, Error> {
        Ok(self.places.enter(lane, WAIT_MAX).await?)
    }
}

/// Answers with sessions, while they are read. It ends with the client, or when the server stops.
pub(crate) async fn sessions(
    metrics: &Metrics,
    export: Export,
    making: Making,
    place: Place,
    stopping: &CancellationToken,
) -> Result<Response<Body>, Error> {
    let Making { account, budget, .. } = making;
    account.hold(BYTES_MIN)?;
    let reports = metrics.reports().within(&account);
    let exporting = export.begin_within(reports, Account::new(&budget)).await?;
    let ends_at = Instant::now() + EXPORT_MAX;
    let (metrics, stopping) = (metrics.clone(), stopping.clone());
    let mut sending = Sending { metrics, exporting, ends_at, stopping, budget, _place: place };
    // Before the answer begins, so that it can still say what is wrong.
    let first = timeout(PIECE_MAX, sending.exporting.next(sending.metrics.store()));
    let first = first.await.map_err(|_| Error::TooLong)??;
    let step = Step(Box::pin(async { Ok(first.map(|piece| sending.charge(piece))) }));
    Ok(file(&export, Body::pieces(step, PATIENCE)))
}

/// Answers with a report, as a file.
pub(crate) async fn report(
    reports: Reports<'_>,
    table: Table,
    params: &Params,
) -> Result<(Text, Export), Error> {
    let export = Export::read(table, params.format()?, params)?;
    Ok((export.text(reports).await?, export))
}

/// A file with an export.
pub(crate) fn file(export: &Export, body: Body) -> Response<Body> {
    let Export { table, format, .. } = export;
    let name = format!("{}.{}", table.name(), format.extension());
    response::file(format.content_type(), &name, body)
}

impl Sending {
    /// A piece that was made, and how the next one is made.
    fn charge(self, piece: Bytes) -> (Bytes, Step) {
        (charged(&self.budget, piece), self.rest())
    }

    /// Makes the next piece when it is asked for.
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
