//! `/api/v1/fields`: lists the fields of metadata and session data, for menus of filters and dimensions.

use hyper::{Response, StatusCode};
use metrics_core::Metrics;
use metrics_core::scan::Field;
use serde::Serialize;

use super::params::Params;
use crate::error::Error;
use crate::response::{self, Body};

/// The default number of fields in a response.
const LIMIT: u32 = 1_000;

#[derive(Serialize)]
struct Answer {
    fields: Vec<Entry>,
    /// The number of all fields, regardless of `limit` and `offset`.
    rows: u64,
    /// Whether there are no others: false if pages made up more names than are counted.
    complete: bool,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    sessions: u64,
}

/// Lists the fields as dimensions, the most frequent first.
pub(crate) async fn fields(metrics: &Metrics, params: &Params) -> Result<Response<Body>, Error> {
    let (limit, offset) = params.page(LIMIT)?;
    let found = metrics.reports().fields(&params.sessions_query()?).await?;
    let fields = &found.fields;
    let page = fields.iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
    let page = page.take(limit as usize);
    let entry =
        |field: &Field| Entry { name: field.dimension.to_string(), sessions: field.sessions };
    let answer = Answer {
        fields: page.map(entry).collect(),
        rows: fields.len() as u64,
        complete: found.is_complete,
    };
    Ok(response::json(StatusCode::OK, &answer))
}
