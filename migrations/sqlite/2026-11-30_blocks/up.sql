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

-- Server instances, and when each was last alive.
create table instances (
    id integer primary key,
    seen_at integer not null
) strict;

create table open_sessions (
    -- In the order in which sessions began: rows that are written at the moment lie side by side.
    row_id integer primary key,
    id blob not null unique,
    -- Goes up with every write, so that two writers notice each other.
    version integer not null,
    -- The server instance at which a segment is open now.
    instance integer,
    key_id integer not null references keys (id),
    video_id integer not null references videos (id),
    started_at integer not null,
    last_event_at integer not null,
    -- Scheme, host, port if it is not the default, and path.
    page text,
    browser integer not null,
    platform integer not null,
    device integer not null,
    duration_ms integer,
    view_ms integer not null,
    unique_ms integer not null,
    -- All segments, replays included: for each the distance of its start from the one before, and its length,
    -- as variable-length numbers.
    segments blob not null,
    -- The minutes at which the session played: see session/minutes.rs. Empty if they were not recorded.
    minutes blob not null,
    rebufferings integer not null,
    rebuffering_ms integer not null,
    failures integer not null,
    startup_ms integer,
    -- Counters that most sessions do not have, as JSON.
    details text,
    -- Session data, as canonical JSON of an object.
    session_data text,
    -- What the session needs to go on: opaque.
    resume blob not null
) strict;

create index open_sessions_by_video on open_sessions (video_id, started_at);

-- The resume state of sessions that are in a block and not final, in the order in which they become final.
create table closed_sessions (
    last_event_at integer not null,
    id blob not null unique,
    version integer not null,
    video_id integer not null references videos (id),
    started_at integer not null,
    resume blob not null,
    primary key (last_event_at, id)
) strict, without rowid;

-- Closed sessions: see block.rs. These rows are short, so that lists of blocks are read fast.
create table blocks (
    -- Never given twice: a block that replaces another has another id.
    id integer primary key autoincrement,
    key_id integer not null references keys (id),
    video_id integer not null references videos (id),
    sessions integer not null,
    first_start integer not null,
    last_start integer not null,
    -- A bit for each group of columns that has a row in `block_columns`.
    groups integer not null
) strict;

create index blocks_by_key on blocks (key_id);
create index blocks_by_video on blocks (video_id);

-- Encoded columns. One group of many blocks lies side by side, because that is how reports read it.
create table block_columns (
    -- 2^48 * the number of the group + the id of the block. Group 15 is all groups of a small block, one after the other.
    at integer primary key,
    bytes blob not null
) strict;

-- Summed plays per key and day: see totals.rs.
create table totals (
    -- 2^28 * key_id + the day since 1970-01-01.
    at integer primary key,
    key_id integer generated always as ((at + 134217728) >> 28) virtual,
    day integer generated always as (((at + 134217728) & 268435455) - 134217728) virtual,
    -- Of the whole day. They come first, so that hours are not read with them.
    sums blob not null,
    hours blob not null
) strict;
