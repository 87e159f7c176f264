//! From a request to a response: the route table, and what all routes share.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastwebsockets::upgrade;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::header::{HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use hyper::{Method, Request, Response};
use metrics_core::recorder::{Spool, Stopped};
use metrics_core::{ApiKey, Metrics};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::params::Params;
use crate::api::{engagement, events, figures, health, keys, plays, sources, watching};
use crate::attempts::{Attempts, Caller, Peer};
use crate::auth::Credentials;
use crate::channel::Visitor;
use crate::cors::{self, Cors};
use crate::error::Error;
use crate::page;
use crate::phoenix::{SUBPROTOCOL, Version, offers_subprotocol};
use crate::response::Body;
use crate::socket;

/// The largest body of a request.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long a client may take to send a body, once its header is there.
const BODY_MAX: Duration = Duration::from_secs(30);

/// How long a batch waits for room, when more events wait for the store than may.
const READY_MAX: Duration = Duration::from_secs(5);

/// How the service behaves.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The key of batches that name none.
    pub default_key: Option<ApiKey>,
    /// Who may read reports and change keys: everybody, unless said otherwise.
    pub credentials: Option<Credentials>,
    /// Whether viewers who send `Sec-GPC: 1` or `DNT: 1` are refused.
    pub heed_opt_out: bool,
    /// Which pages of other origins may read reports.
    pub cors: Cors,
    /// Where to leave what a store that is away cannot take when the server stops: nowhere, unless said otherwise.
    pub spool: Option<Spool>,
    /// The header in which a reverse proxy says where a request comes from; its last element counts, which the proxy
    /// adds. Only if nobody can reach the server but through that proxy: anybody else could claim to be anywhere.
    pub forwarded_header: Option<HeaderName>,
}

/// Answers requests, and speaks with the websockets that come of them.
///
/// Cheap to clone: all clones are the same.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    metrics: Metrics,
    settings: Settings,
    attempts: Arc<Attempts>,
    stopping: CancellationToken,
    sockets: TaskTracker,
}

impl Service {
    /// A service that records into `metrics` and answers from it.
    #[must_use]
    pub fn new(metrics: Metrics, settings: Settings) -> Self {
        let (stopping, sockets) = (CancellationToken::new(), TaskTracker::new());
        let attempts = Arc::default();
        Self { inner: Arc::new(Inner { metrics, settings, attempts, stopping, sockets }) }
    }

    /// Ends all websockets, and returns when they have ended.
    pub async fn close_sockets(&self) {
        self.inner.stopping.cancel();
        self.inner.sockets.close();
        self.inner.sockets.wait().await;
    }

    /// Returns when everything that was recorded is durable, or after `limit`. Events that come after fail.
    ///
    /// What the store does not take in time is left in a file, if [`Settings::spool`] says where; the log tells how it
    /// ended. Call it when no more requests come and the websockets are [closed](Self::close_sockets).
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
            Err(err) => {
                tracing::error!(
                    error = &err as &dyn std::error::Error,
                    "what was not acknowledged is lost"
                );
            }
        }
    }

    /// Whether the store does not answer at the moment.
    pub(crate) fn is_store_away(&self) -> bool {
        self.inner.metrics.figures().away_since.is_some()
    }

    /// Answers a request. It never fails: what is wrong is told in the answer.
    pub async fn respond<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let path = request.uri().path().to_owned();
        let route = Route::of(&path);
        let cors = match route {
            Some(Route::Events) => &Cors::Any,
            Some(Route::Report(_) | Route::Keys | Route::Key(_)) => &self.inner.settings.cors,
            _ => &Cors::Own,
        };
        let origin = request.headers().get(ORIGIN).cloned();
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
            Err(err) => err.into_response(),
        };
        cors::allow(cors, origin.as_ref(), response.headers_mut());
        response
    }

    async fn dispatch<B>(
        &self,
        route: Option<Route<'_>>,
        mut request: Request<B>,
    ) -> Result<Response<Body>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let Some(route) = route else { return Err(Error::NotFound) };
        let allow = route.methods();
        if !allow.split(", ").any(|method| method == request.method().as_str()) {
            return Err(Error::MethodNotAllowed { allow });
        }
        if let (true, Some(credentials)) = (route.is_guarded(), &self.inner.settings.credentials) {
            credentials.check(&self.caller(&request), request.headers())?;
        }
        let metrics = &self.inner.metrics;
        match (route, request.method().clone()) {
            (Route::Socket, _) => self.upgrade(&mut request),
            (Route::Page, _) => Ok(page::index(metrics, request.headers()).await),
            (Route::Live, _) => Ok(health::live()),
            (Route::Ready, _) => Ok(health::ready(metrics).await),
            (Route::Figures, _) => Ok(figures::figures(metrics)),
            (Route::Events, _) => {
                let key = self.key_of(request.uri().query())?;
                let visitor = self.visitor(&request, None);
                let body = read(request.into_body()).await?;
                timeout(READY_MAX, metrics.ready()).await.map_err(|_| Error::NotStored)?;
                events::record(metrics, key.as_ref(), &visitor, &body).await
            }
            (Route::Keys, Method::POST) => {
                keys::create(metrics, &read(request.into_body()).await?).await
            }
            (Route::Keys, _) => keys::list(metrics).await,
            (Route::Key(id), _) => keys::revoke(metrics, id).await,
            (Route::Report(report), _) => {
                let query = request.uri().query().map(str::to_owned);
                let params = Params::parse(query.as_deref(), &read(request.into_body()).await?)?;
                match report {
                    Report::Plays => plays::plays(metrics, &params).await,
                    Report::Engagement => engagement::engagement(metrics, &params).await,
                    Report::Sources => sources::sources(metrics, &params).await,
                    Report::Watching => watching::watching(metrics, &params).await,
                }
            }
        }
    }

    /// Turns a request into a websocket, whose life is a task of its own.
    fn upgrade<B>(&self, request: &mut Request<B>) -> Result<Response<Body>, Error> {
        let parameters = request.uri().query().unwrap_or_default().as_bytes();
        let parameter = |name: &str| {
            let mut pairs = form_urlencoded::parse(parameters);
            pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
        };
        let version =
            Version::from_vsn(parameter("vsn").as_deref()).ok_or(Error::UnknownVersion)?;
        let visitor = self.visitor(request, parameter("source_url"));
        if !upgrade::is_upgrade_request(request) {
            return Err(Error::NotAWebsocket);
        }
        let offers = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
        let offered = offers.iter().any(|header| header.to_str().is_ok_and(offers_subprotocol));
        let (response, upgraded) =
            upgrade::upgrade(&mut *request).map_err(|_| Error::NotAWebsocket)?;
        let mut response = response.map(|_| Body::default());
        if offered {
            let selected = HeaderValue::from_static(SUBPROTOCOL);
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, selected);
        }
        let (metrics, stopping) = (self.inner.metrics.clone(), self.inner.stopping.clone());
        // Whoever accepted the connection may have tied something to it, such as its place among the others.
        let tied = mem::take(request.extensions_mut());
        self.inner.sockets.spawn(async move {
            let _tied = tied;
            match upgraded.await {
                Ok(websocket) => {
                    socket::run(websocket.into_inner(), metrics, version, visitor, stopping).await;
                }
                Err(err) => {
                    tracing::debug!(error = %err, "a connection ended while it was upgraded");
                }
            }
        });
        Ok(response)
    }

    /// Whoever makes a request, for secrets that are guessed.
    fn caller<B>(&self, request: &Request<B>) -> Caller {
        let peer = request.extensions().get::<Peer>().copied();
        let forwarded = self.inner.settings.forwarded_header.as_ref();
        let forwarded = forwarded.and_then(|name| Peer::forwarded(request.headers(), name));
        self.inner.attempts.of(forwarded.or(peer))
    }

    fn visitor<B>(&self, request: &Request<B>, page: Option<String>) -> Visitor {
        let headers = request.headers();
        let text = |name: HeaderName| {
            let value = headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let asks = |name: &'static str| {
            headers.get(name).is_some_and(|value| value.as_bytes().trim_ascii() == b"1")
        };
        Visitor {
            user_agent: text(USER_AGENT),
            brands: text(HeaderName::from_static("sec-ch-ua")),
            page,
            opted_out: self.inner.settings.heed_opt_out && (asks("sec-gpc") || asks("dnt")),
            caller: self.caller(request),
        }
    }

    /// The key of a batch: that of its address, or else the default.
    fn key_of(&self, query: Option<&str>) -> Result<Option<ApiKey>, Error> {
        let query = query.unwrap_or_default().as_bytes();
        let named = form_urlencoded::parse(query).find(|(name, _)| name == "key");
        match named {
            // A page that forgets to encode a `+` sends a space: no key has one.
            Some((_, key)) => match ApiKey::new(&key.replace(' ', "+")) {
                Ok(key) => Ok(Some(key)),
                Err(_) => Err(Error::InvalidKey),
            },
            None => Ok(self.inner.settings.default_key.clone()),
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// Where a path leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Route<'a> {
    Page,
    Live,
    Ready,
    Figures,
    Socket,
    Events,
    Keys,
    Key(&'a str),
    Report(Report),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Report {
    Plays,
    Engagement,
    Sources,
    Watching,
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Option<Self> {
        // A key may hold slashes, so all of them count here.
        let id = path.strip_prefix("/api/v1/keys/").filter(|id| !id.is_empty());
        if let Some(id) = id {
            return Some(Self::Key(id));
        }
        // A page may have configured `wss://host/socket/`, which makes `/socket//websocket`.
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        Some(match segments[..] {
            [] => Self::Page,
            ["health", "live"] => Self::Live,
            ["health", "ready"] => Self::Ready,
            ["metrics"] => Self::Figures,
            ["socket", "websocket"] => Self::Socket,
            ["v1", "events"] | ["api", "v1", "events"] => Self::Events,
            ["api", "v1", "plays" | "views"] => Self::Report(Report::Plays),
            ["api", "v1", "engagement"] => Self::Report(Report::Engagement),
            ["api", "v1", "sources"] => Self::Report(Report::Sources),
            ["api", "v1", "watching"] => Self::Report(Report::Watching),
            ["api", "v1", "keys"] => Self::Keys,
            _ => return None,
        })
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Page | Self::Live | Self::Ready | Self::Figures => "GET, HEAD",
            Self::Socket => "GET",
            Self::Events => "POST, OPTIONS",
            Self::Report(_) | Self::Keys => "GET, POST, OPTIONS",
            Self::Key(_) => "DELETE, OPTIONS",
        }
    }

    /// Whether credentials are asked for, where there are any.
    fn is_guarded(self) -> bool {
        matches!(self, Self::Page | Self::Figures | Self::Keys | Self::Key(_) | Self::Report(_))
    }
}

/// Reads a body, up to its limits of size and time.
async fn read<B>(body: B) -> Result<Bytes, Error>
where
    B: hyper::body::Body<Data = Bytes> + Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    match timeout(BODY_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(err)) if err.is::<LengthLimitError>() => Err(Error::TooLarge),
        Ok(Err(_)) => Err(Error::body("the body ended too early")),
        Err(_) => Err(Error::body("the body took too long to arrive")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_segments_of_a_path_do_not_count() {
        for path in ["/socket/websocket", "/socket//websocket", "/socket/websocket/"] {
            assert_eq!(Route::of(path), Some(Route::Socket), "{path}");
        }
        assert_eq!(Route::of("/v1/events/"), Some(Route::Events));
        assert_eq!(Route::of("//"), Some(Route::Page));
        assert_eq!(Route::of("/api/v1/keys/"), Some(Route::Keys));
        assert_eq!(Route::of("/api/v1/keys/a//b/"), Some(Route::Key("a//b/")));
        assert_eq!(Route::of("/socket"), None);
    }
}
