drop table instances;
drop table sessions;
drop table session_heads;
drop table sources;
drop table videos;
drop table keys;
drop function tell_of_keys();
