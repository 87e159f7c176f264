//! `/api/v1/watching`: the number of sessions that play at this moment, of all that the caller may read if none are selected.

use metrics_core::Reports;
use serde::Serialize;

use super::params::{OLDER, Params};
use crate::answer::Text;
use crate::error::Error;

#[derive(Serialize)]
struct Answer {
    watching: u64,
}

/// Returns the number of sessions that play at this moment.
pub(crate) async fn watching(reports: Reports<'_>, params: &Params) -> Result<Text, Error> {
    params.check_names(&OLDER)?;
    let watching = reports.watching(&params.selection(&["watching"])?).await?;
    Ok(Text::json(Answer { watching }))
}
