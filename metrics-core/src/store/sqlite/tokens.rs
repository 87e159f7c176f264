//! Rows of revoked access tokens.

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::schema::revoked_tokens;
use crate::query::instant;
use crate::store::RevokedToken;
use crate::store::failure::Failure;

/// The revoked tokens, by id, or the one with an id.
pub(super) fn list(
    connection: &mut SqliteConnection,
    only: Option<&str>,
) -> Result<Vec<RevokedToken>, Failure> {
    let mut query = revoked_tokens::table.order(revoked_tokens::id).into_boxed();
    if let Some(id) = only {
        query = query.filter(revoked_tokens::id.eq(id));
    }
    let rows: Vec<(String, i64)> = query.load(connection)?;
    let token = |(id, until_ms)| RevokedToken { id, until: instant(until_ms) };
    Ok(rows.into_iter().map(token).collect())
}

/// Adds a token, and deletes those that expired. Always inside a transaction.
pub(super) fn revoke(
    connection: &mut SqliteConnection,
    token: &RevokedToken,
    now_ms: i64,
) -> QueryResult<()> {
    let until_ms = token.until.timestamp_millis();
    diesel::delete(revoked_tokens::table.filter(revoked_tokens::until_ms.lt(now_ms)))
        .execute(connection)?;
    diesel::insert_into(revoked_tokens::table)
        .values((revoked_tokens::id.eq(&token.id), revoked_tokens::until_ms.eq(until_ms)))
        .on_conflict_do_nothing()
        .execute(connection)?;
    let earlier = revoked_tokens::id.eq(&token.id).and(revoked_tokens::until_ms.lt(until_ms));
    diesel::update(revoked_tokens::table.filter(earlier))
        .set(revoked_tokens::until_ms.eq(until_ms))
        .execute(connection)?;
    Ok(())
}
