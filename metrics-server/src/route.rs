//! The route table.

use std::fmt;
use std::ops::BitOr;

use hyper::Method;

use crate::access::Purpose;
use crate::script;
use crate::table::Table;

/// The route of a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route<'a> {
    Page,
    /// The page with example videos.
    Demo,
    /// A script, style or video of the page.
    PageFile(&'a str),
    SignIn,
    SignOut,
    Live,
    Ready,
    Stats,
    Script(script::Address<'a>),
    OpenApi,
    Socket,
    LongPoll,
    Events,
    /// Reports of players by CMCD.
    Cmcd,
    Keys,
    Key(&'a str),
    /// What the caller may do.
    Me,
    Tokens,
    /// A token, by its id.
    Token(&'a str),
    Erase,
    Report(Report),
    /// The values of a dimension, by its name.
    Dimension(&'a str),
    Export(Table),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Report {
    Plays,
    Engagement,
    Sources,
    Watching,
    Query,
    Videos,
    Fields,
    Live,
}

impl<'a> Route<'a> {
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        // A key may hold slashes, so all of them count here.
        let id = path.strip_prefix("/api/v1/keys/").filter(|id| !id.is_empty());
        if let Some(id) = id {
            return Some(Self::Key(id));
        }
        if let Some(name) = path.strip_prefix("/page/").filter(|name| !name.is_empty()) {
            return Some(Self::PageFile(name));
        }
        // A page may have configured `wss://host/socket/`, which makes `/socket//websocket`.
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        Some(match segments[..] {
            [] => Self::Page,
            ["demo"] => Self::Demo,
            ["health", "live"] => Self::Live,
            ["health", "ready"] => Self::Ready,
            ["sign-in"] => Self::SignIn,
            ["sign-out"] => Self::SignOut,
            ["metrics"] => Self::Stats,
            ["cmcd"] | ["api", "v1", "cmcd"] => Self::Cmcd,
            [name] => Self::Script(script::Address::of(name)?),
            ["api", "v1", "openapi.json"] => Self::OpenApi,
            ["socket", "websocket"] => Self::Socket,
            ["socket", "longpoll"] => Self::LongPoll,
            ["v1", "events"] | ["api", "v1", "events"] => Self::Events,
            ["api", "v1", "plays" | "views"] => Self::Report(Report::Plays),
            ["api", "v1", "engagement"] => Self::Report(Report::Engagement),
            ["api", "v1", "sources"] => Self::Report(Report::Sources),
            ["api", "v1", "watching"] => Self::Report(Report::Watching),
            ["api", "v1", "query"] => Self::Report(Report::Query),
            ["api", "v1", "videos"] => Self::Report(Report::Videos),
            ["api", "v1", "fields"] => Self::Report(Report::Fields),
            ["api", "v1", "live"] => Self::Report(Report::Live),
            ["api", "v1", "dimensions", name] => Self::Dimension(name),
            ["api", "v1", "export", table] => {
                Self::Export(Table::ALL.into_iter().find(|it| it.name() == table)?)
            }
            ["api", "v1", "keys"] => Self::Keys,
            ["api", "v1", "me"] => Self::Me,
            ["api", "v1", "tokens"] => Self::Tokens,
            ["api", "v1", "tokens", id] => Self::Token(id),
            ["api", "v1", "erase"] => Self::Erase,
            _ => return None,
        })
    }

    pub(crate) fn methods(self) -> &'static str {
        match self {
            Self::Page
            | Self::Demo
            | Self::PageFile(_)
            | Self::Live
            | Self::Ready
            | Self::Stats
            | Self::Script(_)
            | Self::Me
            | Self::OpenApi => "GET, HEAD",
            Self::Socket => "GET",
            Self::Report(Report::Live) => "GET, HEAD, OPTIONS",
            Self::SignIn => "GET, HEAD, POST",
            Self::SignOut => "POST",
            Self::Erase | Self::Tokens => "POST",
            Self::Token(_) => "DELETE",
            Self::Events | Self::Cmcd => "POST, OPTIONS",
            Self::LongPoll
            | Self::Report(_)
            | Self::Dimension(_)
            | Self::Export(_)
            | Self::Keys => "GET, POST, OPTIONS",
            Self::Key(_) => "DELETE, PATCH, OPTIONS",
        }
    }

    /// The group that the route belongs to.
    pub(crate) fn among(self) -> Routes {
        match self {
            Self::Page | Self::Demo | Self::PageFile(_) | Self::SignIn | Self::SignOut => {
                Routes::PAGE
            }
            Self::Live | Self::Ready => Routes::HEALTH,
            Self::Stats => Routes::STATS,
            Self::Socket | Self::LongPoll => Routes::SOCKET,
            Self::Events | Self::Cmcd => Routes::BATCHES,
            Self::Keys | Self::Key(_) => Routes::KEYS,
            Self::Tokens | Self::Token(_) => Routes::TOKENS,
            Self::Erase => Routes::ERASE,
            Self::Report(_) | Self::Dimension(_) | Self::Export(_) | Self::Me | Self::OpenApi => {
                Routes::REPORTS
            }
            Self::Script(_) => Routes::SCRIPT,
        }
    }

    /// Whether the route reports on this moment alone, for which tokens have a scope of its own.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Self::Report(Report::Watching | Report::Live))
    }

    /// The permission that the route needs, unless it is open to everybody.
    pub(crate) fn purpose(self, method: &Method) -> Option<Purpose> {
        match self {
            Self::Live
            | Self::Ready
            | Self::Script(_)
            | Self::OpenApi
            | Self::Socket
            | Self::LongPoll
            // Who sees the page is decided before; its files are the same for everybody, and hold no data.
            | Self::PageFile(_)
            | Self::SignIn
            | Self::SignOut
            | Self::Events
            | Self::Cmcd => None,
            Self::Page | Self::Demo | Self::Me => Some(Purpose::Page),
            Self::Stats => Some(Purpose::Stats),
            Self::Keys if method == Method::POST => Some(Purpose::CreateKey),
            Self::Keys => Some(Purpose::ListKeys),
            Self::Key(_) if method == Method::PATCH => Some(Purpose::ChangeKey),
            Self::Key(_) => Some(Purpose::RevokeKey),
            Self::Tokens => Some(Purpose::CreateToken),
            Self::Token(_) => Some(Purpose::RevokeToken),
            Self::Erase => Some(Purpose::Erase),
            Self::Report(_) | Self::Dimension(_) | Self::Export(_) => Some(Purpose::Report),
        }
    }
}

/// Some of the routes of a service.
///
/// ```
/// use metrics_server::Routes;
///
/// let inside = Routes::ALL.without(Routes::INGEST);
/// assert!(inside.contains(Routes::REPORTS | Routes::KEYS) && !inside.contains(Routes::SOCKET));
/// ```
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Routes(u16);

impl Routes {
    /// No route.
    pub const NONE: Self = Self(0);
    /// The channels of viewers, over a websocket or long polling: `/socket/websocket` and `/socket/longpoll`.
    pub const SOCKET: Self = Self(1);
    /// Batches of events, `/v1/events` and `/api/v1/events`, and of CMCD records, `/cmcd` and `/api/v1/cmcd`.
    pub const BATCHES: Self = Self(1 << 1);
    /// All routes that viewers send events to.
    pub const INGEST: Self = Self(Self::SOCKET.0 | Self::BATCHES.0);
    /// Reports and exports: `/api/v1/plays` and its like.
    pub const REPORTS: Self = Self(1 << 2);
    /// API keys: `/api/v1/keys`.
    pub const KEYS: Self = Self(1 << 3);
    /// The page, its examples, files and sessions: `/`, `/demo`, `/page/...`, `/sign-in` and `/sign-out`.
    pub const PAGE: Self = Self(1 << 4);
    /// Whether the process runs, and can record: `/health/live` and `/health/ready`.
    pub const HEALTH: Self = Self(1 << 5);
    /// The process statistics: `/metrics`.
    pub const STATS: Self = Self(1 << 6);
    /// The script that measures the media of a page: `/metrics.js` and its like.
    pub const SCRIPT: Self = Self(1 << 7);
    /// Access tokens: `/api/v1/tokens`.
    pub const TOKENS: Self = Self(1 << 8);
    /// Erasing sessions: `/api/v1/erase`.
    pub const ERASE: Self = Self(1 << 12);
    /// All of them, and future ones.
    pub const ALL: Self = Self(u16::MAX);

    /// Whether all of `others` are among these.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// These but for `others`.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }
}

impl Default for Routes {
    /// All of them.
    fn default() -> Self {
        Self::ALL
    }
}

impl BitOr for Routes {
    type Output = Self;

    fn bitor(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            (Self::SOCKET, "socket"),
            (Self::BATCHES, "batches"),
            (Self::REPORTS, "reports"),
            (Self::KEYS, "keys"),
            (Self::PAGE, "page"),
            (Self::HEALTH, "health"),
            (Self::STATS, "figures"),
            (Self::SCRIPT, "script"),
            (Self::TOKENS, "tokens"),
            (Self::ERASE, "erase"),
        ];
        let names = named.into_iter().filter(|(routes, _)| self.contains(*routes));
        f.debug_set().entries(names.map(|(_, name)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_segments_of_a_path_do_not_count() {
        for path in ["/socket/websocket", "/socket//websocket", "/socket/websocket/"] {
            assert_eq!(Route::of(path), Some(Route::Socket), "{path}");
        }
        assert_eq!(Route::of("/v1/events/"), Some(Route::Events));
        assert_eq!(Route::of("//"), Some(Route::Page));
        assert_eq!(Route::of("/api/v1/keys/"), Some(Route::Keys));
        assert_eq!(Route::of("/api/v1/keys/a//b/"), Some(Route::Key("a//b/")));
        assert_eq!(Route::of("/socket"), None);
    }

    #[test]
    fn every_route_can_be_disabled() {
        let paths = [
            ("/", "page"),
            ("/demo", "page"),
            ("/page/words/en.js", "page"),
            ("/sign-in", "page"),
            ("/sign-out", "page"),
            ("/health/live", "health"),
            ("/health/ready", "health"),
            ("/metrics", "figures"),
            ("/metrics.js", "script"),
            ("/socket/websocket", "socket"),
            ("/socket/longpoll", "socket"),
            ("/v1/events", "batches"),
            ("/cmcd", "batches"),
            ("/api/v1/cmcd", "batches"),
            ("/api/v1/keys", "keys"),
            ("/api/v1/keys/a", "keys"),
            ("/api/v1/tokens", "tokens"),
            ("/api/v1/tokens/a", "tokens"),
            ("/api/v1/me", "reports"),
            ("/api/v1/erase", "erase"),
            ("/api/v1/plays", "reports"),
        ];
        for (path, name) in paths {
            let among = Route::of(path).unwrap().among();
            assert_eq!(format!("{among:?}"), format!("{{{name:?}}}"), "{path}");
            assert!(Routes::ALL.contains(among) && Routes::default().contains(among));
            assert!(!Routes::NONE.contains(among) && !Routes::ALL.without(among).contains(among));
        }
        assert_eq!(Routes::INGEST, Routes::SOCKET | Routes::BATCHES);
    }
}
