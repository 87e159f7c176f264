//! Where a video is watched: the page that holds it, without anything that tells its visitors apart.

use std::fmt;

use url::Url;

/// The longest address of a page that is kept, in bytes.
pub const SOURCE_BYTES_MAX: usize = 2_048;

/// A page: scheme, host, port if it is not the default, and path.
///
/// ```
/// use metrics_core::Source;
///
/// let page = Source::parse("https://me:secret@example.com:443/watch/?token=1#t=30").unwrap();
/// assert_eq!(page.as_str(), "https://example.com/watch/");
/// assert_eq!((page.host(), page.pathname()), ("example.com", "/watch/"));
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Source {
    // Invariant: has a scheme, a host and a path; no credentials, no query, no fragment.
    url: Url,
}

impl Source {
    /// The page at `address`, or `None` if that has no host or is longer than [`SOURCE_BYTES_MAX`] when cleaned.
    #[must_use]
    pub fn parse(address: &str) -> Option<Self> {
        let mut url = Url::parse(address).ok()?;
        url.host_str().filter(|host| !host.is_empty())?;
        url.set_query(None);
        url.set_fragment(None);
        // These fail for addresses without a host only.
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        if url.path().is_empty() {
            url.set_path("/");
        }
        (url.as_str().len() <= SOURCE_BYTES_MAX).then_some(Self { url })
    }

    /// Scheme, host, port if it is not the default, and path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The host, without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The path, which begins with `/`.
    #[must_use]
    pub fn pathname(&self) -> &str {
        self.url.path()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: Option<&str>) {
        assert_eq!(Source::parse(address).as_ref().map(Source::as_str), expected, "{address}");
    }

    #[test]
    fn only_scheme_host_port_and_path_are_kept() {
        check("http://example.com", Some("http://example.com/"));
        check("http://example.com/?a=1", Some("http://example.com/"));
        check("http://example.com?a=1", Some("http://example.com/"));
        check("HTTPS://Example.COM:8443/A/b.html#x", Some("https://example.com:8443/A/b.html"));
        check("http://user:pass@example.com/", Some("http://example.com/"));
        check("http://user@example.com/", Some("http://example.com/"));
        check("capacitor://localhost?x", Some("capacitor://localhost/"));
        check("http://[::1]:80/a", Some("http://[::1]/a"));
        // A store that cannot keep U+0000 is never given any.
        check("http://example.com/a\0b", Some("http://example.com/a%00b"));
        check("app://host/a\0b", Some("app://host/a%00b"));
        check("http://a\0b/", None);
        check("app://a\0b/", None);
    }

    #[test]
    fn what_has_no_host_is_no_page() {
        for address in
            ["", "example.com", "about:blank", "file:///home/me/a.html", "http://", "/path"]
        {
            check(address, None);
        }
        check(&format!("http://example.com/{}", "a".repeat(SOURCE_BYTES_MAX)), None);
    }
}
