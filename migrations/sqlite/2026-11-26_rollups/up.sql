-- Sums of sessions per day: see rollup.rs, which also knows what the blobs hold.

-- Whether the session is in the sums.
alter table sessions add column rolled integer not null default 0;

-- Those that are not: a report looks at each, and the oldest are to be rolled up next.
create index sessions_loose on sessions (started_at, video_id) where rolled = 0;

create table rollup_plays (
    -- A video, or a key as a negative number.
    scope integer not null,
    -- Counted from 1970.
    day integer not null,
    -- The sums of the whole day, where reading them is less work than reading its hours.
    whole blob,
    hours blob not null,
    primary key (scope, day)
) strict, without rowid;

create table rollup_sources (
    scope integer not null,
    day integer not null,
    sources blob not null,
    primary key (scope, day)
) strict, without rowid;

create table rollup_places (
    video_id integer not null,
    day integer not null,
    -- Where the furthest session stopped.
    end_ms integer not null,
    -- What changes at each second, where reading that is less work than reading the places.
    seconds blob,
    places blob not null,
    primary key (video_id, day)
) strict, without rowid;
