//! The older reports from columns: plays, and plays by page, per time bucket.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::Scans;
use super::calendar::Timeline;
use super::{GROUP_BYTES_MAX, GROUPS_MAX, ScanError, SessionFilter, VideoInfo};
use crate::block::{Columns, Group, Groups};
use crate::query::instant;
use crate::response::{PlayTotals, PlaysBucket, SourceBucket};
use crate::source::Source;
use crate::time_bucket::Buckets;
use crate::user_agent::UserAgentClass;

const PLAYS: Groups = Groups::NONE.with(Group::Times).with(Group::UserAgents);
const SOURCES: Groups = Groups::NONE.with(Group::Pages);

/// The approximate size of a map entry beside its key and its value, in bytes: maps reserve more than they hold.
const ENTRY_BYTES: usize = 32;

/// Sums the plays of each time bucket. The filter selects the plays.
#[derive(Clone, Debug)]
pub(crate) struct PlaysScanner {
    filter: SessionFilter,
    timeline: Timeline,
    // By the start of the bucket, in Unix milliseconds.
    folded: BTreeMap<i64, PlayTotals>,
}

impl PlaysScanner {
    /// Creates a scanner without sessions.
    #[must_use]
    pub(crate) fn new(filter: SessionFilter, buckets: Buckets) -> Self {
        Self { filter, timeline: Timeline::new(buckets), folded: BTreeMap::new() }
    }

    /// Returns the buckets in order. `also` are starts of buckets to include even if they are empty.
    #[must_use]
    pub(crate) fn finish(
        mut self,
        also: impl IntoIterator<Item = DateTime<Utc>>,
    ) -> Vec<PlaysBucket> {
        for start in also {
            self.folded.entry(start.timestamp_millis()).or_default();
        }
        let buckets = self.folded.into_iter();
        buckets.map(|(start_ms, totals)| PlaysBucket { start: instant(start_ms), totals }).collect()
    }
}

impl Scans for PlaysScanner {
    fn groups(&self) -> Groups {
        self.filter.groups().union(PLAYS)
    }

    fn selects_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.selects_video(video)
    }

    fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        let view = self.filter.view(video, columns, PLAYS)?;
        let picked = self.filter.pick(&view)?;
        let Some(user_agents) = &columns.user_agents else { return Ok(()) };
        let codes = view.codes(user_agents);
        let folded = &mut self.folded;
        self.timeline.each(
            picked.len(),
            |at| picked.start_ms(&view, at),
            |range, run| {
                let totals = folded.entry(run.value).or_default();
                for session in picked.range(range) {
                    let user_agent: UserAgentClass = user_agents.values()[codes.get(session)];
                    totals.add_plays(1, view.view_ms(session), view.unique_ms(session), user_agent);
                }
            },
        );
        check(self.folded.len())
    }

    fn bytes(&self) -> usize {
        let bucket = size_of::<(i64, PlayTotals)>() + ENTRY_BYTES;
        self.folded.len() * bucket + self.timeline.bytes()
    }
}

/// Counts the plays on each page in each time bucket. The filter selects the plays.
#[derive(Clone, Debug)]
pub(crate) struct SourcesScanner {
    filter: SessionFilter,
    timeline: Timeline,
    // By the start of the bucket, in Unix milliseconds, and the page.
    folded: HashMap<(i64, Source), u64>,
    // The length of all pages in all buckets.
    text_bytes: usize,
}

impl SourcesScanner {
    /// Creates a scanner without sessions.
    #[must_use]
    pub(crate) fn new(filter: SessionFilter, buckets: Buckets) -> Self {
        let timeline = Timeline::new(buckets);
        Self { filter, timeline, folded: HashMap::new(), text_bytes: 0 }
    }

    fn check(&self) -> Result<(), ScanError> {
        let is_too_long = GROUP_BYTES_MAX < self.text_bytes;
        if is_too_long { Err(ScanError::TooManyGroups) } else { check(self.folded.len()) }
    }

    /// Returns the pages by time, then the most played page first, then by URL.
    #[must_use]
    pub(crate) fn finish(self) -> Vec<SourceBucket> {
        let answer = self.folded.into_iter().map(|((start_ms, source), plays)| SourceBucket {
            start: instant(start_ms),
            source,
            plays,
        });
        let mut answer: Vec<_> = answer.collect();
        answer.sort_unstable_by(|a, b| {
            (a.start, b.plays, a.source.as_str()).cmp(&(b.start, a.plays, b.source.as_str()))
        });
        answer
    }
}

impl Scans for SourcesScanner {
    fn groups(&self) -> Groups {
        self.filter.groups().union(SOURCES)
    }

    fn selects_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.selects_video(video)
    }

    fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        let view = self.filter.view(video, columns, SOURCES)?;
        let picked = self.filter.pick(&view)?;
        let Some(pages) = &columns.pages else { return Ok(()) };
        let codes = view.codes(pages);
        let (folded, text_bytes) = (&mut self.folded, &mut self.text_bytes);
        // Number of plays of each page in the current range of time, and the pages with plays.
        let mut plays = vec![0_u64; pages.values().len()];
        let mut played = Vec::new();
        self.timeline.each(
            picked.len(),
            |at| picked.start_ms(&view, at),
            |range, run| {
                for session in picked.range(range) {
                    let code = codes.get(session);
                    if plays[code] == 0 {
                        played.push(code);
                    }
                    plays[code] += 1;
                }
                for code in played.drain(..) {
                    let plays = std::mem::take(&mut plays[code]);
                    if let Some(page) = &pages.values()[code] {
                        let counted = folded.entry((run.value, page.clone())).or_default();
                        // A page is added with its first play.
                        *text_bytes += if *counted == 0 { page.as_str().len() } else { 0 };
                        *counted += plays;
                    }
                }
            },
        );
        self.check()
    }

    fn bytes(&self) -> usize {
        let page = size_of::<((i64, Source), u64)>() + ENTRY_BYTES;
        self.folded.len() * page + self.text_bytes + self.timeline.bytes()
    }
}

fn check(groups: usize) -> Result<(), ScanError> {
    if GROUPS_MAX < groups { Err(ScanError::TooManyGroups) } else { Ok(()) }
}
