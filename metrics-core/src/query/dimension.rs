//! Dimensions: the properties by which sessions are grouped and filtered.

use std::fmt;
use std::str::FromStr;

use super::error::QueryError;
use crate::arrival::ArrivalPart;
use crate::time_bucket::Width;

/// A property of sessions.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Dimension {
    /// The time bucket that holds the start, in the time zone of the query: `time:1 day`.
    Time(Width),
    /// The hour of the start, from 0 to 23, in the time zone of the query.
    HourOfDay,
    /// The day of the week of the start, from 1 for Monday to 7 for Sunday, in the time zone of the query.
    DayOfWeek,
    /// The API key.
    Key,
    /// The identifier of the video; without one, the text `title` of its metadata; else its metadata as canonical JSON.
    Video,
    /// A field of the video's metadata: `video.course.id`. Texts are as they are, other values canonical JSON; JSON
    /// `null` is no value.
    VideoField(String),
    /// A field of the session data, like a field of metadata: `session.plan`.
    SessionField(String),
    /// The page that embeds the video.
    Page,
    /// The host of that page.
    PageHost,
    /// The browser.
    Browser,
    /// The operating system.
    Platform,
    /// The kind of device.
    Device,
    /// The language of the track chosen last.
    Language,
    /// Where the viewer comes from: `referrer`, `utm_source`, `utm_medium`, `utm_campaign`, `country`.
    Arrival(ArrivalPart),
}

/// The dimensions without a parameter.
const PLAIN: [Dimension; 15] = [
    Dimension::HourOfDay,
    Dimension::DayOfWeek,
    Dimension::Key,
    Dimension::Video,
    Dimension::Page,
    Dimension::PageHost,
    Dimension::Browser,
    Dimension::Platform,
    Dimension::Device,
    Dimension::Language,
    Dimension::Arrival(ArrivalPart::Referrer),
    Dimension::Arrival(ArrivalPart::UtmSource),
    Dimension::Arrival(ArrivalPart::UtmMedium),
    Dimension::Arrival(ArrivalPart::UtmCampaign),
    Dimension::Arrival(ArrivalPart::Country),
];

const TIME: &str = "time:";
const VIDEO: &str = "video.";
const SESSION: &str = "session.";

impl Dimension {
    /// The names of all dimensions, with `<interval>` and `<path>` as parameters.
    pub const NAMES: [&'static str; 18] = [
        "time:<interval>",
        "hour_of_day",
        "day_of_week",
        "key",
        "video",
        "video.<path>",
        "session.<path>",
        "page",
        "page_host",
        "browser",
        "platform",
        "device",
        "language",
        "referrer",
        "utm_source",
        "utm_medium",
        "utm_campaign",
        "country",
    ];

    /// The name, without an interval or a path.
    fn name(&self) -> &'static str {
        match self {
            Self::Time(_) => TIME,
            Self::HourOfDay => "hour_of_day",
            Self::DayOfWeek => "day_of_week",
            Self::Key => "key",
            Self::Video => "video",
            Self::VideoField(_) => VIDEO,
            Self::SessionField(_) => SESSION,
            Self::Page => "page",
            Self::PageHost => "page_host",
            Self::Browser => "browser",
            Self::Platform => "platform",
            Self::Device => "device",
            Self::Language => "language",
            Self::Arrival(part) => part.name(),
        }
    }

    /// Whether all sessions of a video have the same value.
    #[must_use]
    pub const fn is_of_video(&self) -> bool {
        matches!(self, Self::Key | Self::Video | Self::VideoField(_))
    }

    /// Whether the values are texts.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        !matches!(self, Self::Time(_) | Self::HourOfDay | Self::DayOfWeek)
    }

    /// Whether the dimension cuts time into buckets that follow each other.
    #[must_use]
    pub const fn is_time(&self) -> bool {
        matches!(self, Self::Time(_))
    }
}

impl fmt::Display for Dimension {
    /// Writes the name that [`FromStr`] parses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Time(width) => write!(f, "{width}"),
            Self::VideoField(path) | Self::SessionField(path) => f.write_str(path),
            _ => Ok(()),
        }
    }
}

impl FromStr for Dimension {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        if let Some(width) = text.strip_prefix(TIME) {
            let width = width.parse().map_err(|err: crate::time_bucket::SpanError| {
                QueryError::invalid("dimensions", text, format!("an interval: {err}"))
            });
            return width.map(Self::Time);
        }
        for (prefix, of) in
            [(VIDEO, Self::VideoField as fn(String) -> Self), (SESSION, Self::SessionField)]
        {
            match text.strip_prefix(prefix) {
                Some("") => {
                    return Err(QueryError::invalid("dimensions", text, "a path after the point"));
                }
                Some(path) => return Ok(of(path.to_owned())),
                None => {}
            }
        }
        let plain = PLAIN.into_iter().find(|dimension| dimension.name() == text);
        plain.ok_or_else(|| QueryError::unknown("dimensions", text, Self::NAMES))
    }
}
