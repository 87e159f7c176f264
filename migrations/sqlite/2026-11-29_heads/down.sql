-- Whole days are answered from their hours until `rollup rebuild`.
create table plays_of_before (
    scope integer not null,
    day integer not null,
    whole blob,
    hours blob not null,
    primary key (scope, day)
) strict, without rowid;

create table sources_of_before (
    scope integer not null,
    day integer not null,
    sources blob not null,
    primary key (scope, day)
) strict, without rowid;

create table places_of_before (
    video_id integer not null,
    day integer not null,
    end_ms integer not null,
    seconds blob,
    places blob not null,
    primary key (video_id, day)
) strict, without rowid;

insert into plays_of_before (scope, day, hours) select scope, day, hours from rollup_plays order by at;
insert into sources_of_before (scope, day, sources) select scope, day, sources from rollup_sources order by at;
insert into places_of_before (video_id, day, end_ms, seconds, places)
    select video_id, day, end_ms, seconds, places from rollup_places order by at;

drop table rollup_plays;
drop table rollup_sources;
drop table rollup_places;
alter table plays_of_before rename to rollup_plays;
alter table sources_of_before rename to rollup_sources;
alter table places_of_before rename to rollup_places;
