//! Access control: the hook for applications that embed the service and have users of their own.
//!
//! The hook is called before any of the body is read, so that a refused request costs next to nothing. It need not know
//! the subject of a report: it returns the keys whose totals the caller may read, and the service narrows the request
//! to those. Recording never calls it: viewers have a key and nothing else.

mod confinement;
mod grant;

use std::fmt;

use async_trait::async_trait;
use http::request::Parts;
use hyper::Response;
use hyper::header::HeaderValue;
use metrics_core::ApiKey;

use crate::error::Error;
use crate::response::Body;

pub(crate) use self::confinement::{Confinement, EVERYTHING, is_of_dimensions};
pub use self::grant::{Grant, Role};
pub(crate) use self::grant::{Rights, Scopes};

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
    /// Read a report, or how many watch at this moment.
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
    /// Create an access token, which permits no more than the caller's grant.
    CreateToken,
    /// Revoke an access token.
    RevokeToken,
}

impl Purpose {
    /// All purposes.
    pub(crate) const ALL: [Self; 10] = [
        Self::Page,
        Self::Stats,
        Self::Report,
        Self::ListKeys,
        Self::CreateKey,
        Self::RevokeKey,
        Self::ChangeKey,
        Self::Erase,
        Self::CreateToken,
        Self::RevokeToken,
    ];

    /// The name in JSON.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Stats => "stats",
            Self::Report => "reports",
            Self::ListKeys => "list_keys",
            Self::CreateKey => "create_keys",
            Self::RevokeKey => "revoke_keys",
            Self::ChangeKey => "change_keys",
            Self::Erase => "erase",
            Self::CreateToken => "create_tokens",
            Self::RevokeToken => "revoke_tokens",
        }
    }
}

/// The decision of [`Access`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Decision {
    /// Allows the request in full.
    Allow,
    /// Allows the request for these keys only.
    ///
    /// A report of another key is refused. A report that names no key is about all of these keys. Only these keys are
    /// listed, and can be created and revoked, and only sessions of these keys can be erased. The process statistics,
    /// which belong to no key, are refused.
    AllowKeys(Vec<ApiKey>),
    /// Allows the request as far as the grant permits it: for some sessions, or for a role. Anything that the grant does not
    /// permit is refused.
    AllowGrant(Grant),
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

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;
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
        let forbidden = StatusCode::FORBIDDEN.as_u16();
        assert_eq!(refused(Decision::forbidden()), (forbidden, None));
    }
}
