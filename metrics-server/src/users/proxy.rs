//! Users that a reverse proxy names, after it has authenticated them: oauth2-proxy, Authelia and the like.

use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName};

use crate::access::Role;
use crate::attempts::CallerAddress;
use crate::networks::Networks;

/// The longest name of a user, in bytes.
const NAME_BYTES_MAX: usize = 254;

/// The headers in which a trusted proxy names the user of a request, and its groups.
///
/// ```
/// use metrics_server::{Role, UserHeaders, Users};
///
/// let proxies = "10.0.0.0/8".parse().unwrap();
/// let headers = UserHeaders::new("remote-user".parse().unwrap(), proxies)
///     .groups("remote-groups".parse().unwrap(), [("admins".to_owned(), Role::Owner)]);
/// let users = Users::none().headers(headers);
/// ```
#[derive(Clone, Debug)]
pub struct UserHeaders {
    user: HeaderName,
    proxies: Arc<Networks>,
    groups: Option<HeaderName>,
    roles: Vec<(String, Role)>,
}

impl UserHeaders {
    /// Trusts this header of requests whose connection comes from one of the networks. Requests from elsewhere cannot
    /// name a user, and all proxies in these networks must remove the header from the requests of their clients.
    #[must_use]
    pub fn new(user: HeaderName, proxies: Networks) -> Self {
        Self { user, proxies: Arc::new(proxies), groups: None, roles: Vec::new() }
    }

    /// Gives users the role of one of their groups, which a header lists with commas between them: that of the first
    /// pair whose group the user is in. The group `*` has everybody.
    #[must_use]
    pub fn groups(
        self,
        groups: HeaderName,
        roles: impl IntoIterator<Item = (String, Role)>,
    ) -> Self {
        Self { groups: Some(groups), roles: roles.into_iter().collect(), ..self }
    }

    /// Whether connections from this machine may name users.
    #[cfg(feature = "binary")]
    pub(crate) fn trusts_this_machine(&self) -> bool {
        self.proxies.has_loopback()
    }

    /// Gives all users that the proxy names the first of these roles.
    #[cfg(feature = "binary")]
    pub(crate) fn everybody(self, roles: Vec<(String, Role)>) -> Self {
        Self { roles, ..self }
    }

    /// The name of the user, and the role by its groups.
    pub(super) fn user(
        &self,
        peer: CallerAddress,
        headers: &HeaderMap,
    ) -> Option<(String, Option<Role>)> {
        if !self.proxies.contains(peer.0) {
            return None;
        }
        let mut names = headers.get_all(&self.user).iter();
        let name = names.next()?.to_str().ok()?.trim();
        // Two may be of the proxy and of its client.
        if names.next().is_some() || name.is_empty() || NAME_BYTES_MAX < name.len() {
            return None;
        }
        let mut lines = self.groups.iter().flat_map(|groups| headers.get_all(groups));
        let line = lines.next().and_then(|line| line.to_str().ok()).unwrap_or_default();
        if lines.next().is_some() {
            return None;
        }
        let groups: Vec<&str> = line.split(',').map(str::trim).collect();
        let is_in = |group: &str| group == "*" || groups.contains(&group);
        let role = self.roles.iter().find(|(group, _)| is_in(group)).map(|(_, role)| *role);
        Some((name.to_owned(), role))
    }
}
