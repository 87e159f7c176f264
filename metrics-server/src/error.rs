//! Maps errors to responses, in this one place: the server's own errors are logged here, and a client receives only the
//! details of its own errors.

use std::borrow::Cow;

use hyper::header::{
    ALLOW, CONNECTION, CONTENT_RANGE, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION,
    UPGRADE, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use metrics_core::budget::UsedUp;
use metrics_core::query::QueryError;
use metrics_core::scan::ScanError;
use metrics_core::{RateExceeded, ReportError, store};

use crate::attempts::TooMany;
use crate::code::Code;
use crate::queue::Full;
use crate::response::{self, Body};

/// The seconds after which a client may try again when the store is unavailable.
const RETRY_SECONDS: &str = "2";

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A parameter of a report is invalid.
    #[error("`{name}` {expected}")]
    Parameter {
        /// The name of the parameter, as clients send it.
        name: &'static str,
        /// The accepted values, to complete the sentence.
        expected: Cow<'static, str>,
        /// The kind of the fault.
        code: Code,
    },
    /// A query that cannot be answered as it is.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The answer to a query would be too large.
    #[error(transparent)]
    AnswerTooLarge(ScanError),
    /// The body is invalid.
    #[error("{text}")]
    Body {
        /// The fault.
        text: Cow<'static, str>,
        /// The kind of the fault.
        code: Code,
    },
    /// The framing is ambiguous: parties may disagree on where the request ends.
    #[error("`transfer-encoding` must be absent, or chunked once")]
    Ambiguous,
    /// The body is larger than the limit.
    #[error("the body must have at most {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
    /// User and password are missing or wrong.
    #[error("authentication required: send user and password")]
    Unauthorized,
    /// A page without a session. A browser must not ask for a password: the page has a form.
    #[error("authentication required: sign in at /sign-in")]
    SignIn,
    /// The access hook of the embedding application does not know the caller; the scheme to authenticate by.
    #[error("authentication required: send the credentials of this application")]
    Unauthenticated(Option<HeaderValue>),
    /// The caller may not make this request.
    #[error("forbidden: your credentials do not permit this request")]
    Forbidden,
    /// The caller may read or pass on less than this.
    #[error("forbidden: {0}")]
    NotGranted(&'static str),
    /// The access token is refused, for this reason.
    #[error("{0}")]
    InvalidToken(String),
    /// A page of another site makes the request.
    #[error("{}", foreign_page(*is_report))]
    ForeignPage {
        /// Whether the request is for a report, which the pages of some origins may read.
        is_report: bool,
    },
    /// A server without authentication is called by a host name that is not known to be its own.
    #[error(
        "host {0:?} is not answered without authentication: list it in METRICS_HOSTS, or set METRICS_USER and \
         METRICS_PASSWORD"
    )]
    UnknownHost(String),
    /// The body of a change has a content type that forms of other sites can send.
    #[error("`content-type` must be application/json (with curl: --json)")]
    NotJson,
    /// A batch in which no event has a key.
    #[error("`key` is missing: send it in the events, or in the URL as ?key=KEY")]
    NoKey,
    /// A batch without a valid key.
    #[error("invalid key")]
    InvalidKey,
    /// Reports that will never count: a player sends no more of the session.
    #[error("{text}")]
    Gone {
        /// The reason.
        text: Cow<'static, str>,
        /// The kind of the reason.
        code: Code,
    },
    /// Keys or passwords were guessed from the address of the request.
    #[error(transparent)]
    TooManyAttempts(#[from] TooMany),
    /// A rate limit of a key or of an address under it is used up.
    #[error(transparent)]
    RateExceeded(#[from] RateExceeded),
    /// No route has this path.
    #[error("not found: the API is under /api/v1")]
    NotFound,
    /// The key to revoke does not exist.
    #[error("Could not revoke key")]
    UnknownKey,
    /// The key to change does not exist.
    #[error("the key does not exist: GET /api/v1/keys lists all keys")]
    NoSuchKey,
    /// The key to import exists already.
    #[error("`key` exists already")]
    KeyExists,
    /// More sessions would be erased than a dry run counted.
    #[error("`expect` is {expected}, but {sessions} sessions are selected: make a dry run again")]
    MoreThanExpected {
        /// The expected number.
        expected: u64,
        /// The actual number.
        sessions: u64,
    },
    /// The selection grew while the expected number of sessions was erased.
    #[error(
        "{erased} sessions were erased, as many as `expect` allows, but more are selected now: make a dry run again"
    )]
    MoreSince {
        /// The number of erased sessions.
        erased: u64,
    },
    /// The path does not answer to this method.
    #[error("the method must be one of {allow}")]
    MethodNotAllowed {
        /// The methods that it answers to.
        allow: &'static str,
    },
    /// A range of a file that lies past its end.
    #[error("`range` must begin before the end, at {length} bytes")]
    PastTheEnd {
        /// The length of the file.
        length: usize,
    },
    /// The websocket names an unknown version of the serializer.
    #[error("`vsn` must be 1.0.0 or 2.0.0")]
    UnknownVersion,
    /// All permits, or those of the address of the request, are taken.
    #[error("too many connections; try again later")]
    Full,
    /// A request that names no host, or more than one.
    #[error("`host` must be sent exactly once")]
    HostHeader,
    /// The websocket has another version than 13.
    #[error("`sec-websocket-version` must be 13")]
    UnknownWebsocket,
    /// The request for a websocket has a body.
    #[error("a websocket upgrade must have no body")]
    UpgradeBody,
    /// A request for the socket that cannot become a websocket.
    #[error("expected a websocket upgrade")]
    NotAWebsocket,
    /// The events could not be made durable. They may be sent again.
    #[error("the events could not be stored; send them again")]
    NotStored,
    /// The server is busy with other requests of this kind. Trying again may help.
    #[error("the server is busy with other requests; try again")]
    Busy,
    /// Too many reports wait, of the caller or of all.
    #[error("too many reports wait; try again later, and request fewer at once")]
    TooManyReports,
    /// Answers hold all the memory that answers may have, or this one alone would.
    #[error(transparent)]
    UsedUp(#[from] UsedUp),
    /// The memory budget is used up. Trying again may help.
    #[error("the memory budget of the server is used up; try again later")]
    Memory,
    /// The report takes too long: too many sessions are selected.
    #[error("the report takes too long; request a shorter timeframe or fewer videos")]
    TooLong,
    /// The store cannot be reached. Trying again may help.
    #[error("the store is unavailable; try again")]
    Unavailable(#[source] store::Error),
    /// The database is damaged. An operator restores a backup.
    #[error("the database is damaged: restore a backup, as docs/operate.md describes")]
    Damaged(#[source] store::Error),
    /// The store failed in a way that trying again does not fix.
    #[error("the server failed; its log has the reason")]
    Failed(#[source] store::Error),
}

impl Error {
    /// An invalid parameter: `expected` completes the sentence "`name` ...".
    pub(crate) fn parameter(name: &'static str, expected: impl Into<Cow<'static, str>>) -> Self {
        Self::Parameter { name, expected: expected.into(), code: Code::InvalidParameter }
    }

    /// A required parameter that is missing.
    pub(crate) fn missing(name: &'static str, expected: &'static str) -> Self {
        Self::parameter(name, expected).coded(Code::MissingParameter)
    }

    /// An invalid body.
    pub(crate) fn body(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Body { text: text.into(), code: Code::InvalidBody }
    }

    /// The same error of a parameter or of the body, with a narrower code.
    pub(crate) fn coded(mut self, narrower: Code) -> Self {
        if let Self::Parameter { code, .. } | Self::Body { code, .. } = &mut self {
            *code = narrower;
        }
        self
    }

    /// The code of the error, for programs.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Parameter { code, .. } | Self::Body { code, .. } | Self::Gone { code, .. } => {
                *code
            }
            Self::Query(err) => err.into(),
            Self::AnswerTooLarge(_) => Code::AnswerTooLarge,
            Self::Ambiguous | Self::UpgradeBody => Code::AmbiguousLength,
            Self::TooLarge { .. } => Code::PayloadTooLarge,
            Self::Unauthorized | Self::SignIn | Self::Unauthenticated(_) => Code::Unauthorized,
            Self::Forbidden | Self::NotGranted(_) => Code::Forbidden,
            Self::InvalidToken(_) => Code::InvalidToken,
            Self::ForeignPage { .. } => Code::CrossOrigin,
            Self::UnknownHost(_) => Code::MisdirectedHost,
            Self::NotJson => Code::UnsupportedMediaType,
            Self::NoKey => Code::MissingKey,
            Self::InvalidKey => Code::InvalidKey,
            Self::TooManyAttempts(_) => Code::TooManyAttempts,
            Self::RateExceeded(_) => Code::RateLimited,
            Self::NotFound => Code::NotFound,
            Self::UnknownKey | Self::NoSuchKey => Code::UnknownKey,
            Self::KeyExists => Code::KeyExists,
            Self::MoreThanExpected { .. } | Self::MoreSince { .. } => Code::UnexpectedSessions,
            Self::MethodNotAllowed { .. } => Code::MethodNotAllowed,
            Self::PastTheEnd { .. } => Code::RangeNotSatisfiable,
            Self::UnknownVersion => Code::UnknownVersion,
            Self::Full => Code::TooManyConnections,
            Self::HostHeader => Code::InvalidHost,
            Self::UnknownWebsocket => Code::UpgradeRequired,
            Self::NotAWebsocket => Code::ExpectedWebsocket,
            Self::NotStored => Code::NotStored,
            Self::Busy => Code::Busy,
            Self::TooManyReports => Code::Overloaded,
            Self::UsedUp(err) => err.into(),
            Self::Memory => Code::OutOfMemory,
            Self::TooLong => Code::ReportTimeout,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Damaged(_) => Code::DatabaseDamaged,
            Self::Failed(_) => Code::InternalError,
        }
    }

    /// The response that reports the error.
    pub(crate) fn into_response(self) -> Response<Body> {
        match &self {
            Self::Unavailable(err) => {
                tracing::warn!(error = err as &dyn std::error::Error, "the store is unavailable");
            }
            Self::Failed(err) | Self::Damaged(err) => {
                tracing::error!(error = err as &dyn std::error::Error, "a request failed");
            }
            _ => {}
        }
        #[derive(serde::Serialize)]
        struct ErrorBody {
            error: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            reason: Option<&'static str>,
            code: Code,
        }
        let reason = self.is_memory().then_some("memory");
        let body = ErrorBody { error: self.to_string(), reason, code: self.code() };
        let mut response = response::json(self.status(), &body);
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        if matches!(self, Self::UnknownWebsocket) {
            // RFC 9110, section 15.5.22.
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        response
    }

    /// Whether a part of the memory budget is used up for now.
    pub(crate) fn is_memory(&self) -> bool {
        match self {
            Self::Memory => true,
            Self::UsedUp(by) => *by != UsedUp::ByOne,
            _ => false,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Parameter { .. }
            | Self::Query(_)
            | Self::Body { .. }
            | Self::Ambiguous
            | Self::HostHeader
            | Self::UpgradeBody
            | Self::NotAWebsocket => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } | Self::AnswerTooLarge(_) | Self::UsedUp(UsedUp::ByOne) => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Self::Unauthorized
            | Self::SignIn
            | Self::Unauthenticated(_)
            | Self::InvalidToken(_)
            | Self::NoKey
            | Self::InvalidKey => StatusCode::UNAUTHORIZED,
            Self::Gone { .. } => StatusCode::GONE,
            Self::Forbidden | Self::NotGranted(_) | Self::ForeignPage { .. } => {
                StatusCode::FORBIDDEN
            }
            Self::UnknownHost(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotFound | Self::UnknownKey | Self::NoSuchKey => StatusCode::NOT_FOUND,
            Self::KeyExists | Self::MoreThanExpected { .. } | Self::MoreSince { .. } => {
                StatusCode::CONFLICT
            }
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::PastTheEnd { .. } => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::UnknownVersion => StatusCode::FORBIDDEN,
            Self::UnknownWebsocket => StatusCode::UPGRADE_REQUIRED,
            Self::TooManyAttempts(_) | Self::RateExceeded(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NotStored
            | Self::Busy
            | Self::TooManyReports
            | Self::UsedUp(_)
            | Self::Memory
            | Self::Full
            | Self::TooLong
            | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) | Self::Damaged(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match self {
            // It would be too large again.
            Self::UsedUp(UsedUp::ByOne) => return None,
            Self::Unauthorized => (WWW_AUTHENTICATE, "Basic realm=\"metrics\""),
            Self::SignIn => (WWW_AUTHENTICATE, "Session realm=\"metrics\""),
            Self::Unauthenticated(scheme) => return Some((WWW_AUTHENTICATE, scheme.clone()?)),
            // RFC 6750, section 3.1.
            Self::InvalidToken(_) => (WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
            // Not `Basic`: a browser would ask the visitors of a page for a password.
            Self::NoKey | Self::InvalidKey => (WWW_AUTHENTICATE, "Key realm=\"metrics\""),
            Self::MethodNotAllowed { allow } => (ALLOW, *allow),
            Self::NotStored
            | Self::Busy
            | Self::TooManyReports
            | Self::UsedUp(_)
            | Self::Memory
            | Self::Full
            | Self::TooLong
            | Self::Unavailable(_) => (RETRY_AFTER, RETRY_SECONDS),
            // The bytes after the head may be anything.
            Self::Ambiguous | Self::HostHeader | Self::UpgradeBody => (CONNECTION, "close"),
            Self::UnknownWebsocket => (SEC_WEBSOCKET_VERSION, "13"),
            Self::TooManyAttempts(TooMany { retry_after })
            | Self::RateExceeded(RateExceeded { retry_after, .. }) => {
                // Rounded up, so that the limit has a permit by then.
                let seconds = retry_after.as_secs() + u64::from(0 < retry_after.subsec_nanos());
                return Some((RETRY_AFTER, seconds.into()));
            }
            Self::PastTheEnd { length } => {
                let value = HeaderValue::try_from(format!("bytes */{length}"));
                return value.ok().map(|value| (CONTENT_RANGE, value));
            }
            _ => return None,
        };
        Some((name, HeaderValue::from_static(value)))
    }
}

/// The remedy for a request that a page of another origin makes.
fn foreign_page(is_report: bool) -> &'static str {
    if is_report {
        "pages of this origin may not read reports: list the origin in METRICS_CORS_ORIGINS; a proxy that changes \
         `Host` must send the original name as `X-Forwarded-Host`"
    } else {
        "pages of other origins may not make this request, and METRICS_CORS_ORIGINS covers reports only; a proxy \
         that changes `Host` must send the original name as `X-Forwarded-Host`"
    }
}

impl From<store::Error> for Error {
    fn from(err: store::Error) -> Self {
        match err {
            store::Error::TimedOut { .. } => Self::TooLong,
            store::Error::TooLarge(err) => {
                let expected = format!("must be wider, or the timeframe shorter: {err}");
                Self::parameter("interval", expected).coded(Code::TooManyBuckets)
            }
            err @ (store::Error::Damaged(_) | store::Error::DamagedFile { .. }) => {
                Self::Damaged(err)
            }
            err @ store::Error::Unavailable { .. } => Self::Unavailable(err),
            err @ (store::Error::Rejected { .. } | store::Error::Unusable { .. }) => {
                Self::Failed(err)
            }
        }
    }
}

impl From<Full> for Error {
    fn from(Full: Full) -> Self {
        Self::TooManyReports
    }
}

impl From<ReportError> for Error {
    fn from(err: ReportError) -> Self {
        match err {
            ReportError::Store(err) => err.into(),
            ReportError::Query(err) => err.into(),
            ReportError::UsedUp(err) => err.into(),
            ReportError::Scan(ScanError::Damaged(err)) => store::Error::Damaged(err).into(),
            ReportError::Scan(err) => Self::AnswerTooLarge(err),
            err @ ReportError::TooManyBuckets => {
                let expected = "must be wider, or the `timeframe` shorter, to `fill`";
                let expected = format!("{expected}: {err}");
                Self::parameter("interval", expected).coded(Code::TooManyBuckets)
            }
        }
    }
}

#[cfg(test)]
mod tests;
