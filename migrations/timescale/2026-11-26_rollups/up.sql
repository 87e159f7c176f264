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
