drop table rollup_places;
drop table rollup_sources;
drop table rollup_plays;
drop index sessions_loose;
alter table sessions drop column rolled;
