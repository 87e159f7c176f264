-- Times are Unix milliseconds in UTC, positions and durations milliseconds of video.

create table keys (
    id integer primary key,
    key text not null unique,
    created_at integer not null,
    disabled_at integer
) strict;

create table videos (
    id integer primary key,
    key_id integer not null references keys (id),
    -- Of key, identifier and metadata together: concurrent first plays make one row.
    digest blob not null unique,
    identifier text,
    -- Canonical JSON of an object.
    metadata text
) strict;

create index videos_by_key on videos (key_id);
create index videos_by_identifier on videos (identifier);

create table sources (
    id integer primary key,
    -- Scheme, host, port if it is not the default, and path.
    url text not null unique
) strict;

-- One row per viewing. Clustered by video and time, because that is how reports read it.
create table sessions (
    video_id integer not null references videos (id),
    started_at integer not null,
    id blob not null,
    -- Goes up with every write, so that two writers notice each other.
    version integer not null,
    last_event_at integer not null,
    source_id integer references sources (id),
    browser integer not null,
    platform integer not null,
    device integer not null,
    duration_ms integer,
    view_ms integer not null,
    unique_ms integer not null,
    -- All segments, replays included: for each the distance of its start from the one before, and its length,
    -- as variable-length numbers.
    segments blob not null,
    rebufferings integer not null,
    rebuffering_ms integer not null,
    failures integer not null,
    startup_ms integer,
    -- Counters that most sessions do not have, as JSON.
    details text,
    -- What the page said about this viewing, as canonical JSON of an object.
    session_data text,
    -- What the session needs to go on: opaque.
    resume blob not null,
    -- The server instance at which a segment is open now.
    instance integer,
    primary key (video_id, started_at, id)
) strict, without rowid;

create unique index sessions_by_id on sessions (id);
create index sessions_watching on sessions (instance) where instance is not null;

-- Server instances, and when each was last alive.
create table instances (
    id integer primary key,
    seen_at integer not null
) strict;
