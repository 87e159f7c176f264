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
