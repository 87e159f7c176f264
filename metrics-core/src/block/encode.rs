//! Encodes sessions into groups of columns, and decodes them.

use std::cmp::Ordering;
use std::sync::Arc;

use super::arrivals::Arrivals;
use super::coded::{Coded, Value, decode_text, encode_text};
use super::columns::Columns;
use super::detail::Detail;
use super::numbers::{Numbers, Starts};
use super::quality::{Qualities, Quality};
use super::{Block, FORMAT, Group, Groups, Row, RowId, SESSIONS_MAX};
use crate::session::{Counters, Details, Minutes, Stored, minutes, over};
use crate::source::Source;
use crate::user_agent::{Browser, Device, Platform, UserAgentClass};
use crate::varint::{self, Damaged, NibbleReader, Nibbles, Reader};

impl Block {
    /// Encodes sessions of one video, in any order.
    ///
    /// Callers must respect [`SESSIONS_MAX`].
    #[must_use]
    pub(crate) fn encode(mut rows: Vec<Row>) -> Self {
        rows.sort_by_key(Row::order);
        let start_ms = |row: Option<&Row>| row.map_or(0, |row| row.stored.started_at_ms);
        let mut block = Self {
            sessions: rows.len() as u32,
            first_start_ms: start_ms(rows.first()),
            last_start_ms: start_ms(rows.last()),
            groups: Default::default(),
        };
        let columns = Columns::of(&rows);
        for group in Group::ALL {
            let mut out = vec![FORMAT];
            let has_values = columns.encode_group(group, &mut out);
            if has_values || !group.is_optional() {
                block.groups[group as usize] = Some(out);
            }
        }
        block
    }

    /// Decodes the columns of some groups. Each of them must have been read, if the block has it.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if the bytes are no output of [`encode`](Self::encode).
    pub(crate) fn columns(&self, groups: Groups) -> Result<Columns, Damaged> {
        let sessions = self.sessions as usize;
        if SESSIONS_MAX < sessions {
            return Err(Damaged("a block has too many sessions"));
        }
        let mut columns = Columns { sessions, ..Columns::default() };
        for group in groups.iter() {
            let Some(bytes) = self.group(group) else {
                columns.fill(group)?;
                continue;
            };
            let mut reader = Reader::new(bytes);
            match reader.byte()?.cmp(&FORMAT) {
                Ordering::Less => return Err(Damaged("a block was written before version 0.1.0")),
                Ordering::Equal => {}
                Ordering::Greater => return Err(Damaged("a block was written by a newer version")),
            }
            columns.decode_group(group, &mut reader)?;
            if !reader.is_empty() {
                return Err(Damaged("a block is longer than its sessions"));
            }
        }
        Ok(columns)
    }

    /// Decodes all sessions, in order. Every group must have been read, if the block has it.
    ///
    /// # Errors
    ///
    /// [`Damaged`] if the bytes are not those of an encoded block.
    pub fn rows(&self) -> Result<Vec<Row>, Damaged> {
        let columns = self.columns(Groups::ALL)?;
        Ok((0..columns.sessions).map(|session| columns.row(session)).collect())
    }
}

impl Columns {
    /// The columns of rows of one video, sorted by [`Row::order`]: the form in which a report reads open sessions.
    #[must_use]
    pub(crate) fn of(rows: &[Row]) -> Self {
        let mut segments = Vec::new();
        let mut segment_ends = Vec::with_capacity(rows.len());
        let (mut minute_runs, mut minute_ends) = (Vec::new(), Vec::with_capacity(rows.len()));
        for row in rows {
            segments.extend_from_slice(&row.stored.segments);
            segment_ends.push(segments.len() as u32);
            minute_runs.extend_from_slice(row.stored.minutes.runs());
            minute_ends.push(minute_runs.len() as u32);
        }
        let stored = || rows.iter().map(|row| &row.stored);
        Self {
            sessions: rows.len(),
            starts: Starts::of(stored().map(|stored| stored.started_at_ms)),
            view_ms: Numbers::of(stored().map(|stored| stored.view_ms)),
            rewatched_ms: Numbers::of(stored().map(|it| it.view_ms.wrapping_sub(it.unique_ms))),
            user_agents: Some(Coded::of(rows.iter().map(|row| row.user_agent))),
            durations_ms: Some(Coded::of(stored().map(|stored| stored.duration_ms))),
            pages: Some(Coded::of(rows.iter().map(|row| row.page.clone()))),
            session_data: Some(Coded::of(rows.iter().map(|row| row.session_data.clone()))),
            languages: Some(Coded::of(stored().map(language))),
            arrivals: Some(Arrivals::of(rows)),
            qualities: Some(Qualities::of(stored().map(|stored| Quality::of(&stored.counters)))),
            segments,
            segment_ends,
            details: stored().map(Detail::of).collect(),
            row_ids: rows.iter().map(|row| row.id).collect(),
            minute_runs,
            minute_ends,
        }
    }

    /// Encodes a group of columns made by [`of`](Self::of), and returns whether any session has a value in it.
    fn encode_group(&self, group: Group, out: &mut Vec<u8>) -> bool {
        match group {
            Group::Starts => self.starts.encode(out),
            Group::Times => {
                self.view_ms.encode(out);
                self.rewatched_ms.encode(out);
            }
            Group::UserAgents => encode(self.user_agents.as_ref(), out),
            Group::Durations => encode(self.durations_ms.as_ref(), out),
            Group::Segments => {
                let lens = (0..self.sessions).map(|session| self.segments(session).len() as u64);
                Numbers::of(lens).encode(out);
                out.extend_from_slice(&self.segments);
            }
            Group::Pages => return encode_texts(self.pages.as_ref(), out),
            Group::SessionData => return encode_texts(self.session_data.as_ref(), out),
            Group::Quality => return self.qualities.as_ref().is_some_and(|it| it.encode(out)),
            Group::Languages => return encode_texts(self.languages.as_ref(), out),
            Group::Details => self.details.iter().for_each(|detail| detail.encode(out)),
            Group::RowIds => {
                self.row_ids.iter().for_each(|id| out.extend_from_slice(&id.0.to_be_bytes()));
            }
            Group::Minutes => {
                let mut nibbles = Nibbles::new(out);
                for session in 0..self.sessions {
                    minutes::encode(self.minute_runs(session), &mut nibbles);
                }
                return !self.minute_runs.is_empty();
            }
            Group::Arrivals => return self.arrivals.as_ref().is_some_and(|it| it.encode(out)),
        }
        true
    }

    /// Returns a complete session; every group must have been read.
    fn row(&self, session: usize) -> Row {
        let Detail { after_ms, details } = &self.details[session];
        let quality = self.qualities.as_ref().map(|qualities| qualities.get(session));
        let Quality { startup_ms, rebufferings, rebuffering_ms, failures } =
            quality.unwrap_or_default();
        let started_at_ms = self.starts.get_ms(session);
        let language = get(self.languages.as_ref(), session).map(|language| language.to_string());
        Row {
            id: self.row_ids[session],
            page: get(self.pages.as_ref(), session),
            user_agent: self
                .user_agents
                .as_ref()
                .map_or_else(UserAgentClass::default, |it| *it.get(session)),
            session_data: get(self.session_data.as_ref(), session),
            arrival: self.arrivals.as_ref().map(|it| it.get(session)).unwrap_or_default(),
            stored: Stored {
                started_at_ms,
                last_event_at_ms: started_at_ms.wrapping_add(*after_ms),
                duration_ms: get(self.durations_ms.as_ref(), session),
                view_ms: self.view_ms.get(session),
                unique_ms: self.unique_ms(session),
                segments: self.segments(session).to_vec(),
                minutes: Minutes::of_runs(self.minute_runs(session)),
                counters: Counters {
                    rebufferings,
                    rebuffering_ms,
                    failures,
                    startup_ms,
                    details: Details { language, ..details.clone() },
                },
                resume: over(),
            },
        }
    }

    /// Fills the columns of a group that the block omits.
    fn fill(&mut self, group: Group) -> Result<(), Damaged> {
        match group {
            Group::Pages => self.pages = Some(Coded::all(None)),
            Group::SessionData => self.session_data = Some(Coded::all(None)),
            Group::Languages => self.languages = Some(Coded::all(None)),
            Group::Quality => self.qualities = Some(Qualities::none(self.sessions)),
            Group::Minutes => self.minute_ends = vec![0; self.sessions],
            Group::Arrivals => self.arrivals = Some(Arrivals::none()),
            _ => return Err(Damaged("a block lacks a group")),
        }
        Ok(())
    }

    fn decode_group(&mut self, group: Group, reader: &mut Reader<'_>) -> Result<(), Damaged> {
        let sessions = self.sessions;
        match group {
            Group::Starts => self.starts = Starts::decode(reader, sessions)?,
            Group::Times => {
                self.view_ms = Numbers::decode(reader, sessions)?;
                self.rewatched_ms = Numbers::decode(reader, sessions)?;
            }
            Group::UserAgents => self.user_agents = Some(Coded::decode(reader, sessions)?),
            Group::Durations => self.durations_ms = Some(Coded::decode(reader, sessions)?),
            Group::Segments => {
                let lens = Numbers::decode(reader, sessions)?;
                self.segments = reader.take(reader.len())?.to_vec();
                let mut end = 0_u64;
                self.segment_ends.reserve_exact(sessions);
                for session in 0..sessions {
                    end = end.saturating_add(lens.get(session));
                    self.segment_ends.push(end as u32);
                }
                // The last end is the largest.
                if u32::try_from(end).is_err() || end != self.segments.len() as u64 {
                    return Err(Damaged("a block is longer or shorter than its sessions"));
                }
            }
            Group::Pages => self.pages = Some(Coded::decode(reader, sessions)?),
            Group::SessionData => self.session_data = Some(Coded::decode(reader, sessions)?),
            Group::Quality => self.qualities = Some(Qualities::decode(reader, sessions)?),
            Group::Languages => {
                self.languages = Some(Coded::decode(reader, sessions)?);
            }
            Group::Details => {
                let details = (0..sessions).map(|_| Detail::decode(reader));
                self.details = details.collect::<Result<_, _>>()?;
            }
            Group::RowIds => {
                let (ids, _) = reader.take(8 * sessions)?.as_chunks();
                self.row_ids = ids.iter().map(|id| RowId(u64::from_be_bytes(*id))).collect();
            }
            Group::Arrivals => self.arrivals = Some(Arrivals::decode(reader, sessions)?),
            Group::Minutes => {
                self.minute_ends.reserve_exact(sessions);
                self.minute_runs.reserve(sessions);
                let mut nibbles = NibbleReader::new(reader.take(reader.len())?);
                for _ in 0..sessions {
                    minutes::decode(&mut nibbles, &mut self.minute_runs)?;
                    self.minute_ends.push(self.minute_runs.len() as u32);
                }
                if !nibbles.is_over() {
                    return Err(Damaged("a block is longer than its sessions"));
                }
            }
        }
        Ok(())
    }
}

/// The value of a column that may be unknown.
fn get<T: Clone>(column: Option<&Coded<Option<T>>>, session: usize) -> Option<T> {
    column.and_then(|column| column.get(session).clone())
}

fn encode<T: Value>(column: Option<&Coded<T>>, out: &mut Vec<u8>) {
    if let Some(column) = column {
        column.encode(out);
    }
}

/// Encodes a column of texts, and returns whether any session has one.
fn encode_texts<T>(column: Option<&Coded<Option<T>>>, out: &mut Vec<u8>) -> bool
where
    Option<T>: Value,
{
    encode(column, out);
    column.is_some_and(|column| column.values().iter().any(Option::is_some))
}

fn language(stored: &Stored) -> Option<Arc<str>> {
    stored.counters.details.language.as_deref().map(Arc::from)
}

impl Value for Option<Arc<str>> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.as_deref(), out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(decode_text(reader)?.map(Arc::from))
    }
}

impl Value for Option<Source> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self.as_ref().map(Source::as_str), out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let url = decode_text(reader)?;
        url.map(|url| Source::stored(url).ok_or(Damaged("a page is not a URL"))).transpose()
    }
}

impl Value for Option<u32> {
    fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(out, self.map_or(0, |number| u64::from(number) + 1));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        let number = reader.number()?.checked_sub(1).map(u32::try_from).transpose();
        number.map_err(|_| Damaged("a number is too large"))
    }
}

impl Value for UserAgentClass {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.browser.code(), self.platform.code(), self.device.code()]);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damaged> {
        Ok(Self {
            browser: Browser::from_code(reader.byte()?),
            platform: Platform::from_code(reader.byte()?),
            device: Device::from_code(reader.byte()?),
        })
    }
}
