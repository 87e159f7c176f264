//! `metrics-server import sessions`: imports sessions, a JSON object per line, from a file or from the standard input.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::thread;

use chrono::Utc;
use metrics_core::ApiKey;
use metrics_core::import::{Equals, insert};
use metrics_core::key::KeySettings;
use metrics_core::record::{LINE_BYTES_MAX, RecordError, SessionRecord};
use metrics_core::store::Store;
use metrics_core::upkeep::merge;
use tokio::sync::mpsc;

use super::progress::Progress;
use crate::binary::config::{Config, SessionsImport};

/// The number of sessions per write, large enough that the blocks of a video are not read over and over.
const SESSIONS_AT_ONCE: usize = 5_000;

/// The approximate size of a batch of lines, in bytes. The next batch is read while one is written.
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;

/// The number of rejected lines that the log names.
const NAMED_MAX: usize = 20;

/// Some lines of the file.
#[derive(Default)]
struct Batch {
    records: Vec<SessionRecord>,
    refused: Vec<(u64, RecordError)>,
    // The number of bytes read from the file so far.
    bytes_read: u64,
}

/// The outcome so far.
#[derive(Default)]
struct Report {
    accepted: u64,
    added: u64,
    already_there: u64,
    differing: u64,
    keys: HashMap<ApiKey, KeySettings>,
    keys_added: u64,
    refused: u64,
    named: Vec<(u64, RecordError)>,
}

/// Opens the file, before the database is opened and maybe created.
///
/// # Errors
///
/// The name of the file and the reason.
pub(super) fn open_file(import: &SessionsImport) -> Result<Opened, Box<dyn Error>> {
    let path = import.file.as_deref();
    Ok(open(path).map_err(|err| format!("cannot read {}: {err}", name(path)))?)
}

/// A file and its length, or 0 if the length is unknown.
pub(super) type Opened = (Box<dyn Read + Send>, u64);

fn name(path: Option<&Path>) -> Cow<'_, str> {
    path.map_or("the standard input".into(), Path::to_string_lossy)
}

/// Imports sessions, with the parts of pages and arrivals that the settings and the patterns of their keys permit. Without
/// a store, only checks the lines.
///
/// # Errors
///
/// The file could not be read, the store failed, or lines were refused.
pub(super) async fn import_sessions(
    store: Option<&dyn Store>,
    import: &SessionsImport,
    (file, total): Opened,
    config: &Config,
) -> Result<(), Box<dyn Error>> {
    let path = import.file.as_deref();
    let failed = |err: io::Error| format!("cannot read {}: {err}", name(path));
    let mut batches = read(file, import.key.clone());
    let mut shown = Progress::new("bytes");
    let (mut report, mut equals) = (Report::default(), Equals::default());
    while let Some(batch) = batches.recv().await {
        let Batch { records, refused, bytes_read } = batch.map_err(failed)?;
        report.refuse(refused);
        report.accepted += records.len() as u64;
        if let Some(store) = store {
            let written = write(store, records, config, &mut equals, &mut report).await;
            written.map_err(|err| {
                format!("the import is incomplete; import the file again to continue: {err}")
            })?;
        }
        shown.show(bytes_read, total);
    }
    drop(shown);
    report.print(store.is_some())
}

fn open(path: Option<&Path>) -> io::Result<Opened> {
    let Some(path) = path else { return Ok((Box::new(io::stdin()), 0)) };
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok((Box::new(file), metadata.len()))
}

/// Reads and parses lines on a separate thread, which may still wait for a pipe when the process receives a stop
/// signal.
fn read(file: Box<dyn Read + Send>, key: Option<ApiKey>) -> mpsc::Receiver<io::Result<Batch>> {
    let (sender, batches) = mpsc::channel(1);
    thread::spawn(move || {
        let mut lines = Lines { reader: BufReader::new(file), number: 0, bytes_read: 0 };
        loop {
            let batch = lines.batch(key.as_ref());
            let is_last = !matches!(batch, Ok(Some(_)));
            let is_received =
                batch.transpose().is_none_or(|batch| sender.blocking_send(batch).is_ok());
            if is_last || !is_received {
                return;
            }
        }
    });
    batches
}

/// The lines of a file.
struct Lines<R> {
    reader: R,
    // The number of the last line, from 1 on.
    number: u64,
    bytes_read: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next lines, or `None` at the end.
    fn batch(&mut self, key: Option<&ApiKey>) -> io::Result<Option<Batch>> {
        let (mut batch, mut line) = (Batch::default(), Vec::new());
        let (now, until) = (Utc::now(), self.bytes_read + BYTES_AT_ONCE as u64);
        let is_full = |batch: &Batch| SESSIONS_AT_ONCE <= batch.records.len() + batch.refused.len();
        while self.bytes_read < until && !is_full(&batch) {
            if !self.next(&mut line)? {
                let is_empty = batch.records.is_empty() && batch.refused.is_empty();
                return Ok((!is_empty).then_some(Batch { bytes_read: self.bytes_read, ..batch }));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match SessionRecord::parse(&line, key, now) {
                Ok(record) => batch.records.push(record),
                Err(err) => batch.refused.push((self.number, err)),
            }
        }
        Ok(Some(Batch { bytes_read: self.bytes_read, ..batch }))
    }

    /// Reads the next line. Of a line beyond the limit, keeps only enough to detect that. Returns false at the end.
    fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        line.clear();
        let mut head = self.reader.by_ref().take(LINE_BYTES_MAX as u64 + 1);
        self.bytes_read += head.read_until(b'\n', line)? as u64;
        self.number += 1;
        if LINE_BYTES_MAX < line.len() && !line.ends_with(b"\n") {
            self.skip_line()?;
        }
        Ok(!line.is_empty())
    }

    fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let rest = self.reader.fill_buf()?;
            let end = rest.iter().position(|byte| *byte == b'\n');
            let len = end.map_or(rest.len(), |end| end + 1);
            self.reader.consume(len);
            self.bytes_read += len as u64;
            if end.is_some() || len == 0 {
                return Ok(());
            }
        }
    }
}

async fn write(
    store: &dyn Store,
    mut records: Vec<SessionRecord>,
    config: &Config,
    equals: &mut Equals,
    report: &mut Report,
) -> Result<(), metrics_core::store::Error> {
    for SessionRecord { key, row, .. } in &mut records {
        if !report.keys.contains_key(key) {
            report.keys_added += u64::from(store.create_key(key, Utc::now()).await?);
            let record = store.keys().await?.into_iter().find(|record| record.key == *key);
            let settings = record.map(|record| record.settings).unwrap_or_default();
            report.keys.insert(key.clone(), settings);
        }
        let reduced = |page| match report.keys.get(key) {
            Some(settings) => settings.reduce(page),
            None => page,
        };
        row.page = row.page.take().and_then(|page| reduced(page).reduced(config.page_detail));
        row.arrival = std::mem::take(&mut row.arrival).only(&config.arrival_parts);
    }
    let sessions = records.into_iter().map(|record| equals.session(record)).collect();
    let inserted = insert(store, sessions).await?;
    report.added += inserted.added;
    report.already_there += inserted.already_there;
    report.differing += inserted.differing.len() as u64;
    merge(store, inserted.videos).await?;
    Ok(())
}

impl Report {
    fn refuse(&mut self, refused: Vec<(u64, RecordError)>) {
        self.refused += refused.len() as u64;
        let space = NAMED_MAX - self.named.len();
        self.named.extend(refused.into_iter().take(space));
    }

    fn print(&self, is_written: bool) -> Result<(), Box<dyn Error>> {
        let Self { accepted, added, already_there, differing, keys_added, refused, named, .. } =
            self;
        for (line, err) in named {
            tracing::warn!("line {line}: {err}");
        }
        let unnamed = refused - named.len() as u64;
        if 0 < unnamed {
            tracing::warn!("{unnamed} more lines were refused");
        }
        if 0 < *differing {
            tracing::warn!(
                "{differing} sessions exist already with other content and were not changed"
            );
        }
        if is_written {
            tracing::info!("imported {added} sessions; {already_there} were there already");
        } else {
            tracing::info!("{accepted} sessions can be imported; nothing was written");
        }
        if 0 < *keys_added {
            tracing::info!(
                "added {keys_added} keys, which pages may use: revoke unused ones with `metrics-server keys revoke`"
            );
        }
        match refused {
            0 => Ok(()),
            refused => {
                let advice =
                    "correct them and import the file again: imported sessions are not added twice";
                Err(format!("{refused} lines were refused: {advice}").into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_and_bounded() {
        let long = "x".repeat(3 * LINE_BYTES_MAX);
        let good = r#"{"key": "k", "identifier": "a", "started_at": "2024-02-29T12:00:00Z", "view_time": 1}"#;
        let text = format!("{good}\n\n{long}\nnothing\r\n{good}");
        let reader = BufReader::new(text.as_bytes());
        let mut lines = Lines { reader, number: 0, bytes_read: 0 };
        let batch = lines.batch(None).unwrap().unwrap();
        assert_eq!(batch.bytes_read, text.len() as u64);
        assert_eq!(batch.records.len(), 2);
        let refused: Vec<_> = batch.refused.iter().map(|(line, _)| *line).collect();
        assert_eq!(refused, [3, 4]);
        assert_eq!(batch.refused[0].1, RecordError::TooLong);
        assert!(lines.batch(None).unwrap().is_none());
    }
}
