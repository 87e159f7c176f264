//! The tables that diesel queries without SQL text, as `migrations/sqlite` creates them.

diesel::table! {
    keys (id) {
        id -> BigInt,
        key -> Text,
        created_at -> BigInt,
        disabled_at -> Nullable<BigInt>,
        settings -> Nullable<Text>,
    }
}

diesel::table! {
    videos (id) {
        id -> BigInt,
        key_id -> BigInt,
        digest -> Binary,
        identifier -> Nullable<Text>,
        metadata -> Nullable<Text>,
    }
}

diesel::table! {
    instances (id) {
        id -> BigInt,
        seen_at -> BigInt,
    }
}

diesel::table! {
    revoked_tokens (id) {
        id -> Text,
        until_ms -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(keys, videos);
