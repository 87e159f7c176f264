//! Rejects cross-site requests: requests that a page of another site makes in the name of its viewer.
//!
//! A browser adds its user's authority, such as a login or access to a private network, to the requests of any page. So
//! a request that changes or reads something is rejected if a page of another site makes it. One function decides for
//! all routes: [`check`]. The routes on which pages of all sites record events are exempt.
//!
//! Browsers report the page that makes a request. `Sec-Fetch-Site` compares the page's origin with the server's origin
//! from the browser's view, independent of proxies; no page can forge it. Browsers before 2023 do not send it, and none
//! does over plain HTTP to other machines: then `Origin` is compared with the server's own name.

use http::request::Parts;
use http::uri::Authority;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN};

use crate::access::Purpose;
use crate::cors::Cors;
use crate::error::Error;
use crate::hosts::X_FORWARDED_HOST;
use crate::settings::Settings;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Checks a request for a restricted resource, before the caller is authenticated.
///
/// # Errors
///
/// [`Error::UnknownHost`] if the server has no authentication and the request names an unknown host;
/// [`Error::ForeignPage`] if a page of another site makes the request; [`Error::NotJson`] if the body of a request that
/// changes something is not declared as JSON.
pub(crate) fn check(
    settings: &Settings,
    purpose: Purpose,
    head: &Parts,
    has_body: bool,
) -> Result<(), Error> {
    let headers = &head.headers;
    if settings.access.is_none()
        && let Some(host) = settings.hosts.refused(&head.uri, headers)
    {
        return Err(Error::UnknownHost(host.chars().take(255).collect()));
    }
    let changes = changes(purpose);
    if is_foreign(headers) {
        let is_report = purpose == Purpose::Report;
        let is_listed = is_report && covers(&settings.cors, headers);
        let is_framed = purpose == Purpose::Page && !settings.page.frames.is_empty();
        let dests: &[&str] = if is_framed { &["document", "iframe"] } else { &["document"] };
        let is_followed = !changes && is_navigation(&head.method, headers, dests);
        if !is_listed && !is_followed {
            return Err(Error::ForeignPage { is_report });
        }
    }
    // A form can send any text as `text/plain`. Reports accept every content type: clients post them without one, and a
    // report that no page can read has no effect. Forms cannot send `DELETE`, and some clients send an empty body with
    // it.
    if changes && has_body && head.method != Method::DELETE && !is_json(headers) {
        return Err(Error::NotJson);
    }
    Ok(())
}

/// Checks that no page of another site sends a form of the server.
///
/// # Errors
///
/// [`Error::ForeignPage`] if one does.
pub(crate) fn check_own(headers: &HeaderMap) -> Result<(), Error> {
    if is_foreign(headers) { Err(Error::ForeignPage { is_report: false }) } else { Ok(()) }
}

fn changes(purpose: Purpose) -> bool {
    match purpose {
        Purpose::Page | Purpose::Stats | Purpose::Report | Purpose::ListKeys => false,
        Purpose::CreateKey
        | Purpose::RevokeKey
        | Purpose::ChangeKey
        | Purpose::Erase
        | Purpose::CreateToken
        | Purpose::RevokeToken => true,
    }
}

/// Whether a page of another origin makes the request. Clients other than browsers send no origin.
fn is_foreign(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        // `none`: the user typed the address, or chose a bookmark.
        return !matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    headers
        .get(ORIGIN)
        .is_some_and(|origin| origin.to_str().map_or(true, |origin| !is_own(origin, headers)))
}

/// Whether an origin, like `https://example.com:8443`, is the server's origin from its clients' view: in `Host`, or in
/// `X-Forwarded-Host` if a proxy rewrites `Host`. No page can send the latter without a preflight.
fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    if first(headers, &X_FORWARDED_PROTO).is_some_and(|own| !own.eq_ignore_ascii_case(scheme)) {
        return false;
    }
    let authority_of = |text: &str| {
        let authority: Authority = text.parse().ok()?;
        let port = authority.port_u16().unwrap_or(default_port);
        Some((authority.host().to_ascii_lowercase(), port))
    };
    let Some(theirs) = authority_of(authority) else { return false };
    [HOST, X_FORWARDED_HOST]
        .iter()
        .any(|name| first(headers, name).and_then(authority_of).is_some_and(|own| own == theirs))
}

/// Returns the first element of a header, which the proxy nearest to the client writes.
fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let text = headers.get(name)?.to_str().ok()?;
    text.split(',').next().map(str::trim)
}

fn covers(cors: &Cors, headers: &HeaderMap) -> bool {
    match cors {
        Cors::Own => false,
        Cors::Any => true,
        Cors::Listed(origins) => headers.get(ORIGIN).is_some_and(|origin| {
            origins.iter().any(|listed| listed.as_bytes() == origin.as_bytes())
        }),
    }
}

/// Whether a browser opens the response in a window, or a frame if `dests` has frames: the page with the link or the
/// frame cannot read the response.
fn is_navigation(method: &Method, headers: &HeaderMap, dests: &[&str]) -> bool {
    let is = |name: &HeaderName, value: &str| headers.get(name).is_some_and(|it| it == value);
    let is_dest = dests.iter().any(|dest| is(&SEC_FETCH_DEST, dest));
    method == Method::GET && is(&SEC_FETCH_MODE, "navigate") && is_dest
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(kind)) = headers.get(CONTENT_TYPE).map(|kind| kind.to_str()) else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

#[cfg(test)]
mod tests;
