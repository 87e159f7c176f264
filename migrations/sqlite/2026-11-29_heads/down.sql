-- Whole days are answered from their hours until `rollup rebuild`.
create table plays_in_one (
    scope integer not null,
    day integer not null,
    whole blob,
    hours blob not null,
    primary key (scope, day)
) strict, without rowid;

insert into plays_in_one (scope, day, hours) select scope, day, hours from rollup_plays order by scope, day;
drop table rollup_plays;
alter table plays_in_one rename to rollup_plays;
