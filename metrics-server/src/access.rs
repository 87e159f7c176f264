//! Who may read what: the hook for those who embed the service and have users of their own.
//!
//! It is asked before anything of a body is read, so that who may not read costs next to nothing. It need not know what
//! a report is about: it answers whose figures somebody may see, and the service narrows what is asked to that. Nothing
//! that records asks it: viewers have a key and nothing else.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::request::Parts;
use hyper::Response;
use hyper::header::HeaderValue;
use metrics_core::{ApiKey, Selection};

use crate::error::Error;
use crate::response::Body;

/// Decides who may read what.
///
/// ```
/// use http::request::Parts;
/// use metrics_core::ApiKey;
/// use metrics_server::{Access, Decision, Wanted};
///
/// /// What an authentication in front has found out, and left in the extensions of the request.
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
///     async fn decide(&self, request: &Parts, wanted: Wanted) -> Decision {
///         match (request.extensions.get::<Tenant>(), wanted) {
///             (Some(tenant), Wanted::Report | Wanted::ListKeys) => {
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
    /// Decides on a request, of which this is the head, as the service got it: with the address as it stands there,
    /// and the extensions that were put into it on the way.
    ///
    /// The request waits for it, 10 s at most. It is dropped where the client goes away meanwhile.
    async fn decide(&self, request: &Parts, wanted: Wanted) -> Decision;
}

/// What somebody wants who makes a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Wanted {
    /// The page, which tells how many sessions there are.
    Page,
    /// How recording goes in this process.
    Stats,
    /// A report.
    Report,
    /// The list of keys.
    ListKeys,
    /// Another key.
    CreateKey,
    /// That a key is valid no more.
    RevokeKey,
    /// Other settings of a key, limits included, or that a revoked key is valid again.
    ChangeKey,
    /// That sessions are erased.
    Erase,
}

/// What [`Access`] decides.
#[derive(Debug)]
#[non_exhaustive]
pub enum Decision {
    /// All of it.
    Allow,
    /// As much of it as belongs to these keys.
    ///
    /// A report of another key is refused, and one that names none is about the only one there is; with several,
    /// the request has to name one of them. Only these keys are listed, and can be made and revoked, and only sessions of
    /// these keys can be erased. The page tells
    /// nothing of what is stored, and the figures of the process, which belong to no key, are refused.
    AllowKeys(Vec<ApiKey>),
    /// Nothing of it: this is the answer.
    Refuse(Response<Body>),
}

impl Decision {
    /// Nothing, unless it is known who asks: 401, with the scheme by which to say it, like `Bearer`.
    ///
    /// A scheme that no header can hold is left out.
    #[must_use]
    pub fn unauthorized(scheme: &str) -> Self {
        let scheme = HeaderValue::from_str(scheme).ok();
        Self::Refuse(Error::Unauthenticated(scheme).into_response())
    }

    /// Nothing, whoever asks: 403.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::Refuse(Error::Forbidden.into_response())
    }
}

/// What was allowed.
#[derive(Clone, Debug)]
pub(crate) enum Granted {
    All,
    Keys(Arc<[ApiKey]>),
}

impl Granted {
    pub(crate) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// Whether what belongs to a key may be read.
    pub(crate) fn covers(&self, key: &ApiKey) -> bool {
        match self {
            Self::All => true,
            Self::Keys(keys) => keys.contains(key),
        }
    }

    /// The same selection, as far as it may be read.
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
    fn check(granted: &Granted, asked: Option<&str>, expected: Result<Option<&str>, StatusCode>) {
        let narrowed = granted.restrict(intro(asked)).map_err(|err| err.into_response().status());
        assert_eq!(narrowed, expected.map(intro));
    }

    #[test]
    fn a_selection_is_narrowed_to_what_is_granted() {
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
    fn a_refusal_says_how_to_say_who_asks() {
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
