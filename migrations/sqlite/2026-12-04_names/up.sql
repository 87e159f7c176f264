-- Gives columns the names of their counterparts in PostgreSQL and in the code. SQLite rewrites the schema only, not the rows.
alter table blocks rename column first_start to first_start_ms;
alter table blocks rename column last_start to last_start_ms;
alter table block_columns rename column at to row_id;
alter table totals rename column at to row_id;
alter table totals rename column sums to day_totals;
alter table totals rename column hours to hour_totals;
alter table upkeep rename column last_video to last_video_id;
