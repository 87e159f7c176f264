drop view segments;
drop view sessions;

create view sessions as
select key,
    identifier,
    metadata,
    video_id,
    row_id,
    started_at,
    last_event_at,
    is_open,
    page,
    browser_name(browser) as browser,
    platform_name(platform) as platform,
    device_name(device) as device,
    view_ms / 1000.0::double precision as view_seconds,
    unique_ms / 1000.0::double precision as unique_view_seconds,
    duration_ms / 1000.0::double precision as duration_seconds,
    startup_ms / 1000.0::double precision as startup_seconds,
    coalesce(rebufferings, 0) as rebufferings,
    coalesce(rebuffering_ms, 0) / 1000.0::double precision as rebuffering_seconds,
    coalesce(failures, 0) as failures,
    details::jsonb as details,
    session_data,
    segments
from (
    select video_id, row_id, started_at, last_event_at, false as is_open, url as page, browser, platform, device, view_ms,
        unique_ms, duration_ms, startup_ms, rebufferings, rebuffering_ms, failures, details, session_data, segments
    from session_rows left join pages on pages.id = page_id
    union all
    select video_id, row_id(id), started_at, last_event_at, true, page,
        browser, platform, device, view_ms, unique_ms, duration_ms, startup_ms, rebufferings, rebuffering_ms, failures,
        details, session_data, segments
    from open_sessions
) each
join videos on videos.id = video_id
join keys on keys.id = key_id;

comment on view sessions is 'One row per session. Limit started_at: the database finds sessions by their start.';
comment on column sessions.identifier is 'The identifier of the video.';
comment on column sessions.metadata is 'Metadata of the video, as the page sent it.';
comment on column sessions.row_id is 'Identifies a session, together with video_id and started_at.';
comment on column sessions.is_open is 'Whether the session was open minutes ago.';
comment on column sessions.page is 'The page that embeds the video: scheme, host and path.';
comment on column sessions.view_seconds is 'Seconds of video played, replays included.';
comment on column sessions.unique_view_seconds is 'Seconds of video played, each counted once.';
comment on column sessions.duration_seconds is 'Duration of the video, or null if the player did not report it.';
comment on column sessions.startup_seconds is 'Seconds from the first play to the first frame.';
comment on column sessions.details is 'Counters that most sessions do not have.';
comment on column sessions.session_data is 'Data of the session, as the page sent it.';
comment on column sessions.segments is 'Encoded segments; the view segments has them decoded.';

create view segments as
select key, identifier, video_id, row_id, started_at, from_seconds, to_seconds
from sessions cross join lateral decode_segments(segments) decoded;

comment on view segments is 'One row per segment: video time that was played without a jump.';
comment on column segments.started_at is 'When the session started.';
comment on column segments.from_seconds is 'Position in the video at which the segment starts.';
comment on column segments.to_seconds is 'Position in the video at which the segment ends.';

alter table blocks drop column arrivals;
alter table session_rows drop column arrival;
alter table open_sessions drop column arrival;
