//! Statements in SQL text, prepared once per connection.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::time::Instant;

use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::query_dsl::LoadQuery;
use diesel::sql_types::{BigInt, Binary, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

use crate::store::common::STATEMENT_MAX;
use crate::store::failure::Failure;

/// A value in a statement.
pub(super) enum Bind<'a> {
    Number(i64),
    Text(Cow<'a, str>),
    Bytes(&'a [u8]),
}

impl From<i64> for Bind<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Bind<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<&'a [u8]> for Bind<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl Bind<'_> {
    /// Numbers or texts as a JSON array, for `json_each`: the text of the statement is the same for any number of values.
    pub(super) fn array<T: serde::Serialize>(values: &[T]) -> Self {
        // Numbers and texts always have a JSON form.
        Self::Text(serde_json::to_string(values).unwrap_or_default().into())
    }
}

/// A statement with `?` for bound values, and rows of type `ST`.
pub(super) struct Sql<'a, ST = ()> {
    text: Cow<'static, str>,
    binds: Vec<Bind<'a>>,
    rows: PhantomData<ST>,
}

impl<'a, ST> Sql<'a, ST> {
    pub(super) fn new(
        text: impl Into<Cow<'static, str>>,
        binds: impl IntoIterator<Item = Bind<'a>>,
    ) -> Self {
        Self { text: text.into(), binds: binds.into_iter().collect(), rows: PhantomData }
    }

    /// Appends `text`, with as many `?` as there are `binds`.
    pub(super) fn push(
        &mut self,
        text: &'static str,
        binds: impl IntoIterator<Item = Bind<'a>>,
    ) -> &mut Self {
        self.text.to_mut().push_str(text);
        self.binds.extend(binds);
        self
    }

    /// Returns all rows, unless that takes longer than [`STATEMENT_MAX`].
    pub(super) fn load_in_time<'c, T: 'c>(
        self,
        connection: &'c mut SqliteConnection,
    ) -> Result<Vec<T>, Failure>
    where
        Self: LoadQuery<'a, SqliteConnection, T> + 'c,
    {
        let began = Instant::now();
        let mut rows = Vec::new();
        for row in self.load_iter::<T, DefaultLoadingMode>(connection)? {
            rows.push(row?);
            if STATEMENT_MAX < began.elapsed() {
                return Err(Failure::TooLong);
            }
        }
        Ok(rows)
    }
}

impl<ST> QueryFragment<Sqlite> for Sql<'_, ST> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let mut binds = self.binds.iter();
        for (index, part) in self.text.split('?').enumerate() {
            if index != 0 {
                match binds.next() {
                    Some(Bind::Number(number)) => out.push_bind_param::<BigInt, _>(number)?,
                    Some(Bind::Text(text)) => out.push_bind_param::<Text, str>(text)?,
                    Some(Bind::Bytes(bytes)) => out.push_bind_param::<Binary, [u8]>(bytes)?,
                    None => {}
                }
            }
            out.push_sql(part);
        }
        Ok(())
    }
}

/// The statement cache finds statements by their text.
impl<ST> QueryId for Sql<'_, ST> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<ST> Query for Sql<'_, ST> {
    type SqlType = ST;
}

impl<ST> RunQueryDsl<SqliteConnection> for Sql<'_, ST> {}
