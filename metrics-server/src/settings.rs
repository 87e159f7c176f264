//! The settings of a service.

use std::num::NonZeroUsize;
use std::sync::Arc;

use hyper::header::HeaderName;
use metrics_core::ApiKey;
use metrics_core::budget::Budget;
use metrics_core::recorder::Spool;

use crate::access::Access;
use crate::cors::Cors;
use crate::geo::Geo;
use crate::hosts::Hosts;
use crate::networks::Networks;
use crate::page::PageLook;
use crate::prefix::Prefix;
use crate::route::Routes;
use crate::token::Tokens;
use crate::users::Users;
use crate::webhooks::Webhooks;

/// The settings of a [`Service`](crate::Service). More may be added, so a value is made from the default:
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
    /// Decides who may read reports and change keys: by default, everybody.
    pub access: Option<Arc<dyn Access>>,
    /// Users with a form to sign in: by default, none. Set them by [`users`](Self::users).
    pub(crate) users: Option<Users>,
    /// Accepts access tokens: by default, none.
    pub tokens: Option<Tokens>,
    /// Whether viewers who send `Sec-GPC: 1` or `DNT: 1` are refused.
    pub refuse_opted_out: bool,
    /// Which pages of other origins may read reports.
    pub cors: Cors,
    /// The names in `Host` that are answered where [`access`](Self::access) is not set: by default, IP addresses and
    /// `localhost`. Recording and health checks are answered under any name.
    pub hosts: Hosts,
    /// The file for events that an unavailable store cannot take when the server stops: by default, none.
    pub spool: Option<Spool>,
    /// The header in which a reverse proxy forwards the address of a request. Its last element counts, which the proxy
    /// adds, or an earlier one according to [`forwarded_hops`](Self::forwarded_hops). Set it only if the server can be
    /// reached through that proxy alone: any other caller could forge its address.
    pub forwarded_header: Option<HeaderName>,
    /// The number of proxies, one behind the other, that add an element to
    /// [`forwarded_header`](Self::forwarded_header): by default, 1.
    pub forwarded_hops: Option<NonZeroUsize>,
    /// The header in which that proxy names the country of a client, like `cf-ipcountry`: by default, none. It counts only
    /// in requests with a [`forwarded_header`](Self::forwarded_header).
    pub country_header: Option<HeaderName>,
    /// The database of the countries of addresses, for requests whose country no header names: by default, none.
    pub geo: Option<Arc<Geo>>,
    /// The most connections that an address, or a /64 network of IPv6, may hold at once. By default,
    /// [`serve()`](crate::serve()) allows a quarter of all, and at least 64. Connections from this machine do not
    /// count. With [`forwarded_header`](Self::forwarded_header) the requests and websockets of the forwarded address
    /// count instead.
    pub connections_per_address: Option<usize>,
    /// Networks whose clients are treated as bots, like those of data centres: by default, none.
    pub bot_networks: Arc<Networks>,
    /// The routes that are served: by default, all.
    pub routes: Routes,
    /// The name and the logo of the page, and the pages that may embed it.
    pub page: PageLook,
    /// The path that the routes are under: by default, none.
    pub prefix: Prefix,
    /// The memory budget of connections, bodies, messages and responses: by default, that of the
    /// [`Metrics`](metrics_core::Metrics), so that sessions and these share one.
    pub memory: Option<Budget>,
    /// Rules that watch sessions, and the receivers that are told: by default, none. See
    /// [`Service::run_webhooks`](crate::Service::run_webhooks).
    pub webhooks: Option<Webhooks>,
}

impl Settings {
    /// Records batches that name no key under this one.
    #[must_use]
    pub fn default_key(self, key: ApiKey) -> Self {
        Self { default_key: Some(key), ..self }
    }

    /// Calls this hook to decide who may read reports and change keys. [`Credentials`](crate::Credentials) are one user
    /// and a password.
    #[must_use]
    pub fn access(self, access: impl Access) -> Self {
        Self { access: Some(Arc::new(access)), ..self }
    }

    /// Lets users sign in, at `/sign-in` or by Basic authentication. They are the [`access`](Self::access) as well.
    #[must_use]
    pub fn users(self, users: Users) -> Self {
        Self { users: Some(users.clone()), ..self.access(users) }
    }

    /// Accepts access tokens that are signed with this secret, in `Authorization: Bearer` and `?token=`. They are checked
    /// before [`access`](Self::access), which is not called for a request with a token.
    #[must_use]
    pub fn tokens(self, tokens: Tokens) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// Refuses viewers who send `Sec-GPC: 1` or `DNT: 1`.
    #[must_use]
    pub fn refuse_opted_out(self) -> Self {
        Self { refuse_opted_out: true, ..self }
    }

    /// Allows pages of these origins to read reports.
    #[must_use]
    pub fn cors(self, cors: Cors) -> Self {
        Self { cors, ..self }
    }

    /// Answers requests for these host names, also without [`access`](Self::access).
    #[must_use]
    pub fn hosts(self, hosts: Hosts) -> Self {
        Self { hosts, ..self }
    }

    /// Spills events that an unavailable store cannot take when the server stops to this file.
    #[must_use]
    pub fn spool(self, spool: Spool) -> Self {
        Self { spool: Some(spool), ..self }
    }

    /// Trusts this header for the address of a request; [the field](Self::forwarded_header) says when that is safe.
    #[must_use]
    pub fn forwarded_header(self, name: HeaderName) -> Self {
        Self { forwarded_header: Some(name), ..self }
    }

    /// Trusts the last but `hops - 1` element of the [forwarded header](Self::forwarded_header).
    #[must_use]
    pub fn forwarded_hops(self, hops: NonZeroUsize) -> Self {
        Self { forwarded_hops: Some(hops), ..self }
    }

    /// Trusts this header for the country of a client; see [the field](Self::country_header).
    #[must_use]
    pub fn country_header(self, name: HeaderName) -> Self {
        Self { country_header: Some(name), ..self }
    }

    /// Looks up the countries of clients in this database.
    #[must_use]
    pub fn geo(self, geo: Geo) -> Self {
        Self { geo: Some(Arc::new(geo)), ..self }
    }

    /// Allows an address to hold `most` connections at once.
    #[must_use]
    pub fn connections_per_address(self, most: usize) -> Self {
        Self { connections_per_address: Some(most), ..self }
    }

    /// Treats clients in these networks as bots.
    #[must_use]
    pub fn bot_networks(self, networks: Networks) -> Self {
        Self { bot_networks: Arc::new(networks), ..self }
    }

    /// Serves only these routes; all others answer 404.
    #[must_use]
    pub fn routes(self, routes: Routes) -> Self {
        Self { routes, ..self }
    }

    /// Gives the page this name and logo, and lets these pages embed it.
    #[must_use]
    pub fn page(self, page: PageLook) -> Self {
        Self { page, ..self }
    }

    /// Charges the memory that clients occupy to this budget; see [the field](Self::memory).
    #[must_use]
    pub fn memory(self, memory: Budget) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// Evaluates these rules, and tells their receivers; see [the field](Self::webhooks).
    #[must_use]
    pub fn webhooks(self, webhooks: Webhooks) -> Self {
        Self { webhooks: Some(webhooks), ..self }
    }

    /// Serves the routes under this path, like `/analytics`. Requests arrive with it; see [`Prefix::new`].
    #[must_use]
    pub fn prefix(self, path: &str) -> Self {
        Self { prefix: Prefix::new(path), ..self }
    }

    /// Serves the routes under this path for a router or a proxy that strips the path before requests arrive; see
    /// [`Prefix::stripped`].
    #[must_use]
    pub fn stripped_prefix(self, path: &str) -> Self {
        Self { prefix: Prefix::stripped(path), ..self }
    }
}
