//! Pages that embed videos, without anything that identifies their viewers.

mod pattern;

use std::fmt;
use std::sync::Arc;

use url::Url;

pub use self::pattern::{PageDetail, PagePattern};

/// The longest URL of a page that is kept, in bytes.
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
    // Invariant: has a scheme, a host and a path; no credentials, no query, no fragment. Every session has one, so it
    // is no `Url`, which takes four times as much memory.
    url: Arc<str>,
    // The boundaries of the host, and the start of the path.
    host: (u16, u16),
    path: u16,
}

// Indices into the URL fit.
const _: () = assert!(SOURCE_BYTES_MAX <= u16::MAX as usize);

impl Source {
    /// Parses the URL of a page; `None` if it has no host or is longer than [`SOURCE_BYTES_MAX`] when cleaned.
    #[must_use]
    pub fn parse(address: &str) -> Option<Self> {
        let mut url = Url::parse(address).ok()?;
        url.host_str().filter(|host| !host.is_empty())?;
        url.set_query(None);
        url.set_fragment(None);
        // These fail only for URLs without a host.
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        if url.path().is_empty() {
            url.set_path("/");
        }
        if SOURCE_BYTES_MAX < url.as_str().len() {
            return None;
        }
        let offset = |at: usize| at.try_into().ok();
        let host = url.scheme().len() + "://".len();
        let host = (offset(host)?, offset(host + url.host_str()?.len())?);
        let path = offset(url.as_str().len() - url.path().len())?;
        Some(Self { url: url.as_str().into(), host, path })
    }

    /// Converts the output of [`as_str`](Self::as_str) back, or returns `None` if the text cannot be a page. Parsing
    /// the pages of a block as URLs would take longer than all other work.
    #[cfg(feature = "recorder")]
    pub(crate) fn stored(text: &str) -> Option<Self> {
        let is_left_out = |byte: u8| matches!(byte, b'?' | b'#' | 0);
        if SOURCE_BYTES_MAX < text.len() || text.bytes().any(is_left_out) {
            return None;
        }
        let host = text.find("://").filter(|scheme| 0 < *scheme)? + "://".len();
        let path = host + text[host..].find('/')?;
        let authority = &text[host..path];
        // The colons of an IPv6 address are in brackets.
        let port = authority.rfind(':').filter(|colon| !authority[*colon..].contains(']'));
        let host_len = port.unwrap_or(authority.len());
        if host_len == 0 || authority.contains('@') {
            return None;
        }
        let offset = |at: usize| at.try_into().ok();
        let host = (offset(host)?, offset(host + host_len)?);
        Some(Self { url: text.into(), host, path: offset(path)? })
    }

    /// Scheme, host, port if it is not the default, and path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The host, without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        let (from, to) = self.host;
        self.url.get(from.into()..to.into()).unwrap_or_default()
    }

    /// The path, which begins with `/`.
    #[must_use]
    pub fn pathname(&self) -> &str {
        self.url.get(self.path.into()..).unwrap_or_default()
    }

    /// Scheme, host, and port if it is not the default.
    #[must_use]
    pub fn site(&self) -> &str {
        self.url.get(..self.path.into()).unwrap_or_default()
    }

    /// Reduces the page to the kept detail; `None` if nothing is kept.
    #[must_use]
    pub fn reduced(self, detail: PageDetail) -> Option<Self> {
        match detail {
            PageDetail::Path => Some(self),
            PageDetail::Host => Some(self.with_path("/")),
            PageDetail::None => None,
        }
    }

    /// Replaces the path by one that the URL parser has normalized. If the page would be too long, the path becomes
    /// `/`.
    pub(crate) fn with_path(self, path: &str) -> Self {
        let path = if SOURCE_BYTES_MAX < self.site().len() + path.len() { "/" } else { path };
        let url = format!("{}{path}", self.site());
        Self { url: url.into(), ..self }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        // Not every store can keep U+0000, so no page has one.
        check("http://example.com/a\0b", Some("http://example.com/a%00b"));
        check("app://host/a\0b", Some("app://host/a%00b"));
        check("http://a\0b/", None);
        check("app://a\0b/", None);
    }

    #[test]
    fn host_and_path_are_parts_of_it() {
        for (address, host, path) in [
            ("http://me:secret@example.com:8080/a/b?c#d", "example.com", "/a/b"),
            ("https://example.com:443", "example.com", "/"),
            ("https://xn--bcher-kva.example/\u{e4}", "xn--bcher-kva.example", "/%C3%A4"),
            ("http://[::1]:81/x", "[::1]", "/x"),
            ("app://host//x", "host", "//x"),
        ] {
            let page = Source::parse(address).expect(address);
            assert_eq!((page.host(), page.pathname()), (host, path), "{address}");
        }
    }

    proptest! {
        #[test]
        fn stored_pages_are_as_they_were(address in "[a-z]{1,5}://(u:p@)?([a-z.]{1,9}|\\[[0-9a-f:]{2,9}\\]|\\PC{1,5})(:[0-9]{1,5})?(/\\PC{0,9})?") {
            if let Some(page) = Source::parse(&address) {
                prop_assert_eq!(Source::stored(page.as_str()), Some(page));
            }
        }

        #[test]
        fn any_text_is_a_page_or_refused(text in "\\PC{0,20}|[a:/@?\\[\\]]{0,12}") {
            if let Some(page) = Source::stored(&text) {
                prop_assert!(!page.host().is_empty() && page.pathname().starts_with('/'));
            }
        }
    }

    #[test]
    fn a_url_without_a_host_is_no_page() {
        for address in
            ["", "example.com", "about:blank", "file:///home/me/a.html", "http://", "/path"]
        {
            check(address, None);
        }
        check(&format!("http://example.com/{}", "a".repeat(SOURCE_BYTES_MAX)), None);
    }
}
