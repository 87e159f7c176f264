//! `/api/v1/dimensions/{name}`: the values that a dimension has, the most played first, for choosers.

use hyper::{Response, StatusCode};
use metrics_core::query::{Dimension, Filter, Metric, Operator, Query};
use metrics_core::{Metrics, Timeframe};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::Value;

use super::params::Params;
use super::query;
use crate::error::Error;
use crate::response::{self, Body};

#[derive(Serialize)]
struct Answer {
    values: Vec<Entry>,
    /// How many values there are, not only those of the page.
    rows: u64,
}

#[derive(Serialize)]
struct Entry {
    value: Value,
    plays: u64,
}

/// The values of the dimension that the path names.
pub(crate) async fn values(
    metrics: &Metrics,
    name: &str,
    params: &Params,
) -> Result<Response<Body>, Error> {
    let query = params.values_query(&percent_decode_str(name).decode_utf8_lossy())?;
    let (answer, _) = metrics.query(&query).await?;
    let entry = |row: &metrics_core::scan::AnswerRow| Entry {
        value: query::dimension(&query, &query.dimensions[0], &row.dimensions[0]),
        plays: row.numbers.metrics[0].unwrap_or_default() as u64,
    };
    let values = answer.results.iter().map(entry).collect();
    Ok(response::json(StatusCode::OK, &Answer { values, rows: answer.rows }))
}

impl Params {
    /// The query for the values of a dimension, of all time unless said otherwise.
    fn values_query(&self, name: &str) -> Result<Query, Error> {
        let dimension: Dimension = name.parse()?;
        let mut query = Query::new([Metric::Plays]).of(self.any_selection()?);
        query = query.by(dimension.clone()).during(Timeframe::ALL);
        if let Some(timeframe) = self.get("timeframe") {
            query.timeframe = query::read_timeframe(timeframe)?;
        }
        query.timezone = self.timezone()?;
        (query.limit, query.offset) = self.page(query.limit)?;
        if let Some(search) = self.get("search") {
            let search = search.as_str().filter(|_| dimension.is_text());
            let search = search.ok_or_else(|| {
                Error::parameter("search", "must be a text, of a dimension whose values are texts")
            })?;
            let values = vec![Some(search.to_owned())];
            let found = Filter::Dimension { dimension, operator: Operator::Contains, values };
            let before = std::mem::take(&mut query.selection.filter);
            query.selection.filter = Filter::And(vec![before, found]);
        }
        query.check()?;
        Ok(query)
    }
}
