//! How a service behaves.

use std::num::NonZeroUsize;
use std::sync::Arc;

use hyper::header::HeaderName;
use metrics_core::ApiKey;
use metrics_core::budget::Budget;
use metrics_core::recorder::Spool;

use crate::access::Access;
use crate::cors::Cors;
use crate::hosts::Hosts;
use crate::networks::Networks;
use crate::prefix::Prefix;
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
    /// Which names in `Host` are answered where [`access`](Self::access) says nothing: addresses and `localhost`, unless
    /// said otherwise. Recording and health are answered under any name.
    pub hosts: Hosts,
    /// Where to leave what a store that is away cannot take when the server stops: nowhere, unless said otherwise.
    pub spool: Option<Spool>,
    /// The header in which a reverse proxy says where a request comes from; its last element counts, which the proxy
    /// adds, or an earlier one if [`forwarded_hops`](Self::forwarded_hops) says so. Only if nobody can reach the server but through that proxy: anybody else could claim to be anywhere.
    pub forwarded_header: Option<HeaderName>,
    /// How many proxies, one behind the other, add an element to [`forwarded_header`](Self::forwarded_header): 1, unless
    /// said otherwise.
    pub forwarded_hops: Option<NonZeroUsize>,
    /// How many connections an address, or a /64 network of IPv6, may hold at once. Unless said otherwise,
    /// [`serve()`](crate::serve()) allows a quarter of all, and at least 64. Connections from this machine do not count.
    /// With [`forwarded_header`](Self::forwarded_header) the requests and websockets of the address there count instead.
    pub connections_per_address: Option<usize>,
    /// Networks whose clients are treated as bots, like those of data centres: none, unless said otherwise.
    pub bot_networks: Arc<Networks>,
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

    /// Answers requests for these host names, also without [`access`](Self::access).
    #[must_use]
    pub fn hosts(self, hosts: Hosts) -> Self {
        Self { hosts, ..self }
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

    /// Believes the last but `hops - 1` element of the [forwarded header](Self::forwarded_header).
    #[must_use]
    pub fn forwarded_hops(self, hops: NonZeroUsize) -> Self {
        Self { forwarded_hops: Some(hops), ..self }
    }

    /// Lets an address hold so many connections at once.
    #[must_use]
    pub fn connections_per_address(self, most: usize) -> Self {
        Self { connections_per_address: Some(most), ..self }
    }

    /// Treats clients in these networks as bots.
    #[must_use]
    pub fn bot_networks(self, networks: Networks) -> Self {
        Self { bot_networks: Arc::new(networks), ..self }
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
