//! Lists the fields of metadata and session data.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::column::object;
use super::{GROUP_BYTES_MAX, GROUPS_MAX, ScanError, SessionFilter, VideoInfo};
use crate::block::{Columns, Group, Groups};
use crate::containment::DEPTH_MAX;
use crate::query::Dimension;

/// A field and the number of sessions that have it.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Field {
    /// The field as a dimension: of the video's metadata or of the session data.
    pub dimension: Dimension,
    /// The number of sessions with a value.
    pub sessions: u64,
}

/// Counts the sessions that have each field.
///
/// An object counts as the fields in it, by their paths; any other value except `null` is a field.
#[derive(Clone, Debug)]
pub struct FieldsScanner {
    filter: SessionFilter,
    sessions: HashMap<Dimension, u64>,
    bytes: usize,
}

impl FieldsScanner {
    /// Starts with no session.
    #[must_use]
    pub fn new(filter: SessionFilter) -> Self {
        Self { filter, sessions: HashMap::new(), bytes: 0 }
    }

    /// Returns the groups of columns that must be decoded.
    #[must_use]
    pub fn groups(&self) -> Groups {
        self.filter.groups().with(Group::SessionData)
    }

    /// Returns whether sessions of the video may count. Columns of other videos need not be added.
    #[must_use]
    pub fn wants_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.wants_video(video)
    }

    /// Adds sessions of a video.
    ///
    /// # Errors
    ///
    /// [`ScanError`] if the columns are damaged or lack a group, or if there are too many fields. The counts are
    /// invalid then.
    pub fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        let view = self.filter.view(video, columns, self.groups())?;
        let picked = self.filter.pick(&view)?;
        if picked.is_empty() {
            return Ok(());
        }
        if let Some(metadata) = video.video.metadata() {
            let sessions = picked.iter().count() as u64;
            self.count(&object(metadata)?, Dimension::VideoField, sessions)?;
        }
        let Some(column) = &columns.session_data else { return Ok(()) };
        let mut sessions_of = vec![0; column.values().len()];
        let codes = view.codes(column);
        for session in picked.iter() {
            sessions_of[codes.map_or(0, |codes| codes[session] as usize)] += 1;
        }
        for (data, sessions) in column.values().iter().zip(sessions_of) {
            if let Some(data) = data.as_deref().filter(|_| 0 < sessions) {
                self.count(&object(data)?, Dimension::SessionField, sessions)?;
            }
        }
        Ok(())
    }

    /// Returns the fields, the most frequent first, then by name.
    #[must_use]
    pub fn finish(self) -> Vec<Field> {
        let fields = self.sessions.into_iter();
        let fields = fields.map(|(dimension, sessions)| Field { dimension, sessions });
        let mut fields: Vec<_> = fields.collect();
        fields.sort_by_cached_key(|field| {
            (std::cmp::Reverse(field.sessions), field.dimension.to_string())
        });
        fields
    }

    fn count(
        &mut self,
        object: &Map<String, Value>,
        of: fn(String) -> Dimension,
        sessions: u64,
    ) -> Result<(), ScanError> {
        let mut paths = Vec::new();
        collect(object, "", DEPTH_MAX, &mut paths);
        for path in paths {
            let bytes = path.len();
            let counted = self.sessions.entry(of(path)).or_insert_with(|| {
                self.bytes += bytes;
                0
            });
            *counted += sessions;
        }
        let is_too_much = GROUPS_MAX < self.sessions.len() || GROUP_BYTES_MAX < self.bytes;
        if is_too_much { Err(ScanError::TooManyGroups) } else { Ok(()) }
    }
}

/// Collects the paths of the fields of an object, which is at most `depth` deep.
fn collect(object: &Map<String, Value>, prefix: &str, depth: usize, paths: &mut Vec<String>) {
    for (name, value) in object {
        let path = format!("{prefix}{name}");
        match value {
            // A member with an empty name is no dimension.
            Value::Null => {}
            _ if path.is_empty() => {}
            Value::Object(members) if 0 < depth && !members.is_empty() => {
                collect(members, &format!("{path}."), depth - 1, paths);
            }
            _ => paths.push(path),
        }
    }
}
