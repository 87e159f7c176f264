//! The names by which a server without authentication may be called.
//!
//! A page can point a name of its own at the address of a server that its visitor reaches (DNS rebinding): to the
//! browser, page and server then have the same origin. The name in `Host` is all that tells the two apart.

use std::net::IpAddr;

use http::uri::Authority;
use hyper::header::{HOST, HeaderMap};

/// Which host names in `Host` are answered without authentication. Addresses and `localhost` always are: no page can
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
    /// Every name. Safe only if something else decides who is answered, like an application around the service.
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
    /// Whether requests with these headers are answered. A request without `Host` is from no browser.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> bool {
        let Self::Listed(names) = self else { return true };
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (None, _) => true,
            (Some(host), None) => host.to_str().is_ok_and(|host| is_among(names, host)),
            // Two parties may read two hosts.
            (Some(_), Some(_)) => false,
        }
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

/// Reads a host name or `*.` before one. Returns it in lower case, or `None` if it is neither.
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
    use hyper::header::HeaderValue;

    #[track_caller]
    fn check(names: &[&str], hosts: &[&'static str], expected: bool) {
        let names = Hosts::Listed(names.iter().map(|name| (*name).to_owned()).collect());
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        assert_eq!(names.answer(&headers), expected, "{names:?} {hosts:?}");
        assert!(Hosts::Any.answer(&headers));
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
