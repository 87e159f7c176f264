create table all_sessions (
    video_id integer not null references videos (id),
    started_at integer not null,
    id blob not null,
    version integer not null,
    last_event_at integer not null,
    source_id integer references sources (id),
    browser integer not null,
    platform integer not null,
    device integer not null,
    duration_ms integer,
    view_ms integer not null,
    unique_ms integer not null,
    segments blob not null,
    rebufferings integer not null,
    rebuffering_ms integer not null,
    failures integer not null,
    startup_ms integer,
    details text,
    session_data text,
    resume blob not null,
    instance integer,
    rolled integer not null default 0,
    primary key (video_id, started_at, id)
) strict, without rowid;

insert into all_sessions
    select
        video_id, started_at, id, version, last_event_at, source_id, browser, platform, device, duration_ms, view_ms,
        unique_ms, segments, rebufferings, rebuffering_ms, failures, startup_ms, details, session_data, resume,
        instance, 0
    from loose_sessions;

-- One that could not go on any more may: it is over. Where its id came again, it takes another.
with ids as (select id from sessions union all select id from loose_sessions)
insert into all_sessions
    select
        it.video_id, it.started_at,
        case when live.id is null and it.id in (select id from ids group by id having 1 < count(*))
            then randomblob(16) else it.id end,
        coalesce(live.version, 1), it.last_event_at, it.source_id, it.browser, it.platform, it.device, it.duration_ms,
        it.view_ms, it.unique_ms, it.segments, it.rebufferings, it.rebuffering_ms, it.failures, it.startup_ms,
        it.details, it.session_data, coalesce(live.resume, x'010000'), null, 1
    from sessions it
    left join rolled_sessions live
        on live.id = it.id and live.video_id = it.video_id and live.started_at = it.started_at;

drop table rolled_sessions;
drop table loose_sessions;
drop table sessions;
alter table all_sessions rename to sessions;

create unique index sessions_by_id on sessions (id);
create index sessions_watching on sessions (instance) where instance is not null;
create index sessions_loose on sessions (started_at, video_id) where rolled = 0;
