//! The tables and columns of the old database, and the queries that read them.
//!
//! Over the years columns were added, renamed and moved to other tables. So every field of a query names all columns
//! that ever held it, and a field without a column is null. SQL contains only names from this file.

use std::collections::HashMap;

/// The tables that are read.
pub(super) const TABLES: [&str; 6] = ["keys", "videos", "sessions", "plays", "events", "durations"];

/// The form in which a column is read.
#[derive(Clone, Copy)]
enum Form {
    /// An id.
    Integer,
    /// Unix milliseconds. Ecto writes UTC into columns without a time zone, and the query reads them as UTC.
    Time,
    /// Any other type. Values are checked later, so that one invalid row does not end the import.
    Text,
}

impl Form {
    fn fits(self, data_type: &str) -> bool {
        match self {
            Self::Integer => ["smallint", "integer", "bigint"].contains(&data_type),
            Self::Time => data_type.starts_with("timestamp"),
            Self::Text => true,
        }
    }

    fn cast(self, expression: &str) -> String {
        match self {
            Self::Integer => format!("{expression}::bigint"),
            Self::Time => format!("(extract(epoch from {expression}) * 1000)::float8"),
            Self::Text => format!("{expression}::text"),
        }
    }

    const fn null(self) -> &'static str {
        match self {
            Self::Integer => "null::bigint",
            Self::Time => "null::float8",
            Self::Text => "null::text",
        }
    }
}

/// The columns of [`TABLES`], with their types.
#[derive(Debug, Default)]
pub(super) struct Columns {
    types: HashMap<(String, String), String>,
}

/// The queries to the old database.
#[derive(Debug)]
pub(super) struct Queries {
    /// Key id, text, and the times at which the key was created and disabled.
    pub(super) keys: String,
    /// The number of sessions.
    pub(super) count: String,
    /// Sessions, ordered by id, each once.
    pub(super) sessions: String,
    /// Videos, without a condition.
    pub(super) videos: String,
    /// Playback rows of a table, ordered by session and time; `None` if the table or a required column is missing.
    pub(super) plays: Option<String>,
    pub(super) events: Option<String>,
    pub(super) durations: Option<String>,
}

impl Columns {
    /// Adds a column of a table.
    pub(super) fn add(&mut self, table: String, column: String, data_type: String) {
        self.types.insert((table, column), data_type);
    }

    /// Builds the queries, or returns the name of a required column that is missing.
    pub(super) fn queries(&self) -> Result<Queries, String> {
        use Form::{Integer, Text};
        for (form, table, column) in [
            (Integer, "keys", "id"),
            (Text, "keys", "key"),
            (Integer, "videos", "id"),
            (Integer, "sessions", "id"),
            (Integer, "sessions", "video_id"),
        ] {
            if !self.has(form, table, column) {
                return Err(format!("{table}.{column}"));
            }
        }
        if !self.has(Integer, "videos", "key_id") && !self.has(Integer, "sessions", "key_id") {
            return Err("videos.key_id".to_owned());
        }
        Ok(Queries {
            keys: self.keys(),
            count: self.count(),
            sessions: self.sessions(),
            videos: self.videos(),
            plays: self.plays(),
            events: self.events(),
            durations: self.durations(),
        })
    }

    fn keys(&self) -> String {
        let inserted_at = self.first(Form::Time, "keys", &["inserted_at"]);
        let disabled_at = self.first(Form::Time, "keys", &["disabled_at"]);
        format!(
            "select keys.id::bigint as id, keys.key::text as key, {inserted_at} as inserted_at_ms, \
             {disabled_at} as disabled_at_ms from keys order by keys.id"
        )
    }

    fn count(&self) -> String {
        let mut ids = "select id::bigint from sessions".to_owned();
        if self.names_sessions("durations") {
            ids += " union select session_id::bigint from durations where session_id is not null";
        }
        format!("select count(*) as count from ({ids}) as ids")
    }

    fn sessions(&self) -> String {
        let mut all =
            format!("select sessions.id::bigint as id, {} from sessions", self.fields("sessions"));
        // A duration names its video as well, so its session can be imported even if the session's row was deleted.
        if self.names_sessions("durations") {
            let fields = self.fields("durations");
            all += &format!(
                " union all select durations.session_id::bigint as id, {fields} from durations \
                 where durations.session_id is not null and not exists \
                 (select from sessions where sessions.id = durations.session_id)"
            );
        }
        format!("select distinct on (id) * from ({all}) as sessions order by id, at_ms")
    }

    /// Whether the rows of this table name the session and its video, so that they can replace a missing session row.
    fn names_sessions(&self, table: &str) -> bool {
        self.has(Form::Integer, table, "session_id") && self.has(Form::Integer, table, "video_id")
    }

    fn fields(&self, table: &str) -> String {
        let text = |columns: &[&str]| self.first(Form::Text, table, columns);
        let fields = [
            (self.first(Form::Time, table, &["timestamp", "inserted_at"]), "at_ms"),
            (text(&["browser", "browser_type"]), "browser"),
            (text(&["platform"]), "platform"),
            (text(&["device", "device_type"]), "device"),
            (text(&["uri_host"]), "uri_host"),
            (text(&["uri_path"]), "uri_path"),
            (text(&["metadata"]), "metadata"),
            (self.first(Form::Integer, table, &["key_id"]), "key_id"),
            (self.first(Form::Integer, table, &["video_id"]), "video_id"),
        ];
        fields.map(|(value, name)| format!("{value} as {name}")).join(", ")
    }

    fn videos(&self) -> String {
        let text = |column| self.first(Form::Text, "videos", &[column]);
        format!(
            "select videos.id::bigint as id, {} as key_id, {} as identifier, {} as metadata, {} as source_uri from videos",
            self.first(Form::Integer, "videos", &["key_id"]),
            text("identifier"),
            text("metadata"),
            text("source_uri"),
        )
    }

    fn plays(&self) -> Option<String> {
        let from = self.present(Form::Text, "plays", "from")?;
        let to = self.present(Form::Text, "plays", "to")?;
        self.lines("plays", "null::text", &from, &to, "true")
    }

    fn events(&self) -> Option<String> {
        let position = self.present(Form::Text, "events", "video_time")?;
        let ordered = self.order_id("events").is_some()
            || !self.all(Form::Time, "events", &["timestamp", "inserted_at"]).is_empty();
        let kind = format!("lower({})", self.first(Form::Text, "events", &["type", "name"]));
        let condition = format!("{kind} in ('play', 'pause')");
        ordered.then(|| self.lines("events", &kind, &position, "null::text", &condition))?
    }

    fn durations(&self) -> Option<String> {
        let data_type = self.types.get(&("durations".to_owned(), "watched_seconds".to_owned()))?;
        if !["int4range", "int8range", "numrange"].contains(&data_type.as_str()) {
            return None;
        }
        let kind = self.first(Form::Text, "durations", &["uniqueness"]);
        let end = |name| format!("{name}(durations.watched_seconds)::text");
        self.lines("durations", &kind, &end("lower"), &end("upper"), "true")
    }

    /// A query for the rows of a table that belong to sessions, ordered by session and then by time.
    fn lines(
        &self,
        table: &str,
        kind: &str,
        from: &str,
        to: &str,
        condition: &str,
    ) -> Option<String> {
        let session_id = self.present(Form::Integer, table, "session_id")?;
        let at_ms = self.first(Form::Time, table, &["timestamp", "inserted_at"]);
        let order_id = self.order_id(table).unwrap_or_else(|| "0::bigint".to_owned());
        Some(format!(
            "select {session_id} as session_id, {at_ms} as at_ms, {order_id} as order_id, {kind} as kind, \
             {from} as \"from\", {to} as \"to\" from {table} where {condition} order by 1, 2, 3, 4, 5, 6"
        ))
    }

    /// The column that orders rows of the same time: ids are sequential.
    fn order_id(&self, table: &str) -> Option<String> {
        self.present(Form::Integer, table, "id")
    }

    /// The first column that exists and is not null, or null.
    fn first(&self, form: Form, table: &str, columns: &[&str]) -> String {
        let mut all = self.all(form, table, columns);
        match all.len() {
            0 => form.null().to_owned(),
            // Without `coalesce`, which would prevent the use of an index.
            1 => all.remove(0),
            _ => format!("coalesce({})", all.join(", ")),
        }
    }

    fn all(&self, form: Form, table: &str, columns: &[&str]) -> Vec<String> {
        columns.iter().filter_map(|column| self.present(form, table, column)).collect()
    }

    fn present(&self, form: Form, table: &str, column: &str) -> Option<String> {
        self.has(form, table, column).then(|| form.cast(&format!("{table}.\"{column}\"")))
    }

    fn has(&self, form: Form, table: &str, column: &str) -> bool {
        let data_type = self.types.get(&(table.to_owned(), column.to_owned()));
        data_type.is_some_and(|data_type| form.fits(data_type))
    }
}
