//! How a service behaves.

use std::sync::Arc;

use hyper::header::HeaderName;
use metrics_core::ApiKey;
use metrics_core::budget::Budget;
use metrics_core::recorder::Spool;

use crate::access::Access;
use crate::cors::Cors;
use crate::mount::Prefix;
use crate::route::Routes;

/// How a [`Service`](crate::Service) behaves. More may be added, so it is made from the default:
///
/// ```
/// use metrics_server::{Routes, Settings};
///
/// let settings = Settings::default().prefix("/analytics").routes(Routes::INGEST | Routes::HEALTH);
/// # assert!(!settings.routes.contains(Routes::REPORTS));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// The key of batches that name none.
    pub default_key: Option<ApiKey>,
    /// Who may read reports and change keys: everybody, unless said otherwise.
    pub access: Option<Arc<dyn Access>>,
    /// Whether viewers who send `Sec-GPC: 1` or `DNT: 1` are refused.
    pub heed_opt_out: bool,
    /// Which pages of other origins may read reports.
    pub cors: Cors,
    /// Where to leave what a store that is away cannot take when the server stops: nowhere, unless said otherwise.
    pub spool: Option<Spool>,
    /// The header in which a reverse proxy says where a request comes from; its last element counts, which the proxy
    /// adds. Only if nobody can reach the server but through that proxy: anybody else could claim to be anywhere.
    pub forwarded_header: Option<HeaderName>,
    /// Which routes there are: all, unless said otherwise.
    pub routes: Routes,
    /// Under which path they are: none, unless said otherwise.
    pub prefix: Prefix,
    /// The memory budget of connections, bodies, messages and responses: that of the [`Metrics`](metrics_core::Metrics),
    /// unless said otherwise, so that sessions and these share one.
    pub memory: Option<Budget>,
}

impl Settings {
    /// Takes batches that name no key for this one's.
    #[must_use]
    pub fn default_key(self, key: ApiKey) -> Self {
        Self { default_key: Some(key), ..self }
    }

    /// Asks this who may read reports and change keys. [`Credentials`](crate::Credentials) are one user and a password.
    #[must_use]
    pub fn access(self, access: impl Access) -> Self {
        Self { access: Some(Arc::new(access)), ..self }
    }

    /// Refuses viewers who send `Sec-GPC: 1` or `DNT: 1`.
    #[must_use]
    pub fn heed_opt_out(self) -> Self {
        Self { heed_opt_out: true, ..self }
    }

    /// Lets pages of these origins read reports.
    #[must_use]
    pub fn cors(self, cors: Cors) -> Self {
        Self { cors, ..self }
    }

    /// Leaves here what a store that is away cannot take when the server stops.
    #[must_use]
    pub fn spool(self, spool: Spool) -> Self {
        Self { spool: Some(spool), ..self }
    }

    /// Believes this header about where a request comes from; see [the field](Self::forwarded_header) for when to.
    #[must_use]
    pub fn forwarded_header(self, name: HeaderName) -> Self {
        Self { forwarded_header: Some(name), ..self }
    }

    /// Has these routes only. Whatever else is asked for is not there.
    #[must_use]
    pub fn routes(self, routes: Routes) -> Self {
        Self { routes, ..self }
    }

    /// Reserves what clients make the service hold of this budget; see [the field](Self::memory).
    #[must_use]
    pub fn memory(self, memory: Budget) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// Has its routes under this path, like `/analytics`. Requests come with it; see [`Prefix::new`].
    #[must_use]
    pub fn prefix(self, path: &str) -> Self {
        Self { prefix: Prefix::new(path), ..self }
    }

    /// Is told that its routes are under this path, which a router or a proxy takes away before a request gets here; see
    /// [`Prefix::stripped`].
    #[must_use]
    pub fn stripped_prefix(self, path: &str) -> Self {
        Self { prefix: Prefix::stripped(path), ..self }
    }
}
