//! Requests that read or erase sessions: reports, exports and erasures wait for the caller's turn.

use bytes::Bytes;
use hyper::{Request, Response};
use metrics_core::Reports;
use tokio::time::Instant;

use super::{Inner, Service};
use crate::access::Granted;
use crate::answer::{Text, within_time};
use crate::api::params::Params;
use crate::api::{dimensions, engagement, fields, plays, query, sources, videos, watching};
use crate::body::CompleteBody;
use crate::counters::{Endpoint, Failure};
use crate::error::Error;
use crate::export::Export;
use crate::export::respond as export;
use crate::queue::Flow;
use crate::response::{self, Body};
use crate::route::{Report, Route};
use crate::table::Table;

/// The parameters of a request for a report.
pub(super) struct Sent {
    pub(super) query: Option<String>,
    pub(super) body: CompleteBody,
}

impl Sent {
    fn params(&self, granted: Granted) -> Result<Params, Error> {
        Params::parse(self.query.as_deref(), &self.body, granted)
    }
}

impl Service {
    /// Counts or erases sessions, when it is the caller's turn.
    pub(super) async fn erase<B>(
        &self,
        request: Request<B>,
        granted: Granted,
    ) -> Result<Response<Body>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let Inner { metrics, bodies, answers, erasing, .. } = &*self.inner;
        let flow = self.flow(&granted, request.headers(), request.extensions());
        let headers = request.headers().clone();
        let body = bodies.read(request.into_body()).await?;
        let making = answers.admit(flow).await?;
        let params = Params::parse(None, &body, granted)?;
        erasing.respond(metrics, making, &headers, params).await
    }

    /// Answers a report or an export, and counts it with the time until its answer begins.
    pub(super) async fn measured(
        &self,
        route: Route<'_>,
        granted: Granted,
        flow: Flow,
        sent: Sent,
    ) -> Result<Response<Body>, Error> {
        let began = Instant::now();
        let answered = match route {
            Route::Export(Table::Sessions) => self.export(granted, flow, sent).await,
            _ => self.report(route, granted, flow, sent).await,
        };
        let reports = self.inner.counters.reports();
        match (endpoint(route), &answered) {
            (Some(endpoint), Ok(_)) => reports.answer(endpoint, began.elapsed()),
            (Some(endpoint), Err(err)) => {
                reports.fail(endpoint, Failure::of_status(err.status().as_u16()));
            }
            (None, _) => {}
        }
        answered
    }

    /// Answers a report, also as a file, when it is the caller's turn.
    async fn report(
        &self,
        route: Route<'_>,
        granted: Granted,
        flow: Flow,
        sent: Sent,
    ) -> Result<Response<Body>, Error> {
        let Inner { metrics, answers, .. } = &*self.inner;
        // The parameters are parsed only after admission.
        let making = answers.admit(flow).await?;
        let params = sent.params(granted)?;
        let reports = metrics.reports().within(&making.account);
        if let Route::Export(table) = route {
            let (text, export) = within_time(export::report(reports, table, &params)).await?;
            return Ok(export::file(&export, making.body(text).await?));
        }
        let text = within_time(answer(route, reports, &params)).await?;
        Ok(response::json_body(making.body(text).await?))
    }

    /// Answers with sessions, when it is the caller's turn.
    async fn export(
        &self,
        granted: Granted,
        flow: Flow,
        sent: Sent,
    ) -> Result<Response<Body>, Error> {
        let Inner { metrics, answers, exports, stopping, .. } = &*self.inner;
        let permit = exports.enter(flow.clone()).await?;
        let making = answers.admit_now(flow)?;
        let export = {
            let params = sent.params(granted)?;
            Export::read(Table::Sessions, params.format()?, &params)?
        };
        // An export may take hours.
        drop(sent);
        export::sessions(metrics, export, making, permit, stopping).await
    }
}

/// The endpoint of a report route, in the process statistics.
fn endpoint(route: Route<'_>) -> Option<Endpoint> {
    match route {
        Route::Dimension(_) => Some(Endpoint::Dimensions),
        Route::Export(_) => Some(Endpoint::Export),
        Route::Report(report) => Some(match report {
            Report::Plays => Endpoint::Plays,
            Report::Engagement => Endpoint::Engagement,
            Report::Sources => Endpoint::Sources,
            Report::Watching => Endpoint::Watching,
            Report::Query => Endpoint::Query,
            Report::Videos => Endpoint::Videos,
            Report::Fields => Endpoint::Fields,
        }),
        _ => None,
    }
}

/// The answer of a report route.
async fn answer(route: Route<'_>, reports: Reports<'_>, params: &Params) -> Result<Text, Error> {
    match route {
        Route::Dimension(name) => dimensions::values(reports, name, params).await,
        Route::Report(Report::Plays) => plays::plays(reports, params).await,
        Route::Report(Report::Engagement) => engagement::engagement(reports, params).await,
        Route::Report(Report::Sources) => sources::sources(reports, params).await,
        Route::Report(Report::Watching) => watching::watching(reports, params).await,
        Route::Report(Report::Query) => query::query(reports, params).await,
        Route::Report(Report::Videos) => videos::videos(reports, params).await,
        Route::Report(Report::Fields) => fields::fields(reports, params).await,
        _ => Err(Error::NotFound),
    }
}
