-- Gives columns and functions the names of the code. No row is rewritten.
alter table blocks rename column clients to user_agents;
alter table totals rename column sums to day_totals;
alter table totals rename column hours to hour_totals;

alter function tell_of_keys() rename to notify_keys;
alter trigger tell_of_keys on keys rename to notify_keys;

comment on view sessions is 'One row per session. Limit started_at: the database finds sessions by their start.';
comment on column sessions.metadata is 'Metadata of the video, as the page sent it.';
comment on column sessions.row_id is 'Identifies a session, together with video_id and started_at.';
comment on column sessions.is_open is 'Whether the session was open minutes ago.';
comment on column sessions.duration_seconds is 'Duration of the video, or null if the player did not report it.';
comment on column sessions.startup_seconds is 'Seconds from the first play to the first frame.';
comment on column sessions.session_data is 'Data of the session, as the page sent it.';
comment on column sessions.segments is 'Encoded segments; the view segments has them decoded.';
comment on view segments is 'One row per segment: video time that was played without a jump.';
comment on column segments.from_seconds is 'Position in the video at which the segment starts.';
comment on column segments.to_seconds is 'Position in the video at which the segment ends.';
