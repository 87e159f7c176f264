//! Rows of keys.

use diesel::prelude::*;
use diesel::sqlite::SqliteConnection;

use super::schema::keys;
use crate::key::{ApiKey, KeySettings};
use crate::query::instant;
use crate::store::failure::Failure;
use crate::store::{KeyChange, KeyRecord};

/// All keys, the oldest first.
pub(super) fn list(connection: &mut SqliteConnection) -> Result<Vec<KeyRecord>, Failure> {
    let rows = keys::table
        .select((keys::key, keys::created_at, keys::disabled_at, keys::settings))
        .order((keys::created_at, keys::id))
        .load::<(String, i64, Option<i64>, Option<String>)>(connection)?;
    // A row whose text cannot be a key is skipped, so that it does not invalidate the others.
    let record =
        |(key, created_at, disabled_at, settings): (String, i64, Option<i64>, Option<String>)| {
            Some(KeyRecord {
                key: ApiKey::new(&key).ok()?,
                created_at: instant(created_at),
                disabled_at: disabled_at.map(instant),
                settings: KeySettings::decode(settings.as_deref()),
            })
        };
    Ok(rows.into_iter().filter_map(record).collect())
}

/// Adds a key, and returns false if it exists already.
pub(super) fn add(connection: &mut SqliteConnection, record: &KeyRecord) -> QueryResult<bool> {
    let KeyRecord { key, created_at, disabled_at, settings } = record;
    let added = diesel::insert_into(keys::table)
        .values((
            keys::key.eq(key.as_str()),
            keys::created_at.eq(created_at.timestamp_millis()),
            keys::disabled_at.eq(disabled_at.map(|at| at.timestamp_millis())),
            keys::settings.eq(settings.encode()),
        ))
        .on_conflict(keys::key)
        .do_nothing()
        .execute(connection)?;
    Ok(added == 1)
}

/// Changes a key, and returns false if there is none. Always inside a transaction.
pub(super) fn change(
    connection: &mut SqliteConnection,
    key: &ApiKey,
    change: &KeyChange,
) -> QueryResult<bool> {
    let this = keys::table.filter(keys::key.eq(key.as_str()));
    match change {
        KeyChange::Revoke(at) => diesel::update(this.filter(keys::disabled_at.is_null()))
            .set(keys::disabled_at.eq(at.timestamp_millis()))
            .execute(connection)?,
        KeyChange::Restore => {
            diesel::update(this).set(keys::disabled_at.eq(None::<i64>)).execute(connection)?
        }
        KeyChange::Settings(change) => {
            let stored: Option<Option<String>> =
                this.select(keys::settings).get_result(connection).optional()?;
            let settings = KeySettings::decode(stored.flatten().as_deref()).changed(change);
            diesel::update(this).set(keys::settings.eq(settings.encode())).execute(connection)?
        }
    };
    diesel::select(diesel::dsl::exists(this)).get_result(connection)
}
