//! Where the viewer of a session comes from: the referrer, the campaign and the country.
//!
//! Only values that many viewers share are kept. Each text of a client is reduced before anything else sees it: a
//! referrer to its host, a campaign to a short text that is no e-mail address, a country to its code.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::{Host, Url};

use crate::source::Source;

/// The longest value of a campaign that is kept, in bytes. A longer one is cut.
pub const CAMPAIGN_BYTES_MAX: usize = 128;

/// The longest host that is kept, in bytes: the longest name in DNS.
const HOST_BYTES_MAX: usize = 253;

/// The longest scheme, credentials, host and port of a referrer that are parsed, in bytes.
const AUTHORITY_BYTES_MAX: usize = 1_024;

/// Codes that stand for an unknown country.
const UNKNOWN_COUNTRIES: [&str; 2] = ["XX", "ZZ"];

/// A part of an [`Arrival`]. Its number is its index in blocks.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum ArrivalPart {
    /// The host that led to the page: in lower case, without a port and without a leading `www.`, so that a site is
    /// one value. A referrer whose host is an IP address is unknown: it may be the viewer's own.
    Referrer = 0,
    /// The parameter `utm_source` of the page's URL.
    UtmSource = 1,
    /// The parameter `utm_medium` of the page's URL.
    UtmMedium = 2,
    /// The parameter `utm_campaign` of the page's URL.
    UtmCampaign = 3,
    /// The country: two capital letters of ISO 3166-1.
    Country = 4,
}

impl ArrivalPart {
    /// Every part, by its number.
    pub const ALL: [Self; 5] =
        [Self::Referrer, Self::UtmSource, Self::UtmMedium, Self::UtmCampaign, Self::Country];

    /// Returns the name: of a dimension, and of a member of a record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Referrer => "referrer",
            Self::UtmSource => "utm_source",
            Self::UtmMedium => "utm_medium",
            Self::UtmCampaign => "utm_campaign",
            Self::Country => "country",
        }
    }

    /// Returns the part with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }

    /// Reduces a text to a value of this part. A reduced value stays the same.
    ///
    /// ```
    /// use metrics_core::arrival::ArrivalPart;
    ///
    /// let host = ArrivalPart::Referrer.reduce("https://www.Example.com:8443/reset?token=secret");
    /// assert_eq!(host.as_deref(), Some("example.com"));
    /// assert_eq!(ArrivalPart::UtmCampaign.reduce("to-me@example.com"), None);
    /// assert_eq!(ArrivalPart::Country.reduce("nl").as_deref(), Some("NL"));
    /// ```
    #[must_use]
    pub fn reduce(self, text: &str) -> Option<String> {
        match self {
            Self::Referrer => host(text),
            Self::UtmSource | Self::UtmMedium | Self::UtmCampaign => campaign(text),
            Self::Country => country(text),
        }
    }
}

/// Reduces a URL or a host to a host.
fn host(text: &str) -> Option<String> {
    let text = text.trim();
    let is_scheme = |scheme: &&str| {
        scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(&scheme) => rest,
        _ => text,
    };
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    if AUTHORITY_BYTES_MAX < authority.len() {
        return None;
    }
    // Every scheme is parsed as this one, which normalizes hosts.
    let url = Url::parse(&format!("https://{authority}")).ok()?;
    let Some(Host::Domain(domain)) = url.host() else { return None };
    let mut host = domain.strip_suffix('.').unwrap_or(domain);
    if host.split('.').any(str::is_empty) {
        return None;
    }
    while let Some(site) = host.strip_prefix("www.").filter(|site| site.contains('.')) {
        host = site;
    }
    (host.len() <= HOST_BYTES_MAX).then(|| host.to_owned())
}

/// Removes control characters and cuts the text; `None` if nothing is left, or if it looks like an e-mail address.
fn campaign(text: &str) -> Option<String> {
    // Characters beyond four times the limit would be cut anyway, unless as many are removed.
    let text: String =
        text.chars().take(4 * CAMPAIGN_BYTES_MAX).filter(|it| !it.is_control()).collect();
    let text = text.trim();
    if has_email_address(text) {
        return None;
    }
    let mut ends = (0..=CAMPAIGN_BYTES_MAX.min(text.len())).rev();
    let end = ends.find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let text = text[..end].trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns whether an `@`, as such or percent-encoded, stands between two characters that are no white space.
fn has_email_address(text: &str) -> bool {
    let text = text.replace("%40", "@");
    let is_part = |part: Option<char>| part.is_some_and(|it| !it.is_whitespace());
    text.match_indices('@').any(|(at, _)| {
        is_part(text[..at].chars().next_back()) && is_part(text[at + 1..].chars().next())
    })
}

fn country(text: &str) -> Option<String> {
    let code = text.trim().to_ascii_uppercase();
    let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_code && !UNKNOWN_COUNTRIES.contains(&&*code)).then_some(code)
}

/// The values of every part, by its number.
pub(crate) type Values = [Option<Arc<str>>; ArrivalPart::ALL.len()];

/// Where the viewer of a session comes from, as far as it is known.
///
/// ```
/// use metrics_core::arrival::{Arrival, ArrivalPart};
///
/// let arrival = Arrival::default()
///     .with(ArrivalPart::Referrer, "https://news.example.com/today?user=7")
///     .with(ArrivalPart::UtmSource, "newsletter");
/// assert_eq!(arrival.get(ArrivalPart::Referrer), Some("news.example.com"));
/// assert_eq!(arrival.to_json().as_deref(), Some(r#"{"referrer":"news.example.com","utm_source":"newsletter"}"#));
/// ```
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Arrival {
    // Invariant: `None` if no part is known. Every value is a reduced one. Most sessions have one pointer only.
    values: Option<Arc<Values>>,
}

impl Arrival {
    /// Sets a part to the reduced `text`, or leaves it as it is if the text has no value for it.
    #[must_use]
    pub fn with(mut self, part: ArrivalPart, text: &str) -> Self {
        if let Some(value) = part.reduce(text) {
            let values = Arc::make_mut(self.values.get_or_insert_default());
            values[part as usize] = Some(value.into());
        }
        self
    }

    /// Removes the parts that `removes` selects.
    #[must_use]
    fn without(self, removes: impl Fn(ArrivalPart, &str) -> bool) -> Self {
        let Some(mut values) = self.values else { return self };
        let kept = Arc::make_mut(&mut values);
        for part in ArrivalPart::ALL {
            let value = &mut kept[part as usize];
            *value = value.take().filter(|value| !removes(part, value));
        }
        Self::of_values(Arc::unwrap_or_clone(values))
    }

    /// Removes a referrer that has the host of the page itself: a site does not refer to itself.
    #[must_use]
    pub fn outside(self, page: &Source) -> Self {
        let own = host(page.host());
        self.without(|part, value| part == ArrivalPart::Referrer && Some(value) == own.as_deref())
    }

    /// Removes all parts but these.
    #[must_use]
    pub fn only(self, parts: &[ArrivalPart]) -> Self {
        self.without(|part, _| !parts.contains(&part))
    }

    /// The value of a part, if it is known.
    #[must_use]
    pub fn get(&self, part: ArrivalPart) -> Option<&str> {
        self.value(part).map(|value| &**value)
    }

    pub(crate) fn value(&self, part: ArrivalPart) -> Option<&Arc<str>> {
        self.values.as_ref()?[part as usize].as_ref()
    }

    /// Makes an arrival of reduced values.
    pub(crate) fn of_values(values: Values) -> Self {
        let is_known = values.iter().any(Option::is_some);
        Self { values: is_known.then(|| Arc::new(values)) }
    }

    /// The known parts as a JSON object, or `None` if there are none.
    #[must_use]
    pub fn to_json(&self) -> Option<String> {
        let values = ArrivalPart::ALL.map(|part| (part.name(), self.get(part)));
        let known: BTreeMap<_, _> =
            values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        // A map of texts always has a JSON form.
        (!known.is_empty()).then(|| serde_json::to_string(&known).unwrap_or_default())
    }

    /// Reads what [`to_json`](Self::to_json) returns, or `None` if the text is something else. Ignores parts that a
    /// newer version added.
    #[must_use]
    pub fn from_json(json: &str) -> Option<Self> {
        let known: BTreeMap<String, String> = serde_json::from_str(json).ok()?;
        let parts =
            known.iter().filter_map(|(name, value)| Some((ArrivalPart::from_name(name)?, value)));
        Some(parts.fold(Self::default(), |arrival, (part, value)| arrival.with(part, value)))
    }

    /// Returns the number of bytes of all values.
    #[cfg(feature = "recorder")]
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        let Some(values) = &self.values else { return 0 };
        size_of::<Values>() + values.iter().flatten().map(|value| value.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;
