drop table rollup_places;
drop table rollup_sources;
drop table rollup_plays;
drop index sessions_by_start;
drop index session_heads_loose;
alter table session_heads drop column rolled;
