//! From a request to a response: the handling that all routes share, and the dispatch to each.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Extensions;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, ORIGIN, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use metrics_core::recorder::Stopped;
use metrics_core::user_agent::{Classification, Headers};
use metrics_core::{ApiKey, Metrics, Reports};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Decision, Granted};
use crate::answer::{Answers, Text, within_time};
use crate::api::params::Params;
use crate::api::{
    dimensions, engagement, erase, events, fields, health, keys, openapi, plays, query, sources,
    stats, videos, watching,
};
use crate::attempts::{Attempts, Caller, CallerAddress};
use crate::body::{Bodies, Whole, check_end};
use crate::channel::ConnectionInfo;
use crate::cors::{self, Cors};
use crate::error::Error;
use crate::export::Export;
use crate::export::respond::{self as export, Exports};
use crate::guard;
use crate::handshake;
use crate::longpoll::{self, LongPolls, Token};
use crate::memory::Memory;
use crate::page::{self, Page};
use crate::parameters::{parameter, restore_key};
use crate::permits::Permit;
use crate::phoenix::Version;
use crate::queue::Lane;
use crate::response::{self, Body};
use crate::route::{Report, Route};
use crate::settings::Settings;
use crate::share::{Share, Shares, default_share};
use crate::socket;
use crate::table::Table;
use crate::traffic::Traffic;

/// The most bytes of a user-agent header that are kept as long as the connection lasts. The rest is ignored.
const HINT_BYTES_MAX: usize = 1_024;

/// How long a batch waits when as many events as are allowed wait for the store already.
const READY_MAX: Duration = Duration::from_secs(5);

/// How long a successful health check is cached: a check costs a write, and anybody may request one.
const HEALTH_KEPT: Duration = Duration::from_secs(1);

/// The timeout of an access decision.
const ACCESS_MAX: Duration = Duration::from_secs(10);

/// How a client sends events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// Over a websocket or long polling.
    Channel,
    /// In batches.
    Batch,
}

/// The parameters of a request for a report.
struct Sent {
    query: Option<String>,
    body: Whole,
}

impl Sent {
    fn params(&self, granted: Granted) -> Result<Params, Error> {
        Params::parse(self.query.as_deref(), &self.body, granted)
    }
}

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
/// at 2.
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
    answers: Answers,
    exports: Exports,
    erasing: erase::Erasing,
    examined: health::Examined,
    page: Page,
    traffic: Traffic,
    memory: Memory,
    stopping: CancellationToken,
    sockets: TaskTracker,
    longpolls: LongPolls,
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
        let shares = Shares::new(settings.connections_per_address.unwrap_or(usize::MAX));
        let inner = Inner {
            metrics,
            settings,
            attempts: Arc::default(),
            shares,
            batches: Bodies::new(&memory.batches),
            bodies: Bodies::new(&memory.bodies),
            answers: Answers::within(memory.answers.clone()),
            exports: Exports::new(),
            erasing: erase::Erasing::default(),
            examined: health::Examined::new(HEALTH_KEPT),
            page: Page::new(),
            traffic: Traffic::default(),
            memory,
            stopping,
            sockets: TaskTracker::new(),
            longpolls,
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

    /// Ends all websockets and long-polling sessions, and returns when they have ended. Websockets that are opened from
    /// now on end at once, and new sessions are refused.
    ///
    /// Cancel safe: they end also if the future is dropped.
    pub async fn close_sockets(&self) {
        self.inner.stopping.cancel();
        self.inner.sockets.close();
        tokio::join!(self.inner.sockets.wait(), self.inner.longpolls.wait());
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
                    "gave up after {limit:?}: the store is away, and what was not acknowledged is lost"
                );
            }
            return;
        };
        match self.inner.metrics.stop_within(limit, spool).await {
            Ok(Stopped::Durable) => {}
            Ok(Stopped::Spooled { sessions, file }) => tracing::warn!(
                sessions,
                file = %file.display(),
                "the store is away: what it did not take is left in a file, and taken up at the next start"
            ),
            Ok(other) => tracing::warn!("the store did not take everything: {other:?}"),
            Err(err) => {
                tracing::error!(
                    error = &err as &dyn std::error::Error,
                    "what was not acknowledged is lost"
                );
            }
        }
    }

    /// The counters of connections and refusals.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.inner.traffic
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
            Some(Route::LongPoll | Route::Events | Route::Script(_)) => &Cors::Any,
            Some(Route::Report(_) | Route::Dimension(_) | Route::Export(_)) => {
                &self.inner.settings.cors
            }
            // Keys, and all other changes, are for the server's own page.
            _ => &Cors::Own,
        };
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
                Route::Events => cors::preflight_batch(origin.as_ref(), route.methods()),
                _ => cors::preflight(cors, origin.as_ref(), route.methods()),
            };
        }
        let mut response = match self.dispatch(route, request).await {
            Ok(response) => response,
            Err(err) => {
                if err.is_memory() {
                    self.inner.traffic.run_out_of_memory();
                }
                err.into_response()
            }
        };
        // An answer keeps its permit until it is read.
        if let Some(share) = share {
            response = response.map(|body| body.holding(share));
        }
        cors::allow(cors, origin.as_ref(), response.headers_mut());
        response
    }

    async fn dispatch<B>(
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
            (Route::Page, _) => {
                let (page, headers) = (&self.inner.page, request.headers());
                Ok(page.show(metrics, &granted, &settings.prefix, headers).await)
            }
            (Route::PageFile(name), method) => page::file(name, &method, request.headers()),
            (Route::Live, _) => Ok(health::live()),
            (Route::Ready, _) => Ok(health::ready(metrics, &self.inner.examined).await),
            // Process statistics belong to no key.
            (Route::Stats, _) if !granted.is_all() => Err(Error::Forbidden),
            (Route::Script(address), _) => Ok(address.serve(request.headers())),
            (Route::OpenApi, _) => Ok(openapi::document(&settings.prefix)),
            (Route::Stats, _) => {
                let Inner { traffic, memory, sockets, longpolls, .. } = &*self.inner;
                let connected = (sockets.len(), longpolls.len());
                Ok(stats::stats(metrics, traffic, memory, connected))
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
            (Route::Report(_) | Route::Dimension(_) | Route::Export(_), _) => {
                let lane = self.lane(&granted, request.headers(), request.extensions());
                let query = request.uri().query().map(str::to_owned);
                let sent = Sent { query, body: bodies.read(request.into_body()).await? };
                match route {
                    Route::Export(Table::Sessions) => self.export(granted, lane, sent).await,
                    _ => self.report(route, granted, lane, sent).await,
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
        let Some(wanted) = route.wanted(request.method()) else {
            return Ok((request, Decision::Allow));
        };
        let (mut head, body) = request.into_parts();
        guard::check(settings, wanted, &head, !body.is_end_stream())?;
        let Some(access) = &settings.access else {
            return Ok((Request::from_parts(head, body), Decision::Allow));
        };
        let caller = self.caller(&head.headers, &head.extensions);
        head.extensions.insert(caller);
        let decision = timeout(ACCESS_MAX, access.decide(&head, wanted)).await;
        Ok((Request::from_parts(head, body), decision.map_err(|_| Error::Busy)?))
    }

    /// Takes a permit from the quota of the address that a proxy forwards. A websocket finds it in the extensions.
    fn take_share<B>(
        &self,
        route: Option<Route<'_>>,
        mut request: Request<B>,
    ) -> Result<(Request<B>, Option<Arc<Share>>), Error> {
        let Some(caller_address) = self
            .forwarded(request.headers())
            .filter(|caller_address| !caller_address.is_loopback())
        else {
            return Ok((request, None));
        };
        if matches!(route, Some(Route::Live | Route::Ready)) {
            return Ok((request, None));
        }
        let Some(share) = self.inner.shares.take(caller_address).map(Arc::new) else {
            self.inner.traffic.turn_away();
            return Err(Error::Full);
        };
        request.extensions_mut().insert(Arc::clone(&share));
        Ok((request, Some(share)))
    }

    /// The address that a proxy forwards, if a forwarded header is trusted.
    fn forwarded(&self, headers: &HeaderMap) -> Option<CallerAddress> {
        let Settings { forwarded_header, forwarded_hops, .. } = &self.inner.settings;
        let hops = forwarded_hops.unwrap_or(NonZeroUsize::MIN);
        CallerAddress::forwarded(headers, forwarded_header.as_ref()?, hops)
    }

    /// The route of a path, if this service serves it.
    fn route<'a>(&self, path: &'a str) -> Option<Route<'a>> {
        let Settings { prefix, routes, .. } = &self.inner.settings;
        let route = Route::of(prefix.strip(path)?)?;
        routes.contains(route.among()).then_some(route)
    }

    /// Counts or erases sessions, when it is the caller's turn.
    async fn erase<B>(&self, request: Request<B>, granted: Granted) -> Result<Response<Body>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let Inner { metrics, bodies, answers, erasing, .. } = &*self.inner;
        let lane = self.lane(&granted, request.headers(), request.extensions());
        let headers = request.headers().clone();
        let body = bodies.read(request.into_body()).await?;
        let making = answers.admit(lane).await?;
        let params = Params::parse(None, &body, granted)?;
        erasing.respond(metrics, making, &headers, params).await
    }

    /// Answers a report, also as a file, when it is the caller's turn.
    async fn report(
        &self,
        route: Route<'_>,
        granted: Granted,
        lane: Lane,
        sent: Sent,
    ) -> Result<Response<Body>, Error> {
        let Inner { metrics, answers, .. } = &*self.inner;
        // The parameters are parsed only after admission.
        let making = answers.admit(lane).await?;
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
        lane: Lane,
        sent: Sent,
    ) -> Result<Response<Body>, Error> {
        let Inner { metrics, answers, exports, stopping, .. } = &*self.inner;
        let permit = exports.enter(lane.clone()).await?;
        let making = answers.admit_now(lane)?;
        let export = {
            let params = sent.params(granted)?;
            Export::read(Table::Sessions, params.format()?, &params)?
        };
        // An export may take hours.
        drop(sent);
        export::sessions(metrics, export, making, permit, stopping).await
    }

    /// The lane in which a caller takes turns.
    fn lane(&self, granted: &Granted, headers: &HeaderMap, extensions: &Extensions) -> Lane {
        match granted {
            Granted::Keys(keys) => Lane::of_keys(keys),
            Granted::All => {
                Lane::Network(self.caller_address(headers, extensions).map(CallerAddress::network))
            }
        }
    }

    /// Turns a request into a websocket, which runs as a task of its own.
    fn upgrade<B>(&self, request: &mut Request<B>) -> Result<Response<Body>, Error> {
        let query = request.uri().query().unwrap_or_default();
        let version =
            Version::from_vsn(parameter(query, "vsn").as_deref()).ok_or(Error::UnknownVersion)?;
        let response = handshake::accept(request.headers())?;
        let info = Arc::new(self.connection_info(request, Way::Channel).with_query(query));
        let messages = self.inner.memory.messages.clone();
        let held = messages.try_reserve(info.bytes()).ok_or(Error::Memory)?;
        let upgraded = hyper::upgrade::on(&mut *request);
        let (metrics, stopping) = (self.inner.metrics.clone(), self.inner.stopping.clone());
        // The websocket still counts as a connection.
        let extensions = request.extensions_mut();
        let permit = (extensions.remove::<Arc<Permit>>(), extensions.remove::<Arc<Share>>());
        if let (Some(permit), _) = &permit {
            permit.progress.upgrade();
        }
        self.inner.sockets.spawn(async move {
            let _held = (permit, held);
            // Data that is no longer needed is not kept as long as the socket lives.
            let halves = upgraded.await.map(|stream| tokio::io::split(TokioIo::new(stream)));
            match halves {
                Ok(halves) => {
                    socket::run(halves, metrics, version, info, messages, stopping).await;
                }
                Err(err) => {
                    tracing::debug!(error = %err, "a connection ended while it was upgraded");
                }
            }
        });
        Ok(response)
    }

    /// Answers a request of a client that polls.
    async fn long_poll<B>(&self, request: Request<B>) -> Result<Response<Body>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let longpolls = &self.inner.longpolls;
        let query = request.uri().query().unwrap_or_default();
        let token = Token::in_query(query);
        if request.method() == Method::POST {
            let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
            let has_lines = kind.is_some_and(|kind| kind.starts_with(b"application/x-ndjson"));
            return longpolls.post(token, has_lines, request.into_body()).await;
        }
        if let Some(token) = token {
            return Ok(longpolls.poll(token).await);
        }
        let Some(version) = Version::from_vsn(parameter(query, "vsn").as_deref()) else {
            return Ok(longpoll::forbidden());
        };
        let caller_address = self.caller_address(request.headers(), request.extensions());
        let info = self.connection_info(&request, Way::Channel).with_query(query);
        Ok(longpolls.open(version, info, caller_address))
    }

    /// The caller, for the rate limit of guessed secrets.
    fn caller(&self, headers: &HeaderMap, extensions: &Extensions) -> Caller {
        self.inner.attempts.of(self.caller_address(headers, extensions))
    }

    /// The address that a request comes from, if it is known.
    fn caller_address(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Option<CallerAddress> {
        self.forwarded(headers).or_else(|| extensions.get::<CallerAddress>().copied())
    }

    fn connection_info<B>(&self, request: &Request<B>, way: Way) -> ConnectionInfo {
        let headers = request.headers();
        let text = |name: HeaderName| {
            let value = headers.get(name)?.as_bytes();
            Some(String::from_utf8_lossy(&value[..value.len().min(HINT_BYTES_MAX)]).into_owned())
        };
        let asks = |name: &'static str| {
            headers.get(name).is_some_and(|value| value.as_bytes().trim_ascii() == b"1")
        };
        let (user_agent, brands) = (text(USER_AGENT), text(HeaderName::from_static("sec-ch-ua")));
        let mut who = Headers::default();
        who.user_agent = user_agent.as_deref();
        who.brands = brands.as_deref();
        let origin = text(ORIGIN);
        // Every browser has a User-Agent. Apps and servers that send batches may have none.
        let has_name = user_agent.as_deref().is_some_and(|text| !text.trim().is_empty());
        let is_nameless = !has_name && (way == Way::Channel || origin.is_some());
        let networks = &self.inner.settings.bot_networks;
        let caller_address = self.caller_address(headers, request.extensions());
        let is_bot = is_nameless
            || caller_address.is_some_and(|CallerAddress(address)| networks.contains(address));
        let classification = self.inner.metrics.classify(who);
        ConnectionInfo {
            classification: if is_bot { Classification::Bot } else { classification },
            origin: origin.map(Into::into),
            page: None,
            join_parameters: None,
            opted_out: self.inner.settings.heed_opt_out && (asks("sec-gpc") || asks("dnt")),
            caller: self.caller(headers, request.extensions()),
            traffic: self.inner.traffic.clone(),
        }
    }

    /// The key of a batch: the one in its URL, or else the default.
    fn key_of(&self, query: Option<&str>) -> Result<Option<ApiKey>, Error> {
        let query = query.unwrap_or_default().as_bytes();
        let named = form_urlencoded::parse(query).find(|(name, _)| name == "key");
        match named {
            Some((_, key)) => match ApiKey::new(&restore_key(&key)) {
                Ok(key) => Ok(Some(key)),
                Err(_) => Err(Error::InvalidKey),
            },
            None => Ok(self.inner.settings.default_key.clone()),
        }
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

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}
