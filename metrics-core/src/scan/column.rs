//! Dimensions as columns: a code per session, and a value per code.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::calendar::Calendar;
use super::{ScanError, VideoInfo};
use crate::block::{Coded, Codes, Columns, Group, Groups, Quality};
use crate::containment::canonical;
use crate::query::{Dimension, Period, instant};
use crate::user_agent::UserAgentClass;
use crate::varint::Damaged;
use crate::video::Video;

/// The value of a dimension for some sessions.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DimensionValue {
    /// No value.
    Null,
    /// An hour or a day.
    Number(i64),
    /// The start of a time bucket.
    Time(DateTime<Utc>),
    /// Any other value.
    Text(Arc<str>),
}

/// A value that is not owned yet.
#[derive(Clone, Debug)]
pub(super) enum ValueRef<'a> {
    Null,
    Number(i64),
    /// In Unix milliseconds.
    Time(i64),
    Text(Cow<'a, str>),
}

impl ValueRef<'_> {
    pub(super) fn to_value(&self) -> DimensionValue {
        match self {
            Self::Null => DimensionValue::Null,
            Self::Number(number) => DimensionValue::Number(*number),
            Self::Time(start_ms) => DimensionValue::Time(instant(*start_ms)),
            Self::Text(text) => DimensionValue::Text(Arc::from(&**text)),
        }
    }
}

impl<'a> ValueRef<'a> {
    fn of(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, |text| Self::Text(Cow::Borrowed(text)))
    }
}

/// The sessions of a block that started in a period.
pub(super) struct View<'a> {
    pub(super) video: VideoInfo<'a>,
    pub(super) columns: &'a Columns,
    /// The range of sessions in the columns.
    pub(super) range: Range<usize>,
}

impl<'a> View<'a> {
    /// # Errors
    ///
    /// [`ScanError::Missing`] if the columns of one of the groups were not read.
    pub(super) fn new(
        video: &VideoInfo<'a>,
        columns: &'a Columns,
        period: Period,
        groups: Groups,
    ) -> Result<Self, ScanError> {
        if let Some(group) = groups.iter().find(|group| !has(columns, *group)) {
            return Err(ScanError::Missing(group));
        }
        // Other times are beyond the calendar, and only a damaged block can have them.
        let first_ms = period.from_ms.max(DateTime::<Utc>::MIN_UTC.timestamp_millis());
        let last_ms = period.to_ms.min(DateTime::<Utc>::MAX_UTC.timestamp_millis());
        let range = columns.starts.between(first_ms, last_ms);
        Ok(Self { video: *video, columns, range })
    }

    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    /// Returns the start of a session in range, in Unix milliseconds.
    #[inline]
    pub(super) fn start_ms(&self, session: usize) -> i64 {
        self.columns.starts.get_ms(self.range.start + session)
    }

    #[inline]
    pub(super) fn view_ms(&self, session: usize) -> u64 {
        self.columns.view_ms.get(self.range.start + session)
    }

    #[inline]
    pub(super) fn unique_ms(&self, session: usize) -> u64 {
        self.columns.unique_ms(self.range.start + session)
    }

    /// Calls `take` with the quality of each session in `sessions`, which are in order, and the item paired with it.
    pub(super) fn qualities<T>(
        &self,
        sessions: impl Iterator<Item = (usize, T)>,
        visit: impl FnMut(Quality, T),
    ) {
        if let Some(qualities) = &self.columns.qualities {
            let from = self.range.start;
            qualities.each(sessions.map(|(session, it)| (from + session, it)), visit);
        }
    }

    /// The durations by their codes, where 0 is unknown, and the codes of sessions.
    pub(super) fn durations_ms(&self) -> (Vec<u32>, Codes<'a>) {
        let Some(column) = &self.columns.durations_ms else { return (vec![0], Codes::One) };
        let durations_ms = column.values().iter().map(|duration_ms| duration_ms.unwrap_or(0));
        (durations_ms.collect(), self.codes(column))
    }

    /// The codes of the sessions in range.
    pub(super) fn codes<T>(&self, column: &'a Coded<T>) -> Codes<'a> {
        column.codes(self.range.clone())
    }

    /// Returns the minutes at which a session in range played, as runs `[first, end)` of minutes since 1970.
    pub(super) fn minutes(&self, session: usize) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.columns.minutes(self.range.start + session)
    }

    /// The segments of a session in range, encoded.
    pub(super) fn segments(&self, session: usize) -> &'a [u8] {
        self.columns.segments(self.range.start + session)
    }
}

/// Returns whether each session has a value in the columns of a group.
fn has(columns: &Columns, group: Group) -> bool {
    fn fits<T>(column: Option<&Coded<T>>, sessions: usize) -> bool {
        column.is_some_and(|column| column.is_of(sessions))
    }
    let sessions = columns.sessions;
    match group {
        Group::Starts => columns.starts.len() == sessions,
        Group::Times => columns.view_ms.len() == sessions,
        Group::UserAgents => fits(columns.user_agents.as_ref(), sessions),
        Group::Durations => fits(columns.durations_ms.as_ref(), sessions),
        Group::Segments => columns.has_segments(),
        Group::Pages => fits(columns.pages.as_ref(), sessions),
        Group::SessionData => fits(columns.session_data.as_ref(), sessions),
        Group::Quality => columns.qualities.as_ref().is_some_and(|it| it.len() == sessions),
        Group::Languages => fits(columns.languages.as_ref(), sessions),
        Group::Minutes => columns.has_minutes(),
        Group::Arrivals => columns.arrivals.as_ref().is_some_and(|it| it.are_of(sessions)),
        // No report needs them.
        Group::Details | Group::RowIds => true,
    }
}

/// The values of a dimension.
pub(super) struct Column<'a> {
    /// A code per session in range.
    pub(super) codes: Codes<'a>,
    /// The value of each code. Several codes may have one value.
    pub(super) values: Vec<ValueRef<'a>>,
}

/// The groups of columns that a dimension needs.
pub(super) fn groups_of(dimension: &Dimension) -> Groups {
    let groups = Groups::default().with(Group::Starts);
    match dimension {
        Dimension::Page | Dimension::PageHost => groups.with(Group::Pages),
        Dimension::Browser | Dimension::Platform | Dimension::Device => {
            groups.with(Group::UserAgents)
        }
        Dimension::SessionField(_) => groups.with(Group::SessionData),
        Dimension::Language => groups.with(Group::Languages),
        Dimension::Arrival(_) => groups.with(Group::Arrivals),
        Dimension::Time(_)
        | Dimension::HourOfDay
        | Dimension::DayOfWeek
        | Dimension::Key
        | Dimension::Video
        | Dimension::VideoField(_) => groups,
    }
}

/// Returns the column of a dimension. Its groups must have been read.
///
/// # Errors
///
/// [`ScanError::Damaged`] if metadata or session data is no JSON.
pub(super) fn column<'a>(
    dimension: &Dimension,
    view: &View<'a>,
    calendar: &mut Calendar,
) -> Result<Column<'a>, ScanError> {
    let columns = view.columns;
    let owned = |codes, values| Ok(Column { codes: Codes::Words(Cow::Owned(codes)), values });
    let start_ms = |session| view.start_ms(session);
    match dimension {
        Dimension::Time(width) => {
            let (codes, starts_ms) = calendar.buckets(*width).codes(view.len(), start_ms);
            owned(codes, starts_ms.into_iter().map(ValueRef::Time).collect())
        }
        Dimension::HourOfDay => {
            owned(calendar.hours(view.len(), start_ms), (0..24).map(ValueRef::Number).collect())
        }
        Dimension::DayOfWeek => {
            owned(calendar.days(view.len(), start_ms), (1..8).map(ValueRef::Number).collect())
        }
        Dimension::Key | Dimension::Video | Dimension::VideoField(_) => {
            Ok(Column { codes: Codes::One, values: vec![of_video(dimension, &view.video)?] })
        }
        Dimension::SessionField(path) => coded(view, columns.session_data.as_ref(), |data| {
            data.as_deref().map_or(Ok(ValueRef::Null), |data| field(&object(data)?, path))
        }),
        Dimension::Page => coded(view, columns.pages.as_ref(), |page| {
            Ok(ValueRef::of(page.as_ref().map(crate::source::Source::as_str)))
        }),
        Dimension::PageHost => coded(view, columns.pages.as_ref(), |page| {
            Ok(ValueRef::of(page.as_ref().map(crate::source::Source::host)))
        }),
        Dimension::Browser => of_user_agent(view, |user_agent| user_agent.browser.name()),
        Dimension::Platform => of_user_agent(view, |user_agent| user_agent.platform.name()),
        Dimension::Device => of_user_agent(view, |user_agent| user_agent.device.name()),
        Dimension::Language => coded(view, columns.languages.as_ref(), |language| {
            Ok(ValueRef::of(language.as_deref()))
        }),
        Dimension::Arrival(part) => {
            let column = columns.arrivals.as_ref().map(|arrivals| arrivals.part(*part));
            coded(view, column, |value| Ok(ValueRef::of(value.as_deref())))
        }
    }
}

/// Returns the value of a dimension for all sessions of a video.
///
/// # Errors
///
/// [`ScanError::Damaged`] if metadata is not a JSON object.
pub(super) fn of_video<'a>(
    dimension: &Dimension,
    VideoInfo { key, video }: &VideoInfo<'a>,
) -> Result<ValueRef<'a>, ScanError> {
    let metadata = video.metadata();
    match (dimension, metadata) {
        (Dimension::Key, ..) => Ok(ValueRef::of(Some(key))),
        (Dimension::VideoField(path), Some(metadata)) => field(&object(metadata)?, path),
        (Dimension::Video, ..) => Ok(ValueRef::Text(video_name(video)?)),
        _ => Ok(ValueRef::Null),
    }
}

/// Returns the value of [`Dimension::Video`]: the identifier; without one, the title; without a title, the metadata.
///
/// # Errors
///
/// [`ScanError::Damaged`] if metadata is not a JSON object.
pub(crate) fn video_name(video: &Video) -> Result<Cow<'_, str>, ScanError> {
    match (video.identifier(), video.metadata()) {
        (Some(identifier), _) => Ok(identifier.into()),
        (None, Some(metadata)) => Ok(title(metadata)?.map_or(metadata.into(), Cow::Owned)),
        (None, None) => Ok("".into()),
    }
}

/// Returns the title in metadata: its text `title`.
///
/// # Errors
///
/// [`ScanError::Damaged`] if metadata is not a JSON object.
pub(crate) fn title(metadata: &str) -> Result<Option<String>, ScanError> {
    match object(metadata)?.remove("title") {
        Some(Value::String(title)) => Ok(Some(title)),
        _ => Ok(None),
    }
}

/// Makes a column from a dictionary, with each value converted by `value`.
fn coded<'a, T>(
    view: &View<'a>,
    column: Option<&'a Coded<T>>,
    value: impl FnMut(&'a T) -> Result<ValueRef<'a>, ScanError>,
) -> Result<Column<'a>, ScanError> {
    let Some(column) = column else {
        return Ok(Column { codes: Codes::One, values: vec![ValueRef::Null] });
    };
    let values = column.values().iter().map(value).collect::<Result<_, _>>()?;
    Ok(Column { codes: view.codes(column), values })
}

fn of_user_agent<'a>(
    view: &View<'a>,
    name: fn(&UserAgentClass) -> &'static str,
) -> Result<Column<'a>, ScanError> {
    coded(view, view.columns.user_agents.as_ref(), |user_agent| {
        Ok(ValueRef::of(Some(name(user_agent))))
    })
}

/// Parses the JSON object of metadata or session data.
pub(super) fn object(json: &str) -> Result<Map<String, Value>, ScanError> {
    let object = serde_json::from_str(json);
    object.map_err(|_| Damaged("metadata or session data is not a JSON object").into())
}

/// Returns the value at a path: names of members, separated by points. A member whose name has points is found by its
/// full name.
fn field<'a>(object: &Map<String, Value>, path: &str) -> Result<ValueRef<'a>, ScanError> {
    Ok(match find(object, path) {
        None | Some(Value::Null) => ValueRef::Null,
        Some(Value::String(text)) => ValueRef::Text(Cow::Owned(text.clone())),
        Some(value) => ValueRef::Text(Cow::Owned(canonical(value))),
    })
}

pub(super) fn find<'v>(object: &'v Map<String, Value>, path: &str) -> Option<&'v Value> {
    object.get(path).or_else(|| {
        let (name, rest) = path.split_once('.')?;
        find(object.get(name)?.as_object()?, rest)
    })
}
