//! The address of a receiver.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;
use hyper::http::uri::Scheme;

/// The most bytes of an address.
const URL_BYTES_MAX: usize = 2_048;

/// The URL of a receiver, over TLS or on this machine, or over plain HTTP to a host that the operator allows.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Target {
    uri: Uri,
    host: String,
}

impl Target {
    /// Reads a URL. Plain HTTP is for this machine and for the hosts in `allowed`.
    ///
    /// # Errors
    ///
    /// The accepted values, to complete "it". The URL is left out, because it may hold a secret.
    pub(super) fn read(text: &str, allowed: &[String]) -> Result<Self, String> {
        let wrong = || "must be a URL like https://example.com/webhooks".to_owned();
        if URL_BYTES_MAX < text.len() || text.contains('#') {
            return Err(wrong());
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(wrong());
        };
        if authority.as_str().contains('@') {
            return Err("must have no user and no password: deliveries are signed".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        // A port beyond the range is no port at all to `http`.
        let has_port = !authority.as_str().ends_with(authority.host());
        if host.is_empty() || (has_port && authority.port_u16().is_none()) {
            return Err(wrong());
        }
        if *scheme == Scheme::HTTP && !is_loopback(&host) && !allowed.contains(&host) {
            return Err(format!(
                "must begin with https://, or list {host:?} in `allow_http`: plain HTTP shows deliveries to the network"
            ));
        }
        if *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS {
            return Err(wrong());
        }
        Ok(Self { uri, host })
    }

    pub(super) fn is_secure(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// The host without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    /// The value of the header `Host`.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().map(|it| it.as_str()).unwrap_or_default()
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |it| it.as_str())
    }
}

/// Whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl fmt::Display for Target {
    /// Without path and query, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure() { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(url: &str, expected: &str) {
        let err = Target::read(url, &["relay.internal".to_owned()]).unwrap_err();
        assert!(err.contains(expected), "{url}: {err}");
        assert!(!err.contains("hunter2"), "{err}");
    }

    #[test]
    fn plain_http_is_for_this_machine_and_allowed_hosts() {
        for (url, host, port, path) in [
            ("https://example.com", "example.com", 443, "/"),
            ("https://example.com:8443/a?b=c", "example.com", 8443, "/a?b=c"),
            ("http://localhost:8025/x", "localhost", 8025, "/x"),
            ("http://127.0.0.9/", "127.0.0.9", 80, "/"),
            ("http://[::1]:9/", "::1", 9, "/"),
            ("http://Relay.internal/", "relay.internal", 80, "/"),
        ] {
            let target = Target::read(url, &["relay.internal".to_owned()]).unwrap();
            assert_eq!((target.host(), target.port(), target.path()), (host, port, path), "{url}");
        }
        check_refused("http://example.com/hunter2", "list \"example.com\" in `allow_http`");
        check_refused("http://127.0.0.1.example.com/", "must begin with https://");
        check_refused("http://10.0.0.1/", "must begin with https://");
    }

    #[test]
    fn other_addresses_are_refused() {
        for url in [
            "",
            "example.com",
            "/a",
            "ftp://example.com/",
            "https://",
            "https://a b/",
            "https://a:/",
            "https://a:99999/",
            "https://[::1]:99999/",
            "https://a/#b",
        ] {
            check_refused(url, "must be a URL like");
        }
        check_refused("https://ada:hunter2@example.com/", "must have no user and no password");
        check_refused(
            &format!("https://example.com/{}", "a".repeat(URL_BYTES_MAX)),
            "must be a URL like",
        );
    }

    #[test]
    fn a_log_shows_no_path() {
        let target = Target::read("https://example.com:8443/hunter2?key=hunter2", &[]).unwrap();
        assert_eq!(
            format!("{target} {target:?}"),
            "https://example.com:8443 Target(https://example.com:8443)"
        );
    }
}
