create table session_heads (
    id uuid primary key,
    video_id bigint not null,
    started_at timestamptz not null,
    version bigint not null,
    instance bigint,
    rolled boolean not null default false
) with (fillfactor = 80);

create table all_sessions (
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
    segments bytea not null,
    details text,
    session_data jsonb,
    resume bytea not null
) with (fillfactor = 90);

insert into session_heads (id, video_id, started_at, version, instance, rolled)
select id, video_id, started_at, version, instance, rolled from live_sessions;

insert into all_sessions
select started_at, last_event_at, video_id, source_id, view_ms, unique_ms, duration_ms, startup_ms,
    coalesce(rebufferings, 0), coalesce(rebuffering_ms, 0), coalesce(failures, 0), id, browser, platform, device, segments,
    details, session_data, resume
from live_sessions where not rolled;

-- Of several sessions under one id, that which can go on or is the last keeps it. What is over needs next to nothing.
with named as (
    select it.*, live.resume,
        case when live.id is not null then it.id
            when row_number() over (partition by it.id order by it.started_at desc) = 1
                and not exists (select from live_sessions where live_sessions.id = it.id) then it.id
            else md5(it.id::text || it.video_id || it.started_at)::uuid end as new_id
    from sessions it left join live_sessions live
        on live.id = it.id and live.video_id = it.video_id and live.started_at = it.started_at and live.rolled),
heads as (
    insert into session_heads (id, video_id, started_at, version, rolled)
    select new_id, video_id, started_at, 1, true from named where resume is null)
insert into all_sessions
select started_at, last_event_at, video_id, source_id, view_ms, unique_ms, duration_ms, startup_ms,
    coalesce(rebufferings, 0), coalesce(rebuffering_ms, 0), coalesce(failures, 0), new_id, browser, platform, device,
    segments, details, session_data, coalesce(resume, '\x010000')
from named;

drop table live_sessions;
drop table sessions;
alter table all_sessions rename to sessions;

create index session_heads_watching on session_heads (instance) where instance is not null;
create index session_heads_by_start on session_heads using brin (started_at);
create index session_heads_loose on session_heads (started_at, video_id) where not rolled;
create index sessions_by_video on sessions (video_id, started_at);
create index sessions_by_data on sessions using gin (session_data jsonb_path_ops)
    where session_data is not null;
create index sessions_by_start on sessions using brin (started_at) with (pages_per_range = 32);
