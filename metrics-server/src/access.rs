//! Access control: the hook for applications that embed the service and have users of their own.
//!
//! The hook is called before any of the body is read, so that a refused request costs next to nothing. It need not know
//! the subject of a report: it returns the keys whose totals the caller may read, and the service narrows the request
//! to those. Recording never calls it: viewers have a key and nothing else.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use hyper::Response;
use hyper::header::HeaderValue;
use metrics_core::{ApiKey, Selection};

use crate::error::Error;
use crate::response::Body;

/// Decides which keys a caller may read and change.
///
/// ```
/// use http::request::Parts;
/// use metrics_core::ApiKey;
/// use metrics_server::{Access, Decision, Purpose};
///
/// /// The result of an earlier authentication, in the extensions of the request.
/// #[derive(Clone)]
/// struct Tenant {
///     keys: Vec<ApiKey>,
/// }
///
/// #[derive(Debug)]
/// struct OwnKeys;
///
/// #[async_trait::async_trait]
/// impl Access for OwnKeys {
///     async fn decide(&self, request: &Parts, purpose: Purpose) -> Decision {
///         match (request.extensions.get::<Tenant>(), purpose) {
///             (Some(tenant), Purpose::Report | Purpose::ListKeys) => {
///                 Decision::AllowKeys(tenant.keys.clone())
///             }
///             (Some(_), _) => Decision::forbidden(),
///             (None, _) => Decision::unauthorized("Bearer"),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Access: fmt::Debug + Send + Sync + 'static {
    /// Decides on a request by its head, as the service received it: with the original URL, and with the extensions
    /// that earlier layers inserted.
    ///
    /// The request waits for the decision, 10 s at most. The future is dropped if the client disconnects meanwhile.
    async fn decide(&self, request: &Parts, purpose: Purpose) -> Decision;
}

/// The purpose of a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Purpose {
    /// Read the page and its files, which hold nothing that is stored but the example key.
    Page,
    /// Read the process statistics.
    Stats,
    /// Read a report.
    Report,
    /// List the keys.
    ListKeys,
    /// Create a key.
    CreateKey,
    /// Revoke a key.
    RevokeKey,
    /// Change the settings of a key, limits included, or restore a revoked key.
    ChangeKey,
    /// Erase sessions.
    Erase,
}

/// The decision of [`Access`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Decision {
    /// Allows the request in full.
    Allow,
    /// Allows the request for these keys only.
    ///
    /// A report of another key is refused. A report that names no key is about the only one of these keys; with
    /// several, the request has to name one. Only these keys are listed, and can be created and revoked, and only
    /// sessions of these keys can be erased. The process statistics, which
    /// belong to no key, are refused.
    AllowKeys(Vec<ApiKey>),
    /// Refuses the request with this response.
    Refuse(Response<Body>),
}

impl Decision {
    /// Refuses an unauthenticated caller: 401, with the scheme to authenticate by, like `Bearer`.
    ///
    /// A scheme that no header can hold is omitted.
    #[must_use]
    pub fn unauthorized(scheme: &str) -> Self {
        let scheme = HeaderValue::from_str(scheme).ok();
        Self::Refuse(Error::Unauthenticated(scheme).into_response())
    }

    /// Refuses every caller: 403.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::Refuse(Error::Forbidden.into_response())
    }
}

/// The data that a request may read.
#[derive(Clone, Debug)]
pub(crate) enum Granted {
    All,
    Keys(Arc<[ApiKey]>),
}

impl Granted {
    pub(crate) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether data of a key may be read.
    pub(crate) fn covers(&self, key: &ApiKey) -> bool {
        match self {
            Self::All => true,
            Self::Keys(keys) => keys.contains(key),
        }
    }

    /// Narrows a selection to the keys that may be read.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] if it names another key, or none is granted; [`Error::Parameter`] if it has to name one.
    pub(crate) fn restrict(&self, selection: Selection) -> Result<Selection, Error> {
        let Self::Keys(keys) = self else { return Ok(selection) };
        match (&selection.key, &**keys) {
            (Some(key), keys) if keys.contains(key) => Ok(selection),
            (None, [only]) => Ok(Selection { key: Some(only.clone()), ..selection }),
            (Some(_), _) | (None, []) => Err(Error::Forbidden),
            (None, _) => Err(Error::missing(
                "query",
                "must have one of your keys as `key`: you have several",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    fn keys(names: &[&str]) -> Granted {
        Granted::Keys(names.iter().map(|name| ApiKey::new(name).unwrap()).collect())
    }

    fn intro(key: Option<&str>) -> Selection {
        let key = key.map(|name| ApiKey::new(name).unwrap());
        Selection { key, ..Selection::identifier("intro") }
    }

    #[track_caller]
    fn check(
        granted: &Granted,
        requested: Option<&str>,
        expected: Result<Option<&str>, StatusCode>,
    ) {
        let narrowed =
            granted.restrict(intro(requested)).map_err(|err| err.into_response().status());
        assert_eq!(narrowed, expected.map(intro));
    }

    #[test]
    fn a_selection_is_restricted_to_the_granted_keys() {
        let forbidden = Err(StatusCode::FORBIDDEN);
        check(&Granted::All, None, Ok(None));
        check(&Granted::All, Some("a"), Ok(Some("a")));
        check(&keys(&["a"]), None, Ok(Some("a")));
        check(&keys(&["a"]), Some("a"), Ok(Some("a")));
        check(&keys(&["a"]), Some("b"), forbidden);
        check(&keys(&["a", "b"]), Some("b"), Ok(Some("b")));
        check(&keys(&["a", "b"]), Some("c"), forbidden);
        check(&keys(&["a", "b"]), None, Err(StatusCode::BAD_REQUEST));
        check(&keys(&[]), None, forbidden);
        check(&keys(&[]), Some("a"), forbidden);
    }

    #[test]
    fn a_refusal_names_the_kind_of_credentials() {
        let refused = |decision| match decision {
            Decision::Refuse(response) => {
                let scheme = response.headers().get("www-authenticate").cloned();
                (response.status().as_u16(), scheme)
            }
            allowed => panic!("{allowed:?}"),
        };
        let bearer = HeaderValue::from_static("Bearer");
        assert_eq!(refused(Decision::unauthorized("Bearer")), (401, Some(bearer)));
        assert_eq!(refused(Decision::unauthorized("a\nb")), (401, None));
        assert_eq!(refused(Decision::forbidden()), (403, None));
    }
}
