//! Rows of sums, put in the place of those that may be there, or taken away where there is nothing to sum.
//!
//! Diesel would build the text of each of these statements every time, to look for it among those that are prepared.

use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Binary, Nullable};
use diesel::sqlite::{Sqlite, SqliteConnection};

use super::schema::{rollup_places, rollup_plays, rollup_sources};
use super::sums::at;
use crate::rollup::{StoredPlaces, StoredPlays};

pub(super) fn put_plays(
    connection: &mut SqliteConnection,
    scope: i64,
    day: i64,
    sums: Option<StoredPlays>,
) -> QueryResult<usize> {
    match sums {
        Some(StoredPlays { hours, whole }) => {
            let (head, tail) = whole.map(|it| (it.head, it.tail)).unzip();
            Plays { at: at(scope, day), head, tail, hours }.execute(connection)
        }
        None => diesel::delete(rollup_plays::table.find(at(scope, day))).execute(connection),
    }
}

pub(super) fn put_sources(
    connection: &mut SqliteConnection,
    scope: i64,
    day: i64,
    sums: Option<Vec<u8>>,
) -> QueryResult<usize> {
    match sums {
        Some(sums) => Sources { at: at(scope, day), sums }.execute(connection),
        None => diesel::delete(rollup_sources::table.find(at(scope, day))).execute(connection),
    }
}

pub(super) fn put_places(
    connection: &mut SqliteConnection,
    video: i64,
    day: i64,
    sums: Option<StoredPlaces>,
) -> QueryResult<usize> {
    match sums {
        Some(StoredPlaces { end_ms, places, seconds }) => {
            let end_ms = i64::from(end_ms);
            Places { at: at(video, day), end_ms, seconds, places }.execute(connection)
        }
        None => diesel::delete(rollup_places::table.find(at(video, day))).execute(connection),
    }
}

#[derive(QueryId)]
struct Plays {
    at: i64,
    head: Option<Vec<u8>>,
    tail: Option<Vec<u8>>,
    hours: Vec<u8>,
}

impl QueryFragment<Sqlite> for Plays {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("replace into rollup_plays (at, head, tail, hours) values (");
        push_number(&self.at, &mut out)?;
        for part in [&self.head, &self.tail] {
            out.push_bind_param::<Nullable<Binary>, _>(part)?;
            out.push_sql(", ");
        }
        out.push_bind_param::<Binary, _>(&self.hours)?;
        out.push_sql(")");
        Ok(())
    }
}

impl RunQueryDsl<SqliteConnection> for Plays {}

#[derive(QueryId)]
struct Sources {
    at: i64,
    sums: Vec<u8>,
}

impl QueryFragment<Sqlite> for Sources {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("replace into rollup_sources (at, sources) values (");
        push_number(&self.at, &mut out)?;
        out.push_bind_param::<Binary, _>(&self.sums)?;
        out.push_sql(")");
        Ok(())
    }
}

impl RunQueryDsl<SqliteConnection> for Sources {}

#[derive(QueryId)]
struct Places {
    at: i64,
    end_ms: i64,
    seconds: Option<Vec<u8>>,
    places: Vec<u8>,
}

impl QueryFragment<Sqlite> for Places {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql("replace into rollup_places (at, end_ms, seconds, places) values (");
        push_number(&self.at, &mut out)?;
        push_number(&self.end_ms, &mut out)?;
        out.push_bind_param::<Nullable<Binary>, _>(&self.seconds)?;
        out.push_sql(", ");
        out.push_bind_param::<Binary, _>(&self.places)?;
        out.push_sql(")");
        Ok(())
    }
}

impl RunQueryDsl<SqliteConnection> for Places {}

/// With a comma behind it.
fn push_number<'b>(number: &'b i64, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
    out.push_bind_param::<BigInt, _>(number)?;
    out.push_sql(", ");
    Ok(())
}
