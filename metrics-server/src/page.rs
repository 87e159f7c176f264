//! `GET /`: the page, which shows the reports of this server; and `GET /demo`, two videos to try it with.

mod file;
mod look;

use hyper::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};
use metrics_core::query::{Dimension, Metric};
use metrics_core::{ApiKey, Metrics};

use crate::access::Grant;
use crate::error::Error;
use crate::prefix::Prefix;
use crate::response::{self, Body};

pub use look::{InvalidLogo, Logo, PageLook};

/// The key that an empty database gets, so that a newcomer can try it at once.
pub const EXAMPLE_KEY: &str = "HDsj3NfKQTNwn5Ix9g+cfQ==";

/// The page loads only its own scripts, styles, images and videos, none of them inline. Pages may embed it that the
/// settings list.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors ";

/// An SVG may have styles, and nothing else that is active.
const LOGO_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox";

/// Pages of other origins cannot embed it as a script or an image.
const SAME_ORIGIN: (HeaderName, &str) =
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin");

/// The file under `/page/` that is the operator's.
const LOGO: &str = "logo";

/// The two documents.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Document {
    Page,
    /// The example videos.
    Demo,
}

impl Document {
    /// The document for a caller, with the example key if the caller has it. The page has the rights of the caller, as
    /// JSON.
    pub(crate) async fn show(
        self,
        metrics: &Metrics,
        granted: &Grant,
        rights: &str,
        (prefix, look): (&Prefix, &PageLook),
    ) -> Response<Body> {
        let is_example = match ApiKey::new(EXAMPLE_KEY) {
            Ok(key) => granted.covers(&key) && metrics.accepts_key(&key).await.unwrap_or(false),
            Err(_) => false,
        };
        let mut response =
            response::html(StatusCode::OK, self.text(is_example, rights, prefix, look));
        let headers = response.headers_mut();
        let policy = format!("{POLICY}{}", look.ancestors());
        // An origin that no header can have permits no page.
        let policy = HeaderValue::try_from(policy)
            .unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        let (name, value) = SAME_ORIGIN;
        headers.insert(name, HeaderValue::from_static(value));
        response
    }

    fn text(self, is_example: bool, rights: &str, prefix: &Prefix, look: &PageLook) -> String {
        // Relative if no prefix is known: a proxy may prepend a path.
        let prefix = prefix.as_str();
        let at = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let logo = if look.logo.is_some() { LOGO } else { "icon.svg" };
        let metrics: Vec<_> = Metric::ALL.iter().map(|it| it.as_str()).collect();
        let text = match self {
            Self::Page => include_str!("page/index.html"),
            Self::Demo => include_str!("page/demo.html"),
        };
        // The name is last: its text is the operator's.
        text.replace("{{metrics}}", &metrics.join(" "))
            .replace("{{dimensions}}", &Dimension::NAMES.join(" ").replace(['<', '>'], ""))
            .replace("{{example_key}}", if is_example { EXAMPLE_KEY } else { "" })
            .replace("{{logo}}", &format!("{{{{at}}}}page/{logo}"))
            .replace("{{at}}", &escaped(&at))
            // Names of keys must not look like places to fill in.
            .replace("{{me}}", &escaped(rights).replace('{', "&#123;"))
            .replace("{{name}}", &escaped(&look.name))
    }
}

/// A file of the page.
pub(crate) fn file(
    name: &str,
    method: &Method,
    headers: &HeaderMap,
    look: &PageLook,
) -> Result<Response<Body>, Error> {
    match &look.logo {
        Some(logo) if name == LOGO => {
            let mut response = response::empty(StatusCode::OK);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(logo.kind()));
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(LOGO_POLICY));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            *response.body_mut() = Body::from(logo.bytes());
            Ok(response)
        }
        _ => file::answer(name, method, headers),
    }
}

/// A text, escaped for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&#39;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_end_the_text_it_stands_in() {
        assert_eq!(escaped("/a'\"<&b"), "/a&#39;&quot;&lt;&amp;b");
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        let (prefix, look) = (Prefix::new("analytics"), PageLook::default());
        for document in [Document::Page, Document::Demo] {
            let text = document.text(true, r#"[{"name":"{{name<"}]"#, &prefix, &look);
            assert!(!text.contains("{{") && !text.contains("}}"), "{text}");
            assert!(text.contains("/analytics/page/icon.svg"), "{text}");
        }
    }
}
