//! `/api/v1/export/{table}`: a report, or sessions, as a file.

use std::time::Duration;

use hyper::Response;
use metrics_core::{Metrics, Reports};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::params::Params;
use crate::answer::Text;
use crate::error::Error;
use crate::export::{Export, Exporting, Table};
use crate::queue::{Lane, Place, Queue};
use crate::response::{self, Body, Cut, Step};

/// How many exports of sessions may be under way at once: each holds some memory for as long as its client takes.
const SESSIONS_MAX: usize = 4;

/// How long one waits for the others.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How long a piece may take to be made. Where few of the sessions are asked for, many are read for it.
const PIECE_MAX: Duration = Duration::from_secs(600);

/// How long an export may take in all, for a client that reads slowly: it holds a place that others wait for. Ten
/// million sessions are some gigabytes.
const EXPORT_MAX: Duration = Duration::from_secs(6 * 3_600);

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
    _place: Place,
}

impl Exports {
    pub(crate) fn new() -> Self {
        Self { places: Queue::new(SESSIONS_MAX) }
    }

    /// Answers with sessions, while they are read. It ends with the client, or when the server stops.
    pub(crate) async fn sessions(
        &self,
        metrics: &Metrics,
        params: &Params,
        lane: Lane,
        stopping: &CancellationToken,
    ) -> Result<Response<Body>, Error> {
        let export = Export::read(Table::Sessions, params.format()?, params)?;
        let place = self.places.enter(lane, WAIT_MAX).await?;
        let exporting = export.begin(metrics.store(), metrics.now()).await?;
        let mut sending = Sending {
            metrics: metrics.clone(),
            exporting,
            ends_at: Instant::now() + EXPORT_MAX,
            stopping: stopping.clone(),
            _place: place,
        };
        // Before the answer begins, so that it can still say what is wrong.
        let first = timeout(PIECE_MAX, sending.exporting.next(metrics.store()));
        let first = first.await.map_err(|_| Error::TooLong)??;
        let rest = sending.rest();
        let step = Step(Box::pin(async { Ok(first.map(|piece| (piece, rest))) }));
        Ok(file(&export, Body::pieces(step, EXPORT_MAX)))
    }
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
            Ok(piece.map(|piece| (piece, self.rest())))
        }))
    }
}
