//! `/api/v1/fields`: lists the fields of metadata and session data, for menus of filters and dimensions.

use metrics_core::Reports;
use metrics_core::scan::{Field, PATH_BYTES_MAX};
use serde::Serialize;

use super::meta::Meta;
use super::params::Params;
use crate::answer::Text;
use crate::error::Error;

/// The default number of fields in a response.
const LIMIT: u32 = 1_000;

/// The parameters.
const NAMES: [&str; 8] = [
    "identifier",
    "query",
    "filters",
    "timeframe",
    "timezone",
    "minimum_watch_seconds",
    "limit",
    "offset",
];

#[derive(Serialize)]
struct Rest {
    /// The number of all fields, regardless of `limit` and `offset`.
    rows: u64,
    /// False if there may be more fields: pages can make up more names than are counted.
    complete: bool,
    meta: Meta,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    sessions: u64,
}

/// Lists the fields as dimensions, the most frequent first.
pub(crate) async fn fields(reports: Reports<'_>, params: &Params) -> Result<Text, Error> {
    params.check_names(&NAMES)?;
    let (limit, offset) = params.page(LIMIT)?;
    let query = params.sessions_query(&["sessions"])?;
    let found = reports.fields(&query).await?;
    let fields = found.fields;
    let rest = Rest {
        rows: fields.len() as u64,
        complete: found.is_complete,
        meta: Meta::of_engagement(reports, &query),
    };
    let bytes = fields.len() * (size_of::<Field>() + PATH_BYTES_MAX);
    let page = fields.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
    let page = page.take(limit as usize);
    let entry =
        |field: Field| Entry { name: field.dimension.to_string(), sessions: field.sessions };
    Ok(Text::list("fields", bytes, page.map(entry), rest))
}
