//! From a route to its answer: permission, then the code of the endpoint.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response};
use tokio::time::timeout;

use super::admit::Admission;
use super::caller::Way;
use super::reports::Sent;
use super::{Inner, Service};
use crate::access::Grant;
use crate::api::{cmcd, events, health, keys, openapi, stats};
use crate::body::check_end;
use crate::error::Error;
use crate::page::{self, Document};
use crate::response::{self, Body};
use crate::route::{Report, Route};

/// How long a batch waits when as many events as are allowed wait for the store already.
const READY_MAX: Duration = Duration::from_secs(5);

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
            (request, Admission::Granted(granted)) => (request, granted),
            (_, Admission::Refused(response)) if matches!(route, Route::Page | Route::Demo) => {
                return Ok(self.to_sign_in(response));
            }
            (_, Admission::Refused(response)) => return Ok(response),
        };
        let Inner { metrics, bodies, settings, .. } = &*self.inner;
        if let Some(geo) = &settings.geo {
            geo.look().await;
        }
        match (route, request.method().clone()) {
            (Route::Socket, _) => self.upgrade(&mut request),
            (Route::LongPoll, _) => self.long_poll(request).await,
            (Route::Demo, _) => Ok(self.document(Document::Demo, &granted, "").await),
            (Route::Page, _) => {
                let rights = self.rights(request.into_parts().0, &granted).await;
                Ok(self.document(Document::Page, &granted, &rights).await)
            }
            (Route::PageFile(name), method) => {
                page::file(name, &method, request.headers(), &settings.page)
            }
            (Route::SignIn, _) => self.sign_in(request).await,
            (Route::SignOut, _) => self.sign_out(request.headers()).await,
            (Route::Live, _) => Ok(health::live()),
            (Route::Ready, _) => Ok(health::ready(metrics, &self.inner.examined).await),
            (Route::Script(address), _) => Ok(address.serve(request.headers())),
            (Route::OpenApi, _) => Ok(openapi::document(&settings.prefix)),
            (Route::Stats, _) => Ok(self.stats(request.headers()).await),
            (Route::Events | Route::Cmcd, _) => self.record(route, request).await,
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
            (Route::Me | Route::Tokens | Route::Token(_), _) => {
                self.answer_access(route, request, &granted).await
            }
            (Route::Erase, _) => self.erase(request, granted).await,
            (Route::Report(Report::Live), _) => self.live(request.into_parts().0, granted),
            (Route::Report(_) | Route::Dimension(_) | Route::Export(_), _) => {
                let flow = self.flow(&granted, request.headers(), request.extensions());
                let query = request.uri().query().map(str::to_owned);
                let sent = Sent { query, body: bodies.read(request.into_body()).await? };
                self.measured(route, granted, flow, sent).await
            }
        }
    }

    /// A document of the page.
    async fn document(&self, document: Document, granted: &Grant, rights: &str) -> Response<Body> {
        let Inner { metrics, settings, .. } = &*self.inner;
        document.show(metrics, granted, rights, (&settings.prefix, &settings.page)).await
    }

    /// Records a batch of events, or of CMCD records.
    async fn record<B>(
        &self,
        route: Route<'_>,
        request: Request<B>,
    ) -> Result<Response<Body>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let (query, headers) = (request.uri().query(), request.headers());
        let (key, only) = self.keys_of(query, headers).await?;
        let about = cmcd::About::of(query, headers);
        let info = self.connection_info(&request, Way::Batch);
        let Inner { metrics, batches, .. } = &*self.inner;
        let body = batches.read(request.into_body()).await?;
        timeout(READY_MAX, metrics.ready()).await.map_err(|_| Error::NotStored)?;
        match route {
            Route::Cmcd => {
                let key = key.ok_or(Error::NoKey)?;
                cmcd::record(metrics, (&key, only.as_ref()), &about, &info, &body).await
            }
            _ => events::record(metrics, key.as_ref(), only.as_ref(), &info, &body).await,
        }
    }

    /// The statistics of this process.
    async fn stats(&self, headers: &HeaderMap) -> Response<Body> {
        let Inner { metrics, counters, memory, sockets, longpolls, lives, measured, .. } =
            &*self.inner;
        let connected = (sockets.len(), longpolls.len(), lives.len());
        let measured = (measured, self.inner.settings.spool.as_ref());
        stats::stats(metrics, (counters, memory), connected, measured, headers).await
    }
}
