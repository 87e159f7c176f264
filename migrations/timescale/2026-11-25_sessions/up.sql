-- Positions and durations are milliseconds of video.
--
-- The tables are the same on TimescaleDB and on plain PostgreSQL. Where there is TimescaleDB, `sessions` is made a
-- hypertable afterwards, by store/timescale/edition.rs.

create table keys (
    id bigint generated always as identity primary key,
    key text collate "C" not null unique,
    created_at timestamptz not null,
    disabled_at timestamptz
);

-- All instances are told of a key that comes or is revoked, however that is done.
create function tell_of_keys() returns trigger language plpgsql as $$
begin
    notify metrics_keys;
    return null;
end
$$;

create trigger tell_of_keys after insert or update or delete or truncate on keys
    for each statement execute function tell_of_keys();

create table videos (
    id bigint generated always as identity primary key,
    key_id bigint not null references keys (id),
    -- Of key, identifier and metadata together: concurrent first plays make one row.
    digest uuid not null unique,
    identifier text collate "C",
    metadata jsonb
);

create index videos_by_key on videos (key_id);
create index videos_by_identifier on videos (identifier);
create index videos_by_metadata on videos using gin (metadata jsonb_path_ops);

create table sources (
    id bigint generated always as identity primary key,
    -- Scheme, host, port if it is not the default, and path.
    url text collate "C" not null unique
);

-- Where each session lies, and what every write of it changes. A hypertable cannot keep an id unique over all
-- times; this table can.
create table session_heads (
    id uuid primary key,
    video_id bigint not null,
    started_at timestamptz not null,
    -- Goes up with every write, so that two writers notice each other.
    version bigint not null,
    -- The server instance at which a segment is open now.
    instance bigint
-- Room on each page for new versions of its rows, which then need no new entries in the indexes.
) with (fillfactor = 80);

create index session_heads_watching on session_heads (instance) where instance is not null;
create index session_heads_by_start on session_heads using brin (started_at);

-- One row per viewing. Unique by `session_heads`: an index to say so would cost more than all others here.
create table sessions (
    started_at timestamptz not null,
    last_event_at timestamptz not null,
    video_id bigint not null,
    source_id bigint,
    view_ms bigint not null,
    unique_ms bigint not null,
    duration_ms bigint,
    startup_ms bigint,
    rebufferings bigint not null,
    rebuffering_ms bigint not null,
    failures bigint not null,
    id uuid not null,
    browser smallint not null,
    platform smallint not null,
    device smallint not null,
    -- All segments, replays included: for each the distance of its start from the one before, and its length,
    -- as variable-length numbers.
    segments bytea not null,
    -- Counters that most sessions do not have, as JSON.
    details text,
    -- What the page said about this viewing.
    session_data jsonb,
    -- What the session needs to go on: opaque.
    resume bytea not null
) with (fillfactor = 90);

create index sessions_by_video on sessions (video_id, started_at);
create index sessions_by_data on sessions using gin (session_data jsonb_path_ops)
    where session_data is not null;

-- Server instances, and when each was last alive.
create table instances (
    id bigint primary key,
    seen_at timestamptz not null
);
