drop table instances;
drop table sessions;
drop table sources;
drop table videos;
drop table keys;
