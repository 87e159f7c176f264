-- A file of the version before, after its last migration (20261129), with few sessions.
CREATE TABLE __diesel_schema_migrations (version VARCHAR(50) PRIMARY KEY NOT NULL, run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE keys (
    id integer primary key,
    key text not null unique,
    created_at integer not null,
    disabled_at integer
) strict;
CREATE TABLE videos (
    id integer primary key,
    key_id integer not null references keys (id),
    digest blob not null unique,
    identifier text,
    metadata text
) strict;
CREATE INDEX videos_by_key on videos (key_id);
CREATE INDEX videos_by_identifier on videos (identifier);
CREATE TABLE sources (
    id integer primary key,
    url text not null unique
) strict;
CREATE TABLE instances (
    id integer primary key,
    seen_at integer not null
) strict;
CREATE TABLE loose_sessions (
    place integer primary key,
    id blob not null unique,
    version integer not null,
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
    resume blob not null
) strict;
CREATE TABLE rolled_sessions (
    last_event_at integer not null,
    id blob not null unique,
    version integer not null,
    video_id integer not null,
    started_at integer not null,
    resume blob not null,
    primary key (last_event_at, id)
) strict, without rowid;
CREATE TABLE "sessions" (
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
    segments blob not null,
    rebufferings integer not null,
    rebuffering_ms integer not null,
    failures integer not null,
    startup_ms integer,
    details text,
    session_data text,
    primary key (video_id, started_at, id)
) strict, without rowid;
CREATE INDEX loose_sessions_by_video on loose_sessions (video_id, started_at);
CREATE INDEX loose_sessions_watching on loose_sessions (instance) where instance is not null;
CREATE TABLE "rollup_plays" (
    at integer primary key,
    scope integer generated always as ((at + 134217728) >> 28) virtual,
    day integer generated always as (((at + 134217728) & 268435455) - 134217728) virtual,
    head blob,
    tail blob,
    hours blob not null
) strict;
CREATE TABLE "rollup_sources" (
    at integer primary key,
    scope integer generated always as ((at + 134217728) >> 28) virtual,
    day integer generated always as (((at + 134217728) & 268435455) - 134217728) virtual,
    sources blob not null
) strict;
CREATE TABLE "rollup_places" (
    at integer primary key,
    video_id integer generated always as ((at + 134217728) >> 28) virtual,
    day integer generated always as (((at + 134217728) & 268435455) - 134217728) virtual,
    end_ms integer not null,
    seconds blob,
    places blob not null
) strict;
insert into __diesel_schema_migrations (version) values ('20261124'), ('20261126'), ('20261127'), ('20261128'), ('20261129');

insert into keys values (1, 'one', 1000, null), (4, 'two', 2000, 3000);
insert into videos values
    (2, 1, x'00000000000000000000000000000002', 'intro', null),
    (3, 4, x'00000000000000000000000000000003', null, '{"course":"knots"}'),
    (9, 1, x'00000000000000000000000000000009', 'outro', '{"a":1}');
insert into sources values (5, 'https://example.com/a'), (6, 'http://example.com:81/b/');
insert into instances values (77, 1700000000000);
-- Segments of 3 s from the beginning: x'00b817'.
insert into loose_sessions
    (place, id, version, instance, video_id, started_at, last_event_at, source_id, browser, platform, device,
     duration_ms, view_ms, unique_ms, segments, rebufferings, rebuffering_ms, failures, startup_ms, details,
     session_data, resume)
values
    (3, x'11000000000000000000000000000001', 4, 77, 2, 1700000100000, 1700000101000, 5, 1, 2, 3, 60000, 3000, 3000,
     x'00b817', 1, 200, 0, 350, '{"seeks":2}', '{"user":"a"}', x'010000aa'),
    (4, x'12000000000000000000000000000001', 1, null, 9, 1700000100001, 1700000100001, null, 0, 0, 0, null, 3000, 3000,
     x'00b817', 0, 0, 0, null, null, null, x'010000');
insert into rolled_sessions values
    (1700000005000, x'21000000000000000000000000000001', 7, 2, 1700000000000, x'010000bb');
insert into sessions
    (video_id, started_at, id, last_event_at, source_id, browser, platform, device, duration_ms, view_ms, unique_ms,
     segments, rebufferings, rebuffering_ms, failures, startup_ms, details, session_data)
values
    (2, 1600000000000, x'30000000000000000000000000000001', 1600000005000, null, 0, 0, 0, null, 3000, 3000, x'00b817',
     0, 0, 0, null, null, null),
    (2, 1700000000000, x'21000000000000000000000000000001', 1700000005000, 5, 1, 2, 3, 60000, 3000, 3000, x'00b817',
     1, 200, 3, 350, '{"language":"nl","seeks":2}', '{"user":"a"}'),
    (2, 1700000000000, x'22000000000000000000000000000001', 1700000005000, 6, 1, 2, 3, 60000, 6000, 3000,
     x'00b81700b817', 0, 0, 0, null, null, '{"user":"b"}'),
    (3, -5000, x'23000000000000000000000000000001', -1, 5, 2, 1, 1, 60001, 3000, 3000, x'00b817', 0, 0, 0, null, null,
     null),
    (9, 1700000000000, x'21000000000000000000000000000001', 1700000000000, 6, 1, 1, 1, 60000, 3000, 3000, x'00b817',
     0, 0, 0, null, null, null);
