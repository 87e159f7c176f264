-- Sums of whole days are in two parts, of which most reports read the first only. It stands in front, so that SQLite need not
-- go over other pages. `rollup rebuild` makes those of before anew; until then whole days are answered from their hours,
-- which takes longer, and `rollup verify` names them.
create table plays_in_parts (
    -- A video, or a key as a negative number.
    scope integer not null,
    -- Counted from 1970.
    day integer not null,
    -- The sums of the whole day, where reading them is less work than reading its hours: what all plays come to with the
    -- shortest view times, and the other view times.
    head blob,
    tail blob,
    hours blob not null,
    primary key (scope, day)
) strict, without rowid;

insert into plays_in_parts (scope, day, hours) select scope, day, hours from rollup_plays order by scope, day;
drop table rollup_plays;
alter table plays_in_parts rename to rollup_plays;
