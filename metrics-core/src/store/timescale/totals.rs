//! Reads and changes stored totals.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::prepared::Prepared;
use crate::key::ApiKey;
use crate::store::failure::Failure;
use crate::store::{Detail, KeyId};
use crate::totals::{DayTotals, StoredTotals};

/// The number of the lock of transactions that change totals. Any number would do, as long as it never changes.
const LOCK: i64 = 0x6d65_7472_6963_7302;

#[derive(QueryableByName)]
struct TotalsRow {
    #[diesel(sql_type = BigInt)]
    key_id: i64,
    #[diesel(sql_type = BigInt)]
    day: i64,
    #[diesel(sql_type = Binary)]
    day_totals: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    hour_totals: Option<Vec<u8>>,
}

impl TotalsRow {
    fn totals(self) -> StoredTotals {
        StoredTotals { day: self.day, sums: self.day_totals, hours: self.hour_totals }
    }
}

/// The totals of the days of a key, or of each key, by day.
pub(super) async fn read(
    connection: &mut AsyncPgConnection,
    key: Option<&ApiKey>,
    (first_day, last_day): (i64, i64),
    detail: Detail,
) -> Result<Vec<StoredTotals>, Failure> {
    let rows: Vec<TotalsRow> = Prepared::new(
        "select key_id, day, day_totals, case when $1 then hour_totals end as hour_totals from totals
         where ($2 is null or key_id = (select id from keys where key = $2)) and day between $3 and $4
         order by day, key_id",
    )
    .bind::<Bool, _>(detail == Detail::Hours)
    .bind::<Nullable<Text>, _>(key.map(|key| key.as_str().to_owned()))
    .bind::<BigInt, _>(first_day)
    .bind::<BigInt, _>(last_day)
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(TotalsRow::totals).collect())
}

/// Adds changes to the totals, in a transaction. The lock is held until the commit, and taken after all other locks:
/// another instance may be about to add the first totals of the same day.
pub(super) async fn change(
    connection: &mut AsyncPgConnection,
    changes: &[(KeyId, i64, DayTotals)],
) -> Result<(), Failure> {
    let mut by_day: HashMap<(i64, i64), DayTotals> = HashMap::new();
    for (key, day, change) in changes {
        by_day.entry((key.0, *day)).or_default().merge(change);
    }
    by_day.retain(|_, change| !change.is_empty());
    if by_day.is_empty() {
        return Ok(());
    }
    diesel::sql_query(format!("select pg_advisory_xact_lock({LOCK})")).execute(connection).await?;
    let (keys, days): (Vec<i64>, Vec<i64>) = by_day.keys().copied().unzip();
    let rows: Vec<TotalsRow> = Prepared::new(
        "select totals.* from unnest($1, $2) as it (of_key, of_day), lateral (
            select key_id, day, day_totals, hour_totals from totals where key_id = of_key and day = of_day offset 0
         ) totals",
    )
    .bind::<Array<BigInt>, _>(keys)
    .bind::<Array<BigInt>, _>(days)
    .load(connection)
    .await?;
    let stored: HashMap<_, _> =
        rows.into_iter().map(|row| ((row.key_id, row.day), row.totals())).collect();
    let mut changed = Vec::new();
    let mut emptied = Vec::new();
    for (at, change) in by_day {
        match change.add_to(at.1, stored.get(&at))? {
            Some(totals) => changed.push((at.0, totals)),
            None => emptied.push(at),
        }
    }
    upsert(connection, &changed).await?;
    delete(connection, emptied).await
}

async fn upsert(
    connection: &mut AsyncPgConnection,
    totals: &[(i64, StoredTotals)],
) -> Result<(), Failure> {
    if totals.is_empty() {
        return Ok(());
    }
    let hours = totals.iter().map(|(_, it)| it.hours.as_deref().unwrap_or_default());
    Prepared::new(
        "insert into totals (key_id, day, day_totals, hour_totals) select * from unnest($1, $2, $3, $4)
         on conflict (key_id, day) do update set day_totals = excluded.day_totals, hour_totals = excluded.hour_totals",
    )
    .bind::<Array<BigInt>, _>(totals.iter().map(|(key, _)| *key).collect::<Vec<_>>())
    .bind::<Array<BigInt>, _>(totals.iter().map(|(_, it)| it.day).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(totals.iter().map(|(_, it)| &it.sums[..]).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(hours.collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

async fn delete(
    connection: &mut AsyncPgConnection,
    emptied: Vec<(i64, i64)>,
) -> Result<(), Failure> {
    if emptied.is_empty() {
        return Ok(());
    }
    let (keys, days): (Vec<i64>, Vec<i64>) = emptied.into_iter().unzip();
    Prepared::new(
        "delete from totals where ctid = any(array(
            select totals.ctid from unnest($1, $2) as it (of_key, of_day), lateral (
                select ctid from totals where key_id = of_key and day = of_day offset 0
            ) totals))",
    )
    .bind::<Array<BigInt>, _>(keys)
    .bind::<Array<BigInt>, _>(days)
    .execute(connection)
    .await?;
    Ok(())
}
