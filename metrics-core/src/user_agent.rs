//! Classifies user agents: browser, platform and kind of device, and whether it is a bot.
//!
//! A User-Agent becomes one of a few classes: nothing here keeps its text, not even the cache. The rules are data, in
//! `user_agent/rules.yaml`; no match is the class `Other`.
//!
//! ```
//! use metrics_core::user_agent::{Browser, Classification, Classifier, Device, Headers, Platform};
//!
//! let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0";
//! let headers = Headers::default().with_user_agent(firefox);
//!
//! let Classification::Viewer(client) = Classifier::new().classify(headers) else {
//!     panic!("not a bot");
//! };
//! assert_eq!(client.browser, Browser::Firefox);
//! assert_eq!(client.platform, Platform::Linux);
//! assert_eq!(client.device, Device::Desktop);
//! ```

mod class;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use quick_cache::sync::Cache;
use user_agent_parser::UserAgentParser;

pub use self::class::{Browser, Device, Platform, UserAgentClass};

/// The number of bytes of a User-Agent that are examined. Apps that append to their browser's stay well below; longer
/// ones are attempts to slow matching down.
const USER_AGENT_BYTES_MAX: usize = 1024;

/// The number of cached classifications. Browsers have frozen most parts of User-Agents that used to vary, so these
/// cover an audience; with the cache's spare slots they take 300 KiB, however many different headers arrive.
const CACHE_ENTRIES_MAX: usize = 4096;

/// The rules' name of a bot, in place of a browser.
const BOT: &str = "bot";

static RULES: LazyLock<UserAgentParser> = LazyLock::new(|| {
    UserAgentParser::from_str(include_str!("user_agent/rules.yaml"))
        .expect("the tests compile these rules")
});

/// Classifies user agents by their request headers.
///
/// One is enough for a process: share it behind an `Arc`.
pub struct Classifier {
    rules: &'static UserAgentParser,
    // The key is a hash of the headers under `hash_keys`, which are random and never leave the process: nobody can
    // recover a User-Agent from the cache, or choose one that collides with another.
    cache: Cache<u64, Classification>,
    hash_keys: RandomState,
}

/// The request headers that distinguish user agents.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Headers<'a> {
    /// `User-Agent`.
    pub user_agent: Option<&'a str>,
    /// `Sec-CH-UA`. Brave sends Chrome's User-Agent and names itself only here, if at all. Headless Chrome also names
    /// itself here when its User-Agent was replaced.
    pub brands: Option<&'a str>,
}

impl<'a> Headers<'a> {
    /// Sets `User-Agent`.
    #[must_use]
    pub const fn with_user_agent(mut self, user_agent: &'a str) -> Self {
        self.user_agent = Some(user_agent);
        self
    }

    /// Sets `Sec-CH-UA`.
    #[must_use]
    pub const fn with_brands(mut self, brands: &'a str) -> Self {
        self.brands = Some(brands);
        self
    }
}

/// The kind of program that sent a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Classification {
    /// A viewer's user agent, or a program that does not identify itself as a bot.
    Viewer(UserAgentClass),
    /// A program that identifies itself as one: a crawler, a link preview, a monitor, a browser under automation.
    Bot,
}

/// A viewer whose user agent is unknown.
impl Default for Classification {
    fn default() -> Self {
        Self::Viewer(UserAgentClass::default())
    }
}

impl Classifier {
    /// Returns a classifier with an empty cache. The first one in a process compiles the rules.
    #[must_use]
    pub fn new() -> Self {
        Self { rules: &RULES, cache: Cache::new(CACHE_ENTRIES_MAX), hash_keys: RandomState::new() }
    }

    /// Classifies a request by `headers`. A request without a User-Agent is a viewer with unknown classes.
    #[must_use]
    pub fn classify(&self, headers: Headers<'_>) -> Classification {
        let Some(user_agent) = headers.user_agent else {
            return Classification::default();
        };
        if headers.brands.is_some_and(|brands| brands.contains("\"Headless")) {
            return Classification::Bot;
        }
        let user_agent = head(user_agent);
        let brave = headers.brands.is_some_and(|brands| brands.contains("\"Brave\""));

        let key = self.hash_keys.hash_one((user_agent, brave));
        if let Some(known) = self.cache.get(&key) {
            return known;
        }
        // Two threads may both get here for one key. Their results are the same.
        let found = examine(self.rules, user_agent, brave);
        self.cache.insert(key, found);
        found
    }
}

impl Default for Classifier {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier").field("cached", &self.cache.len()).finish_non_exhaustive()
    }
}

/// Applies the rules. The cache saves this work.
fn examine(rules: &UserAgentParser, user_agent: &str, brave: bool) -> Classification {
    let product = rules.parse_product(user_agent).name.unwrap_or_default();
    if product == BOT {
        return Classification::Bot;
    }
    let browser = match Browser::from_name(&product).unwrap_or_default() {
        Browser::Chrome if brave => Browser::Brave,
        browser => browser,
    };
    let platform = rules.parse_os(user_agent).name.unwrap_or_default();
    let device = rules.parse_device(user_agent).name.unwrap_or_default();
    Classification::Viewer(UserAgentClass {
        browser,
        platform: Platform::from_name(&platform).unwrap_or_default(),
        device: Device::from_name(&device).unwrap_or_default(),
    })
}

/// Returns the part of `user_agent` that is examined.
fn head(user_agent: &str) -> &str {
    let mut end = user_agent.len().min(USER_AGENT_BYTES_MAX);
    while !user_agent.is_char_boundary(end) {
        end -= 1;
    }
    &user_agent[..end]
}

#[cfg(test)]
mod tests;
