//! Sessions for tests.

use std::sync::Arc;

use crate::arrival::Arrival;
use crate::block::{Block, Columns, Groups, Row, RowId};
use crate::interval::{Interval, Segments};
use crate::scan::VideoInfo;
use crate::session::{Counters, Details, MINUTE_MS, Stored};
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::{Source, Video};

/// A session, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) key: &'static str,
    pub(crate) video: Video,
    pub(crate) row: Row,
}

impl Watch {
    /// A session of the video `intro` without anything.
    pub(crate) fn at(start: &str) -> Self {
        let start: chrono::DateTime<chrono::Utc> = start.parse().unwrap();
        let at_ms = start.timestamp_millis();
        let stored = Stored::finished(at_ms, at_ms, None, &Segments::default());
        let user_agent = UserAgentClass {
            browser: Browser::Chrome,
            platform: Platform::Mac,
            device: Device::Desktop,
        };
        let arrival = Arrival::default();
        let row = Row { id: RowId(0), page: None, user_agent, session_data: None, arrival, stored };
        Self { key: "key", video: Video::labelled("intro"), row }
    }

    /// It watched these seconds, in tenths.
    pub(crate) fn watched(mut self, tenths: &[(u32, u32)]) -> Self {
        let segments = tenths.iter().filter_map(|(from, to)| Interval::new(100 * from, 100 * to));
        let segments: Segments = segments.collect();
        self.row.stored.view_ms = segments.len_ms();
        self.row.stored.unique_ms = segments.union().len_ms();
        self.row.stored.segments = segments.encode();
        self
    }

    /// Sets the minutes after its start at which it played.
    pub(crate) fn playing(mut self, minutes: &[(i64, i64)]) -> Self {
        let stored = &mut self.row.stored;
        for (from, until) in minutes {
            let at = |minute: &i64| stored.started_at_ms + minute * MINUTE_MS;
            stored.minutes.insert(stored.started_at_ms, at(from), at(until));
        }
        self
    }

    /// The duration of the video in tenths of seconds.
    pub(crate) fn of(mut self, tenths: u32) -> Self {
        self.row.stored.duration_ms = Some(100 * tenths);
        self
    }

    pub(crate) fn video(mut self, video: Video) -> Self {
        self.video = video;
        self
    }

    pub(crate) fn key(mut self, key: &'static str) -> Self {
        self.key = key;
        self
    }

    pub(crate) fn on(mut self, page: &str) -> Self {
        self.row.page = Source::parse(page);
        self
    }

    pub(crate) fn with(mut self, browser: Browser, platform: Platform, device: Device) -> Self {
        self.row.user_agent = UserAgentClass { browser, platform, device };
        self
    }

    pub(crate) fn data(mut self, json: &str) -> Self {
        self.row.session_data = Some(Arc::from(json));
        self
    }

    pub(crate) fn from(mut self, json: &str) -> Self {
        self.row.arrival = Arrival::from_json(json).unwrap();
        self
    }

    pub(crate) fn speaking(mut self, language: &str) -> Self {
        let details = &mut self.row.stored.counters.details;
        *details = Details { language: Some(language.to_owned()), ..Details::default() };
        self
    }

    pub(crate) fn counting(mut self, mut counters: Counters) -> Self {
        counters.details = self.row.stored.counters.details;
        self.row.stored.counters = counters;
        self
    }

    pub(crate) fn info(&self) -> VideoInfo<'_> {
        VideoInfo { key: self.key, video: &self.video }
    }
}

/// The sessions of each video in blocks of at most `size`, as a store would return `groups` of them. The last of each
/// video are open sessions.
pub(crate) fn blocks(watches: &[Watch], size: usize, groups: Groups) -> Vec<(Watch, Columns)> {
    let mut rest: Vec<Watch> = watches.to_vec();
    let mut blocks = Vec::new();
    while let Some(first) = rest.first().cloned() {
        let is_same = |watch: &Watch| watch.key == first.key && watch.video == first.video;
        let same: Vec<_> = rest.iter().filter(|it| is_same(it)).map(|it| it.row.clone()).collect();
        rest.retain(|watch| !is_same(watch));
        let chunks = same.chunks(size);
        let last = chunks.len() - 1;
        for (index, rows) in chunks.enumerate() {
            let mut rows = rows.to_vec();
            let columns = if index < last {
                let mut block = Block::encode(rows);
                // Groups that were not asked for are not read.
                for group in crate::block::Group::ALL {
                    if !groups.has(group) {
                        block.groups[group as usize] = None;
                    }
                }
                block.columns(groups).unwrap()
            } else {
                rows.sort_by_key(Row::order);
                Columns::of(&rows)
            };
            blocks.push((first.clone(), columns));
        }
    }
    blocks
}
