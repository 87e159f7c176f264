//! The conditions of a filter, decided for all sessions of a video at once, or for each session of a block.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::mask::{Mask, session_data_mask, session_metric_mask, watched_mask};
use super::minimum::{minimum_groups, minimum_mask};
use super::values::Values;
use crate::block::{Group, Groups};
use crate::containment::contains;
use crate::query::{Comparison, Dimension, Filter, Minimum, Selection, SessionMetric};
use crate::scan::calendar::Calendar;
use crate::scan::column::{self, Column, View, column};
use crate::scan::{ScanError, VideoInfo};

/// A filter in a form that can be applied.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Identifier(HashSet<String>),
    Metadata(Value),
    SessionData(Value),
    Values(Dimension, Values),
    SessionMetric(SessionMetric, Comparison, f64),
    Watched { from_ms: u32, to_ms: u32 },
    Minimum(Minimum),
}

impl Condition {
    pub(super) fn needs_videos(&self) -> bool {
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().any(Self::needs_videos)
            }
            Self::Not(condition) => condition.needs_videos(),
            Self::Identifier(_) | Self::Metadata(_) => true,
            Self::Values(dimension, _) => dimension.is_of_video(),
            Self::SessionData(_)
            | Self::SessionMetric(..)
            | Self::Watched { .. }
            | Self::Minimum(_) => false,
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
            Filter::SessionMetric { session_metric, comparison, number } => {
                Self::SessionMetric(*session_metric, *comparison, *number)
            }
            Filter::Watched { from_ms, to_ms, is_negated } => {
                let watched = Self::Watched { from_ms: *from_ms, to_ms: *to_ms };
                if *is_negated { Self::Not(Box::new(watched)) } else { watched }
            }
        }
    }

    /// The groups of columns that must be read.
    pub(super) fn groups(&self) -> Groups {
        let groups = Groups::default();
        match self {
            Self::All(conditions) | Self::Any(conditions) => {
                conditions.iter().map(Self::groups).fold(groups, Groups::union)
            }
            Self::Not(condition) => condition.groups(),
            Self::Identifier(_) | Self::Metadata(_) => groups,
            Self::SessionData(_) => groups.with(Group::SessionData),
            Self::Values(dimension, _) => column::groups_of(dimension),
            Self::SessionMetric(SessionMetric::ViewTime | SessionMetric::UniqueViewTime, ..) => {
                groups.with(Group::Times)
            }
            Self::SessionMetric(SessionMetric::PercentageViewed, ..) => {
                groups.with(Group::Times).with(Group::Durations)
            }
            Self::SessionMetric(..) => groups.with(Group::Quality),
            Self::Watched { .. } => groups.with(Group::Segments),
            Self::Minimum(minimum) => minimum_groups(*minimum),
        }
    }

    /// Returns whether the condition holds for all sessions of a video, or for none; `None` if it depends on the
    /// session.
    pub(super) fn of_video(&self, video: &VideoInfo<'_>) -> Result<Option<bool>, ScanError> {
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
            | Self::SessionMetric(..)
            | Self::Watched { .. }
            | Self::Minimum(_) => None,
        })
    }

    /// Returns the sessions in range for which the condition holds.
    pub(super) fn mask(&self, view: &View<'_>, calendar: &mut Calendar) -> Result<Mask, ScanError> {
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
            Self::SessionMetric(session_metric, comparison, number) => {
                Ok(session_metric_mask(*session_metric, view, |session_metric| {
                    comparison.holds(session_metric, *number)
                }))
            }
            Self::Watched { from_ms, to_ms } => watched_mask(*from_ms, *to_ms, view),
            Self::Minimum(minimum) => Ok(minimum_mask(*minimum, view)),
            Self::Identifier(_) | Self::Metadata(_) => {
                Ok(Mask::All(self.of_video(&view.video)? == Some(true)))
            }
        }
    }
}

/// The conditions of a selection.
pub(super) fn selected(selection: &Selection) -> Vec<Condition> {
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
