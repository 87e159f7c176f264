//! The route table.

use crate::script;

/// Where a path leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route<'a> {
    Page,
    Live,
    Ready,
    Figures,
    Script(script::Address<'a>),
    Socket,
    Events,
    Keys,
    Key(&'a str),
    Report(Report),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Report {
    Plays,
    Engagement,
    Sources,
    Watching,
}

impl<'a> Route<'a> {
    pub(crate) fn of(path: &'a str) -> Option<Self> {
        // A key may hold slashes, so all of them count here.
        let id = path.strip_prefix("/api/v1/keys/").filter(|id| !id.is_empty());
        if let Some(id) = id {
            return Some(Self::Key(id));
        }
        // A page may have configured `wss://host/socket/`, which makes `/socket//websocket`.
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        Some(match segments[..] {
            [] => Self::Page,
            ["health", "live"] => Self::Live,
            ["health", "ready"] => Self::Ready,
            ["metrics"] => Self::Figures,
            [name] => Self::Script(script::Address::of(name)?),
            ["socket", "websocket"] => Self::Socket,
            ["v1", "events"] | ["api", "v1", "events"] => Self::Events,
            ["api", "v1", "plays" | "views"] => Self::Report(Report::Plays),
            ["api", "v1", "engagement"] => Self::Report(Report::Engagement),
            ["api", "v1", "sources"] => Self::Report(Report::Sources),
            ["api", "v1", "watching"] => Self::Report(Report::Watching),
            ["api", "v1", "keys"] => Self::Keys,
            _ => return None,
        })
    }

    pub(crate) fn methods(self) -> &'static str {
        match self {
            Self::Page | Self::Live | Self::Ready | Self::Figures | Self::Script(_) => "GET, HEAD",
            Self::Socket => "GET",
            Self::Events => "POST, OPTIONS",
            Self::Report(_) | Self::Keys => "GET, POST, OPTIONS",
            Self::Key(_) => "DELETE, OPTIONS",
        }
    }

    /// Whether credentials are asked for, where there are any.
    pub(crate) fn is_guarded(self) -> bool {
        matches!(self, Self::Page | Self::Figures | Self::Keys | Self::Key(_) | Self::Report(_))
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
}
