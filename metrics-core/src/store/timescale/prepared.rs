//! Statements that a connection prepares once.
//!
//! Diesel prepares its own SQL queries anew each time, which costs another round trip and the time to parse the text.

use std::marker::PhantomData;

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{Error, QueryResult};
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Untyped};

/// A statement whose few different texts a connection can all keep prepared.
///
/// Parameters are named `$1`, `$2` and so on, and `$` has no other use.
///
/// `S` is the type of its rows, whose columns are then identified by position, for statements that return many rows.
/// Without it, columns are identified by name.
pub(super) struct Prepared<'a, S = Untyped> {
    sql: String,
    binds: Vec<Box<dyn QueryFragment<Pg> + Send + 'a>>,
    // Owns no `S`.
    of: PhantomData<fn() -> S>,
}

impl Prepared<'_> {
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self::typed(sql)
    }
}

impl<'a, R> Prepared<'a, R> {
    pub(super) fn typed(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), binds: Vec::new(), of: PhantomData }
    }

    /// Binds the value of the next parameter.
    pub(super) fn bind<S, T>(mut self, value: T) -> Self
    where
        Pg: HasSqlType<S>,
        S: Send + 'a,
        T: ToSql<S, Pg> + Send + 'a,
    {
        self.binds.push(Box::new(Bind::<S, T> { value, of: PhantomData }));
        self
    }
}

impl<R> QueryFragment<Pg> for Prepared<'_, R> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        // Diesel numbers parameters in order, and takes each once.
        let mut seen = Vec::new();
        for (at, piece) in self.sql.split('$').enumerate() {
            if at == 0 {
                out.push_sql(piece);
                continue;
            }
            let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
            let (number, text) = piece.split_at(digits);
            if let Some(before) = seen.iter().position(|it| *it == number) {
                out.push_sql(&format!("${}", before + 1));
            } else {
                let index = number.parse::<usize>().ok().and_then(|it| it.checked_sub(1));
                let bind = index.and_then(|index| self.binds.get(index));
                let missing = || format!("${number} has no value in {}", self.sql);
                bind.ok_or_else(|| Error::QueryBuilderError(missing().into()))?
                    .walk_ast(out.reborrow())?;
                seen.push(number);
            }
            out.push_sql(text);
        }
        Ok(())
    }
}

impl<R> QueryId for Prepared<'_, R> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<R> Query for Prepared<'_, R> {
    type SqlType = R;
}

struct Bind<S, T> {
    value: T,
    of: PhantomData<S>,
}

impl<S, T> QueryFragment<Pg> for Bind<S, T>
where
    Pg: HasSqlType<S>,
    T: ToSql<S, Pg>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<S, T>(&self.value)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use diesel::debug_query;
    use diesel::sql_types::{BigInt, Text};

    use super::*;

    #[test]
    fn parameters_are_numbered_as_they_come() {
        let query = Prepared::new("select $2, $1 where $2 is null or $1 < 3");
        let query = query.bind::<BigInt, _>(7).bind::<Text, _>("seven");
        assert_eq!(
            debug_query::<Pg, _>(&query).to_string(),
            r#"select $1, $2 where $1 is null or $2 < 3 -- binds: ["seven", 7]"#
        );
        let query = (0..12).fold(Prepared::new("select $12"), |it, at| it.bind::<BigInt, _>(at));
        assert_eq!(debug_query::<Pg, _>(&query).to_string(), "select $1 -- binds: [11]");
    }

    #[test]
    fn a_parameter_without_a_value_is_refused() {
        for sql in ["select $1, $2", "select $0", "select $", "select $x"] {
            let query = Prepared::new(sql).bind::<BigInt, _>(7);
            let mut text = String::new();
            assert!(write!(text, "{}", debug_query::<Pg, _>(&query)).is_err(), "{sql}: {text}");
        }
    }
}
