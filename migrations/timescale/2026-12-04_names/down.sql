comment on column segments.to_seconds is 'Where it ends.';
comment on column segments.from_seconds is 'Where the segment starts in the video.';
comment on view segments is 'One row per segment: a stretch of video time played without a jump.';
comment on column sessions.segments is 'Encoded; the view segments has them decoded.';
comment on column sessions.session_data is 'What the page says about the session.';
comment on column sessions.startup_seconds is 'From the first play to the first moving frame.';
comment on column sessions.duration_seconds is 'How long the video is, where the player said so.';
comment on column sessions.is_open is 'Whether the session goes on, or did until minutes ago.';
comment on column sessions.row_id is 'With video_id and started_at it names a session.';
comment on column sessions.metadata is 'What the page says about the video.';
comment on view sessions is 'One row per session. Limit started_at: a timeframe is what the database finds sessions by.';

alter trigger notify_keys on keys rename to tell_of_keys;
alter function notify_keys() rename to tell_of_keys;

alter table totals rename column hour_totals to hours;
alter table totals rename column day_totals to sums;
alter table blocks rename column user_agents to clients;
