//! `/api/v1/sources`: plays per time bucket and page.

use metrics_core::{BucketQuery, ReportError, Reports};
use serde::Serialize;

use super::meta::Meta;
use super::params::{OLDER, Params};
use crate::answer::Text;
use crate::error::Error;
use crate::table::row::{Kind, Line, Row};

#[derive(Serialize)]
pub(crate) struct Source {
    interval: String,
    path: String,
    host: String,
    pathname: String,
    views: u64,
}

/// The parameters of a page.
pub(crate) const PAGE: [&str; 2] = ["limit", "offset"];

/// The numbers that it shows, by the names in `metrics` of a token.
pub(crate) const SHOWS: [&str; 1] = ["plays"];

/// The default and the largest number of rows: old clients know no other page than the first.
const LIMIT: u32 = 100_000;

/// Plays per time bucket and page.
pub(crate) async fn sources(reports: Reports<'_>, params: &Params) -> Result<Text, Error> {
    params.check_names(&[&OLDER[..], &PAGE].concat())?;
    let query = params.bucket_query(&SHOWS)?;
    let page = params.page_of(LIMIT, LIMIT)?;
    let meta = Meta::of_buckets(reports, &query);
    let (all, bytes, rows) = pages(reports, &query, page).await?;
    Ok(Text::list("sources", bytes, rows, meta.with_rows(all).about()))
}

/// The plays of each bucket and page, from an offset up to a limit: how many there are in all, how many bytes they hold,
/// and those.
pub(crate) async fn pages(
    reports: Reports<'_>,
    query: &BucketQuery,
    (limit, offset): (u32, u64),
) -> Result<(usize, usize, impl Iterator<Item = Source> + Send + 'static), ReportError> {
    let found = reports.sources(query).await?;
    let all = found.len();
    let texts: usize = found.iter().map(|it| it.source.as_str().len()).sum();
    let (bytes, buckets) = (size_of_val(&*found) + texts, query.buckets);
    // Skipped before anything is made of them: that may be a hundred thousand in one step.
    let some = found.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
    let rows = some.take(limit as usize).map(move |it| Source {
        interval: buckets.label(it.start),
        path: it.source.as_str().to_owned(),
        host: it.source.host().to_owned(),
        pathname: it.source.pathname().to_owned(),
        views: it.plays,
    });
    Ok((all, bytes, rows))
}

impl Row for Source {
    fn columns(line: &mut Line<'_>) {
        line.columns(Kind::Time, &["interval"]);
        line.columns(Kind::Text, &["path", "host", "pathname"]);
        line.columns(Kind::Integer, &["views"]);
    }

    fn cells(&self, line: &mut Line<'_>) {
        for text in [&self.interval, &self.path, &self.host, &self.pathname] {
            line.text(text);
        }
        line.number(self.views);
    }
}
