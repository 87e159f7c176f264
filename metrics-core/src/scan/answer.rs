//! Responses: the rows of groups, sorted, paged and compared.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};

use super::column::DimensionValue;
use super::group::GROUPS_MAX;
use super::tallies::Tallies;
use super::{ScanError, Scanner};
use crate::query::{Column, Dimension, Direction, Order, Period, Query, Timeframe, instant};
use crate::time_bucket::Width;

/// The response to a query.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The rows of the page.
    pub results: Vec<AnswerRow>,
    /// Number of rows on all pages.
    pub rows: u64,
    /// The row of all sessions, if the query requests it.
    pub totals: Option<Numbers>,
}

/// The metrics of sessions that share dimension values.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AnswerRow {
    /// The value of each dimension of the query.
    pub dimensions: Vec<DimensionValue>,
    /// The metrics.
    pub numbers: Numbers,
}

/// The metrics of a query for some sessions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Numbers {
    /// Each metric; `None` if it does not apply, such as an average of nothing.
    pub metrics: Vec<Option<f64>>,
    /// The metrics of the sessions that these are compared with, if any.
    pub comparison: Option<Compared>,
}

/// The metrics of the compared sessions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Compared {
    /// The dimension values of the compared row, if they differ from those of the row: its time bucket. `None` without
    /// a time dimension, and for a bucket that has no counterpart.
    pub dimensions: Option<Vec<DimensionValue>>,
    /// Each metric.
    pub metrics: Vec<Option<f64>>,
    /// The change from this metric to the current one, relative to this one: 0.2 is 20 % more. `None` if either does
    /// not apply or this one is 0.
    pub change: Vec<Option<f64>>,
}

/// Makes the response to a query from the sums.
pub(super) fn finish(
    mut current: Scanner,
    mut compared: Option<Scanner>,
) -> Result<Answer, ScanError> {
    if current.query.dimensions.is_empty() {
        // The row of all sessions exists without sessions, too.
        current.grouping.make(&[])?;
    }
    fill(&mut current)?;
    current.tallies.flush()?;
    current.begin_minutes();
    let groups = sorted(&current);
    if let Some(compared) = &mut compared {
        compared.tallies.flush()?;
        compared.begin_minutes();
    }
    let compared = compared.map(|compared| Join::new(&current, compared)).transpose()?;

    let Query { limit, offset, totals, .. } = &current.query;
    let offset = usize::try_from(*offset).unwrap_or(usize::MAX);
    let page = groups.iter().skip(offset).take(*limit as usize);
    let results = page.map(|group| {
        let dimensions = current.grouping.values(*group);
        let metrics = read(&current, &current.tallies, Some(*group), Some(&dimensions));
        let comparison = compared.as_ref().map(|join| join.compare(&dimensions, &metrics));
        AnswerRow { dimensions, numbers: Numbers { metrics, comparison } }
    });
    let results = results.collect();
    let totals = if *totals {
        let metrics = read(&current, &current.tallies.total()?, Some(0), Some(&[]));
        let comparison = compared.as_ref().map(|join| join.compare_total(&metrics)).transpose()?;
        Some(Numbers { metrics, comparison })
    } else {
        None
    };
    Ok(Answer { results, rows: groups.len() as u64, totals })
}

/// Returns the metrics of a group with these values. Without values, the group's time has no minutes.
fn read(
    scanner: &Scanner,
    tallies: &Tallies,
    group: Option<u32>,
    values: Option<&[DimensionValue]>,
) -> Vec<Option<f64>> {
    let values = values.filter(|_| scanner.needs.minutes);
    let minutes = values.map_or(0, |values| scanner.minutes_of(values));
    let metrics = scanner.query.metrics.iter();
    metrics.map(|metric| tallies.metric(*metric, group, minutes)).collect()
}

/// The groups in the order of the query.
fn sorted(scanner: &Scanner) -> Vec<u32> {
    let Scanner { query, grouping, .. } = scanner;
    let order = query.order();
    // The sort keys of rows, column by column.
    let mut columns: Vec<(Vec<Option<f64>>, usize, Direction)> = Vec::new();
    for Order { by, direction } in &order {
        match by {
            Column::Metric(metric) => {
                let groups = 0..grouping.len() as u32;
                let values = groups.map(|group| scanner.metric(*metric, group)).collect();
                columns.push((values, 0, *direction));
            }
            Column::Dimension(dimension) => {
                let index = query.dimensions.iter().position(|it| it == dimension);
                columns.push((Vec::new(), index.unwrap_or(0), *direction));
            }
        }
    }
    let directed = |ordering: Ordering, direction| match direction {
        Direction::Ascending => ordering,
        Direction::Descending => ordering.reverse(),
    };
    let mut groups: Vec<u32> = (0..grouping.len() as u32).collect();
    groups.sort_unstable_by(|a, b| {
        let by_columns = columns.iter().map(|(metrics, dimension, direction)| {
            if metrics.is_empty() {
                let values = [a, b].map(|group| grouping.value(*group, *dimension));
                return directed(values[0].cmp(values[1]), *direction);
            }
            match (metrics[*a as usize], metrics[*b as usize]) {
                (Some(a), Some(b)) => directed(a.total_cmp(&b), *direction),
                // Rows to which the metric does not apply come last.
                (a, b) => a.is_none().cmp(&b.is_none()),
            }
        });
        let mut ties = (0..query.dimensions.len())
            .map(|index| grouping.value(*a, index).cmp(grouping.value(*b, index)));
        by_columns.chain(&mut ties).find(|it| it.is_ne()).unwrap_or(Ordering::Equal)
    });
    groups
}

/// Makes the groups of time buckets without sessions.
fn fill(scanner: &mut Scanner) -> Result<(), ScanError> {
    let dimensions = scanner.query.dimensions.iter().enumerate();
    let times = dimensions.filter_map(|(index, dimension)| match dimension {
        Dimension::Time(width) => Some((index, *width)),
        _ => None,
    });
    let times: Vec<_> = times.collect();
    let [(index, width)] = times[..] else { return Ok(()) };
    if !scanner.query.fills() {
        return Ok(());
    }
    let starts = starts(scanner, index, width)?;
    let mut others: BTreeSet<Vec<DimensionValue>> = BTreeSet::new();
    for group in 0..scanner.grouping.len() as u32 {
        let mut values = scanner.grouping.values(group);
        values[index] = DimensionValue::Null;
        others.insert(values);
    }
    if scanner.query.dimensions.len() == 1 {
        others.insert(vec![DimensionValue::Null]);
    }
    if GROUPS_MAX < starts.len().saturating_mul(others.len()) {
        return Err(ScanError::TooManyGroups);
    }
    for mut values in others {
        for start in &starts {
            values[index] = DimensionValue::Time(*start);
            scanner.grouping.make(&values)?;
        }
    }
    Ok(())
}

/// The starts of the buckets of a dimension in the period; in all of time, from the first bucket with sessions on.
fn starts(scanner: &Scanner, index: usize, width: Width) -> Result<Vec<DateTime<Utc>>, ScanError> {
    let Period { from_ms, to_ms } = scanner.period;
    let mut from = instant(from_ms);
    if from_ms <= Timeframe::ALL.resolve(from).0 {
        let groups = 0..scanner.grouping.len() as u32;
        let starts = groups.filter_map(|group| match scanner.grouping.value(group, index) {
            DimensionValue::Time(start) => Some(*start),
            _ => None,
        });
        let Some(first) = starts.min() else { return Ok(Vec::new()) };
        from = first;
    }
    let buckets = scanner.query.buckets(width);
    let starts: Vec<_> = buckets.starts(from, instant(to_ms)).take(GROUPS_MAX + 1).collect();
    if GROUPS_MAX < starts.len() { Err(ScanError::TooManyGroups) } else { Ok(starts) }
}

/// Finds the rows of the compared period by the rows of the current one.
struct Join {
    compared: Scanner,
    // Per time dimension: the bucket of the compared period for each bucket of the current one.
    buckets: Vec<Option<HashMap<DateTime<Utc>, DateTime<Utc>>>>,
}

impl Join {
    fn new(current: &Scanner, compared: Scanner) -> Result<Self, ScanError> {
        let dimensions = current.query.dimensions.iter().enumerate();
        let buckets = dimensions.map(|(index, dimension)| match dimension {
            Dimension::Time(width) => {
                let from = starts(current, index, *width)?;
                let to = starts(&compared, index, *width)?;
                Ok::<_, ScanError>(Some(from.into_iter().zip(to).collect()))
            }
            _ => Ok(None),
        });
        let buckets = buckets.collect::<Result<_, ScanError>>()?;
        Ok(Self { compared, buckets })
    }

    fn compare(&self, dimensions: &[DimensionValue], metrics: &[Option<f64>]) -> Compared {
        let values = dimensions.iter().zip(&self.buckets).map(|pair| match pair {
            (DimensionValue::Time(start), Some(buckets)) => {
                buckets.get(start).copied().map(DimensionValue::Time)
            }
            (value, _) => Some(value.clone()),
        });
        let values: Option<Vec<_>> = values.collect();
        let group = values.as_ref().and_then(|values| self.compared.grouping.find(values));
        let compared = &self.compared;
        let then = read(compared, &compared.tallies, group, values.as_deref());
        let has_time = self.buckets.iter().any(Option::is_some);
        Compared { dimensions: values.filter(|_| has_time), ..Compared::new(metrics, then) }
    }

    fn compare_total(&self, metrics: &[Option<f64>]) -> Result<Compared, ScanError> {
        let total = self.compared.tallies.total()?;
        Ok(Compared::new(metrics, read(&self.compared, &total, Some(0), Some(&[]))))
    }
}

impl Compared {
    fn new(metrics: &[Option<f64>], compared: Vec<Option<f64>>) -> Self {
        let change = metrics.iter().zip(&compared).map(|pair| match pair {
            (Some(now), Some(then)) if *then != 0.0 => Some((now - then) / then),
            _ => None,
        });
        Self { dimensions: None, change: change.collect(), metrics: compared }
    }
}
