//! Answers of queries and reports, and the scans that compute them from the columns of sessions.
//!
//! A `Scanner` takes the columns of any number of blocks and open sessions, in any order, and answers a [`Query`]. It
//! does no I/O: the caller reads the groups of columns that `Scanner::groups` names, of the videos that
//! `Scanner::selects_video` accepts. The scanners in `engagement` and `buckets` answer the older reports in the same way.
//!
//! Results are exact and do not depend on the order: all sums are of integers, and percentiles are taken from the
//! counts of distinct values.
//!
//! # How sessions become rows
//!
//! Every dimension is a column of codes, one per session, and the value of each code: dictionaries of blocks are used
//! directly, time buckets are found once per range of time in one bucket. A filter is decided once per value and
//! becomes a mask of the sessions of a block. Groups are found by the codes of the selected sessions; then each sum is
//! one loop over those sessions.
//!
//! A new dimension is a variant of [`Dimension`] and its column, a new metric a variant of [`Metric`] and its sums.

mod answer;
pub(crate) mod buckets;
mod calendar;
mod column;
mod concurrency;
mod counts;
pub(crate) mod engagement;
mod fields;
mod filter;
mod group;
mod needs;
mod sums;
mod tallies;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};

use crate::block::{Columns, Group, Groups};
use crate::engagement::TooManySeconds;
use crate::query::{Dimension, LIMIT_MAX, Metric, Minimum, Period, Query, QueryError};
use crate::session::MINUTE_MS;
use crate::varint::Damaged;
use crate::video::Video;

pub use answer::{Answer, AnswerRow, Compared, Numbers};
pub use column::DimensionValue;
pub(crate) use column::{title, video_name};
pub(crate) use concurrency::LOOKBACK_MS;
pub(crate) use fields::FieldsScanner;
pub use fields::{FIELDS_MAX, Field, Fields, PATH_BYTES_MAX};
pub(crate) use filter::SessionFilter;
pub(crate) use group::{GROUP_BYTES_MAX, GROUPS_MAX};
pub(crate) use tallies::{MINUTES_MAX, VALUES_MAX};

use calendar::Calendar;
use column::View;
use filter::Picked;
use group::Grouping;
use needs::Needs;
use tallies::Tallies;

/// The video of a block, and the key it is under.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VideoInfo<'a> {
    /// The key as clients send it.
    pub(crate) key: &'a str,
    /// The video.
    pub(crate) video: &'a Video,
}

/// Why columns could not be added, or a query has no result.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The content of a block cannot be decoded.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// A group of columns was not read.
    #[error("the columns lack the group {}", .0.name())]
    Missing(Group),
    /// There are more groups of sessions than the memory limit allows.
    #[error(
        "the answer has more than {GROUPS_MAX} rows before `limit` applies, or more than {GROUP_BYTES_MAX} bytes of \
         text: use fewer dimensions, a wider interval or a filter"
    )]
    TooManyGroups,
    /// A file without `limit` would not have all rows.
    #[error(
        "the answer has {0} rows, a file at most {LIMIT_MAX}: set `limit`, and `offset` for the rest, or use a filter"
    )]
    TooManyRows(u64),
    /// Percentiles would need more values than the memory limit allows.
    #[error(
        "percentiles need more than {VALUES_MAX} distinct values: use fewer dimensions or a filter"
    )]
    TooManyValues,
    /// The minutes of concurrent sessions would exceed the memory limit.
    #[error(
        "concurrency needs more than {MINUTES_MAX} minutes in all rows together: use a shorter timeframe, fewer \
         dimensions or a filter"
    )]
    TooManyMinutes,
    /// There are more seconds of video than the memory limit allows.
    #[error(transparent)]
    TooManySeconds(#[from] TooManySeconds),
}

/// Answers a [`Query`] from columns.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    query: Query,
    period: Period,
    // The minutes of the period, `[first, end)`, in numbers of minutes since 1970.
    minutes: (u32, u32),
    filter: SessionFilter,
    calendar: Calendar,
    needs: Needs,
    grouping: Grouping,
    tallies: Tallies,
}

impl Scanner {
    /// Creates a scanner for the sessions of a period, one of [`Query::periods`].
    ///
    /// # Errors
    ///
    /// [`QueryError`] if the query cannot be answered: see [`Query::check`].
    pub(crate) fn new(query: &Query, period: Period) -> Result<Self, QueryError> {
        query.check()?;
        let needs = Needs::of(&query.metrics);
        // If only plays count, other sessions need no groups.
        let minimum = if needs.plays_only { query.minimum } else { Minimum::ViewMs(0) };
        let filter = SessionFilter::new(&query.selection, period, minimum);
        Ok(Self {
            calendar: Calendar::new(query.timezone),
            filter: filter.in_timezone(query.timezone),
            needs,
            grouping: Grouping::new(query.dimensions.len()),
            tallies: Tallies::default(),
            query: query.clone(),
            minutes: concurrency::minutes(period.from_ms, period.to_ms.saturating_add(1)),
            period,
        })
    }

    /// Sets the current time: minutes after `now` do not count.
    #[must_use]
    pub(crate) fn with_now(mut self, now: DateTime<Utc>) -> Self {
        let until_ms = self.period.to_ms.min(now.timestamp_millis()).saturating_add(1);
        self.minutes = concurrency::minutes(self.period.from_ms, until_ms);
        self
    }

    /// Returns the first and last start, in Unix milliseconds, of the sessions to read. Sessions that play in the
    /// period may have started up to [`LOOKBACK_MS`] before it; these count in concurrency only.
    #[must_use]
    pub(crate) fn frame(&self) -> (i64, i64) {
        let Period { from_ms, to_ms } = self.period;
        let back_ms = if self.needs.minutes { LOOKBACK_MS } else { 0 };
        (from_ms.saturating_sub(back_ms), to_ms)
    }

    /// Returns `now` if minutes count that sessions watched now may have played since their last write.
    #[must_use]
    pub(crate) fn minutes_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let end_ms = i64::from(self.minutes.1) * MINUTE_MS;
        // The period has the current minute, or the one before.
        (self.needs.minutes && now.timestamp_millis() - MINUTE_MS < end_ms).then_some(now)
    }

    /// Returns whether the result depends on videos or keys: otherwise columns may be added under any.
    #[must_use]
    pub(crate) fn needs_videos(&self) -> bool {
        let is_by_video = self.query.dimensions.iter().any(Dimension::is_of_video);
        is_by_video || self.filter.needs_videos()
    }

    /// Adds sessions of a video that started in the period.
    fn add_starts(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        let view = View::new(video, columns, self.period, self.groups())?;
        let picked = self.filter.pick(&view)?;
        if picked.is_empty() {
            return Ok(());
        }
        let slots = self.slots(&view, &picked)?;
        self.tallies.grow(self.grouping.len(), &self.needs);
        if !self.needs.plays_only {
            self.tallies.add_sessions(&view, &picked, &slots, &self.needs)?;
        }
        if !self.needs.plays {
            return Ok(());
        }
        // Every picked session is a play if only plays are picked, or if there is no minimum.
        if self.needs.plays_only || self.query.minimum == Minimum::ViewMs(0) {
            self.tallies.add_plays(&view, &picked, &slots, &self.needs);
            return Ok(());
        }
        let (plays, slots) = picked.plays(self.query.minimum, &view, &slots);
        self.tallies.add_plays(&view, &plays, &slots, &self.needs);
        Ok(())
    }

    /// Returns the response, compared with that of a scanner of the same query and another period, if there is one.
    ///
    /// # Errors
    ///
    /// [`ScanError::TooManyGroups`] if time buckets without sessions are too many, [`ScanError::TooManyValues`] or
    /// [`ScanError::TooManyMinutes`] if all groups together have too many.
    pub(crate) fn finish(self, compared: Option<Self>) -> Result<Answer, ScanError> {
        answer::finish(self, compared)
    }

    /// Adds a row with these values, one per dimension of the query, even if no session has them.
    ///
    /// # Errors
    ///
    /// [`ScanError::TooManyGroups`].
    pub(crate) fn make_row(&mut self, values: &[DimensionValue]) -> Result<(), ScanError> {
        self.grouping.make(values)?;
        self.tallies.grow(self.grouping.len(), &self.needs);
        Ok(())
    }

    /// Returns a metric of a group.
    fn metric(&self, metric: Metric, group: u32) -> Option<f64> {
        let is_mean = metric == Metric::AverageConcurrent;
        let minutes = if is_mean { self.minutes_of(&self.grouping.values(group)) } else { 0 };
        self.tallies.metric(metric, Some(group), minutes)
    }

    /// Finds the group of each session picked.
    fn slots(&mut self, view: &View<'_>, picked: &Picked) -> Result<Vec<u32>, ScanError> {
        let calendar = &mut self.calendar;
        let dimensions = self.query.dimensions.iter();
        let columns = dimensions.map(|dimension| column::column(dimension, view, calendar));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        self.grouping.slots(&columns, picked)
    }
}

/// Sums columns of sessions.
pub(crate) trait Scans: Send + 'static {
    /// Returns the groups of columns that [`add`](Self::add) reads.
    fn groups(&self) -> Groups;

    /// Returns whether sessions of the video may count. Columns of other videos need not be added.
    fn selects_video(&self, video: &VideoInfo<'_>) -> bool;

    /// Adds sessions of a video.
    ///
    /// # Errors
    ///
    /// [`ScanError`] if the columns are damaged or lack a group, or if there are too many groups of sessions or buckets.
    /// The result is invalid then.
    fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError>;

    /// Returns the approximate number of bytes in memory.
    fn bytes(&self) -> usize;
}

impl Scans for Scanner {
    fn groups(&self) -> Groups {
        let dimensions = self.query.dimensions.iter().map(column::groups_of);
        let groups = dimensions.fold(self.filter.groups(), Groups::union);
        groups.union(self.needs.groups(self.query.minimum))
    }

    fn selects_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.selects_video(video)
    }

    fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        if self.needs.minutes {
            self.add_minutes(video, columns)?;
        }
        if self.needs.starts { self.add_starts(video, columns) } else { Ok(()) }
    }

    fn bytes(&self) -> usize {
        self.grouping.bytes() + self.tallies.bytes() + self.calendar.bytes()
    }
}
