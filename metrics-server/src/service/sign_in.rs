//! `/sign-in` and `/sign-out`: the form that begins a session of the page, and the request that ends it.
//!
//! The form is HTML of its own without any script. Pages of other sites can neither send it, because the request would
//! name them, nor use a session, because browsers send its cookie with requests of the server's own pages only.

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN, REFERRER_POLICY,
    SET_COOKIE,
};
use hyper::{Method, Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::Service;
use crate::error::Error;
use crate::guard::{self, X_FORWARDED_PROTO};
use crate::response::{self, Body};
use crate::users::{Users, cookie, expired_cookie};

const FORM: &str = include_str!("../page/sign-in.html");

/// The form loads nothing, and its one style is named by its hash.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = FORM.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>"));
    let hash = BASE64_STANDARD.encode(Sha256::digest(style.map_or("", |(style, _)| style)));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'"
    )
});

impl Service {
    /// Shows the form, or begins a session with its fields.
    pub(super) async fn sign_in<B>(&self, request: Request<B>) -> Result<Response<Body>, Error>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let users = self.users()?;
        if request.method() != Method::POST {
            return Ok(form(StatusCode::OK, ""));
        }
        guard::check_own(request.headers())?;
        let is_secure = is_secure(request.headers());
        let caller = self.caller(request.headers(), request.extensions());
        let body = self.inner.bodies.read(request.into_body()).await?;
        let field = |name: &str| {
            let found = form_urlencoded::parse(&body).find(|(it, _)| it == name);
            found.map(|(_, value)| value.into_owned()).unwrap_or_default()
        };
        let now = self.inner.metrics.now().timestamp_millis();
        let signed = users.sign_in(&caller, &field("user"), &field("password"), now).await;
        let prefix = self.inner.settings.prefix.as_str();
        match signed {
            Ok(session) => Ok(redirect(prefix, "", Some(cookie(&session, prefix, is_secure)))),
            Err(Error::Unauthorized) => {
                Ok(form(StatusCode::UNAUTHORIZED, "User or password is wrong."))
            }
            Err(Error::TooManyAttempts(err)) => {
                let mut refused = Error::TooManyAttempts(err).into_response();
                let text = "Too many wrong passwords came from your network. Try again later.";
                let shown = form(StatusCode::TOO_MANY_REQUESTS, text);
                let (head, body) = shown.into_parts();
                refused.headers_mut().extend(head.headers);
                *refused.body_mut() = body;
                Ok(refused)
            }
            Err(err) => Err(err),
        }
    }

    /// Ends the session, and all copies of its cookie.
    pub(super) async fn sign_out(&self, headers: &HeaderMap) -> Result<Response<Body>, Error> {
        let users = self.users()?;
        guard::check_own(headers)?;
        let metrics = &self.inner.metrics;
        let now = metrics.now();
        if let Some(ended) = users.ended_session(headers, now.timestamp_millis()) {
            metrics.store().revoke_token(&ended, now).await?;
        }
        let prefix = self.inner.settings.prefix.as_str();
        Ok(redirect(prefix, "sign-in", Some(expired_cookie(prefix))))
    }

    /// Leads a browser without a session to the form.
    pub(super) fn to_sign_in(&self, refused: Response<Body>) -> Response<Body> {
        match self.inner.settings.users {
            Some(_) if refused.status() == StatusCode::UNAUTHORIZED => {
                redirect(self.inner.settings.prefix.as_str(), "sign-in", None)
            }
            _ => refused,
        }
    }

    fn users(&self) -> Result<&Users, Error> {
        self.inner.settings.users.as_ref().ok_or(Error::NotFound)
    }
}

/// Whether the browser sends the form over HTTPS, which a proxy may end.
fn is_secure(headers: &HeaderMap) -> bool {
    let begins = |name: &HeaderName, with: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().starts_with(with.as_bytes()))
    };
    begins(&ORIGIN, "https://") || begins(&X_FORWARDED_PROTO, "https")
}

fn form(status: StatusCode, problem: &str) -> Response<Body> {
    let mut response = response::html(status, FORM.replace("{{problem}}", problem));
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Leads to a path under the prefix, or else to one beside that of the request: a proxy may prepend a path. Nothing of
/// the request is in it.
fn redirect(prefix: &str, path: &str, cookie: Option<String>) -> Response<Body> {
    let mut response = response::empty(StatusCode::SEE_OTHER);
    let headers = response.headers_mut();
    let to = match (prefix, path) {
        ("", "") => "./".to_owned(),
        ("", path) => path.to_owned(),
        (prefix, path) => format!("{prefix}/{path}"),
    };
    if let Ok(to) = HeaderValue::try_from(to) {
        headers.insert(LOCATION, to);
    }
    if let Some(Ok(cookie)) = cookie.map(HeaderValue::try_from) {
        headers.insert(SET_COOKIE, cookie);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(hyper::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
