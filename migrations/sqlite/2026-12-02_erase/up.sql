-- What upkeep remembers: one row.
create table upkeep (
    id integer primary key check (id = 1),
    -- The latest time that retention believes in: see retention.rs.
    retention_clock integer,
    -- No video gets an id up to this one: those that were deleted had them.
    last_video integer not null
) strict;

insert into upkeep (id, last_video) values (1, 0);
