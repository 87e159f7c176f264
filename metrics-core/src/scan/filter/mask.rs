//! Masks: the sessions of a block for which a condition holds.

use serde_json::Value;

use crate::block::{Codes, Quality};
use crate::containment::contains;
use crate::interval::Segments;
use crate::query::SessionMetric;
use crate::scan::ScanError;
use crate::scan::column::{self, View};

/// The sessions in range for which a condition holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Mask {
    /// All sessions or none.
    All(bool),
    /// 1 for each session for which the condition holds, else 0.
    Each(Vec<u8>),
}

impl Mask {
    pub(super) fn of_codes(codes: &Codes<'_>, holds: &[bool]) -> Self {
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

    pub(super) fn each(holds: impl Iterator<Item = bool>) -> Self {
        Self::Each(holds.map(u8::from).collect())
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(true), mask) | (mask, Self::All(true)) => mask,
            (Self::All(false), _) | (_, Self::All(false)) => Self::All(false),
            (Self::Each(mut mask), Self::Each(other)) => {
                mask.iter_mut().zip(other).for_each(|(it, other)| *it &= other);
                Self::Each(mask)
            }
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All(false), mask) | (mask, Self::All(false)) => mask,
            (Self::All(true), _) | (_, Self::All(true)) => Self::All(true),
            (Self::Each(mut mask), Self::Each(other)) => {
                mask.iter_mut().zip(other).for_each(|(it, other)| *it |= other);
                Self::Each(mask)
            }
        }
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::All(holds) => Self::All(!holds),
            Self::Each(mut mask) => {
                mask.iter_mut().for_each(|it| *it ^= 1);
                Self::Each(mask)
            }
        }
    }
}

pub(super) fn session_metric_mask(
    session_metric: SessionMetric,
    view: &View<'_>,
    holds: impl Fn(f64) -> bool,
) -> Mask {
    // One division, so that a number of milliseconds is as near to its seconds as a float can be.
    let seconds = |ms: u64| holds(ms as f64 / 1_000.0);
    let sessions = 0..view.len();
    match session_metric {
        SessionMetric::ViewTime => {
            Mask::each(sessions.map(|session| seconds(view.view_ms(session))))
        }
        SessionMetric::UniqueViewTime => {
            Mask::each(sessions.map(|session| seconds(view.unique_ms(session))))
        }
        SessionMetric::PercentageViewed => {
            let (durations_ms, codes) = view.durations_ms();
            Mask::each(sessions.map(|session| {
                let duration_ms = durations_ms[codes.get(session)];
                let share = view.unique_ms(session) as f64 / f64::from(duration_ms);
                duration_ms != 0 && holds(share)
            }))
        }
        SessionMetric::StartupTime => quality_mask(view, |quality| {
            quality.startup_ms.is_some_and(|startup_ms| seconds(startup_ms.into()))
        }),
        SessionMetric::RebufferingCount => {
            quality_mask(view, |quality| holds(quality.rebufferings.into()))
        }
        SessionMetric::Failures => quality_mask(view, |quality| holds(quality.failures.into())),
    }
}

fn quality_mask(view: &View<'_>, holds: impl Fn(Quality) -> bool) -> Mask {
    let mut mask = Vec::with_capacity(view.len());
    let sessions = (0..view.len()).map(|session| (session, ()));
    view.qualities(sessions, |quality, ()| mask.push(u8::from(holds(quality))));
    Mask::Each(mask)
}

pub(super) fn session_data_mask(part: &Value, view: &View<'_>) -> Result<Mask, ScanError> {
    let Some(column) = &view.columns.session_data else { return Ok(Mask::All(false)) };
    let holds = column.values().iter().map(|data| match data {
        Some(data) => Ok(contains(&column::object(data)?.into(), part)),
        None => Ok(false),
    });
    let holds = holds.collect::<Result<Vec<_>, ScanError>>()?;
    Ok(Mask::of_codes(&view.codes(column), &holds))
}

pub(super) fn watched_mask(from_ms: u32, to_ms: u32, view: &View<'_>) -> Result<Mask, ScanError> {
    let mut segments = Segments::default();
    let mut mask = Vec::with_capacity(view.len());
    for session in 0..view.len() {
        segments.read(view.segments(session))?;
        let watched = segments.iter().any(|it| it.start_ms() < to_ms && from_ms < it.end_ms());
        mask.push(u8::from(watched));
    }
    Ok(Mask::Each(mask))
}
