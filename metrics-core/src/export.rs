//! Reads the sessions of a store one by one, for those who want more than sums.
//!
//! Page by page, so that it needs the memory of a page, however many sessions there are. What is recorded meanwhile is
//! in it or not; a session that was there all the time is in it once, as it is when its page is read.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::containment::contains;
use crate::query::Scan;
use crate::store::{Cursor, Error, Record, Store};
use crate::video::Video;

/// How many sessions are read at a time: enough that a store is not asked all the time, and a megabyte of memory, or a
/// hundred if each has the most of everything.
const PAGE: u32 = 1_000;

/// A walk through the sessions of a store.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use metrics_core::export::Export;
/// use metrics_core::store::SqliteStore;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("metrics.db");
/// let store = SqliteStore::open(path).await?;
/// let mut export = Export::all();
/// while let Some(records) = export.next(&store).await? {
///     for record in records {
///         println!("{:?}: {} ms", record.subject.video, record.stored.view_ms);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Export {
    scan: Option<Scan>,
    // The identifiers of the scan. There may be thousands.
    named: Option<HashSet<String>>,
    // Where the next page begins; none at the beginning.
    cursor: Option<Cursor>,
    over: bool,
    read: u64,
    // The video that was judged last: stores keep the sessions of a video together.
    judged: Option<(Video, bool)>,
}

impl Export {
    /// Through all sessions.
    #[must_use]
    pub fn all() -> Self {
        Self { scan: None, named: None, cursor: None, over: false, read: 0, judged: None }
    }

    /// Through those that a report would count.
    #[must_use]
    pub fn of(scan: Scan) -> Self {
        let named = scan.selection.identifiers.as_ref().map(|all| all.iter().cloned().collect());
        Self { scan: Some(scan), named, ..Self::all() }
    }

    /// Some more of them, or `None` after the last. There may be none among some, and more after them.
    ///
    /// If it fails or is dropped, it can be called again.
    ///
    /// # Errors
    ///
    /// [`Error`] if the store could not.
    pub async fn next(&mut self, store: &dyn Store) -> Result<Option<Vec<Record>>, Error> {
        if self.over {
            return Ok(None);
        }
        let page = store.export(self.cursor.as_ref(), PAGE).await?;
        self.read += page.records.len() as u64;
        self.over = page.next.is_none();
        self.cursor = page.next;
        let mut records = page.records;
        records.retain(|record| self.takes(record));
        Ok(Some(records))
    }

    /// How many sessions were looked at, whether they are in it or not.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    fn takes(&mut self, record: &Record) -> bool {
        let Some(scan) = &self.scan else { return true };
        let Record { subject, stored, .. } = record;
        let is_within = (scan.from_ms..=scan.to_ms).contains(&stored.started_at_ms)
            && scan.minimum_view_ms <= stored.view_ms
            && scan.selection.key.as_ref().is_none_or(|key| *key == subject.key);
        if !is_within || !holds(subject.session_data.as_deref(), scan.selection.session.as_ref()) {
            return false;
        }
        if let Some((video, taken)) = &self.judged
            && *video == subject.video
        {
            return *taken;
        }
        let named = self.named.as_ref().is_none_or(|named| {
            subject.video.identifier().is_some_and(|identifier| named.contains(identifier))
        });
        let taken = named && holds(subject.video.metadata(), scan.selection.video.as_ref());
        self.judged = Some((subject.video.clone(), taken));
        taken
    }
}

/// Whether JSON contains a part. What is not there contains nothing, not even what is empty.
fn holds(json: Option<&str>, part: Option<&Map<String, Value>>) -> bool {
    let Some(part) = part else { return true };
    let whole: Option<Value> = json.and_then(|json| serde_json::from_str(json).ok());
    whole.is_some_and(|whole| contains(&whole, &Value::Object(part.clone())))
}
