-- All sessions go with the tables.
drop table totals;
drop table block_columns;
drop table blocks;
drop table closed_sessions;
drop table open_sessions;
drop table instances;
drop table videos;
drop table keys;
