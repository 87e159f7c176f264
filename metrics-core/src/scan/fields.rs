//! Lists the fields of metadata and session data.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

use super::Scans;
use super::column::{find, object};
use super::{ScanError, SessionFilter, VideoInfo};
use crate::block::{Columns, Group, Groups};
use crate::containment::DEPTH_MAX;
use crate::query::Dimension;

/// The largest number of fields that are counted. Pages choose the names.
pub const FIELDS_MAX: usize = 10_000;

/// The longest path that is counted, in bytes.
pub const PATH_BYTES_MAX: usize = 256;

/// The fields of some sessions.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Fields {
    /// The fields, those of most sessions first, then by name.
    pub fields: Vec<Field>,
    /// Whether all fields are listed: false if there were more than [`FIELDS_MAX`].
    pub is_complete: bool,
}

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
pub(crate) struct FieldsScanner {
    filter: SessionFilter,
    sessions: HashMap<Dimension, u64>,
    is_complete: bool,
}

impl FieldsScanner {
    /// Creates a scanner without sessions.
    #[must_use]
    pub(crate) fn new(filter: SessionFilter) -> Self {
        Self { filter, sessions: HashMap::new(), is_complete: true }
    }

    /// Returns the fields, the most frequent first, then by name.
    #[must_use]
    pub(crate) fn finish(self) -> Fields {
        let fields = self.sessions.into_iter();
        let fields = fields.map(|(dimension, sessions)| Field { dimension, sessions });
        let mut fields: Vec<_> = fields.collect();
        fields.sort_by_cached_key(|field| (Reverse(field.sessions), field.dimension.to_string()));
        Fields { fields, is_complete: self.is_complete }
    }

    fn count(&mut self, object: &Map<String, Value>, of: fn(String) -> Dimension, sessions: u64) {
        let mut paths = BTreeSet::new();
        collect(object, "", DEPTH_MAX, &mut paths);
        // If names contain points, a path may lead to another field.
        for path in paths.into_iter().filter(|path| find(object, path).is_some()) {
            let field = of(path);
            if let Some(counted) = self.sessions.get_mut(&field) {
                *counted += sessions;
            } else if self.sessions.len() < FIELDS_MAX {
                self.sessions.insert(field, sessions);
            } else {
                self.is_complete = false;
            }
        }
    }
}

impl Scans for FieldsScanner {
    fn groups(&self) -> Groups {
        self.filter.groups().with(Group::SessionData)
    }

    fn selects_video(&self, video: &VideoInfo<'_>) -> bool {
        self.filter.selects_video(video)
    }

    fn add(&mut self, video: &VideoInfo<'_>, columns: &Columns) -> Result<(), ScanError> {
        let view = self.filter.view(video, columns, self.groups())?;
        let picked = self.filter.pick(&view)?;
        if picked.is_empty() {
            return Ok(());
        }
        if let Some(metadata) = video.video.metadata() {
            let sessions = picked.iter().count() as u64;
            self.count(&object(metadata)?, Dimension::VideoField, sessions);
        }
        let Some(column) = &columns.session_data else { return Ok(()) };
        let mut sessions_of = vec![0; column.values().len()];
        let codes = view.codes(column);
        for session in picked.iter() {
            sessions_of[codes.get(session)] += 1;
        }
        for (data, sessions) in column.values().iter().zip(sessions_of) {
            if let Some(data) = data.as_deref().filter(|_| 0 < sessions) {
                self.count(&object(data)?, Dimension::SessionField, sessions);
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.sessions.len() * (2 * size_of::<(Dimension, u64)>() + PATH_BYTES_MAX)
    }
}

/// Collects the paths of the fields of an object, which is at most `depth` deep.
fn collect(object: &Map<String, Value>, prefix: &str, depth: usize, paths: &mut BTreeSet<String>) {
    for (name, value) in object {
        let path = format!("{prefix}{name}");
        match value {
            // A member with an empty name is no dimension.
            Value::Null => {}
            _ if path.is_empty() || PATH_BYTES_MAX < path.len() => {}
            Value::Object(members) if 0 < depth && !members.is_empty() => {
                collect(members, &format!("{path}."), depth - 1, paths);
            }
            _ => _ = paths.insert(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::{EngagementQuery, Selection, instant};
    use crate::scan::tests::draft::{Watch, blocks};

    fn fields(watches: &[Watch]) -> Fields {
        let scan = EngagementQuery::from(Selection::default()).during(crate::Timeframe::ALL);
        let filter = SessionFilter::of_scan(&scan.scan(instant(0)));
        let mut scanner = FieldsScanner::new(filter);
        for (watch, columns) in blocks(watches, 2, scanner.groups()) {
            scanner.add(&watch.info(), &columns).unwrap();
        }
        scanner.finish()
    }

    fn named(fields: &Fields) -> Vec<(String, u64)> {
        fields.fields.iter().map(|it| (it.dimension.to_string(), it.sessions)).collect()
    }

    fn watch() -> Watch {
        Watch::at("2023-05-02T10:00:00Z")
    }

    #[test]
    fn a_field_counts_the_sessions_that_have_it() {
        let video = json!({"course": {"id": 7}, "tags": [], "none": null, "empty": {}});
        let described = watch().video(crate::Video::described(&video).unwrap());
        let watches = [
            described.clone().data(r#"{"plan":"free"}"#),
            described.data(r#"{"plan":null}"#),
            watch().data(r#"{"plan":1,"a":{"b":true}}"#),
        ];
        let found = fields(&watches);
        let expected = [
            ("session.plan", 2),
            ("video.course.id", 2),
            ("video.empty", 2),
            ("video.tags", 2),
            ("session.a.b", 1),
        ];
        assert_eq!(named(&found), expected.map(|(name, sessions)| (name.to_owned(), sessions)));
        assert!(found.is_complete);
    }

    #[test]
    fn every_field_is_a_dimension_with_values() {
        // The first path is the full name of another field, the second leads to nothing, the third is too long.
        let long = "x".repeat(PATH_BYTES_MAX + 1);
        let data = json!({"a.b": 1, "a": {"b": 2}, "c.d": {"e": 1}, long: 1});
        let found = fields(&[watch().data(&data.to_string())]);
        assert_eq!(named(&found), [("session.a.b".to_owned(), 1)]);
    }

    #[test]
    fn names_that_pages_make_up_are_bounded() {
        let many: Map<String, Value> =
            (0..=FIELDS_MAX).map(|name| (format!("n{name}"), 1.into())).collect();
        let found = fields(&[watch().data(&Value::Object(many).to_string())]);
        assert_eq!((found.fields.len(), found.is_complete), (FIELDS_MAX, false));
    }
}
