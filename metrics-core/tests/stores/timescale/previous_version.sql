-- The tables of the version before blocks, as its migrations made them.
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

-- Sums of sessions per day: see rollup.rs, which also knows what the blobs hold.

-- Whether the session is in the sums.
alter table session_heads add column rolled boolean not null default false;

-- Those that are not: a report looks at each, and the oldest are to be rolled up next.
create index session_heads_loose on session_heads (started_at, video_id) where not rolled;

-- For the hours that a timeframe begins and ends in, of all videos of a key: sessions lie in the order in which they came.
create index sessions_by_start on sessions using brin (started_at) with (pages_per_range = 32);

create table rollup_plays (
    -- A video, or a key as a negative number.
    scope bigint not null,
    -- Counted from 1970.
    day bigint not null,
    -- The sums of the whole day, where reading them is less work than reading its hours.
    whole bytea,
    hours bytea not null,
    primary key (scope, day)
);

create table rollup_sources (
    scope bigint not null,
    day bigint not null,
    sources bytea not null,
    primary key (scope, day)
);

create table rollup_places (
    video_id bigint not null,
    day bigint not null,
    -- Where the furthest session stopped.
    end_ms bigint not null,
    -- What changes at each second, where reading that is less work than reading the places.
    seconds bytea,
    places bytea not null,
    primary key (video_id, day)
);

-- What a session needs to go on is kept while it can, and not for ever: see store::LIVE.

-- The sessions that can go on: every write of one changes its row here, and nothing else.
create table live_sessions (
    started_at timestamptz not null,
    last_event_at timestamptz not null,
    -- Goes up with every write, so that two writers notice each other.
    version bigint not null,
    -- The server instance at which a segment is open now.
    instance bigint,
    -- Once it is rolled up, what is null here is in `sessions`.
    view_ms bigint,
    startup_ms bigint,
    rebufferings bigint,
    rebuffering_ms bigint,
    failures bigint,
    video_id integer not null,
    source_id integer,
    unique_ms integer,
    duration_ms integer,
    browser smallint,
    platform smallint,
    device smallint,
    -- Whether it is in the sums, and in `sessions`. If not, it is loose: reports look at its row here.
    rolled boolean not null default false,
    id uuid primary key,
    segments bytea,
    details text,
    session_data jsonb,
    -- What it needs to go on: opaque.
    resume bytea not null
-- Room on each page for new versions of its rows, which then need no new entries in the indexes. For that, nothing that
-- a usual write changes may be in an index, or in what an index is limited to.
) with (fillfactor = 55, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

insert into live_sessions (
    id, version, instance, rolled, video_id, started_at, last_event_at, resume, source_id, duration_ms, view_ms, unique_ms,
    segments, startup_ms, rebufferings, rebuffering_ms, failures, browser, platform, device, details, session_data)
select id, version, instance, false, head.video_id, head.started_at, last_event_at, resume, source_id, duration_ms, view_ms,
    unique_ms, segments, startup_ms, nullif(rebufferings, 0), nullif(rebuffering_ms, 0), nullif(failures, 0), browser,
    platform, device, details, session_data
from sessions join session_heads head using (id) where not rolled;

insert into live_sessions (id, version, rolled, video_id, started_at, last_event_at, resume)
select id, version, true, head.video_id, head.started_at, last_event_at, resume
from sessions join session_heads head using (id)
where rolled and now() - interval '28 days' <= last_event_at;

create index live_sessions_loose on live_sessions (video_id, started_at) where not rolled;
-- Those of them that were silent for long are deleted.
create index live_sessions_rolled on live_sessions (started_at) where rolled;

-- One row per viewing that is in the sums.
create table rolled_sessions (
    started_at timestamptz not null,
    last_event_at timestamptz not null,
    view_ms bigint not null,
    startup_ms bigint,
    -- Null for none, which takes no room, here and in the next two.
    rebufferings bigint,
    rebuffering_ms bigint,
    failures bigint,
    video_id integer not null,
    source_id integer,
    unique_ms integer not null,
    duration_ms integer,
    browser smallint not null,
    platform smallint not null,
    device smallint not null,
    -- With video and start it is unique. Alone it may come again, where somebody came back after more than 28 days.
    id uuid not null,
    -- All segments, replays included: for each the distance of its start from the one before, and its length,
    -- as variable-length numbers.
    segments bytea not null,
    -- Counters that most sessions do not have, as JSON.
    details text,
    -- What the page said about this viewing.
    session_data jsonb
);

insert into rolled_sessions (
    id, video_id, started_at, last_event_at, source_id, duration_ms, view_ms, unique_ms, segments, startup_ms, rebufferings,
    rebuffering_ms, failures, browser, platform, device, details, session_data)
select id, head.video_id, head.started_at, last_event_at, source_id, duration_ms, view_ms, unique_ms, segments, startup_ms,
    nullif(rebufferings, 0), nullif(rebuffering_ms, 0), nullif(failures, 0), browser, platform, device, details,
    session_data
from sessions join session_heads head using (id) where rolled;

drop table session_heads;
drop table sessions;
alter table rolled_sessions rename to sessions;

create index sessions_by_video on sessions (video_id, started_at);
create index sessions_by_data on sessions using gin (session_data jsonb_path_ops)
    where session_data is not null;
create index sessions_by_start on sessions using brin (started_at) with (pages_per_range = 32);

-- Sums of whole days begin with what all view times come to, and hours do where that pays. `rollup rebuild` makes those of
-- before anew; until then whole days are answered from their hours, which takes longer, and `rollup verify` names them.
update rollup_plays set whole = null where whole is not null;

-- Sums of whole days are in two parts, of which most reports read the first only: what all plays come to with the shortest
-- view times, and the other view times. `rollup rebuild` makes those of before anew; until then whole days are answered
-- from their hours, which takes longer, and `rollup verify` names them.
alter table rollup_plays drop column whole, add column head bytea, add column tail bytea;

