-- What upkeep remembers: one row.
create table upkeep (
    id integer primary key check (id = 1),
    -- The latest time that retention believes in: see `metrics_core::retention`.
    retention_clock timestamptz
);

insert into upkeep (id) values (1);

-- Whether the page may have no session: it is new, or sessions of it were deleted since that was found out.
alter table pages add column maybe_unused boolean not null default true;

create index pages_maybe_unused on pages (id) where maybe_unused;
