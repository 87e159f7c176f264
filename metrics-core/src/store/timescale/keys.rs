//! Rows of keys.

use diesel::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

use super::prepared::Prepared;
use super::schema::keys;
use super::types::{timestamp, unix_ms};
use crate::key::{ApiKey, KeySettings, SettingsChange};
use crate::query::instant;
use crate::store::failure::Failure;
use crate::store::{KeyChange, KeyRecord};

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(sql_type = Timestamptz)]
    created_at: PgTimestamp,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    disabled_at: Option<PgTimestamp>,
    #[diesel(sql_type = Nullable<Text>)]
    settings: Option<String>,
}

impl KeyRow {
    /// Returns `None` for a text that cannot be a key, so that it does not invalidate the other keys.
    fn record(self) -> Option<KeyRecord> {
        Some(KeyRecord {
            key: ApiKey::new(&self.key).ok()?,
            created_at: instant(unix_ms(self.created_at)),
            disabled_at: self.disabled_at.map(|at| instant(unix_ms(at))),
            settings: KeySettings::decode(self.settings.as_deref()),
        })
    }
}

/// All keys, the oldest first.
pub(super) async fn list(connection: &mut AsyncPgConnection) -> Result<Vec<KeyRecord>, Failure> {
    let rows: Vec<KeyRow> = Prepared::new(
        "select key, created_at, disabled_at, settings::text as settings from keys order by created_at, id",
    )
    .load(connection)
    .await?;
    Ok(rows.into_iter().filter_map(KeyRow::record).collect())
}

/// Adds a key, and returns false if it exists already.
pub(super) async fn add(
    connection: &mut AsyncPgConnection,
    record: &KeyRecord,
) -> Result<bool, Failure> {
    let KeyRecord { key, created_at, disabled_at, settings } = record;
    let added = Prepared::new(
        "insert into keys (key, created_at, disabled_at, settings) values ($1, $2, $3, $4::jsonb)
         on conflict (key) do nothing",
    )
    .bind::<Text, _>(key.as_str())
    .bind::<Timestamptz, _>(timestamp(created_at.timestamp_millis()))
    .bind::<Nullable<Timestamptz>, _>(disabled_at.map(|at| timestamp(at.timestamp_millis())))
    .bind::<Nullable<Text>, _>(settings.encode())
    .execute(connection)
    .await?;
    Ok(added == 1)
}

/// Changes a key, and returns false if there is none.
pub(super) async fn change(
    connection: &mut AsyncPgConnection,
    key: &ApiKey,
    change: &KeyChange,
) -> Result<bool, Failure> {
    let this = keys::table.filter(keys::key.eq(key.as_str()));
    match change {
        KeyChange::Revoke(at) => {
            let disabled_at = keys::disabled_at.eq(timestamp(at.timestamp_millis()));
            let valid = this.filter(keys::disabled_at.is_null());
            diesel::update(valid).set(disabled_at).execute(connection).await?
        }
        KeyChange::Restore => {
            let disabled_at = keys::disabled_at.eq(None::<PgTimestamp>);
            diesel::update(this).set(disabled_at).execute(connection).await?
        }
        KeyChange::Settings(change) => change_settings(connection, key, change).await?,
    };
    Ok(diesel::select(diesel::dsl::exists(this)).get_result(connection).await?)
}

#[derive(QueryableByName)]
struct SettingsRow {
    #[diesel(sql_type = Nullable<Text>)]
    settings: Option<String>,
}

async fn change_settings(
    connection: &mut AsyncPgConnection,
    key: &ApiKey,
    change: &SettingsChange,
) -> Result<usize, Failure> {
    connection
        .transaction(async move |connection| {
            let stored = "select settings::text as settings from keys where key = $1 for update";
            let stored: Option<SettingsRow> = Prepared::new(stored)
                .bind::<Text, _>(key.as_str())
                .get_result(connection)
                .await
                .optional()?;
            let Some(SettingsRow { settings }) = stored else { return Ok(0) };
            let settings = KeySettings::decode(settings.as_deref()).changed(change);
            let set = Prepared::new("update keys set settings = $2::jsonb where key = $1")
                .bind::<Text, _>(key.as_str())
                .bind::<Nullable<Text>, _>(settings.encode());
            Ok(set.execute(connection).await?)
        })
        .await
}
