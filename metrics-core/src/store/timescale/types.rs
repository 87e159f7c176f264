//! Columns of the database as values, and back.

use std::io::Write as _;

use diesel::data_types::PgTimestamp;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::{Pg, PgValue};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::Uuid;

/// 128 bits, as `uuid`: the narrowest column that holds them.
#[derive(AsExpression, Clone, Copy, Debug, Eq, FromSqlRow, Hash, Ord, PartialEq, PartialOrd)]
#[diesel(sql_type = Uuid)]
pub(super) struct Bits(pub(super) [u8; 16]);

impl FromSql<Uuid, Pg> for Bits {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(value.as_bytes().try_into()?))
    }
}

impl ToSql<Uuid, Pg> for Bits {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(&self.0)?;
        Ok(IsNull::No)
    }
}

/// The start of PostgreSQL's time, 2000-01-01, in Unix milliseconds.
const EPOCH_MS: i64 = 946_684_800_000;

/// The first and the last instant that PostgreSQL can represent, in Unix milliseconds: in 4713 BC and 294276 AD.
const BOUNDS_MS: (i64, i64) = (-210_866_803_200_000, 9_224_318_015_999_999);

/// Converts Unix milliseconds to an instant. Times beyond these bounds are `-infinity` or `infinity`.
pub(super) fn timestamp(unix_ms: i64) -> PgTimestamp {
    let (first, last) = BOUNDS_MS;
    PgTimestamp(match unix_ms {
        _ if unix_ms < first => i64::MIN,
        _ if last < unix_ms => i64::MAX,
        _ => (unix_ms - EPOCH_MS) * 1_000,
    })
}

/// Converts an instant to Unix milliseconds.
pub(super) fn unix_ms(at: PgTimestamp) -> i64 {
    at.0.div_euclid(1_000).saturating_add(EPOCH_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_come_back_as_they_were() {
        for ms in [0, -1, 1_700_000_000_123, EPOCH_MS, BOUNDS_MS.0, BOUNDS_MS.1] {
            assert_eq!(unix_ms(timestamp(ms)), ms);
        }
    }

    #[test]
    fn times_out_of_range_are_infinite() {
        assert_eq!(timestamp(i64::MIN), PgTimestamp(i64::MIN));
        assert_eq!(timestamp(i64::MAX), PgTimestamp(i64::MAX));
        assert_eq!(timestamp(BOUNDS_MS.1 + 1), PgTimestamp(i64::MAX));
    }
}
