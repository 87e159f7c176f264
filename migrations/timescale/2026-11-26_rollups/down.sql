drop table rollup_places;
drop table rollup_sources;
drop table rollup_plays;
drop index session_heads_loose;
alter table session_heads drop column rolled;
