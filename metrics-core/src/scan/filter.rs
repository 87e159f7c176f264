//! Filters as masks of the sessions of a block.

mod condition;
mod mask;
mod minimum;
mod picked;
mod values;

use chrono_tz::Tz;

use self::condition::{Condition, selected};
pub(super) use self::minimum::minimum_groups;
pub(super) use self::picked::Picked;
use super::calendar::Calendar;
use super::column::View;
use super::{ScanError, VideoInfo};
use crate::block::{Columns, Group, Groups};
use crate::query::{Minimum, Period, Scan, Selection};

/// Selects the sessions of a selection and a period for which filters hold, with a minimum view time.
#[derive(Clone, Debug)]
pub(crate) struct SessionFilter {
    period: Period,
    condition: Condition,
    calendar: Calendar,
    groups: Groups,
}

impl SessionFilter {
    /// Creates a filter of the sessions of a selection and a period, with a minimum view time. The filter of the
    /// selection must be [checked](crate::query::Filter::check).
    #[must_use]
    pub(crate) fn new(selection: &Selection, period: Period, minimum: Minimum) -> Self {
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
    pub(crate) fn of_scan(scan: &Scan) -> Self {
        let Scan { selection, from_ms, to_ms, minimum_view_ms } = scan;
        let period = Period { from_ms: *from_ms, to_ms: *to_ms };
        Self::new(selection, period, Minimum::ViewMs(*minimum_view_ms))
    }

    /// Sets the time zone: filters by hours, days and time buckets follow the local time of `timezone`.
    #[must_use]
    pub(crate) fn in_timezone(self, timezone: Option<Tz>) -> Self {
        Self { calendar: Calendar::new(timezone), ..self }
    }

    /// The groups of columns that must be read.
    #[must_use]
    pub(crate) fn groups(&self) -> Groups {
        self.groups
    }

    /// Returns whether the filter depends on videos or keys: otherwise columns may be added under any.
    #[must_use]
    pub(crate) fn needs_videos(&self) -> bool {
        self.condition.needs_videos()
    }

    /// Returns whether sessions of the video may count.
    #[must_use]
    pub(crate) fn selects_video(&self, video: &VideoInfo<'_>) -> bool {
        // A video with damaged metadata is accepted here, and becomes an error later.
        self.condition.of_video(video).unwrap_or(None) != Some(false)
    }

    /// Returns the indices of the sessions that count, in order.
    ///
    /// # Errors
    ///
    /// [`ScanError`] if the columns are damaged or lack one of the [groups](Self::groups).
    pub(crate) fn sessions(
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
            return Ok(Picked::all(0));
        }
        let mask = self.condition.mask(view, &mut self.calendar)?;
        Ok(Picked::of(&mask, view.len()))
    }
}
