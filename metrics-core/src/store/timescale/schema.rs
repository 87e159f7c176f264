//! The tables that are asked by diesel's words and not in SQL, as `migrations/timescale` makes them.

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

diesel::table! {
    sources (id) {
        id -> BigInt,
        url -> Text,
    }
}

diesel::allow_tables_to_appear_in_same_query!(keys, videos);
