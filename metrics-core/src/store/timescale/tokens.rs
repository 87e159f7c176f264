//! Rows of revoked access tokens.

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

use super::prepared::Prepared;
use super::types::{timestamp, unix_ms};
use crate::query::instant;
use crate::store::RevokedToken;
use crate::store::failure::Failure;

#[derive(QueryableByName)]
struct TokenRow {
    #[diesel(sql_type = Text)]
    id: String,
    #[diesel(sql_type = Timestamptz)]
    until: PgTimestamp,
}

/// The revoked tokens, by id, or the one with an id.
pub(super) async fn list(
    connection: &mut AsyncPgConnection,
    only: Option<&str>,
) -> Result<Vec<RevokedToken>, Failure> {
    let rows: Vec<TokenRow> = Prepared::new(
        "select id, until from revoked_tokens where $1 is null or id = $1 order by id",
    )
    .bind::<Nullable<Text>, _>(only)
    .load(connection)
    .await?;
    let token = |row: TokenRow| RevokedToken { id: row.id, until: instant(unix_ms(row.until)) };
    Ok(rows.into_iter().map(token).collect())
}

/// Adds a token, and deletes those that expired.
pub(super) async fn revoke(
    connection: &mut AsyncPgConnection,
    token: &RevokedToken,
    now_ms: i64,
) -> Result<(), Failure> {
    connection
        .transaction(async move |connection| {
            Prepared::new("delete from revoked_tokens where until < $1")
                .bind::<Timestamptz, _>(timestamp(now_ms))
                .execute(connection)
                .await?;
            Prepared::new(
                "insert into revoked_tokens (id, until) values ($1, $2)
                 on conflict (id) do update set until = greatest(revoked_tokens.until, excluded.until)",
            )
            .bind::<Text, _>(token.id.as_str())
            .bind::<Timestamptz, _>(timestamp(token.until.timestamp_millis()))
            .execute(connection)
            .await?;
            Ok(())
        })
        .await
}
