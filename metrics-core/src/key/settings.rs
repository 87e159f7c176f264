//! The settings of an API key: its name, its sites, patterns of pages, and limits.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::{Host, Url};

use super::invalid::InvalidKeySettings;
use super::limits::Limits;
use crate::source::{PagePattern, Source};

/// The longest name of a key, in bytes.
pub const NAME_BYTES_MAX: usize = 100;

/// The largest number of host names, and of patterns of pages, of a key. Each join compares them one by one.
pub const PATTERNS_MAX: usize = 100;

/// The longest host name, in bytes: the longest name in DNS, and `*.`.
const HOST_BYTES_MAX: usize = 255;

/// The members of settings in JSON.
const MEMBERS: [&str; 4] = ["name", "hosts", "pages", "limits"];

/// The settings of an API key.
///
/// ```
/// use metrics_core::key::KeySettings;
/// use serde_json::json;
///
/// let members = json!({ "name": "Shop", "hosts": ["example.com", "*.example.com"], "pages": ["/reset/*"] });
/// let settings = KeySettings::from_json(members.as_object().unwrap()).unwrap();
/// assert_eq!(settings.name(), Some("Shop"));
/// assert_eq!(serde_json::Value::Object(settings.to_json()), members);
/// ```
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeySettings {
    name: Option<String>,
    // Empty: all sites.
    hosts: Vec<HostPattern>,
    pages: Vec<PagePattern>,
    // As they were set, so that later defaults apply to the other limits. Some may be of later versions.
    limits: BTreeMap<String, String>,
    // Members that cannot be read, of later versions or damaged. They are kept unchanged.
    unread: Map<String, Value>,
}

impl KeySettings {
    /// Parses settings from the members of a JSON object: `name` (a text), `hosts` (host names, `*.` and a host name,
    /// or `none` for callers without a page), `pages` (see [`PagePattern`]), and `limits` (see [`Limits::set`]).
    ///
    /// # Errors
    ///
    /// [`InvalidKeySettings`] names the member, the value and the accepted values.
    pub fn from_json(members: &Map<String, Value>) -> Result<Self, InvalidKeySettings> {
        Self::default().with_json(members)
    }

    /// Replaces the settings that are members of a JSON object. A member that is `null` removes a setting. Only the
    /// named limits change: a limit that is `null` is removed.
    ///
    /// # Errors
    ///
    /// [`InvalidKeySettings`] names the member, the value and the accepted values.
    pub fn with_json(mut self, members: &Map<String, Value>) -> Result<Self, InvalidKeySettings> {
        for (member, value) in members {
            match &**member {
                "name" => self.name = name(value)?,
                "hosts" => {
                    let expected = "a host name like example.com, *. and a host name, or none, without scheme, port and path";
                    self.hosts = list("hosts", value, expected, HostPattern::parse)?;
                }
                "pages" => {
                    let expected = "a path with * for whole segments, like /reset/* or /u/*/watch, of at most 256 bytes";
                    self.pages = list("pages", value, expected, PagePattern::parse)?;
                }
                "limits" => set_limits(&mut self.limits, value)?,
                other => {
                    let expected = format!("one of {}", MEMBERS.join(", "));
                    return Err(InvalidKeySettings::new("settings", other, expected));
                }
            }
            self.unread.remove(member);
        }
        Ok(self)
    }

    /// Returns the members that are set.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let mut members = Map::new();
        let mut insert = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
        if let Some(name) = &self.name {
            insert("name", name.as_str().into());
        }
        if !self.hosts.is_empty() {
            insert("hosts", self.hosts.iter().map(ToString::to_string).collect());
        }
        if !self.pages.is_empty() {
            insert("pages", self.pages.iter().map(PagePattern::as_str).collect());
        }
        if !self.limits.is_empty() {
            insert(
                "limits",
                self.limits
                    .iter()
                    .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
                    .collect(),
            );
        }
        members
    }

    /// Encodes the settings for a store: JSON, or `None` if nothing was set.
    #[must_use]
    pub fn encode(&self) -> Option<String> {
        let mut members = self.unread.clone();
        members.extend(self.to_json());
        (!members.is_empty()).then(|| Value::Object(members).to_string())
    }

    /// Decodes the output of [`encode`](Self::encode), member by member: members of later versions, and damaged ones,
    /// are kept and have no effect, but see [`is_readable`](Self::is_readable).
    #[must_use]
    pub fn decode(text: Option<&str>) -> Self {
        let mut settings = Self::default();
        let Some(text) = text else { return settings };
        let members: Map<String, Value> = serde_json::from_str(text).unwrap_or_else(|_| {
            // Its sites and pages are unknown.
            ["hosts", "pages"]
                .map(|member| (member.to_owned(), Value::from(text)))
                .into_iter()
                .collect()
        });
        for (member, value) in members {
            settings = settings.with_stored(member, value);
        }
        settings
    }

    fn with_stored(mut self, member: String, value: Value) -> Self {
        if let ("limits", Some(limits)) = (&*member, value.as_object()) {
            let text =
                |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.limits = limits.iter().map(|(name, value)| (name.clone(), text(value))).collect();
            return self;
        }
        let members = Map::from_iter([(member, value)]);
        match self.clone().with_json(&members) {
            Ok(settings) => settings,
            Err(_) => {
                self.unread.extend(members);
                self
            }
        }
    }

    /// Returns whether the sites and pages of the key can be read. If not, the key [allows](Self::allows) no caller
    /// until both are set again.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !["hosts", "pages"].iter().any(|member| self.unread.contains_key(*member))
    }

    /// Returns these settings with a change applied.
    #[must_use]
    pub fn changed(&self, change: &SettingsChange) -> Self {
        // The change was validated when it was made.
        self.clone().with_json(&change.members).unwrap_or_else(|_| self.clone())
    }

    /// The name of the key, for people.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the limits of the key: those that were set, or else the `defaults`.
    #[must_use]
    pub fn limits(&self, defaults: &Limits) -> Limits {
        let mut limits = defaults.clone();
        for (name, value) in &self.limits {
            // A limit of a later version is ignored.
            let _set = limits.set(name, value);
        }
        limits
    }

    /// Returns whether a caller may send sessions under this key.
    ///
    /// `page` is the page that the caller names, `origin` the header `Origin` of its request. If the key has hosts,
    /// each that is present must match one of them. A caller with neither, or with an origin that is no site (`null`),
    /// needs the host `none`.
    #[must_use]
    pub fn allows(&self, page: Option<&Source>, origin: Option<&str>) -> bool {
        if !self.is_readable() {
            return false;
        }
        if self.hosts.is_empty() {
            return true;
        }
        let has = |host: Option<&str>| self.hosts.iter().any(|pattern| pattern.matches(host));
        let url = origin.map(|origin| Url::parse(origin).ok());
        let origin = url.as_ref().map(|url| url.as_ref().and_then(Url::host_str));
        match (page.map(Source::host), origin) {
            (None, None) => has(None),
            (page, origin) => page.is_none_or(|host| has(Some(host))) && origin.is_none_or(has),
        }
    }

    /// Returns the page, with placeholders if it matches a pattern. The first matching pattern counts.
    #[must_use]
    pub fn reduce(&self, page: Source) -> Source {
        match self.pages.iter().find(|pattern| pattern.matches(page.pathname())) {
            Some(pattern) => page.with_path(pattern.as_str()),
            None => page,
        }
    }
}

fn name(value: &Value) -> Result<Option<String>, InvalidKeySettings> {
    let sound = |text: &&str| text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
    match value {
        Value::Null => Ok(None),
        value => match value.as_str().filter(sound) {
            Some(text) => Ok(Some(text.to_owned()).filter(|text| !text.is_empty())),
            None => {
                let expected =
                    format!("a text of at most {NAME_BYTES_MAX} bytes without control characters");
                Err(InvalidKeySettings::of("name", value, expected))
            }
        },
    }
}

fn list<T>(
    member: &'static str,
    value: &Value,
    expected: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, InvalidKeySettings> {
    let elements = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(elements) if elements.len() <= PATTERNS_MAX => elements,
        _ => {
            let expected = format!("an array of at most {PATTERNS_MAX} texts");
            return Err(InvalidKeySettings::of(member, value, expected));
        }
    };
    let read = |element: &Value| {
        let read = element.as_str().and_then(&read);
        read.ok_or_else(|| InvalidKeySettings::of(member, element, expected.to_owned()))
    };
    elements.iter().map(read).collect()
}

fn set_limits(
    limits: &mut BTreeMap<String, String>,
    value: &Value,
) -> Result<(), InvalidKeySettings> {
    let members = match value {
        Value::Null => {
            limits.clear();
            return Ok(());
        }
        Value::Object(members) => members,
        _ => {
            let expected = "an object like {\"new_videos\": \"1000/day\"}".to_owned();
            return Err(InvalidKeySettings::of("limits", value, expected));
        }
    };
    for (name, value) in members {
        let text = match value {
            Value::Null => {
                Limits::check_name(name)?;
                limits.remove(name);
                continue;
            }
            Value::String(text) => text.trim().to_owned(),
            value => value.to_string(),
        };
        Limits::default().set(name, &text)?;
        limits.insert(name.clone(), text);
    }
    Ok(())
}

/// A change of the settings of a key, by the members of a JSON object: see [`KeySettings::with_json`].
///
/// A store applies it to its current settings, so that two concurrent changes both take effect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SettingsChange {
    members: Map<String, Value>,
}

impl SettingsChange {
    /// Parses a change.
    ///
    /// # Errors
    ///
    /// [`InvalidKeySettings`] names the member, the value and the accepted values.
    pub fn from_json(members: Map<String, Value>) -> Result<Self, InvalidKeySettings> {
        KeySettings::from_json(&members)?;
        Ok(Self { members })
    }

    /// Returns whether it changes limits, which protect the server from the callers of a key.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        self.members.contains_key("limits")
    }
}

/// A host of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
enum HostPattern {
    /// This host, in the form of the URL parser.
    Exact(String),
    /// All subdomains of this host, at any depth, and not the host itself.
    Subdomains(String),
    /// Callers without a page.
    NoSite,
}

impl HostPattern {
    fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::NoSite);
        }
        let (host, is_parent) = match text.strip_prefix("*.") {
            Some(host) => (host, true),
            None => (text, false),
        };
        if HOST_BYTES_MAX < text.len() || host.contains('*') {
            return None;
        }
        match Host::parse(host).ok()? {
            Host::Domain(domain) => {
                let host = without_root(&domain).to_owned();
                let is_sound = !host.is_empty() && host.split('.').all(|label| !label.is_empty());
                let pattern = if is_parent { Self::Subdomains } else { Self::Exact };
                is_sound.then_some(pattern(host))
            }
            // Addresses have no subdomains.
            address => (!is_parent).then(|| Self::Exact(address.to_string())),
        }
    }

    /// Returns whether the pattern matches a host; `None` is a caller without a page. Hosts may have upper case in
    /// schemes that the URL parser does not know.
    fn matches(&self, host: Option<&str>) -> bool {
        let Some(host) = host.map(without_root) else { return *self == Self::NoSite };
        match self {
            Self::Exact(exact) => host.eq_ignore_ascii_case(exact),
            Self::Subdomains(parent) => {
                let label_len = host.len().checked_sub(parent.len() + 1).filter(|len| 0 < *len);
                label_len.is_some_and(|len| {
                    host.as_bytes()[len] == b'.'
                        && host.as_bytes()[len + 1..].eq_ignore_ascii_case(parent.as_bytes())
                })
            }
            Self::NoSite => false,
        }
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Subdomains(host) => write!(f, "*.{host}"),
            Self::NoSite => f.write_str("none"),
        }
    }
}

/// A host without the dot of the root: `example.com.` is the same host.
fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests;
