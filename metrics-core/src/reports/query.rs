//! Answers queries: scans the sessions of each period in one snapshot.

use std::collections::HashMap;
use std::ops::Range;

use chrono::{DateTime, Utc};

use super::ReportError;
use super::read::{Fold, Reading, read_from};
use crate::block::{Columns, Groups};
use crate::query::{Period, Periods, Query};
use crate::scan::{Answer, Scanner, VideoInfo};
use crate::store::{Snapshot, Store, VideoId, VideoRecord, VideoScope};

/// Answers a query, and returns the periods it is about.
pub(crate) async fn query(
    store: &dyn Store,
    query: &Query,
    now: DateTime<Utc>,
) -> Result<(Answer, Periods), ReportError> {
    let query = Query { selection: query.selection.for_stores(), ..query.clone() };
    let periods = query.periods(now)?;
    let mut snapshot = store.snapshot().await?;
    let current = scan(&mut *snapshot, &query, periods.current).await?;
    let compared = match periods.compared {
        Some(period) => Some(scan(&mut *snapshot, &query, period).await?),
        None => None,
    };
    drop(snapshot);
    Ok((current.finish(compared)?, periods))
}

async fn scan(
    snapshot: &mut dyn Snapshot,
    query: &Query,
    period: Period,
) -> Result<Scanner, ReportError> {
    let frame = (period.from_ms, period.to_ms);
    let reading = Reading {
        scope: VideoScope {
            key: query.selection.key.clone(),
            identifiers: query.selection.identifiers.clone(),
        },
        lists_videos: true,
        closed: vec![frame],
        open: frame,
        watched_at: None,
    };
    let fold = Scanning { scanner: Scanner::new(query, period)?, videos: HashMap::new() };
    Ok(read_from(snapshot, &reading, fold).await?.scanner)
}

struct Scanning {
    scanner: Scanner,
    // Those that are wanted.
    videos: HashMap<VideoId, VideoRecord>,
}

impl Fold for Scanning {
    type Error = ReportError;

    fn groups(&self) -> Groups {
        self.scanner.groups()
    }

    fn wants(&mut self, video: &VideoRecord) -> bool {
        let is_wanted = self.scanner.wants_video(&info(video));
        if is_wanted {
            self.videos.insert(video.id, video.clone());
        }
        is_wanted
    }

    fn add(
        &mut self,
        video: VideoId,
        columns: &Columns,
        _sessions: Range<usize>,
    ) -> Result<(), ReportError> {
        let Some(video) = self.videos.get(&video) else { return Ok(()) };
        Ok(self.scanner.add(&info(video), columns)?)
    }
}

fn info(record: &VideoRecord) -> VideoInfo<'_> {
    VideoInfo { key: record.key.as_str(), video: &record.video }
}
