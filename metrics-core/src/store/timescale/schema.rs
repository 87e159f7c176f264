//! The tables that diesel queries without SQL text, as `migrations/timescale` creates them.

use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid};

diesel::table! {
    use super::{BigInt, Nullable, Text, Timestamptz};

    keys (id) {
        id -> BigInt,
        key -> Text,
        created_at -> Timestamptz,
        disabled_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    use super::{BigInt, Uuid};

    videos (id) {
        id -> BigInt,
        key_id -> BigInt,
        digest -> Uuid,
    }
}

diesel::allow_tables_to_appear_in_same_query!(keys, videos);
