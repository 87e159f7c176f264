//! Counts the sessions that play at the same time, per minute.
//!
//! A session's runs of minutes are clipped to the period and split at the boundaries of time buckets. Each piece counts
//! in the group of its bucket, independent of the start of the session; other dimensions have the value of the session.

use std::borrow::Cow;

use super::Scans;
use super::calendar::Timeline;
use super::column::{self, Column, View};
use super::filter::Picked;
use super::{ScanError, Scanner, VideoInfo};
use crate::block::{Codes, Columns};
use crate::query::{Dimension, Period, Timeframe, instant};
use crate::scan::DimensionValue;
use crate::session::minutes::minute_from;
use crate::session::{MINUTE_MS, SPAN_MINUTES};

/// The longest time between the start of a session and a period in which it plays, in milliseconds: 24 hours, because
/// no later minute of a session counts.
pub(crate) const LOOKBACK_MS: i64 = SPAN_MINUTES as i64 * MINUTE_MS;

/// The number of minutes of sessions that are split into pieces at once. They take 2 MB.
const CUT_AT_ONCE: u32 = 131_072;

/// Consecutive minutes of a session, as numbers of minutes since 1970: `[first, end)`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    session: u32,
    pub(super) first: u32,
    pub(super) end: u32,
}

impl Piece {
    /// Returns the start of the piece, in Unix milliseconds.
    fn start_ms(&self) -> i64 {
        i64::from(self.first) * MINUTE_MS
    }
}

impl Scanner {
    /// Counts the minutes of sessions of a video.
    pub(super) fn add_minutes(
        &mut self,
        video: &VideoInfo<'_>,
        columns: &Columns,
    ) -> Result<(), ScanError> {
        let (from_ms, to_ms) = self.frame();
        let view = View::new(video, columns, Period { from_ms, to_ms }, self.groups())?;
        let picked = self.filter.pick(&view)?;
        let (mut pieces, mut minutes) = (Vec::new(), 0);
        for session in picked.iter() {
            for (first, end) in view.minutes(session) {
                let Some(piece) = self.piece(session, first, end) else { continue };
                minutes += piece.end - piece.first;
                pieces.push(piece);
            }
            if CUT_AT_ONCE <= minutes {
                self.add_pieces(&view, std::mem::take(&mut pieces))?;
                minutes = 0;
            }
        }
        self.add_pieces(&view, pieces)
    }

    /// Returns the part of a run of minutes that lies in the period.
    fn piece(&self, session: usize, first: i64, end: i64) -> Option<Piece> {
        let (first, end) = (first.max(self.minutes.0.into()), end.min(self.minutes.1.into()));
        (first < end).then_some(Piece {
            session: session as u32,
            first: first as u32,
            end: end as u32,
        })
    }

    fn add_pieces(&mut self, view: &View<'_>, mut pieces: Vec<Piece>) -> Result<(), ScanError> {
        if pieces.is_empty() {
            return Ok(());
        }
        for dimension in &self.query.dimensions {
            if let Dimension::Time(width) = dimension {
                pieces = cut(pieces, self.calendar.buckets(*width));
            }
        }
        pieces.sort_unstable_by_key(|piece| piece.first);
        let calendar = &mut self.calendar;
        let columns = self.query.dimensions.iter().map(|dimension| match dimension {
            Dimension::Time(width) => {
                let buckets = calendar.buckets(*width);
                let (codes, starts_ms) = buckets.codes(pieces.len(), |at| pieces[at].start_ms());
                let values = starts_ms.into_iter().map(column::ValueRef::Time).collect();
                Ok(Column { codes: Codes::Words(Cow::Owned(codes)), values })
            }
            other => Ok(of_pieces(column::column(other, view, calendar)?, &pieces)),
        });
        let columns = columns.collect::<Result<Vec<_>, ScanError>>()?;
        let slots = self.grouping.slots(&columns, &Picked::all(pieces.len()))?;
        self.tallies.grow(self.grouping.len(), &self.needs);
        self.tallies.add_minutes(&pieces, &slots)
    }

    /// Returns the number of whole minutes in a group's time: in the period, within the time buckets among the values.
    pub(super) fn minutes_of(&self, values: &[DimensionValue]) -> u64 {
        let mut ranges = vec![self.minutes];
        for (dimension, value) in self.query.dimensions.iter().zip(values) {
            if let (Dimension::Time(width), DimensionValue::Time(start)) = (dimension, value) {
                let buckets = self.query.buckets(*width);
                let bucket = buckets.time_ranges(start.timestamp_millis());
                let bucket: Vec<_> = bucket.map(|(from, until)| minutes(from, until)).collect();
                ranges = intersection(&ranges, &bucket);
            }
        }
        ranges.iter().map(|(first, end)| u64::from(end - first)).sum()
    }

    /// In all of time, begins the minutes with the first one at which a counted session plays.
    pub(super) fn begin_minutes(&mut self) {
        if self.period.from_ms <= Timeframe::ALL.resolve(instant(self.period.from_ms)).0 {
            self.minutes.0 = self.tallies.first_minute().unwrap_or(self.minutes.1);
        }
    }
}

/// Returns the minutes in `[from_ms, until_ms)`, from 1970 on.
pub(super) fn minutes(from_ms: i64, until_ms: i64) -> (u32, u32) {
    let minute = |at_ms| minute_from(at_ms).clamp(0, u32::MAX.into()) as u32;
    let (first, end) = (minute(from_ms), minute(until_ms));
    (first, end.max(first))
}

/// Splits pieces at the boundaries of buckets.
fn cut(pieces: Vec<Piece>, buckets: &mut Timeline) -> Vec<Piece> {
    let (mut whole, mut rest) = (Vec::with_capacity(pieces.len()), pieces);
    while !rest.is_empty() {
        rest.sort_unstable_by_key(|piece| piece.first);
        let mut after = Vec::new();
        buckets.each(
            rest.len(),
            |at| rest[at].start_ms(),
            |range, run| {
                let boundary = minutes(0, run.until_ms).1;
                for piece in &rest[range] {
                    if piece.end <= boundary {
                        whole.push(*piece);
                    } else {
                        whole.push(Piece { end: boundary, ..*piece });
                        after.push(Piece { first: boundary, ..*piece });
                    }
                }
            },
        );
        rest = after;
    }
    whole
}

/// Turns a column of sessions into a column of their pieces.
fn of_pieces<'a>(Column { codes, values }: Column<'a>, pieces: &[Piece]) -> Column<'a> {
    if matches!(codes, Codes::One) {
        return Column { codes, values };
    }
    let codes = pieces.iter().map(|piece| codes.get(piece.session as usize) as u32);
    Column { codes: Codes::Words(codes.collect()), values }
}

fn intersection(some: &[(u32, u32)], others: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let pairs = some.iter().flat_map(|one| others.iter().map(move |other| (one, other)));
    let both = pairs.map(|(one, other)| (one.0.max(other.0), one.1.min(other.1)));
    both.filter(|(first, end)| first < end).collect()
}
