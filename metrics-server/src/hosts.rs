//! The host names that a server without authentication accepts.
//!
//! A page can point a host name of its own at the address of a server that its viewer reaches (DNS rebinding): to the
//! browser, page and server then have the same origin. Only the name in `Host` distinguishes the two.

use std::borrow::Cow;
use std::net::IpAddr;

use http::uri::{Authority, Uri};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};

pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The host names in `Host` that are accepted without authentication. Addresses and `localhost` always are: no page can
/// point them elsewhere.
///
/// ```
/// use metrics_server::{Hosts, Settings};
///
/// let settings = Settings::default().hosts(Hosts::Listed(vec!["*.internal.example".to_owned()]));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Hosts {
    /// Every name. Safe only if something else authenticates callers, like an application around the service.
    Any,
    /// These names in lower case, without a port. `*.example.com` stands for all names below `example.com`.
    Listed(Vec<String>),
}

impl Default for Hosts {
    /// Addresses and `localhost` only.
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Hosts {
    /// Returns the host name of a request, if the server rejects it; an empty name if the request has several `Host`
    /// headers. A request without a host name is accepted, because it is from no browser.
    ///
    /// A proxy may rewrite `Host`, and pass the browser's host name in `X-Forwarded-Host`. That header can only cause a
    /// rejection: it never makes another name accepted.
    pub(crate) fn refused<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
        let Self::Listed(names) = self else { return None };
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            // Proxy and server may choose different hosts.
            return Some(Cow::Borrowed(""));
        }
        let text = |value: &'a HeaderValue| String::from_utf8_lossy(value.as_bytes());
        let forwarded = headers.get_all(X_FORWARDED_HOST).iter().flat_map(move |value| {
            let elements: Vec<Cow<'a, str>> = match text(value) {
                Cow::Borrowed(text) => text.split(',').map(|it| it.trim().into()).collect(),
                Cow::Owned(text) => vec![text.into()],
            };
            elements
        });
        // HTTP/2 has the host there.
        let authority = uri.authority().map(|authority| authority.as_str().into());
        let mut called = host.map(text).into_iter().chain(authority).chain(forwarded);
        called.find(|host| !is_among(names, host))
    }
}

/// Whether a host, with or without a port, is an address, `localhost` or among `names`.
fn is_among(names: &[String], host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.parse::<IpAddr>().is_ok() {
        return true;
    }
    // `example.com.` is the same name.
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost"
        || names.iter().any(|name| match name.strip_prefix('*') {
            Some(parent) => host.len() > parent.len() && host.ends_with(parent),
            None => host == *name,
        })
}

/// Parses a host name or `*.` before one. Returns it in lower case, or `None` if it is neither.
#[cfg(feature = "binary")]
pub(crate) fn read(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let name = text.strip_prefix("*.").unwrap_or(&text);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (!name.is_empty() && name.bytes().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str], hosts: &[&'static str], expected: bool) {
        let names = Hosts::Listed(names.iter().map(|name| (*name).to_owned()).collect());
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        let uri = Uri::from_static("/");
        assert_eq!(names.refused(&uri, &headers).is_none(), expected, "{names:?} {hosts:?}");
        assert_eq!(Hosts::Any.refused(&uri, &headers), None);
    }

    #[test]
    fn a_proxy_that_changes_the_name_hides_no_other() {
        let names = Hosts::Listed(vec!["metrics.example".to_owned()]);
        for (host, forwarded, refused) in [
            ("127.0.0.1:3000", &["metrics.example"][..], None),
            ("127.0.0.1:3000", &["metrics.example, inner.example"], Some("inner.example")),
            ("127.0.0.1:3000", &["metrics.example", "evil.example:80"], Some("evil.example:80")),
            ("127.0.0.1:3000", &[""], Some("")),
            ("evil.example", &["metrics.example"], Some("evil.example")),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(HOST, HeaderValue::from_static(host));
            for forwarded in forwarded {
                headers.append(X_FORWARDED_HOST, HeaderValue::from_static(forwarded));
            }
            let uri = Uri::from_static("/");
            let refusal = names.refused(&uri, &headers);
            assert_eq!(refusal.as_deref(), refused, "{host} {forwarded:?}");
        }
    }

    #[test]
    fn the_authority_of_an_address_is_a_name_as_well() {
        let (names, headers) = (Hosts::default(), HeaderMap::new());
        for (uri, refused) in
            [("https://localhost:3000/", None), ("https://evil.example/", Some("evil.example"))]
        {
            let uri = Uri::from_static(uri);
            assert_eq!(names.refused(&uri, &headers).as_deref(), refused, "{uri}");
        }
    }

    #[test]
    fn addresses_localhost_and_listed_names_are_answered() {
        for host in ["127.0.0.1", "127.0.0.1:3000", "[::1]:3000", "[::1]", "localhost:3000"] {
            check(&[], &[host], true);
        }
        for host in ["LocalHost", "localhost."] {
            check(&[], &[host], true);
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a", ""] {
            check(&[], &[host], false);
            check(&["metrics.example", "*.internal.example"], &[host], false);
        }
        let names = ["metrics.example", "*.internal.example"];
        for host in [
            "metrics.example:443",
            "Metrics.Example",
            "a.internal.example",
            "a.b.internal.example.",
        ] {
            check(&names, &[host], true);
        }
        for host in ["x.metrics.example", "internal.example", "evilinternal.example"] {
            check(&names, &[host], false);
        }
    }

    #[test]
    fn none_is_of_no_browser_and_two_are_of_an_attack() {
        check(&[], &[], true);
        check(&[], &["localhost", "localhost"], false);
    }
}
