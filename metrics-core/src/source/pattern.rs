//! Patterns of pages whose paths hold something personal, and how much of a page is kept.

use url::Url;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256;

/// How much of a page is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum PageDetail {
    /// Scheme, host, port and path.
    #[default]
    Path,
    /// Scheme, host and port: all pages of a site are its page `/`.
    Host,
    /// Nothing.
    None,
}

/// A path in which `*` stands for something personal, like `/u/*/watch`.
///
/// A `*` is a whole segment: one segment of any text in the middle, all that follows at the end. A page that matches is
/// kept as the pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PagePattern {
    // As the URL parser has it.
    path: String,
}

impl PagePattern {
    /// The pattern that a text is, if it is one.
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
        let is_whole = path.split('/').all(|segment| segment == "*" || !segment.contains('*'));
        (has_star && is_whole && path.len() <= PATTERN_BYTES_MAX)
            .then(|| Self { path: path.to_owned() })
    }

    /// Whether a path matches.
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
