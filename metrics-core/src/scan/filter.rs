//! Filters as masks of the sessions of a block.

use std::collections::HashSet;
use std::ops::Range;

use chrono::DateTime;
use chrono_tz::Tz;
use serde_json::{Map, Value};

use super::calendar::Calendar;
use super::column::{self, Column, ValueRef, View, column};
use super::{ScanError, VideoInfo};
use crate::block::{Codes, Columns, Group, Groups, Quality};
use crate::containment::contains;
use crate::interval::Segments;
use crate::query::{
    Comparison, Dimension, Figure, Filter, Minimum, Operator, Period, Scan, Selection,
};

/// Selects the sessions of a selection and a period for which filters hold, with a minimum view time.
#[derive(Clone, Debug)]
pub struct SessionFilter {
    period: Period,
    condition: Condition,
    calendar: Calendar,
    groups: Groups,
}

/// A filter in a form that can be applied.
#[derive(Clone, Debug)]
enum Condition {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Identifier(HashSet<String>),
    Metadata(Value),
    SessionData(Value),
    Values(Dimension, Values),
    Figure(Figure, Comparison, f64),
    Watched { from_ms: u32, to_ms: u32 },
    Minimum(Minimum),
}

/// The accepted values of a dimension.
#[derive(Clone, Debug)]
struct Values {
    operator: Operator,
    has_null: bool,
    texts: HashSet<String>,
    // Hours, days, or starts of time buckets in Unix milliseconds.
    numbers: HashSet<i64>,
}

/// The sessions in range for which a condition holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Mask {
    /// All sessions or none.
    All(bool),
    /// 1 for each session for which the condition holds, else 0.
    Each(Vec<u8>),
}

/// Sessions in range, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Picked {
    pub(super) sessions: Vec<u32>,
}

impl SessionFilter {
    /// Creates a filter of the sessions of a selection and a period, with a minimum view time. The filter of the
    /// selection must be [checked](Filter::check).
    #[must_use]
    pub fn new(selection: &Selection, period: Period, minimum: Minimum) -> Self {
        let mut conditions = selected(selection);
        if minimum != Minimum::ViewMs(0) {
            conditions.push(Condition::Minimum(minimum));
        }
        let condition = Condition::All(conditions);
        let groups = condition.groups().with(Group::Starts);
        Self { period, condition, calendar: Calendar::new(None), groups }
    }

    /// Creates a filter of the sessions of a scan.
    #[must_use]
    pub fn of_scan(scan: &Scan) -> Self {
        let Scan { selection, from_ms, to_ms, minimum_view_ms } = scan;
        let period = Period { from_ms: *from_ms, to_ms: *to_ms };
        Self::new(selection, period, Minimum::ViewMs(*minimum_view_ms))
    }

    /// Sets the time zone: filters by hours, days and time buckets follow the local time of `timezone`.
    #[must_use]
    pub fn in_timezone(self, timezone: Option<Tz>) -> Self {
        Self { calendar: Calendar::new(timezone), ..self }
    }

    /// The groups of columns that must be read.
    #[must_use]
    pub fn groups(&self) -> Groups {
        self.groups
    }

    /// Returns whether the filter depends on videos or keys: otherwise columns may be added under any.
    #[must_use]
    pub fn needs_videos(&self) -> bool {
        self.condition.needs_videos()
    }

    /// Returns whether sessions of the video may count.
    #[must_use]
    pub fn wants_video(&self, video: &VideoInfo<'_>) -> bool {
        // A video with damaged metadata is accepted here, and becomes an error later.
        self.condition.of_video(video).unwrap_or(None) != Some(false)
    }

    /// Returns the indices of the sessions that count, in order.
    ///
    /// # Errors
    ///
    /// [`ScanError`] if the columns are damaged or lack one of the [groups](Self::groups).
    pub fn sessions(
        &mut self,
        video: &VideoInfo<'_>,
        columns: &Columns,
    ) -> Result<Vec<usize>, ScanError> {
        let view = self.view(video, columns, Groups::default())?;
        let picked = self.pick(&view)?;
        Ok(picked.iter().map(|session| view.range.start + session).collect())
    }

    /// Returns the sessions in the period; these groups must be read in addition to those of the filter.
    pub(super) fn view<'a>(
        &self,
        video: &VideoInfo<'a>,
        columns: &'a Columns,
        groups: Groups,
    ) -> Result<View<'a>, ScanError> {
        View::new(video, columns, self.period, self.groups.union(groups))
    }

    /// Returns the sessions that count, out of those in the period.
    pub(super) fn pick(&mut self, view: &View<'_>) -> Result<Picked, ScanError> {
        if view.range.is_empty() {
            return Ok(Picked { sessions: Vec::new() });
        }
        let mask = self.condition.mask(view, &mut self.calendar)?;
        Ok(Picked::of(&mask, view.len()))
    }
}

/// The conditions of a selection.
fn selected(selection: &Selection) -> Vec<Condition> {
    let Selection { identifiers, video, session, key, filter } = selection;
    let object = |object: &Map<String, Value>| Value::Object(object.clone());
    let key = key.as_ref().map(|key| {
        let key = HashSet::from([key.as_str().to_owned()]);
        Condition::Values(Dimension::Key, Values::is(key))
    });
    let identifiers = identifiers
        .as_ref()
        .map(|identifiers| Condition::Identifier(identifiers.iter().cloned().collect()));
    let video = video.as_ref().map(|video| Condition::Metadata(object(video)));
    let session = session.as_ref().map(|session| Condition::SessionData(object(session)));
    let filter = Some(Condition::of(filter));
    [key, identifiers, video, session, filter].into_iter().flatten().collect()
}

impl Condition {
    fn needs_videos(&self) -> bool {
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().any(Self::needs_videos)
            }
            Self::Not(condition) => condition.needs_videos(),
            Self::Identifier(_) | Self::Metadata(_) => true,
            Self::Values(dimension, _) => dimension.is_of_video(),
            Self::SessionData(_) | Self::Figure(..) | Self::Watched { .. } | Self::Minimum(_) => {
                false
            }
        }
    }

    fn of(filter: &Filter) -> Self {
        let all = |filters: &[Filter]| filters.iter().map(Self::of).collect();
        match filter {
            Filter::And(filters) => Self::All(all(filters)),
            Filter::Or(filters) => Self::Any(all(filters)),
            Filter::Not(filter) => Self::Not(Box::new(Self::of(filter))),
            Filter::Dimension { dimension, operator, values } => {
                let values = Values::of(dimension, *operator, values);
                Self::Values(dimension.clone(), values)
            }
            Filter::Figure { figure, comparison, number } => {
                Self::Figure(*figure, *comparison, *number)
            }
            Filter::Watched { from_ms, to_ms, is_negated } => {
                let watched = Self::Watched { from_ms: *from_ms, to_ms: *to_ms };
                if *is_negated { Self::Not(Box::new(watched)) } else { watched }
            }
        }
    }

    /// The groups of columns that must be read.
    fn groups(&self) -> Groups {
        let groups = Groups::default();
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().map(Self::groups).fold(groups, Groups::union)
            }
            Self::Not(condition) => condition.groups(),
            Self::Identifier(_) | Self::Metadata(_) => groups,
            Self::SessionData(_) => groups.with(Group::SessionData),
            Self::Values(dimension, _) => column::groups_of(dimension),
            Self::Figure(Figure::ViewTime | Figure::UniqueViewTime, ..) => {
                groups.with(Group::Times)
            }
            Self::Figure(Figure::PercentageViewed, ..) => {
                groups.with(Group::Times).with(Group::Durations)
            }
            Self::Figure(..) => groups.with(Group::Quality),
            Self::Watched { .. } => groups.with(Group::Segments),
            Self::Minimum(minimum) => minimum_groups(*minimum),
        }
    }

    /// Returns whether the condition holds for all sessions of a video, or for none; `None` if it depends on the
    /// session.
    fn of_video(&self, video: &VideoInfo<'_>) -> Result<Option<bool>, ScanError> {
        let decide = |conditions: &[Self], decisive: bool| -> Result<_, ScanError> {
            let mut all_are_known = true;
            for condition in conditions {
                match condition.of_video(video)? {
                    Some(holds) if holds == decisive => return Ok(Some(decisive)),
                    Some(_) => {}
                    None => all_are_known = false,
                }
            }
            Ok(all_are_known.then_some(!decisive))
        };
        Ok(match self {
            Self::All(conditions) => decide(conditions, false)?,
            Self::Any(conditions) => decide(conditions, true)?,
            Self::Not(condition) => condition.of_video(video)?.map(|holds| !holds),
            Self::Identifier(identifiers) => {
                let identifier = video.video.identifier();
                Some(identifier.is_some_and(|identifier| identifiers.contains(identifier)))
            }
            Self::Metadata(part) => match video.video.metadata() {
                Some(metadata) => Some(contains(&column::object(metadata)?.into(), part)),
                None => Some(false),
            },
            Self::Values(dimension, values) if dimension.is_of_video() => {
                Some(values.matches(&column::of_video(dimension, video)?))
            }
            Self::Values(..)
            | Self::SessionData(_)
            | Self::Figure(..)
            | Self::Watched { .. }
            | Self::Minimum(_) => None,
        })
    }

    /// Returns the sessions in range for which the condition holds.
    fn mask(&self, view: &View<'_>, calendar: &mut Calendar) -> Result<Mask, ScanError> {
        match self {
            Self::All(conditions) => {
                let mut mask = Mask::All(true);
                for condition in conditions {
                    mask = mask.and(condition.mask(view, calendar)?);
                    if mask == Mask::All(false) {
                        break;
                    }
                }
                Ok(mask)
            }
            Self::Any(conditions) => {
                let mut mask = Mask::All(false);
                for condition in conditions {
                    mask = mask.or(condition.mask(view, calendar)?);
                    if mask == Mask::All(true) {
                        break;
                    }
                }
                Ok(mask)
            }
            Self::Not(condition) => Ok(condition.mask(view, calendar)?.not()),
            Self::Values(dimension, values) => {
                let Column { codes, values: of_codes } = column(dimension, view, calendar)?;
                let holds: Vec<_> = of_codes.iter().map(|value| values.matches(value)).collect();
                Ok(Mask::of_codes(&codes, &holds))
            }
            Self::SessionData(part) => session_data_mask(part, view),
            Self::Figure(figure, comparison, number) => {
                Ok(figure_mask(*figure, view, |figure| comparison.holds(figure, *number)))
            }
            Self::Watched { from_ms, to_ms } => watched_mask(*from_ms, *to_ms, view),
            Self::Minimum(minimum) => Ok(minimum_mask(*minimum, view)),
            Self::Identifier(_) | Self::Metadata(_) => {
                Ok(Mask::All(self.of_video(&view.video)? == Some(true)))
            }
        }
    }
}

impl Values {
    fn is(texts: HashSet<String>) -> Self {
        Self { operator: Operator::Is, has_null: false, texts, numbers: HashSet::new() }
    }

    fn of(dimension: &Dimension, operator: Operator, values: &[Option<String>]) -> Self {
        let has_null = values.contains(&None);
        let texts = values.iter().flatten();
        let number = |text: &String| {
            if dimension.is_time() {
                DateTime::parse_from_rfc3339(text).ok().map(|start| start.timestamp_millis())
            } else {
                text.parse().ok()
            }
        };
        if dimension.is_text() {
            let texts = texts.cloned().collect();
            Self { operator, has_null, texts, numbers: HashSet::new() }
        } else {
            let numbers = texts.filter_map(number).collect();
            Self { operator, has_null, texts: HashSet::new(), numbers }
        }
    }

    /// Returns whether a session with this value counts.
    fn matches(&self, value: &ValueRef<'_>) -> bool {
        let matches = match value {
            ValueRef::Null => self.has_null,
            ValueRef::Number(number) | ValueRef::Time(number) => self.numbers.contains(number),
            ValueRef::Text(text) => match self.operator {
                Operator::Is | Operator::IsNot => self.texts.contains(&**text),
                Operator::Contains | Operator::ContainsNot => {
                    self.texts.iter().any(|part| text.contains(part))
                }
                Operator::StartsWith => self.texts.iter().any(|part| text.starts_with(part)),
            },
        };
        matches != self.operator.is_negated()
    }
}

impl Mask {
    fn of_codes(codes: &Codes<'_>, holds: &[bool]) -> Self {
        let first = holds.first().copied().unwrap_or(false);
        if holds.iter().all(|it| *it == first) {
            return Self::All(first);
        }
        match codes {
            Codes::One => Self::All(first),
            Codes::Bytes(codes) => {
                // One entry per possible code spares the bounds check.
                let mut of_byte = [0; 256];
                of_byte.iter_mut().zip(holds).for_each(|(it, holds)| *it = u8::from(*holds));
                Self::Each(codes.iter().map(|code| of_byte[usize::from(*code)]).collect())
            }
            Codes::Words(codes) => Self::each(codes.iter().map(|code| holds[*code as usize])),
        }
    }

    fn each(holds: impl Iterator<Item = bool>) -> Self {
        Self::Each(holds.map(u8::from).collect())
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(true), mask) | (mask, Self::All(true)) => mask,
            (Self::All(false), _) | (_, Self::All(false)) => Self::All(false),
            (Self::Each(mut mask), Self::Each(other)) => {
                mask.iter_mut().zip(other).for_each(|(it, other)| *it &= other);
                Self::Each(mask)
            }
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(false), mask) | (mask, Self::All(false)) => mask,
            (Self::All(true), _) | (_, Self::All(true)) => Self::All(true),
            (Self::Each(mut mask), Self::Each(other)) => {
                mask.iter_mut().zip(other).for_each(|(it, other)| *it |= other);
                Self::Each(mask)
            }
        }
    }

    fn not(self) -> Self {
        match self {
            Self::All(holds) => Self::All(!holds),
            Self::Each(mut mask) => {
                mask.iter_mut().for_each(|it| *it ^= 1);
                Self::Each(mask)
            }
        }
    }
}

impl Picked {
    /// Returns the sessions of a mask, out of `sessions` sessions.
    fn of(mask: &Mask, sessions: usize) -> Self {
        let sessions = match mask {
            Mask::All(true) => return Self::all(sessions),
            Mask::All(false) => Vec::new(),
            Mask::Each(mask) => {
                // Every index is written, and the next one overwrites it unless it counts: no branch can be
                // mispredicted.
                let mut picked = vec![0; mask.len() + 1];
                let mut len = 0;
                for (session, holds) in (0..).zip(mask) {
                    picked[len] = session;
                    len += usize::from(*holds);
                }
                picked.truncate(len);
                picked
            }
        };
        Self { sessions }
    }

    /// Selects all of this number of sessions.
    pub(super) fn all(sessions: usize) -> Self {
        Self { sessions: (0..sessions as u32).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.sessions.iter().map(|session| *session as usize)
    }

    /// Returns a range of the sessions.
    pub(super) fn range(&self, range: Range<usize>) -> impl Iterator<Item = usize> + '_ {
        self.sessions[range].iter().map(|session| *session as usize)
    }

    /// Returns the start of one of the sessions, in Unix milliseconds.
    pub(super) fn start_ms(&self, view: &View<'_>, at: usize) -> i64 {
        view.start_ms(self.sessions[at] as usize)
    }

    /// Returns the sessions that are plays, and their groups; `slots` are the groups of all sessions.
    pub(super) fn plays(
        &self,
        minimum: Minimum,
        view: &View<'_>,
        slots: &[u32],
    ) -> (Self, Vec<u32>) {
        let is_play = is_play(minimum, view);
        let both = self.sessions.iter().zip(slots);
        let (sessions, slots) = both.filter(|(session, _)| is_play(**session as usize)).unzip();
        (Self { sessions }, slots)
    }
}

/// The groups of columns that decide whether a session is a play.
pub(super) fn minimum_groups(minimum: Minimum) -> Groups {
    let times = Groups::default().with(Group::Times);
    match minimum {
        Minimum::ViewMs(_) => times,
        Minimum::Millionths(_) => times.with(Group::Durations),
    }
}

/// Returns the sessions in range that are plays.
fn minimum_mask(minimum: Minimum, view: &View<'_>) -> Mask {
    match minimum {
        Minimum::ViewMs(0) => Mask::All(true),
        // A separate loop has no branch per session.
        Minimum::ViewMs(minimum_ms) => {
            Mask::each((0..view.len()).map(|session| minimum_ms <= view.view_ms(session)))
        }
        Minimum::Millionths(_) => Mask::each((0..view.len()).map(is_play(minimum, view))),
    }
}

/// Returns a function that decides whether a session in range is a play.
fn is_play(minimum: Minimum, view: &View<'_>) -> impl Fn(usize) -> bool {
    // View times alone need no durations.
    let durations = matches!(minimum, Minimum::Millionths(_)).then(|| view.durations_ms());
    move |session| {
        // A duration of 0 is unknown, and then the session is no play.
        let duration_ms = durations.as_ref().map(|(ms, codes)| ms[codes.get(session)]);
        minimum.holds(view.view_ms(session), duration_ms)
    }
}

fn figure_mask(figure: Figure, view: &View<'_>, holds: impl Fn(f64) -> bool) -> Mask {
    // One division, so that a number of milliseconds is as near to its seconds as a float can be.
    let seconds = |ms: u64| holds(ms as f64 / 1_000.0);
    let sessions = 0..view.len();
    match figure {
        Figure::ViewTime => Mask::each(sessions.map(|session| seconds(view.view_ms(session)))),
        Figure::UniqueViewTime => {
            Mask::each(sessions.map(|session| seconds(view.unique_ms(session))))
        }
        Figure::PercentageViewed => {
            let (durations_ms, codes) = view.durations_ms();
            Mask::each(sessions.map(|session| {
                let duration_ms = durations_ms[codes.get(session)];
                let share = view.unique_ms(session) as f64 / f64::from(duration_ms);
                duration_ms != 0 && holds(share)
            }))
        }
        Figure::StartupTime => quality_mask(view, |quality| {
            quality.startup_ms.is_some_and(|startup_ms| seconds(startup_ms.into()))
        }),
        Figure::RebufferingCount => {
            quality_mask(view, |quality| holds(quality.rebufferings.into()))
        }
        Figure::Failures => quality_mask(view, |quality| holds(quality.failures.into())),
    }
}

fn quality_mask(view: &View<'_>, holds: impl Fn(Quality) -> bool) -> Mask {
    let mut mask = Vec::with_capacity(view.len());
    let sessions = (0..view.len()).map(|session| (session, ()));
    view.qualities(sessions, |quality, ()| mask.push(u8::from(holds(quality))));
    Mask::Each(mask)
}

fn session_data_mask(part: &Value, view: &View<'_>) -> Result<Mask, ScanError> {
    let Some(column) = &view.columns.session_data else { return Ok(Mask::All(false)) };
    let holds = column.values().iter().map(|data| match data {
        Some(data) => Ok(contains(&column::object(data)?.into(), part)),
        None => Ok(false),
    });
    let holds = holds.collect::<Result<Vec<_>, ScanError>>()?;
    Ok(Mask::of_codes(&view.codes(column), &holds))
}

fn watched_mask(from_ms: u32, to_ms: u32, view: &View<'_>) -> Result<Mask, ScanError> {
    let mut segments = Segments::default();
    let mut mask = Vec::with_capacity(view.len());
    for session in 0..view.len() {
        segments.read(view.segments(session))?;
        let watched = segments.iter().any(|it| it.start_ms() < to_ms && from_ms < it.end_ms());
        mask.push(u8::from(watched));
    }
    Ok(Mask::Each(mask))
}
