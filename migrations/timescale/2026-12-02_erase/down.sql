drop index pages_maybe_unused;
alter table pages drop column maybe_unused;
drop table upkeep;
