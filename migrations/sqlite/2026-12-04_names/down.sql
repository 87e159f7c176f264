alter table upkeep rename column last_video_id to last_video;
alter table totals rename column hour_totals to hours;
alter table totals rename column day_totals to sums;
alter table totals rename column row_id to at;
alter table block_columns rename column row_id to at;
alter table blocks rename column last_start_ms to last_start;
alter table blocks rename column first_start_ms to first_start;
