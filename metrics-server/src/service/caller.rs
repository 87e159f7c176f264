//! The caller of a request: its address, quota, flow and key, and the hints in its headers.

use std::num::NonZeroUsize;
use std::sync::Arc;

use http::Extensions;
use hyper::Request;
use hyper::header::{HeaderMap, HeaderName, ORIGIN, USER_AGENT};
use metrics_core::ApiKey;
use metrics_core::arrival::ArrivalPart;
use metrics_core::user_agent::{Classification, Headers};

use super::Service;
use crate::access::{Grant, Rights};
use crate::attempts::{Caller, CallerAddress};
use crate::channel::ConnectionInfo;
use crate::error::Error;
use crate::parameters::restore_key;
use crate::queue::Flow;
use crate::route::Route;
use crate::settings::Settings;
use crate::share::Share;

/// The most bytes of a user-agent header that are kept as long as the connection lasts. The rest is ignored.
const HINT_BYTES_MAX: usize = 1_024;

/// How a client sends events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// Over a websocket or long polling.
    Channel,
    /// In batches.
    Batch,
}

impl Service {
    /// Takes a permit from the quota of the address that a proxy forwards. A websocket finds it in the extensions.
    pub(super) fn take_share<B>(
        &self,
        route: Option<Route<'_>>,
        mut request: Request<B>,
    ) -> Result<(Request<B>, Option<Arc<Share>>), Error> {
        let Some(caller_address) = self
            .forwarded(request.headers())
            .filter(|caller_address| !caller_address.is_loopback())
        else {
            return Ok((request, None));
        };
        if matches!(route, Some(Route::Live | Route::Ready)) {
            return Ok((request, None));
        }
        let Some(share) = self.inner.shares.take(caller_address).map(Arc::new) else {
            self.inner.counters.refuse();
            return Err(Error::Full);
        };
        request.extensions_mut().insert(Arc::clone(&share));
        Ok((request, Some(share)))
    }

    /// The flow in which a caller takes turns.
    pub(super) fn flow(
        &self,
        granted: &Grant,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Flow {
        match (granted.rights(), granted.within().keys.as_deref()) {
            (Rights::Token(_), keys) => Flow::of_tokens(keys.unwrap_or_default()),
            (Rights::Role(_), Some(keys)) => Flow::of_keys(keys),
            (Rights::Role(_), None) => {
                Flow::Network(self.caller_address(headers, extensions).map(CallerAddress::network))
            }
        }
    }

    /// The caller, for the rate limit of guessed secrets.
    pub(super) fn caller(&self, headers: &HeaderMap, extensions: &Extensions) -> Caller {
        self.inner.attempts.of(self.caller_address(headers, extensions))
    }

    /// The address that a request comes from, if it is known.
    pub(super) fn caller_address(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Option<CallerAddress> {
        self.forwarded(headers).or_else(|| extensions.get::<CallerAddress>().copied())
    }

    pub(super) fn connection_info<B>(&self, request: &Request<B>, way: Way) -> ConnectionInfo {
        let headers = request.headers();
        let text = |name: HeaderName| {
            let value = headers.get(name)?.as_bytes();
            Some(String::from_utf8_lossy(&value[..value.len().min(HINT_BYTES_MAX)]).into_owned())
        };
        let has_one = |name: &'static str| {
            headers.get(name).is_some_and(|value| value.as_bytes().trim_ascii() == b"1")
        };
        let (user_agent, brands) = (text(USER_AGENT), text(HeaderName::from_static("sec-ch-ua")));
        let mut who = Headers::default();
        who.user_agent = user_agent.as_deref();
        who.brands = brands.as_deref();
        let origin = text(ORIGIN);
        // Every browser has a User-Agent. Apps and servers that send batches may have none.
        let has_name = user_agent.as_deref().is_some_and(|text| !text.trim().is_empty());
        let is_anonymous = !has_name && (way == Way::Channel || origin.is_some());
        let networks = &self.inner.settings.bot_networks;
        let caller_address = self.caller_address(headers, request.extensions());
        let is_bot = is_anonymous
            || caller_address.is_some_and(|CallerAddress(address)| networks.contains(address));
        let classification = self.inner.metrics.classify(who);
        ConnectionInfo {
            classification: if is_bot { Classification::Bot } else { classification },
            origin: origin.map(Into::into),
            country: self.country(headers, caller_address),
            page: None,
            join_parameters: None,
            opted_out: self.inner.settings.refuse_opted_out
                && (has_one("sec-gpc") || has_one("dnt")),
            caller: self.caller(headers, request.extensions()),
            counters: self.inner.counters.clone(),
        }
    }

    /// The country of a caller: the one that the proxy names, or else that of the address. The address is not kept.
    fn country(&self, headers: &HeaderMap, address: Option<CallerAddress>) -> Option<Box<str>> {
        let Settings { country_header, geo, .. } = &self.inner.settings;
        let named = country_header.as_ref().filter(|_| self.forwarded(headers).is_some());
        let named = named.and_then(|name| headers.get(name)?.to_str().ok());
        let country = named.and_then(|name| ArrivalPart::Country.reduce(name));
        let country = country.or_else(|| geo.as_ref()?.country(address?.0));
        country.map(Into::into)
    }

    /// The key of events that name none, and the only key that events may have, if a token limits them.
    pub(super) async fn keys_of(
        &self,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(Option<ApiKey>, Option<ApiKey>), Error> {
        let named = self.key_of(query)?;
        match self.key_of_token(query, headers).await? {
            None => Ok((named, None)),
            Some(only) => Ok((Some(only.clone()), Some(only))),
        }
    }

    /// The key of a batch: the one in its URL, or else the default.
    fn key_of(&self, query: Option<&str>) -> Result<Option<ApiKey>, Error> {
        let query = query.unwrap_or_default().as_bytes();
        let named = form_urlencoded::parse(query).find(|(name, _)| name == "key");
        match named {
            Some((_, key)) => match ApiKey::new(&restore_key(&key)) {
                Ok(key) => Ok(Some(key)),
                Err(_) => Err(Error::InvalidKey),
            },
            None => Ok(self.inner.settings.default_key.clone()),
        }
    }

    /// The address that a proxy forwards, if a forwarded header is trusted.
    fn forwarded(&self, headers: &HeaderMap) -> Option<CallerAddress> {
        let Settings { forwarded_header, forwarded_hops, .. } = &self.inner.settings;
        let hops = forwarded_hops.unwrap_or(NonZeroUsize::MIN);
        CallerAddress::forwarded(headers, forwarded_header.as_ref()?, hops)
    }
}
