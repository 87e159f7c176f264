//! The tables, as `migrations/sqlite` makes them.

diesel::table! {
    keys (id) {
        id -> BigInt,
        key -> Text,
        created_at -> BigInt,
        disabled_at -> Nullable<BigInt>,
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
    sources (id) {
        id -> BigInt,
        url -> Text,
    }
}

diesel::table! {
    loose_sessions (place) {
        place -> BigInt,
        id -> Binary,
        version -> BigInt,
        instance -> Nullable<BigInt>,
        video_id -> BigInt,
        started_at -> BigInt,
        last_event_at -> BigInt,
        source_id -> Nullable<BigInt>,
        browser -> Integer,
        platform -> Integer,
        device -> Integer,
        duration_ms -> Nullable<BigInt>,
        view_ms -> BigInt,
        unique_ms -> BigInt,
        segments -> Binary,
        rebufferings -> BigInt,
        rebuffering_ms -> BigInt,
        failures -> BigInt,
        startup_ms -> Nullable<BigInt>,
        details -> Nullable<Text>,
        session_data -> Nullable<Text>,
        resume -> Binary,
    }
}

diesel::table! {
    rolled_sessions (id) {
        last_event_at -> BigInt,
        id -> Binary,
        version -> BigInt,
        video_id -> BigInt,
        started_at -> BigInt,
        resume -> Binary,
    }
}

diesel::table! {
    sessions (video_id, started_at, id) {
        video_id -> BigInt,
        started_at -> BigInt,
        id -> Binary,
        last_event_at -> BigInt,
        source_id -> Nullable<BigInt>,
        browser -> Integer,
        platform -> Integer,
        device -> Integer,
        duration_ms -> Nullable<BigInt>,
        view_ms -> BigInt,
        unique_ms -> BigInt,
        segments -> Binary,
        rebufferings -> BigInt,
        rebuffering_ms -> BigInt,
        failures -> BigInt,
        startup_ms -> Nullable<BigInt>,
        details -> Nullable<Text>,
        session_data -> Nullable<Text>,
    }
}

diesel::table! {
    instances (id) {
        id -> BigInt,
        seen_at -> BigInt,
    }
}

diesel::table! {
    rollup_plays (at) {
        at -> BigInt,
        day -> BigInt,
        head -> Nullable<Binary>,
        tail -> Nullable<Binary>,
        hours -> Binary,
    }
}

diesel::table! {
    rollup_sources (at) {
        at -> BigInt,
        day -> BigInt,
        sources -> Binary,
    }
}

diesel::table! {
    rollup_places (at) {
        at -> BigInt,
        day -> BigInt,
        end_ms -> BigInt,
        seconds -> Nullable<Binary>,
        places -> Binary,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    keys,
    videos,
    sources,
    loose_sessions,
    rolled_sessions,
    sessions,
    instances
);
