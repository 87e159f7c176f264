//! `/api/v1/dimensions/{name}`: the values that a dimension has, the most played first, for choosers.

use metrics_core::query::{Dimension, Filter, Metric, Operator, Query};
use metrics_core::scan::AnswerRow;
use metrics_core::{Reports, Timeframe};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::Value;

use super::meta::Meta;
use super::params::Params;
use super::query;
use super::timeframe::read_timeframe;
use crate::answer::Text;
use crate::error::Error;

/// The parameters.
const NAMES: [&str; 8] =
    ["identifier", "query", "filters", "timeframe", "timezone", "search", "limit", "offset"];

#[derive(Serialize)]
struct Rest {
    /// How many values there are, not only those of the page.
    rows: u64,
    meta: Meta,
}

#[derive(Serialize)]
struct Entry {
    value: Value,
    plays: u64,
}

/// The values of the dimension that the path names.
pub(crate) async fn values(
    reports: Reports<'_>,
    name: &str,
    params: &Params,
) -> Result<Text, Error> {
    params.check_names(&NAMES)?;
    let query = params.values_query(&percent_decode_str(name).decode_utf8_lossy())?;
    let (answer, _) = reports.query(&query).await?;
    let meta = Meta::new(reports, query.timeframe, query.timezone);
    let rest = Rest { rows: answer.rows, meta };
    let bytes = query::bytes_of(&answer);
    let entry = move |row: AnswerRow| Entry {
        value: query::dimension(&query, &query.dimensions[0], &row.dimensions[0]),
        plays: row.numbers.metrics[0].unwrap_or_default() as u64,
    };
    Ok(Text::list("values", bytes, answer.results.into_iter().map(entry), rest))
}

impl Params {
    /// The query for the values of a dimension, of all time unless said otherwise.
    fn values_query(&self, name: &str) -> Result<Query, Error> {
        let dimension: Dimension = name.parse()?;
        let mut query = Query::new([Metric::Plays]).of(self.selection(&["plays"])?);
        query = query.by(dimension.clone()).during(Timeframe::ALL);
        if let Some(timeframe) = self.get("timeframe") {
            query.timeframe = read_timeframe(timeframe)?;
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
