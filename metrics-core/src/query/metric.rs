//! Metrics: the numbers of a group of sessions.

use std::fmt;
use std::str::FromStr;

use super::error::QueryError;

/// Defines an enum whose variants have names.
macro_rules! named {
    ($(#[$doc:meta])* $Named:ident of $parameter:literal {
        $($(#[$attr:meta])* $Variant:ident = $name:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum $Named {
            $($(#[$attr])* $Variant,)+
        }

        impl $Named {
            /// Every variant, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$Variant),+];

            /// Returns the name in queries and responses.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name,)+
                }
            }
        }

        impl fmt::Display for $Named {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $Named {
            type Err = QueryError;

            fn from_str(text: &str) -> Result<Self, QueryError> {
                let mut all = Self::ALL.iter().copied();
                all.find(|it| it.as_str() == text).ok_or_else(|| {
                    let names = Self::ALL.iter().map(|it| it.as_str());
                    QueryError::unknown($parameter, text, names)
                })
            }
        }
    };
}
pub(super) use named;

named! {
    /// A number that describes the sessions of a group.
    ///
    /// *Plays* are the sessions whose view time reaches the minimum of the query. Durations of 0 are unknown.
    Metric of "metrics" {
        /// Number of plays.
        Plays = "plays",
        /// Number of sessions with any view time.
        Sessions = "sessions",
        /// Seconds of video watched in plays; replays count again.
        ViewTime = "view_time",
        /// Seconds of video watched in plays; replays count once.
        UniqueViewTime = "unique_view_time",
        /// View time per play, in seconds.
        AverageViewDuration = "average_view_duration",
        /// Mean of unique view time / duration over plays with a known duration, where 1 is all of a video.
        ///
        /// The shares are summed in units of 10^-9, each rounded, so that the mean does not depend on the order.
        AveragePercentageViewed = "average_percentage_viewed",
        /// Number of plays with a unique view time of at least 95 % of a known duration.
        Completions = "completions",
        /// Completions per play with a known duration.
        CompletionRate = "completion_rate",
        /// 1 - unique view time / view time.
        RewatchRate = "rewatch_rate",
        /// Mean of the known durations of plays, in seconds.
        AverageDuration = "average_duration",
        /// Median startup time of the sessions that report it, in seconds: the nearest rank.
        StartupTimeP50 = "startup_time_p50",
        /// 95th percentile of the startup times, in seconds: the nearest rank.
        StartupTimeP95 = "startup_time_p95",
        /// Mean startup time, in seconds.
        StartupTimeAverage = "startup_time_average",
        /// Time of rebuffering / (that + view time), over sessions that report rebuffering: those with a startup time
        /// or any rebuffering.
        RebufferingRatio = "rebuffering_ratio",
        /// Number of rebufferings.
        RebufferingCount = "rebuffering_count",
        /// Sessions with any rebuffering per session that reports it.
        RebufferedSessionRate = "rebuffered_session_rate",
        /// Number of sessions with a fatal error.
        Failures = "failures",
        /// Sessions with a fatal error per session, watched or not.
        FailureRate = "failure_rate",
        /// Number of sessions that ended before the first frame: without view time, startup time and fatal error.
        ///
        /// A session whose connection is lost while its video loads, without a `pause` and without a reported wait, is
        /// assumed to have played until then and does not count.
        ExitsBeforeStart = "exits_before_start",
        /// Exits before the first frame per session, with or without view time.
        ExitBeforeStartRate = "exit_before_start_rate",
        /// The largest number of sessions that played at the same whole minute of the group's time, independent of
        /// their start and view time. The group's time is the period until now, or the part of it in its time bucket.
        PeakConcurrent = "peak_concurrent",
        /// Mean number of sessions that played, over the whole minutes of the group's time. In all of time, the minutes
        /// begin with the first one at which any session played.
        AverageConcurrent = "average_concurrent",
    }
}

impl Metric {
    /// Returns whether the metric counts plays alone, so that sessions below the minimum view time do not matter.
    #[must_use]
    pub const fn is_over_plays(self) -> bool {
        match self {
            Self::Plays
            | Self::ViewTime
            | Self::UniqueViewTime
            | Self::AverageViewDuration
            | Self::AveragePercentageViewed
            | Self::Completions
            | Self::CompletionRate
            | Self::RewatchRate
            | Self::AverageDuration => true,
            Self::Sessions
            | Self::StartupTimeP50
            | Self::StartupTimeP95
            | Self::StartupTimeAverage
            | Self::RebufferingRatio
            | Self::RebufferingCount
            | Self::RebufferedSessionRate
            | Self::Failures
            | Self::FailureRate
            | Self::ExitsBeforeStart
            | Self::ExitBeforeStartRate
            | Self::PeakConcurrent
            | Self::AverageConcurrent => false,
        }
    }

    /// Returns whether the metric counts sessions by the minutes at which they played, and not by their start.
    #[must_use]
    pub(crate) const fn is_by_minute(self) -> bool {
        matches!(self, Self::PeakConcurrent | Self::AverageConcurrent)
    }
}
