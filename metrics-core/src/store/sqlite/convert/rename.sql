-- Renames the tables of the version before. Ids stay the same, and sums are computed again.
alter table keys rename to before_keys;
alter table videos rename to before_videos;
alter table sources rename to before_sources;
alter table loose_sessions rename to before_loose_sessions;
alter table rolled_sessions rename to before_rolled_sessions;
alter table sessions rename to before_sessions;
drop index videos_by_key;
drop index videos_by_identifier;
drop table instances;
drop table rollup_plays;
drop table rollup_sources;
drop table rollup_places;
delete from __diesel_schema_migrations;
