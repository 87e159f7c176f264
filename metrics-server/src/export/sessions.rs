//! Sessions as rows.
//!
//! A row has the values that reports are made of. It has no session id: no question about sessions needs one, and a
//! person who knows the id that a page gave a session could find the session by it.
//!
//! Rows are made and written off the threads that serve, like reports: see [`compute`].

use std::vec;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use metrics_core::arrival::ArrivalPart;
use metrics_core::budget::Account;
use metrics_core::compute::{compute, expect_aside};
use metrics_core::export::{Export as Walk, Record};
use metrics_core::interval::Segments;
use metrics_core::query::instant;
use metrics_core::store::{self, Store};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::seconds;
use crate::table::row::{Kind, Line, Row};
use crate::table::{Format, Writer};

/// The approximate number of bytes that are written at a time: enough that little of the time goes into handing them
/// on.
const PIECE_BYTES: usize = 64 * 1024;

/// Sessions that are written while they are read.
#[derive(Debug)]
pub(super) struct Sessions {
    walk: Walk,
    // `None` while rows are written, and if the call that wrote them was dropped.
    writing: Option<Writing>,
    account: Account,
}

/// A file that is being written.
#[derive(Debug)]
struct Writing {
    writer: Writer,
    // Records that were read, and are not written yet.
    records: vec::IntoIter<Record>,
    // Whether no more records come.
    is_last: bool,
}

impl Sessions {
    /// Accounts the bytes of the file in `account` until they are taken.
    pub(super) fn new(walk: Walk, format: Format, account: Account) -> Result<Self, store::Error> {
        let writer = Writer::new(format, Session::columns)?;
        let writing = Writing { writer, records: Vec::new().into_iter(), is_last: false };
        Ok(Self { walk, writing: Some(writing), account })
    }

    #[cfg(feature = "binary")]
    pub(super) fn read(&self) -> u64 {
        self.walk.read()
    }

    /// Returns the next piece, or `None` after the last. If a page of sessions cannot be read, the bytes written so far
    /// stay in the writer.
    ///
    /// Not cancel safe: if it is dropped, the next call fails.
    pub(super) async fn next(&mut self, store: &dyn Store) -> Result<Option<Bytes>, store::Error> {
        loop {
            let mut writing = self.writing.take().ok_or_else(no_writer)?;
            let account = self.account.clone();
            let written = compute(move || {
                let written = writing.write(&account);
                (writing, written)
            });
            let (writing, written) = written.await?;
            let writing = self.writing.insert(writing);
            if written? {
                let piece = writing.writer.take();
                self.account.charge(writing.writer.held());
                return Ok((!piece.is_empty()).then(|| piece.into()));
            }
            match self.walk.next(store).await? {
                Some(records) => writing.records = records.into_iter(),
                None => writing.is_last = true,
            }
        }
    }
}

impl Writing {
    /// Writes the records, or as many as a piece has. Returns whether there is a piece, which is empty after the last.
    fn write(&mut self, account: &Account) -> Result<bool, store::Error> {
        expect_aside();
        while self.writer.len() < PIECE_BYTES {
            let Some(record) = self.records.next() else {
                if self.is_last {
                    self.writer.finish()?;
                }
                account.charge(self.writer.held());
                return Ok(self.is_last);
            };
            let session = Session::of(&record);
            self.writer.write(&session, |line| session.cells(line))?;
        }
        account.charge(self.writer.held());
        Ok(true)
    }
}

fn no_writer() -> store::Error {
    let source = "a piece was abandoned while it was written".into();
    store::Error::Unavailable { store: "the export", source }
}

#[derive(Serialize)]
struct Session<'a> {
    started_at: String,
    last_event_at: String,
    key: &'a str,
    identifier: Option<&'a str>,
    metadata: Option<&'a RawValue>,
    session_data: Option<&'a RawValue>,
    source: Option<&'a str>,
    referrer: Option<&'a str>,
    utm_source: Option<&'a str>,
    utm_medium: Option<&'a str>,
    utm_campaign: Option<&'a str>,
    country: Option<&'a str>,
    browser: &'static str,
    platform: &'static str,
    device: &'static str,
    duration: Option<f64>,
    view_time: f64,
    unique_view_time: f64,
    segments: Vec<(f64, f64)>,
    startup_time: Option<f64>,
    rebufferings: u32,
    rebuffering_time: f64,
    failures: u32,
    seeks: u32,
    seek_waits: u32,
    seek_wait_time: f64,
    scrubbed_time: f64,
    unplaced_time: f64,
    fullscreens: u32,
    tracks: u32,
    language: Option<&'a str>,
    renditions: u32,
    width: Option<u32>,
    height: Option<u32>,
    bitrate: Option<u32>,
    codec: Option<&'a str>,
    clamped: u32,
    others: u32,
}

impl<'a> Session<'a> {
    fn of(record: &'a Record) -> Self {
        let Record { subject, stored, .. } = record;
        let counters = &stored.counters;
        let (details, rendition) = (&counters.details, counters.details.rendition.as_ref());
        // Stored values are valid: they were written as JSON, and as segments.
        let json = |text: &'a str| serde_json::from_str(text).ok();
        let segments = Segments::decode(&stored.segments).unwrap_or_default();
        let position = |ms: u32| seconds(ms.into());
        Self {
            started_at: time(stored.started_at_ms),
            last_event_at: time(stored.last_event_at_ms),
            key: subject.key.as_str(),
            identifier: subject.video.identifier(),
            metadata: subject.video.metadata().and_then(json),
            session_data: subject.session_data.as_deref().and_then(json),
            source: subject.source.as_ref().map(|source| source.as_str()),
            referrer: subject.arrival.get(ArrivalPart::Referrer),
            utm_source: subject.arrival.get(ArrivalPart::UtmSource),
            utm_medium: subject.arrival.get(ArrivalPart::UtmMedium),
            utm_campaign: subject.arrival.get(ArrivalPart::UtmCampaign),
            country: subject.arrival.get(ArrivalPart::Country),
            browser: subject.user_agent.browser.name(),
            platform: subject.user_agent.platform.name(),
            device: subject.user_agent.device.name(),
            duration: stored.duration_ms.map(position),
            view_time: seconds(stored.view_ms),
            unique_view_time: seconds(stored.unique_ms),
            segments: segments
                .iter()
                .map(|it| (position(it.start_ms()), position(it.end_ms())))
                .collect(),
            startup_time: counters.startup_ms.map(position),
            rebufferings: counters.rebufferings,
            rebuffering_time: seconds(counters.rebuffering_ms),
            failures: counters.failures,
            seeks: details.seeks,
            seek_waits: details.seek_waits,
            seek_wait_time: seconds(details.seek_wait_ms),
            scrubbed_time: seconds(details.scrubbed_ms),
            unplaced_time: seconds(details.unplaced_ms),
            fullscreens: details.fullscreens,
            tracks: details.tracks,
            language: details.language.as_deref(),
            renditions: details.renditions,
            width: rendition.and_then(|it| it.width),
            height: rendition.and_then(|it| it.height),
            bitrate: rendition.and_then(|it| it.bitrate),
            codec: rendition.and_then(|it| it.codec.as_deref()),
            clamped: details.clamped,
            others: details.others,
        }
    }

    /// The segments as text, like `0-12.5;20-30`.
    fn segments_text(&self) -> String {
        let texts = self.segments.iter().map(|(from, to)| format!("{from}-{to}"));
        texts.collect::<Vec<_>>().join(";")
    }
}

fn time(unix_ms: i64) -> String {
    let at: DateTime<Utc> = instant(unix_ms);
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Row for Session<'_> {
    fn columns(line: &mut Line<'_>) {
        line.columns(Kind::Time, &["started_at", "last_event_at"]);
        line.columns(Kind::Text, &["key", "identifier", "metadata", "session_data", "source"]);
        line.columns(Kind::Text, &ArrivalPart::ALL.map(ArrivalPart::name));
        line.columns(Kind::Text, &["browser", "platform", "device"]);
        line.columns(Kind::Double, &["duration", "view_time", "unique_view_time"]);
        line.columns(Kind::Text, &["segments"]);
        line.columns(Kind::Double, &["startup_time"]);
        line.columns(Kind::Integer, &["rebufferings"]);
        line.columns(Kind::Double, &["rebuffering_time"]);
        line.columns(Kind::Integer, &["failures", "seeks", "seek_waits"]);
        line.columns(Kind::Double, &["seek_wait_time", "scrubbed_time", "unplaced_time"]);
        line.columns(Kind::Integer, &["fullscreens", "tracks"]);
        line.columns(Kind::Text, &["language"]);
        line.columns(Kind::Integer, &["renditions", "width", "height", "bitrate"]);
        line.columns(Kind::Text, &["codec"]);
        line.columns(Kind::Integer, &["clamped", "others"]);
    }

    fn cells(&self, line: &mut Line<'_>) {
        line.text(&self.started_at);
        line.text(&self.last_event_at);
        line.text(self.key);
        line.maybe_text(self.identifier);
        line.maybe_text(self.metadata.map(RawValue::get));
        line.maybe_text(self.session_data.map(RawValue::get));
        line.maybe_text(self.source);
        let [source, medium] = [self.utm_source, self.utm_medium];
        for text in [self.referrer, source, medium, self.utm_campaign, self.country] {
            line.maybe_text(text);
        }
        line.text(self.browser);
        line.text(self.platform);
        line.text(self.device);
        line.maybe_number(self.duration);
        line.number(self.view_time);
        line.number(self.unique_view_time);
        line.text(&self.segments_text());
        line.maybe_number(self.startup_time);
        line.number(self.rebufferings);
        line.number(self.rebuffering_time);
        for count in [self.failures, self.seeks, self.seek_waits] {
            line.number(count);
        }
        line.number(self.seek_wait_time);
        line.number(self.scrubbed_time);
        line.number(self.unplaced_time);
        line.number(self.fullscreens);
        line.number(self.tracks);
        line.maybe_text(self.language);
        line.number(self.renditions);
        for number in [self.width, self.height, self.bitrate] {
            line.maybe_number(number);
        }
        line.maybe_text(self.codec);
        line.number(self.clamped);
        line.number(self.others);
    }
}
