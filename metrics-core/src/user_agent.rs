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

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use quick_cache::sync::Cache;
use user_agent_parser::UserAgentParser;

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

/// The classes of a viewer's user agent, as far as they are known.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UserAgentClass {
    /// The browser.
    pub browser: Browser,
    /// The operating system.
    pub platform: Platform,
    /// The kind of device.
    pub device: Device,
}

/// Defines an enum whose variants have a name, for people, and a code, for storage.
macro_rules! classes {
    ($(#[$doc:meta])* $Class:ident { $($(#[$attr:meta])* $Variant:ident = $code:literal $name:literal,)+ }) => {
        $(#[$doc])*
        ///
        /// The numbers are stored: a new class gets a new number, and no number is ever reused.
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum $Class {
            $($(#[$attr])* $Variant = $code,)+
        }

        impl $Class {
            /// Every class, by name.
            pub const ALL: [Self; [$($code),+].len()] = [$(Self::$Variant),+];

            /// Returns the name in responses: lower case, without spaces.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name,)+
                }
            }

            /// Returns the number for storage.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// Returns the class with the stored number `code`, or `Other` if there is none.
            #[must_use]
            pub const fn from_code(code: u8) -> Self {
                match code {
                    $($code => Self::$Variant,)+
                    _ => Self::Other,
                }
            }

            /// Returns the class with this name, if there is one.
            pub(crate) fn from_name(name: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|class| class.name() == name)
            }
        }

        impl fmt::Display for $Class {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

classes! {
    /// The classes of browsers.
    Browser {
        /// Brave, if it identifies itself.
        Brave = 1 "brave",
        /// Chrome and Chromium.
        Chrome = 2 "chrome",
        /// Edge on either engine.
        Edge = 3 "edge",
        /// Firefox, and Firefox Focus.
        Firefox = 4 "firefox",
        /// Internet Explorer.
        Ie = 5 "ie",
        /// Opera in all its editions.
        Opera = 6 "opera",
        /// Another browser, an app, an HTTP library, or unknown.
        #[default]
        Other = 0 "other",
        /// Safari itself, not the apps that embed its engine.
        Safari = 7 "safari",
    }
}

classes! {
    /// The classes of operating systems.
    Platform {
        /// Android and Fire OS.
        Android = 1 "android",
        /// iOS and iPadOS. Safari on an iPad identifies itself as a Mac by default, to the letter: it counts as one.
        Ios = 2 "ios",
        /// Linux on desktops, Chromebooks among them.
        Linux = 3 "linux",
        /// macOS.
        Mac = 4 "mac",
        /// Another system, or unknown.
        #[default]
        Other = 0 "other",
        /// Windows, without Windows Phone.
        Windows = 5 "windows",
    }
}

classes! {
    /// The kinds of devices.
    Device {
        /// A desktop or laptop computer.
        Desktop = 1 "desktop",
        /// A phone.
        Mobile = 2 "mobile",
        /// A television, a console, a headset, or unknown.
        #[default]
        Other = 0 "other",
        /// A tablet.
        Tablet = 3 "tablet",
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
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// Checks lines of `<browser> <platform> <device> <User-Agent>`, or `bot <User-Agent>`.
    #[track_caller]
    fn check(lines: &str) {
        check_with_brands(None, lines);
    }

    #[track_caller]
    fn check_with_brands(brands: Option<&str>, lines: &str) {
        let classifier = Classifier::new();
        let mut wrong = Vec::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            // The User-Agent is the rest of the line, and the class decides where it starts.
            let words = if line.starts_with(BOT) { 1 } else { 3 };
            let mut parts = line.splitn(words + 1, ' ');
            let expected = parts.by_ref().take(words).collect::<Vec<_>>().join(" ");
            let headers = Headers { user_agent: parts.next(), brands };
            let found = match classifier.classify(headers) {
                Classification::Bot => BOT.to_owned(),
                Classification::Viewer(UserAgentClass { browser, platform, device }) => {
                    format!("{browser} {platform} {device}")
                }
            };
            if found != expected {
                wrong.push(format!("{found} instead of {line}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn chrome_is_chrome_everywhere() {
        check(
            "
            chrome windows desktop Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36
            chrome windows desktop Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/49.0.2623.112 Safari/537.36
            chrome mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36
            chrome linux desktop Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36
            chrome linux desktop Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Ubuntu Chromium/64.0.3282.167 Chrome/64.0.3282.167 Safari/537.36
            chrome linux desktop Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36
            chrome android mobile Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36
            chrome android mobile Mozilla/5.0 (Linux; Android 14; Pixel 8 Pro) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.6422.113 Mobile Safari/537.36
            chrome android tablet Mozilla/5.0 (Linux; Android 13; SM-X906C Build/TP1A.220624.014) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.6099.144 Safari/537.36
            chrome android tablet Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36
            chrome ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1
            chrome ios tablet Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1
            chrome ios tablet Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/126 Version/11.1.1 Safari/605.1.15
            ",
        );
    }

    #[test]
    fn browsers_that_programs_drive_are_bots() {
        check(
            "
            bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.6478.61 Safari/537.36
            bot Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36
            bot Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36
            bot Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/126.0.0.0 Safari/537.36 HeadlessEdg/126.0.0.0
            bot Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1 Safari/538.1
            bot Mozilla/5.0 (X11; Linux x86_64; rv:59.0) Gecko/20100101 SlimerJS/1.0.0
            bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Puppeteer
            bot Playwright/1.44.0 (x64; ubuntu 22.04) node/20.11
            bot Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Selenium/4.21
            bot Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Cypress/13.11.0 Chrome/118.0.5993.159 Electron/27.3.10 Safari/537.36
            bot Mozilla/5.0 (linux) AppleWebKit/537.36 (KHTML, like Gecko) jsdom/24.1.0
            bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HappyDOM/14.12.0
            bot Mozilla/5.0 (compatible; HtmlUnit/4.2)
            bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/602.1 (KHTML, like Gecko) splash Version/10.0 Safari/602.1
            bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Prerender (+https://github.com/prerender/prerender)
            ",
        );
    }

    #[test]
    fn brands_give_a_headless_browser_away() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
        let headless = r#""Not/A)Brand";v="8", "Chromium";v="126", "HeadlessChrome";v="126""#;
        check_with_brands(Some(headless), &format!("bot {chrome}"));
        check_with_brands(None, &format!("chrome linux desktop {chrome}"));
    }

    #[test]
    fn apps_and_names_like_those_of_drivers_are_viewers() {
        check(
            "
            other mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Slack/4.38.125 Chrome/124.0.6367.118 Electron/30.0.2 Safari/537.36
            other other other Splash/1.0
            ",
        );
    }

    #[test]
    fn brave_is_chrome_unless_the_brands_name_it() {
        let chrome = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
        let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 9_3 like Mac OS X) AppleWebKit/601.1 (KHTML, like Gecko) Brave/1.2.11 Mobile/13E233 Safari/601.1.46";
        let bot = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Googlebot/2.1; +http://www.google.com/bot.html) Chrome/126.0.0.0 Safari/537.36";
        let brave = r#""Not/A)Brand";v="8", "Chromium";v="126", "Brave";v="126""#;
        let google = r#""Not/A)Brand";v="8", "Chromium";v="126", "Google Chrome";v="126""#;

        check_with_brands(Some(brave), &format!("brave linux desktop {chrome}"));
        check_with_brands(Some(google), &format!("chrome linux desktop {chrome}"));
        check_with_brands(None, &format!("brave ios mobile {iphone}"));
        check_with_brands(Some(brave), &format!("bot {bot}"));
    }

    #[test]
    fn brands_do_not_hide_behind_the_cache() {
        let classifier = Classifier::new();
        let user_agent = Some("Mozilla/5.0 (Windows NT 10.0) Chrome/126.0.0.0 Safari/537.36");
        let chrome = Headers { user_agent, brands: None };
        let brave = Headers { user_agent, brands: Some(r#""Brave";v="126""#) };

        assert_ne!(classifier.classify(chrome), classifier.classify(brave));
    }

    #[test]
    fn edge_is_not_chrome() {
        check(
            "
            edge windows desktop Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0
            edge mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.2592.56
            edge linux desktop Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0
            edge windows desktop Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/64.0.3282.140 Safari/537.36 Edge/18.17763
            edge android mobile Mozilla/5.0 (Linux; Android 10; HD1913) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.6422.165 Mobile Safari/537.36 EdgA/125.0.2535.51
            edge android tablet Mozilla/5.0 (Linux; Android 12; SM-T870) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36 EdgA/125.0.0.0
            edge ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 EdgiOS/125.2535.60 Mobile/15E148 Safari/605.1.15
            edge ios tablet Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 EdgiOS/125.2535.60 Mobile/15E148 Safari/605.1.15
            ",
        );
    }

    #[test]
    fn firefox_is_firefox_everywhere() {
        check(
            "
            firefox windows desktop Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:127.0) Gecko/20100101 Firefox/127.0
            firefox mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 14.5; rv:127.0) Gecko/20100101 Firefox/127.0
            firefox linux desktop Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0
            firefox linux desktop Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/115.0
            firefox other desktop Mozilla/5.0 (X11; FreeBSD amd64; rv:126.0) Gecko/20100101 Firefox/126.0
            firefox android mobile Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0
            firefox android tablet Mozilla/5.0 (Android 13; Tablet; rv:109.0) Gecko/118.0 Firefox/118.0
            firefox ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 14_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/127.0 Mobile/15E148 Safari/605.1.15
            firefox ios tablet Mozilla/5.0 (iPad; CPU OS 14_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/127.0 Mobile/15E148 Safari/605.1.15
            firefox ios tablet Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/117.0 Safari/605.1.15
            ",
        );
    }

    // By default since iPadOS 13, Safari on an iPad requests desktop pages and sends the second line: no header
    // distinguishes it from a Mac.
    #[test]
    fn safari_is_only_apples() {
        check(
            "
            safari mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15
            safari mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/15.4 Safari/605.1.15
            safari windows desktop Mozilla/5.0 (Windows; U; Windows NT 6.1; en-US) AppleWebKit/533.19.4 (KHTML, like Gecko) Version/5.0.3 Safari/533.19.4
            safari ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1
            safari ios mobile Mozilla/5.0 (iPod touch; CPU iPhone OS 12_5_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 Safari/604.1
            safari ios tablet Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 Safari/604.1
            other linux desktop Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.0 Safari/605.1.15
            other android mobile Mozilla/5.0 (Linux; U; Android 4.0.3; de-de; GT-I9100 Build/IML74K) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 Mobile Safari/534.30
            ",
        );
    }

    #[test]
    fn opera_is_opera_on_every_engine() {
        check(
            "
            opera windows desktop Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36 OPR/110.0.0.0
            opera windows desktop Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/116.0.0.0 Safari/537.36 OPR/102.0.0.0 (Edition GX-CN)
            opera mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36 OPR/110.0.0.0
            opera linux desktop Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36 OPR/110.0.0.0
            opera android mobile Mozilla/5.0 (Linux; Android 10; VOG-L29) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.6422.165 Mobile Safari/537.36 OPR/76.2.4027.73374
            opera ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 10_3 like Mac OS X) AppleWebKit/603.1.30 (KHTML, like Gecko) OPiOS/14.0.0.104835 Mobile/14E277 Safari/9537.53
            opera ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1 OPX/2.1.0
            opera ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1 OPT/4.7.0
            opera android mobile Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; id) Presto/2.12.423 Version/12.16
            opera other mobile Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/29.3709; U; en) Presto/2.8.119 Version/11.10
            opera android tablet Opera/9.80 (Android 3.2.1; Linux; Opera Tablet/ADR-1205181138; U; en-GB) Presto/2.10.254 Version/12.00
            opera windows desktop Opera/9.80 (Windows NT 6.1; WOW64) Presto/2.12.388 Version/12.18
            opera linux desktop Opera/9.80 (X11; Linux x86_64; U; en) Presto/2.10.289 Version/12.02
            opera windows desktop Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; en) Opera 8.50
            ",
        );
    }

    #[test]
    fn internet_explorer_is_known_by_its_engine() {
        check(
            "
            ie windows desktop Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; SLCC2; .NET CLR 2.0.50727; Media Center PC 6.0)
            ie windows desktop Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; WOW64; Trident/5.0)
            ie windows desktop Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Win64; x64; Trident/6.0; Touch; Tablet PC 2.0)
            ie windows desktop Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko
            ie other mobile Mozilla/5.0 (Mobile; Windows Phone 8.1; Android 4.0; ARM; Trident/7.0; Touch; rv:11.0; IEMobile/11.0; NOKIA; Lumia 520) like iPhone OS 7_0_3 Mac OS X AppleWebKit/537 (KHTML, like Gecko) Mobile Safari/537
            edge other mobile Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15063
            ",
        );
    }

    #[test]
    fn a_borrowed_engine_does_not_make_the_browser() {
        check(
            "
            other android mobile Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36
            other android tablet Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-T870) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Safari/537.36
            other windows desktop Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/98.0.4758.102 Safari/537.36 Vivaldi/5.1.2567.49
            other windows desktop Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 YaBrowser/24.6.0.0 Safari/537.36
            other android mobile Mozilla/5.0 (Linux; U; Android 11; en-US; RMX2185) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/100.0.4896.58 UCBrowser/13.7.2.1636 Mobile Safari/537.36
            other mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15 Ddg/17.5
            other android tablet Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/108.4.6 like Chrome/108.0.5359.160 Safari/537.36
            other android tablet Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Silk/108.4.6 like Chrome/108.0.5359.160 Safari/537.36
            other linux desktop Mozilla/5.0 (X11; Linux x86_64; rv:91.0) Gecko/20100101 Firefox/91.0 SeaMonkey/2.53.18
            other mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Slack/4.38.125 Chrome/124.0.6367.207 Electron/30.0.6 Safari/537.36
            other windows desktop Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) discord/1.0.9147 Chrome/120.0.6099.291 Electron/28.2.10 Safari/537.36
            ",
        );
    }

    #[test]
    fn an_app_that_embeds_a_browser_is_other() {
        check(
            "
            other android mobile Mozilla/5.0 (Linux; Android 13; SM-A536B Build/TP1A.220624.014; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/125.0.6422.165 Mobile Safari/537.36
            other android mobile Mozilla/5.0 (Linux; Android 4.4.2; Nexus 5 Build/KOT49H) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/30.0.0.0 Mobile Safari/537.36
            other android mobile Mozilla/5.0 (Linux; Android 12; SM-G991B Build/SP1A.210812.016; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/125.0.6422.113 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/467.0.0.40.107;]
            other android tablet Mozilla/5.0 (Linux; Android 12; SM-T500 Build/SP1A.210812.016; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/125.0.6422.113 Safari/537.36 [FB_IAB/FB4A;FBAV/467.0.0.40.107;]
            other ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/467.0.0.37.106;FBBV/602148923;FBDV/iPhone14,2;FBMD/iPhone;FBSN/iOS;FBSV/17.5;FBSS/3;FBID/phone;FBLC/en_US;FBOP/5]
            other ios tablet Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/467.0.0.37.106;FBDV/iPad13,4;FBMD/iPad;FBSN/iPadOS;FBSV/16.6;FBID/tablet]
            other android mobile Mozilla/5.0 (Linux; Android 13; Pixel 7 Build/TQ3A.230805.001; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/125.0.6422.113 Mobile Safari/537.36 Instagram 334.0.0.42.95 Android (33/13; 420dpi; 1080x2186; Google/google; Pixel 7; panther; panther; en_US)
            other ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/21E236 Instagram 334.0.4.32.98 (iPhone15,3; iOS 17_4_1; en_US; en; scale=3.00; 1290x2796; 601420827)
            other ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148
            other ios tablet Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148
            other mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)
            other ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) GSA/319.0.640062413 Mobile/15E148 Safari/604.1
            other ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 16_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.49(0x18003137) NetType/WIFI Language/en
            other ios mobile ORF TV/5.0 (iPhone; iOS 17.5; Scale/3.00)
            ",
        );
    }

    #[test]
    fn televisions_consoles_and_headsets_are_other_devices() {
        check(
            "
            other other other Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) 76.0.3809.146/6.0 TV Safari/537.36
            other other other Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/2.2 Chrome/63.0.3239.84 TV Safari/537.36
            other other other Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0.4606.128 Safari/537.36 WebAppManager
            chrome android other Mozilla/5.0 (Linux; Android 10; BRAVIA 4K VH2 Build/QTG3.200305.006.S292) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/103.0.5060.71 Safari/537.36
            other android other Mozilla/5.0 (Linux; Android 9; AFTMM Build/PS7624.3337N; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/100.0.4896.127 Mobile Safari/537.36
            other other other AppleCoreMedia/1.0.0.16J602 (Apple TV; U; CPU OS 12_1_1 like Mac OS X; en_us)
            other other other AppleTV11,1/11.1
            other other other Roku/DVP-12.5 (12.5.0.4178-88)
            other other other Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0 Safari/605.1.15
            other other other Mozilla/5.0 (PlayStation 4 11.00) AppleWebKit/605.1.15 (KHTML, like Gecko)
            edge windows other Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox Series X) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/48.0.2564.82 Safari/537.36 Edge/20.02
            other other other Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/606.4 (KHTML, like Gecko) NF/6.0.1.15.4 NintendoBrowser/5.1.0.20393
            chrome linux other Mozilla/5.0 (X11; Linux armv7l) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.4430.225 Safari/537.36 CrKey/1.56.500000 DeviceType/Chromecast
            other android other Mozilla/5.0 (Linux; Android 12; Quest 3) AppleWebKit/537.36 (KHTML, like Gecko) OculusBrowser/33.0.0 Chrome/124.0.6367.118 VR Safari/537.36
            ",
        );
    }

    #[test]
    fn an_http_library_is_a_viewer_of_unknown_class() {
        check(
            "
            other other other curl/8.5.0
            other other other Wget/1.21.4 (linux-gnu)
            other other other python-requests/2.32.3
            other other other Python/3.12 aiohttp/3.9.5
            other other other Go-http-client/1.1
            other other other okhttp/4.12.0
            other other other axios/1.7.2
            other other other node-fetch/1.0 (+https://github.com/bitinn/node-fetch)
            other other other undici
            other other other Java/17.0.11
            other other other Apache-HttpClient/4.5.14
            other android other Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/UQ1A.240205.002)
            other other other MyApp/42 CFNetwork/1496.0.7 Darwin/23.5.0
            other other other -
            other other other Mozilla/5.0
            ",
        );
    }

    #[test]
    fn crawlers_of_search_engines_are_bots() {
        check(
            "
            bot Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)
            bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Googlebot/2.1; +http://www.google.com/bot.html) Chrome/126.0.6478.61 Safari/537.36
            bot Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.6478.61 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)
            bot Mozilla/5.0 (compatible; Google-InspectionTool/1.0;)
            bot AdsBot-Google (+http://www.google.com/adsbot.html)
            bot Mediapartners-Google
            bot Mozilla/5.0 (iPhone; CPU iPhone OS 9_1 like Mac OS X) AppleWebKit/601.1.46 (KHTML, like Gecko) Version/9.0 Mobile/13B143 Safari/601.1 (compatible; AdsBot-Google-Mobile; +http://www.google.com/mobile/adsbot.html)
            bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36
            bot Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b
            bot DuckDuckBot/1.1; (+http://duckduckgo.com/duckduckbot.html)
            bot Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)
            bot Mozilla/5.0 (compatible; YandexImages/3.0; +http://yandex.com/bots)
            bot Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)
            bot Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.1.1 Safari/605.1.15 (Applebot/0.1; +http://www.apple.com/go/applebot)
            bot Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)
            bot Sogou web spider/4.0(+http://www.sogou.com/docs/help/webmasters.htm#07)
            bot Mozilla/5.0 (compatible; SeznamBot/4.0; +https://o-seznam.cz/napoveda/vyhledavani/en/seznambot-crawler/)
            bot Mozilla/5.0 (Linux; Android 7.0;) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; PetalBot;+https://webmaster.petalsearch.com/site/petalbot)
            bot Mozilla/5.0 (compatible; archive.org_bot +http://archive.org/details/archive.org_bot)
            bot ia_archiver (+http://www.alexa.com/site/help/webmasters; crawler@alexa.com)
            ",
        );
    }

    #[test]
    fn crawlers_of_language_models_are_bots() {
        check(
            "
            bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.1; +https://openai.com/gptbot)
            bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ChatGPT-User/1.0; +https://openai.com/bot)
            bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)
            bot CCBot/2.0 (https://commoncrawl.org/faq/)
            bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)
            bot Mozilla/5.0 (Linux; Android 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Mobile Safari/537.36 (compatible; Bytespider; spider-feedback@bytedance.com)
            bot Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Amazonbot/0.1; +https://developer.amazon.com/support/amazonbot) Chrome/119.0.6045.214 Safari/537.36
            bot meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)
            ",
        );
    }

    #[test]
    fn link_previews_are_bots() {
        check(
            "
            bot facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)
            bot Twitterbot/1.0
            bot LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)
            bot Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)
            bot Slackbot 1.0 (+https://api.slack.com/robots)
            bot Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)
            bot WhatsApp/2.23.20.0
            bot WhatsApp/2.2421.6 N
            bot TelegramBot (like TwitterBot)
            bot Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5
            bot Mozilla/5.0 (compatible; Pinterestbot/1.0; +http://www.pinterest.com/bot.html)
            bot http.rb/5.1.1 (Mastodon/4.2.9; +https://mastodon.social/)
            ",
        );
    }

    #[test]
    fn audits_and_monitors_are_bots() {
        check(
            "
            bot Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)
            bot Mozilla/5.0 (compatible; SemrushBot/7~bl; +http://www.semrush.com/bot.html)
            bot Mozilla/5.0 (compatible; MJ12bot/v1.4.8; http://mj12bot.com/)
            bot Mozilla/5.0 (compatible; DotBot/1.2; +https://opensiteexplorer.org/dotbot; help@moz.com)
            bot Screaming Frog SEO Spider/20.1
            bot Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)
            bot Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)
            bot Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PingdomTMS/0.8.5 Safari/538.1
            bot Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/98.0.4758.102 Safari/537.36 StatusCake
            bot Mozilla/5.0 (Linux; Android 11; moto g power (2022)) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Mobile Safari/537.36 Chrome-Lighthouse
            bot Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36 PTST/240513.200311
            bot W3C_Validator/1.3 http://validator.w3.org/services
            bot Mozilla/5.0 (compatible; CensysInspect/1.1; +https://about.censys.io/)
            bot Scrapy/2.11.2 (+https://scrapy.org)
            bot My-Crawler/1.0
            ",
        );
    }

    #[test]
    fn a_name_that_only_sounds_like_a_bot_is_a_viewer() {
        check(
            "
            chrome android mobile Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Mobile Safari/537.36
            chrome android mobile Mozilla/5.0 (Linux; Android 8.1.0; CUBOT_X18_Plus) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/90.0.4430.91 Mobile Safari/537.36
            other android mobile Mozilla/5.0 (Linux; Android 10; CUBOT; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/100.0.4896.127 Mobile Safari/537.36
            other ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [Pinterest/iOS]
            other ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [LinkedInApp]/9.29.7605
            other ios mobile Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Twitter for iPhone/10.44
            other android mobile Mozilla/5.0 (Linux; arm_64; Android 13; SM-A525F) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.6367.118 YaBrowser/24.4.6.118.00 SA/3 Mobile Safari/537.36
            safari mac desktop Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7; Botswana) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15
            ",
        );
    }

    #[test]
    fn without_a_user_agent_nothing_is_known() {
        let nothing = Classification::Viewer(UserAgentClass::default());

        assert_eq!(Classifier::new().classify(Headers::default()), nothing);
    }

    #[test]
    fn only_the_head_of_a_long_user_agent_is_looked_at() {
        let padding = "\u{e9}".repeat(USER_AGENT_BYTES_MAX / 2 - 10);
        let classifier = Classifier::new();
        let classify = |text: &str| {
            classifier.classify(Headers { user_agent: Some(text), ..Headers::default() })
        };

        assert_eq!(classify(&format!("{padding}bot")), Classification::Bot);
        assert_ne!(classify(&format!("{padding}{padding}bot")), Classification::Bot);
        assert_eq!(head(&format!("x{padding}{padding}")).len(), USER_AGENT_BYTES_MAX - 1);
    }

    #[test]
    fn the_cache_is_bounded() {
        let classifier = Classifier::new();
        for i in 0..3 * CACHE_ENTRIES_MAX {
            let user_agent = format!("stranger/{i}");
            let headers = Headers { user_agent: Some(&user_agent), ..Headers::default() };
            let _ = classifier.classify(headers);
        }

        // Each shard rounds up, so the bound is not exact.
        assert!(classifier.cache.len() <= CACHE_ENTRIES_MAX * 5 / 4, "{classifier:?}");
    }

    /// Checks that codes and names of classes are unique, and that codes convert back.
    macro_rules! check_codes {
        ($Class:ident) => {
            let codes = $Class::ALL.map($Class::code);
            assert_eq!(codes.map($Class::from_code), $Class::ALL);
            assert_eq!(codes.iter().collect::<HashSet<_>>().len(), codes.len());
            assert!($Class::ALL.map($Class::name).is_sorted());
            assert_eq!($Class::from_code(u8::MAX), $Class::Other);
            assert_eq!($Class::default().to_string(), "other");
        };
    }

    #[test]
    fn a_stored_code_leads_back_to_its_class() {
        check_codes!(Browser);
        check_codes!(Platform);
        check_codes!(Device);
    }

    #[test]
    fn the_rules_name_only_classes_that_exist() {
        for line in include_str!("user_agent/rules.yaml").lines() {
            let Some((kind, name)) = line.trim().split_once("_replacement: ") else { continue };
            let name = name.trim_matches('\'');
            let known = match kind {
                "family" => name == BOT || Browser::from_name(name).is_some(),
                "os" => Platform::from_name(name).is_some(),
                "device" => Device::from_name(name).is_some(),
                _ => false,
            };
            assert!(known, "{line}");
        }
    }

    /// Words of the rules, so that random texts come close to matching.
    const WORDS: &[&str] = &[
        "Mozilla/5.0 (",
        "Android",
        "Macintosh",
        "Windows NT",
        "iPhone",
        "like Gecko) ",
        "Chrome/",
        "Version/",
        " Safari/",
        "Mobile",
        "cu",
        "bot",
        "Tablet;",
        " TV ",
        "\u{212a}",
        "; wv)",
    ];

    fn user_agent() -> impl Strategy<Value = String> {
        let word =
            prop_oneof![proptest::sample::select(WORDS).prop_map(str::to_owned), any::<String>(),];
        prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn the_cache_changes_no_answer(user_agent in user_agent(), brands in any::<Option<String>>()) {
            let headers = Headers { user_agent: Some(&user_agent), brands: brands.as_deref() };
            let classifier = Classifier::new();

            let first = classifier.classify(headers);
            let cached = classifier.classify(headers);
            let elsewhere = Classifier::new().classify(headers);

            prop_assert_eq!(first, cached);
            prop_assert_eq!(first, elsewhere);
        }
    }
}
