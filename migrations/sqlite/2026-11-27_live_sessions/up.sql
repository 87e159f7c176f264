-- A session is loose, with all that is known of it, as long as it goes on and a little longer. Then it is rolled up:
-- its row is written once, and never changed. What it needs to go on after all is kept apart, for four weeks.

create table loose_sessions (
    -- In the order in which they began, so that those that are written at the moment lie side by side.
    place integer primary key,
    id blob not null unique,
    -- Goes up with every write, so that two writers notice each other.
    version integer not null,
    -- The server instance at which a segment is open now.
    instance integer,
    video_id integer not null references videos (id),
    started_at integer not null,
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
    -- What the session needs to go on: opaque.
    resume blob not null
) strict;

-- Those that are rolled up and may still go on, in the order in which that ends.
create table rolled_sessions (
    last_event_at integer not null,
    id blob not null unique,
    version integer not null,
    video_id integer not null,
    started_at integer not null,
    resume blob not null,
    primary key (last_event_at, id)
) strict, without rowid;

insert into loose_sessions
    (id, version, instance, video_id, started_at, last_event_at, source_id, browser, platform, device, duration_ms,
     view_ms, unique_ms, segments, rebufferings, rebuffering_ms, failures, startup_ms, details, session_data, resume)
    select
        id, version, instance, video_id, started_at, last_event_at, source_id, browser, platform, device, duration_ms,
        view_ms, unique_ms, segments, rebufferings, rebuffering_ms, failures, startup_ms, details, session_data, resume
    from sessions where rolled = 0 order by started_at;

insert into rolled_sessions (last_event_at, id, version, video_id, started_at, resume)
    select last_event_at, id, version, video_id, started_at, resume
    from sessions where rolled = 1 and last_event_at >= (unixepoch() - 28 * 86400) * 1000
    order by last_event_at, id;

-- One row per viewing that is in the sums. Clustered by video and time, because that is how reports read it. An id may
-- come again, with another start, once its session cannot go on.
create table summed_sessions (
    video_id integer not null references videos (id),
    started_at integer not null,
    id blob not null,
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
    primary key (video_id, started_at, id)
) strict, without rowid;

insert into summed_sessions
    select
        video_id, started_at, id, last_event_at, source_id, browser, platform, device, duration_ms, view_ms, unique_ms,
        segments, rebufferings, rebuffering_ms, failures, startup_ms, details, session_data
    from sessions where rolled = 1;

drop table sessions;
alter table summed_sessions rename to sessions;

create index loose_sessions_by_video on loose_sessions (video_id, started_at);
create index loose_sessions_watching on loose_sessions (instance) where instance is not null;
