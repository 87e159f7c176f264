//! From a request to a response: the handling that all routes share, and the dispatch to each.

mod admit;
mod caller;
mod connect;
mod dispatch;
mod live;
mod reports;
mod sign_in;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderValue, ORIGIN, REFERRER_POLICY};
use hyper::{Method, Request, Response};
use metrics_core::Metrics;
use metrics_core::recorder::Stopped;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::answer::Answers;
use crate::api::{erase, health, stats};
use crate::attempts::Attempts;
use crate::body::Bodies;
use crate::cors::{self, Cors};
use crate::counters::Counters;
use crate::export::respond::Exports;
use crate::live::Lives;
use crate::longpoll::LongPolls;
use crate::memory::Memory;
use crate::response::Body;
use crate::route::Route;
use crate::settings::Settings;
use crate::share::{Shares, default_share};
use crate::webhooks;

/// How long a successful health check is cached: a check costs a write, and anybody may request one.
const HEALTH_KEPT: Duration = Duration::from_secs(1);

/// Answers requests, and runs the websockets that they open.
///
/// Cheap to clone: all clones are the same. It is a service of hyper and of tower as well.
///
/// # Where it runs
///
/// It starts no runtime and has no global state. Websockets and long-polling sessions are tasks of the runtime on which
/// [`respond`](Self::respond) is called, which must be Tokio's, with a clock; [`close_sockets`](Self::close_sockets)
/// ends all these tasks and waits for them. Connections must be served `with_upgrades` to become websockets.
///
/// # How it stops
///
/// In this order nothing is lost:
///
/// 1. Accept no more connections, and wait until the requests have finished.
/// 2. [`close_sockets`](Self::close_sockets): open segments are closed, and durable events are acknowledged.
/// 3. [`stop`](Self::stop): the remaining events are written, or spilled to a file. It ends the [`Metrics`] too; an
///    application that needs its [`Metrics`] for longer skips this step, and ends them by [`Metrics::stop_within`]
///    later.
///
/// 1 and 2 may run at the same time, as in [`serve()`](crate::serve()). A request that polls finishes within 10 s, or
/// at 2. A stream of viewers lasts an hour, or until 2: an application that waits for all requests calls
/// [`close_sockets`](Self::close_sockets) first, and once more when the requests have finished.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    settings: Settings,
    attempts: Arc<Attempts>,
    // Of the addresses that proxies forward, or else of connections.
    shares: Arc<Shares>,
    batches: Bodies,
    // Of all other requests.
    bodies: Bodies,
    answers: Arc<Answers>,
    exports: Exports,
    erasing: erase::Erasing,
    examined: health::Examined,
    measured: stats::Measured,
    counters: Counters,
    memory: Memory,
    stopping: CancellationToken,
    sockets: TaskTracker,
    longpolls: LongPolls,
    lives: Lives,
}

impl Service {
    /// Creates a service that records into `metrics` and answers from it.
    #[must_use]
    pub fn new(metrics: Metrics, settings: Settings) -> Self {
        let stopping = CancellationToken::new();
        let memory = settings.memory.clone().unwrap_or_else(|| metrics.memory().clone());
        let memory = Memory::new(memory);
        let longpolls = LongPolls::new(
            metrics.clone(),
            memory.longpolls.clone(),
            settings.connections_per_address,
            stopping.clone(),
        );
        let answers = Arc::new(Answers::within(memory.answers.clone()));
        let lives = Lives::new(
            metrics.clone(),
            Arc::clone(&answers),
            memory.streams.clone(),
            settings.connections_per_address,
            stopping.clone(),
        );
        let shares = Shares::new(settings.connections_per_address.unwrap_or(usize::MAX));
        let inner = Inner {
            metrics,
            settings,
            attempts: Arc::default(),
            shares,
            batches: Bodies::new(&memory.batches),
            bodies: Bodies::new(&memory.bodies),
            answers,
            exports: Exports::new(),
            erasing: erase::Erasing::default(),
            examined: health::Examined::new(HEALTH_KEPT),
            measured: stats::Measured::new(),
            counters: Counters::default(),
            memory,
            stopping,
            sockets: TaskTracker::new(),
            longpolls,
            lives,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether a request with this path is for this service: it is under its [prefix](Settings::prefix), and leads to
    /// one of its [routes](Settings::routes). For any other path, [`respond`](Self::respond) answers 404.
    ///
    /// With the prefix `/analytics`, `/analytics/api/v1/plays` is for it, and neither `/api/v1/plays` nor
    /// `/analytics/nothing`.
    #[must_use]
    pub fn owns(&self, path: &str) -> bool {
        self.route(path).is_some()
    }

    /// Ends all websockets, long-polling sessions and streams, and returns when they have ended. Websockets and streams
    /// that are opened from now on end at once, and new sessions are refused.
    ///
    /// Cancel safe: they end also if the future is dropped.
    pub async fn close_sockets(&self) {
        self.inner.stopping.cancel();
        self.inner.sockets.close();
        let Inner { sockets, longpolls, lives, .. } = &*self.inner;
        tokio::join!(sockets.wait(), longpolls.wait(), lives.wait());
    }

    /// Returns when all recorded events are durable, or after `limit`. Events that arrive later fail.
    ///
    /// Events that the store does not take in time are spilled to a file, if [`Settings::spool`] names one; the log
    /// reports the outcome. Call it when no more requests come and the websockets are [closed](Self::close_sockets).
    ///
    /// Not cancel safe: if it is dropped, events that are not durable may be lost.
    pub async fn stop(&self, limit: Duration) {
        let Some(spool) = &self.inner.settings.spool else {
            if timeout(limit, self.inner.metrics.stop()).await.is_err() {
                tracing::error!(
                    "stopped after {limit:?}: the store is unavailable, and events that were not acknowledged are \
                     lost"
                );
            }
            return;
        };
        match self.inner.metrics.stop_within(limit, spool).await {
            Ok(Stopped::Durable) => {}
            Ok(Stopped::Spooled { sessions, file }) => tracing::warn!(
                sessions,
                file = %file.display(),
                "the store is unavailable: sessions that it did not accept were spilled to a file, which the next \
                 start recovers"
            ),
            Ok(other) => tracing::warn!("the store did not accept all sessions: {other:?}"),
            Err(err) => {
                tracing::error!(
                    error = &err as &dyn std::error::Error,
                    "events that were not acknowledged are lost"
                );
            }
        }
    }

    /// Evaluates the rules of [`Settings::webhooks`] every minute and attempts deliveries, until
    /// [`close_sockets`](Self::close_sockets). Without rules it returns at once.
    ///
    /// [`serve()`](crate::serve()) calls it; an application with a server of its own spawns it once. Not cancel safe in
    /// that a delivery may be sent again, under the same id.
    pub async fn run_webhooks(&self) {
        let Inner { metrics, settings, answers, counters, stopping, .. } = &*self.inner;
        let Some(webhooks) = settings.webhooks.clone() else { return };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = webhooks::run(webhooks, metrics, answers, counters) => {}
        }
    }

    /// The counters of connections and refusals.
    pub(crate) fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// The memory budget, in parts.
    pub(crate) fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    /// The connection quotas per address, given that `connections_max` are allowed in all. `None` behind a proxy, which
    /// makes all connections: then the quotas are per forwarded address.
    pub(crate) fn shares_of_callers(&self, connections_max: usize) -> Option<Arc<Shares>> {
        let Inner { settings, shares, .. } = &*self.inner;
        if settings.connections_per_address.is_none() {
            shares.allow(default_share(connections_max));
        }
        settings.forwarded_header.is_none().then(|| Arc::clone(shares))
    }

    /// Whether a path leads to a health check.
    pub(crate) fn is_about_health(&self, path: &str) -> bool {
        matches!(self.route(path), Some(Route::Live | Route::Ready))
    }

    /// Whether the store is unavailable now.
    pub(crate) fn is_store_unavailable(&self) -> bool {
        self.inner.metrics.stats().unavailable_since.is_some()
    }

    /// Answers a request. It never fails: errors become responses.
    ///
    /// If it is dropped, the request took effect either in full or not at all. The exception is a batch, where any
    /// number of events may have been recorded; they count once when the batch is sent again.
    pub async fn respond<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let path = request.uri().path().to_owned();
        let route = self.route(&path);
        let cors = match route {
            Some(Route::LongPoll | Route::Events | Route::Cmcd | Route::Script(_)) => &Cors::Any,
            Some(Route::Report(_) | Route::Dimension(_) | Route::Export(_)) => {
                &self.inner.settings.cors
            }
            // Keys, and all other changes, are for the server's own page.
            _ => &Cors::Own,
        };
        let is_read = matches!(cors, Cors::Own | Cors::Listed(_))
            && matches!(
                route,
                Some(Route::Report(_) | Route::Dimension(_) | Route::Export(_) | Route::Me)
            );
        let is_by_token = is_read && self.is_by_token(&request);
        let cors = if is_by_token { &Cors::Any } else { cors };
        let has_token = matches!(
            admit::token_in(request.uri().query(), request.headers()),
            Ok(Some(_)) | Err(_)
        );
        let origin = request.headers().get(ORIGIN).cloned();
        let (request, share) = match self.take_share(route, request) {
            Ok(taken) => taken,
            Err(err) => {
                let mut response = err.into_response();
                cors::allow(cors, origin.as_ref(), response.headers_mut());
                return response;
            }
        };
        if let (Some(route), &Method::OPTIONS) = (route, request.method())
            && route.methods().ends_with("OPTIONS")
        {
            return match route {
                Route::Events | Route::Cmcd => {
                    cors::preflight_batch(origin.as_ref(), route.methods())
                }
                _ => cors::preflight(cors, origin.as_ref(), route.methods()),
            };
        }
        let mut response = match self.dispatch(route, request).await {
            Ok(response) => response,
            Err(err) => {
                if err.is_memory() {
                    self.inner.counters.run_out_of_memory();
                }
                err.into_response()
            }
        };
        // An answer keeps its permit until it is read.
        if let Some(share) = share {
            response = response.map(|body| body.holding(share));
        }
        cors::allow(cors, origin.as_ref(), response.headers_mut());
        if has_token {
            // Its address is a secret.
            let policy = HeaderValue::from_static("no-referrer");
            response.headers_mut().insert(REFERRER_POLICY, policy);
        }
        response
    }

    /// The route of a path, if this service serves it.
    fn route<'a>(&self, path: &'a str) -> Option<Route<'a>> {
        let Settings { prefix, routes, .. } = &self.inner.settings;
        let route = Route::of(prefix.strip(path)?)?;
        routes.contains(route.among()).then_some(route)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}
