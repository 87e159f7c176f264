//! The path prefix of a service.

/// The path prefix of a service, such as `/analytics`.
///
/// Slashes at either end do not count: `analytics/` is the same, and `/` is an empty prefix.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Prefix {
    // Invariant: empty, or begins with a slash and does not end with one.
    path: String,
    is_stripped: bool,
}

impl Prefix {
    /// Requests include the prefix. Requests without it are not for the service.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self { path: trimmed(path), is_stripped: false }
    }

    /// A router or a proxy removes the prefix, like axum's `nest_service`. The page needs the prefix all the same,
    /// because it shows the URL to which events are sent.
    #[must_use]
    pub fn stripped(path: &str) -> Self {
        Self { path: trimmed(path), is_stripped: true }
    }

    /// The prefix in URLs: empty, or a path that does not end with a slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// Returns the rest of a request's path after the prefix, if the path begins with it.
    pub(crate) fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.is_stripped {
            return Some(path);
        }
        let rest = path.strip_prefix(&*self.path)?;
        (self.path.is_empty() || rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }
}

fn trimmed(path: &str) -> String {
    match path.trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &Prefix, path: &str, expected: Option<&str>) {
        assert_eq!(prefix.strip(path), expected, "{prefix:?} {path}");
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        for path in ["/a/b", "a/b", "/a/b/", "//a/b//"] {
            let prefix = Prefix::new(path);
            assert_eq!(prefix.as_str(), "/a/b");
            check(&prefix, "/a/b", Some(""));
            check(&prefix, "/a/b/", Some("/"));
            check(&prefix, "/a/b//c", Some("//c"));
            for other in ["/", "/a", "/a/bc", "/a/b.c", "/c/a/b", "a/b", ""] {
                check(&prefix, other, None);
            }
        }
    }

    #[test]
    fn an_empty_or_stripped_prefix_changes_no_path() {
        for prefix in [Prefix::default(), Prefix::new("/"), Prefix::stripped("/a")] {
            for path in ["/", "/a", "/b", "*"] {
                check(&prefix, path, Some(path));
            }
        }
        assert_eq!(Prefix::stripped("a/").as_str(), "/a");
    }
}
