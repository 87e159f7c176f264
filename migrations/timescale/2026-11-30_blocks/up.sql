-- Closed sessions are kept twice: encoded in `blocks`, from which all reports are answered, and one row each in
-- `session_rows`, for SQL. SQL reads the views `sessions` and `segments`; their columns stay as they are.
--
-- The tables are the same on TimescaleDB and on plain PostgreSQL. Where there is TimescaleDB, `session_rows` is made a
-- hypertable afterwards, by store/timescale/open.rs.
--
-- Positions and durations are milliseconds of video.

create table keys (
    id bigint generated always as identity primary key,
    key text collate "C" not null unique,
    created_at timestamptz not null,
    disabled_at timestamptz
);

-- Notifies all instances of a key that is added or revoked, also by hand.
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

create index videos_by_key on videos (key_id, id);
create index videos_by_identifier on videos (identifier);

-- Server instances, and when each was last alive.
create table instances (
    id bigint primary key,
    seen_at timestamptz not null
);

-- One row per open session: every write of a session changes its row here, and nothing else.
create table open_sessions (
    started_at timestamptz not null,
    last_event_at timestamptz not null,
    -- Goes up with every write, so that two writers notice each other.
    version bigint not null,
    -- The server instance at which a segment is open now.
    instance bigint,
    view_ms bigint not null,
    rebufferings bigint,
    rebuffering_ms bigint,
    failures bigint,
    startup_ms bigint,
    video_id integer not null,
    unique_ms integer not null,
    duration_ms integer,
    browser smallint not null,
    platform smallint not null,
    device smallint not null,
    id uuid primary key,
    -- All segments, replays included: for each the distance of its start from the one before, and its length,
    -- in LEB128.
    segments bytea not null,
    -- The minutes at which the session played: see `metrics_core::session::Minutes`. Empty if they were not recorded.
    minutes bytea not null,
    -- The page that embeds the video: scheme, host, port if it is not the default, and path.
    page text,
    -- Counters that most sessions do not have, as JSON.
    details text,
    -- Given by the page for this session.
    session_data jsonb,
    -- What the session needs to go on: opaque.
    resume bytea not null
-- Room on each page for new versions of its rows, which then need no new entries in the indexes. For that, no index may
-- have a column that a usual write changes.
) with (fillfactor = 55, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

create index open_sessions_by_video on open_sessions (video_id);
create index open_sessions_by_start on open_sessions (started_at);

-- Resume state of closed sessions that are not final.
create table closed_sessions (
    id uuid primary key,
    started_at timestamptz not null,
    last_event_at timestamptz not null,
    version bigint not null,
    video_id integer not null,
    resume bytea not null
);

create index closed_sessions_by_last_event on closed_sessions (last_event_at);

-- Returns whether a session is closed and can go on. Volatile, so that a statement that waited for a lock sees what was
-- committed meanwhile.
create function is_closed(session uuid) returns boolean language plpgsql volatile as $$
begin
    return exists (select from metrics.closed_sessions where id = session);
end
$$;

-- Encoded columns of closed sessions, one row per block: see `metrics_core::block`.
create table blocks (
    id bigint generated always as identity primary key,
    key_id bigint not null,
    video_id bigint not null,
    first_start_ms bigint not null,
    last_start_ms bigint not null,
    sessions integer not null,
    starts bytea,
    times bytea,
    clients bytea,
    durations bytea,
    segments bytea,
    pages bytea,
    session_data bytea,
    quality bytea,
    languages bytea,
    details bytea,
    row_ids bytea,
    minutes bytea
-- Blocks are replaced as a whole.
) with (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05);

-- They are compact already.
alter table blocks
    alter starts set storage external,
    alter times set storage external,
    alter clients set storage external,
    alter durations set storage external,
    alter segments set storage external,
    alter pages set storage external,
    alter session_data set storage external,
    alter quality set storage external,
    alter languages set storage external,
    alter details set storage external,
    alter row_ids set storage external,
    alter minutes set storage external;

create index blocks_by_key on blocks (key_id, id);
create index blocks_by_video on blocks (video_id, id);

-- Summed plays of closed sessions per key and UTC day: see `metrics_core::totals`.
create table totals (
    key_id bigint not null,
    -- Since 1970-01-01.
    day bigint not null,
    sums bytea not null,
    hours bytea not null,
    primary key (key_id, day)
);

-- Pages of closed sessions, once each.
create table pages (
    id bigint generated always as identity primary key,
    url text collate "C" not null unique
);

-- One row per closed session, for SQL.
create table session_rows (
    started_at timestamptz not null,
    last_event_at timestamptz not null,
    -- Tells sessions apart that started in the same millisecond: the first 64 bits of the session's id.
    row_id bigint not null,
    view_ms bigint not null,
    -- Null for none, which takes no room, here and in the next two.
    rebufferings bigint,
    rebuffering_ms bigint,
    failures bigint,
    startup_ms bigint,
    video_id integer not null,
    page_id integer,
    unique_ms integer not null,
    duration_ms integer,
    browser smallint not null,
    platform smallint not null,
    device smallint not null,
    segments bytea not null,
    details text,
    session_data jsonb
);

-- Rows come about in the order of starts, so that a range of pages has a range of starts: an index entry per row would be a
-- sixth of the table.
create index session_rows_by_start on session_rows using brin (started_at) with (pages_per_range = 16, autosummarize = on);

-- The first 64 bits of a session's id.
create function row_id(session uuid) returns bigint language sql immutable parallel safe as $$
    select ('x' || left(replace(session::text, '-', ''), 16))::bit(64)::bigint
$$;

-- Names of browsers, platforms and devices: those of `metrics_core::user_agent`, by their codes from 0 on.
create function browser_name(code smallint) returns text language sql immutable parallel safe as $$
    select coalesce((array['other', 'brave', 'chrome', 'edge', 'firefox', 'ie', 'opera', 'safari'])[code + 1], 'other')
$$;

create function platform_name(code smallint) returns text language sql immutable parallel safe as $$
    select coalesce((array['other', 'android', 'ios', 'linux', 'mac', 'windows'])[code + 1], 'other')
$$;

create function device_name(code smallint) returns text language sql immutable parallel safe as $$
    select coalesce((array['other', 'desktop', 'mobile', 'tablet'])[code + 1], 'other')
$$;

-- Decodes the column `segments`.
create function decode_segments(encoded bytea) returns table (from_seconds double precision, to_seconds double precision)
language plpgsql immutable strict parallel safe rows 4 as $$
declare
    start_ms bigint := 0;
    number bigint := 0;
    shift int := 0;
    is_length boolean := false;
    byte int;
begin
    for index in 0 .. length(encoded) - 1 loop
        byte := get_byte(encoded, index);
        number := number | ((byte & 127)::bigint << shift);
        if byte >= 128 then
            shift := shift + 7;
            continue;
        end if;
        if is_length then
            from_seconds := start_ms / 1000.0;
            to_seconds := (start_ms + number) / 1000.0;
            return next;
        else
            start_ms := start_ms + number;
        end if;
        is_length := not is_length;
        number := 0;
        shift := 0;
    end loop;
end
$$;

create view sessions as
select key,
    identifier,
    metadata,
    video_id,
    row_id,
    started_at,
    last_event_at,
    is_open,
    page,
    browser_name(browser) as browser,
    platform_name(platform) as platform,
    device_name(device) as device,
    view_ms / 1000.0::double precision as view_seconds,
    unique_ms / 1000.0::double precision as unique_view_seconds,
    duration_ms / 1000.0::double precision as duration_seconds,
    startup_ms / 1000.0::double precision as startup_seconds,
    coalesce(rebufferings, 0) as rebufferings,
    coalesce(rebuffering_ms, 0) / 1000.0::double precision as rebuffering_seconds,
    coalesce(failures, 0) as failures,
    details::jsonb as details,
    session_data,
    segments
from (
    select video_id, row_id, started_at, last_event_at, false as is_open, url as page, browser, platform, device, view_ms,
        unique_ms, duration_ms, startup_ms, rebufferings, rebuffering_ms, failures, details, session_data, segments
    from session_rows left join pages on pages.id = page_id
    union all
    select video_id, row_id(id), started_at, last_event_at, true, page,
        browser, platform, device, view_ms, unique_ms, duration_ms, startup_ms, rebufferings, rebuffering_ms, failures,
        details, session_data, segments
    from open_sessions
) each
join videos on videos.id = video_id
join keys on keys.id = key_id;

comment on view sessions is 'One row per session. Limit started_at: a timeframe is what the database finds sessions by.';
comment on column sessions.identifier is 'The identifier of the video.';
comment on column sessions.metadata is 'What the page says about the video.';
comment on column sessions.row_id is 'With video_id and started_at it names a session.';
comment on column sessions.is_open is 'Whether the session goes on, or did until minutes ago.';
comment on column sessions.page is 'The page that embeds the video: scheme, host and path.';
comment on column sessions.view_seconds is 'Seconds of video played, replays included.';
comment on column sessions.unique_view_seconds is 'Seconds of video played, each counted once.';
comment on column sessions.duration_seconds is 'How long the video is, where the player said so.';
comment on column sessions.startup_seconds is 'From the first play to the first moving frame.';
comment on column sessions.details is 'Counters that most sessions do not have.';
comment on column sessions.session_data is 'What the page says about the session.';
comment on column sessions.segments is 'Encoded; the view segments has them decoded.';

create view segments as
select key, identifier, video_id, row_id, started_at, from_seconds, to_seconds
from sessions cross join lateral decode_segments(segments) decoded;

comment on view segments is 'One row per segment: a stretch of video time played without a jump.';
comment on column segments.started_at is 'When the session started.';
comment on column segments.from_seconds is 'Where the segment starts in the video.';
comment on column segments.to_seconds is 'Where it ends.';
