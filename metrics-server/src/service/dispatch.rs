//! From a route to its answer: permission, then the code of the endpoint.

use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use hyper::{Method, Request, Response};
use tokio::time::timeout;

use super::caller::Way;
use super::reports::Sent;
use super::{Inner, Service};
use crate::access::{Decision, Granted, Purpose};
use crate::api::{events, health, keys, openapi, stats};
use crate::body::check_end;
use crate::error::Error;
use crate::guard;
use crate::page::{self, Document};
use crate::response::{self, Body};
use crate::route::{Report, Route};
use crate::table::Table;

/// How long a batch waits when as many events as are allowed wait for the store already.
const READY_MAX: Duration = Duration::from_secs(5);

/// The timeout of an access decision.
const ACCESS_MAX: Duration = Duration::from_secs(10);

impl Service {
    pub(super) async fn dispatch<B>(
        &self,
        route: Option<Route<'_>>,
        request: Request<B>,
    ) -> Result<Response<Body>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        check_end(request.headers())?;
        let Some(route) = route else { return Err(Error::NotFound) };
        let allow = route.methods();
        if !allow.split(", ").any(|method| method == request.method().as_str()) {
            return Err(Error::MethodNotAllowed { allow });
        }
        let (mut request, granted) = match self.admit(route, request).await? {
            (request, Decision::Allow) => (request, Granted::All),
            (request, Decision::AllowKeys(keys)) => (request, Granted::Keys(keys.into())),
            (_, Decision::Refuse(response)) => return Ok(response),
        };
        let Inner { metrics, bodies, settings, .. } = &*self.inner;
        match (route, request.method().clone()) {
            (Route::Socket, _) => self.upgrade(&mut request),
            (Route::LongPoll, _) => self.long_poll(request).await,
            (Route::Page | Route::Demo, _) => {
                let document = if route == Route::Demo { Document::Demo } else { Document::Page };
                Ok(document.show(metrics, &granted, &settings.prefix, &settings.page).await)
            }
            (Route::PageFile(name), method) => {
                page::file(name, &method, request.headers(), &settings.page)
            }
            (Route::Live, _) => Ok(health::live()),
            (Route::Ready, _) => Ok(health::ready(metrics, &self.inner.examined).await),
            // Process statistics belong to no key.
            (Route::Stats, _) if !granted.is_all() => Err(Error::Forbidden),
            (Route::Script(address), _) => Ok(address.serve(request.headers())),
            (Route::OpenApi, _) => Ok(openapi::document(&settings.prefix)),
            (Route::Stats, _) => {
                let Inner { counters, memory, sockets, longpolls, lives, .. } = &*self.inner;
                let connected = (sockets.len(), longpolls.len(), lives.len());
                Ok(stats::stats(metrics, counters, memory, connected))
            }
            (Route::Events, _) => {
                let key = self.key_of(request.uri().query())?;
                let info = self.connection_info(&request, Way::Batch);
                let body = self.inner.batches.read(request.into_body()).await?;
                timeout(READY_MAX, metrics.ready()).await.map_err(|_| Error::NotStored)?;
                events::record(metrics, key.as_ref(), &info, &body).await
            }
            (Route::Keys, Method::POST) => {
                let body = bodies.read(request.into_body()).await?;
                keys::create(metrics, &granted, &body).await
            }
            (Route::Keys, _) => {
                let list = keys::list(metrics, &granted).await?;
                Ok(response::json_body(self.inner.answers.list(list).await?))
            }
            (Route::Key(id), Method::PATCH) => {
                let body = bodies.read(request.into_body()).await?;
                keys::change(metrics, &granted, id, &body).await
            }
            (Route::Key(id), _) => keys::revoke(metrics, &granted, id).await,
            (Route::Erase, _) => self.erase(request, granted).await,
            (Route::Report(Report::Live), _) => self.live(request.into_parts().0, granted),
            (Route::Report(_) | Route::Dimension(_) | Route::Export(_), _) => {
                let flow = self.flow(&granted, request.headers(), request.extensions());
                let query = request.uri().query().map(str::to_owned);
                let sent = Sent { query, body: bodies.read(request.into_body()).await? };
                match route {
                    Route::Export(Table::Sessions) => self.export(granted, flow, sent).await,
                    _ => self.report(route, granted, flow, sent).await,
                }
            }
        }
    }

    /// Calls the access hook for a request that needs permission.
    async fn admit<B>(
        &self,
        route: Route<'_>,
        request: Request<B>,
    ) -> Result<(Request<B>, Decision), Error>
    where
        B: hyper::body::Body,
    {
        let settings = &self.inner.settings;
        let Some(purpose) = route.purpose(request.method()) else {
            return Ok((request, Decision::Allow));
        };
        let (mut head, body) = request.into_parts();
        guard::check(settings, purpose, &head, !body.is_end_stream())?;
        let caller = self.caller(&head.headers, &head.extensions);
        head.extensions.insert(caller);
        let decision = self.decide(&head, purpose).await?;
        Ok((Request::from_parts(head, body), decision))
    }

    /// Decides what the caller with this request may do. Streams ask again while they last.
    pub(super) async fn decide(&self, head: &Parts, purpose: Purpose) -> Result<Decision, Error> {
        let Some(access) = &self.inner.settings.access else { return Ok(Decision::Allow) };
        timeout(ACCESS_MAX, access.decide(head, purpose)).await.map_err(|_| Error::Busy)
    }
}
