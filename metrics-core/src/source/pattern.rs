//! Patterns of pages whose paths contain personal data, and the detail in which pages are kept.

use url::Url;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256;

/// The detail in which pages are kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum PageDetail {
    /// Scheme, host, port and path.
    #[default]
    Path,
    /// Scheme, host and port: all pages of a site are its page `/`.
    Host,
    /// No page.
    None,
}

/// A path in which `*` stands for personal data, like `/u/*/watch`.
///
/// A `*` is an entire segment: in the middle it matches one segment of any text, at the end the entire rest. The
/// pattern replaces the path of a matching page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PagePattern {
    // In the form of the URL parser.
    path: String,
}

impl PagePattern {
    /// Parses a pattern; `None` if the text is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_path = text.starts_with('/') && text.len() <= PATTERN_BYTES_MAX;
        let is_plain =
            |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '?' | '#' | '\\');
        if !is_path || !text.chars().all(is_plain) {
            return None;
        }
        let mut url = Url::parse("http://host/").ok()?;
        url.set_path(text);
        let path = url.path();
        let has_star = path.split('/').any(|segment| segment == "*");
        let is_exact = path.split('/').all(|segment| segment == "*" || !segment.contains('*'));
        (has_star && is_exact && path.len() <= PATTERN_BYTES_MAX)
            .then(|| Self { path: path.to_owned() })
    }

    /// Returns whether a path matches.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let (mut wanted, mut given) = (self.path.split('/').peekable(), path.split('/'));
        while let Some(segment) = wanted.next() {
            match given.next() {
                Some(_) if segment == "*" && wanted.peek().is_none() => return true,
                Some(other) if segment == "*" || segment == other => {}
                _ => return false,
            }
        }
        given.next().is_none()
    }

    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }
}
