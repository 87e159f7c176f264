-- Sums are found by one number, which is that of a video or a key and of a day: to compare rows by two columns, SQLite reads
-- each to its end, and these are long.
--
-- Of plays, the sums of whole days are in two parts, of which most reports read the first only. It stands in front, so that
-- SQLite need not go over other pages. `rollup rebuild` makes those of before anew; until then whole days are answered from
-- their hours, which takes longer, and `rollup verify` names them.
create table plays_of_days (
    -- 2^28 * scope + day.
    at integer primary key,
    -- A video, or a key as a negative number.
    scope integer generated always as ((at + 134217728) >> 28) virtual,
    -- Counted from 1970.
    day integer generated always as (((at + 134217728) & 268435455) - 134217728) virtual,
    -- The sums of the whole day, where reading them is less work than reading its hours: what all plays come to with the
    -- shortest view times, and the other view times.
    head blob,
    tail blob,
    hours blob not null
) strict;

create table sources_of_days (
    at integer primary key,
    scope integer generated always as ((at + 134217728) >> 28) virtual,
    day integer generated always as (((at + 134217728) & 268435455) - 134217728) virtual,
    sources blob not null
) strict;

create table places_of_days (
    -- 2^28 * video_id + day.
    at integer primary key,
    video_id integer generated always as ((at + 134217728) >> 28) virtual,
    day integer generated always as (((at + 134217728) & 268435455) - 134217728) virtual,
    -- Where the furthest session stopped.
    end_ms integer not null,
    -- What changes at each second, where reading that is less work than reading the places.
    seconds blob,
    places blob not null
) strict;

insert into plays_of_days (at, hours)
    select 268435456 * scope + day, hours from rollup_plays order by scope, day;
insert into sources_of_days (at, sources)
    select 268435456 * scope + day, sources from rollup_sources order by scope, day;
insert into places_of_days (at, end_ms, seconds, places)
    select 268435456 * video_id + day, end_ms, seconds, places from rollup_places order by video_id, day;

drop table rollup_plays;
drop table rollup_sources;
drop table rollup_places;
alter table plays_of_days rename to rollup_plays;
alter table sources_of_days rename to rollup_sources;
alter table places_of_days rename to rollup_places;
