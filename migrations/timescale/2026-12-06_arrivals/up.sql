-- Where the viewer comes from: an object of texts; null if nothing is known.
alter table open_sessions add column arrival jsonb;
alter table session_rows add column arrival jsonb;

-- Compact already, like the other columns of blocks.
alter table blocks add column arrivals bytea;
alter table blocks alter arrivals set storage external;

create or replace view sessions as
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
    segments,
    arrival ->> 'referrer' as referrer,
    arrival ->> 'utm_source' as utm_source,
    arrival ->> 'utm_medium' as utm_medium,
    arrival ->> 'utm_campaign' as utm_campaign,
    arrival ->> 'country' as country
from (
    select video_id, row_id, started_at, last_event_at, false as is_open, url as page, browser, platform, device, view_ms,
        unique_ms, duration_ms, startup_ms, rebufferings, rebuffering_ms, failures, details, session_data, segments, arrival
    from session_rows left join pages on pages.id = page_id
    union all
    select video_id, row_id(id), started_at, last_event_at, true, page,
        browser, platform, device, view_ms, unique_ms, duration_ms, startup_ms, rebufferings, rebuffering_ms, failures,
        details, session_data, segments, arrival
    from open_sessions
) each
join videos on videos.id = video_id
join keys on keys.id = key_id;

comment on column sessions.referrer is 'Host that led to the page.';
comment on column sessions.utm_source is 'Parameter utm_source of the URL of the page.';
comment on column sessions.utm_medium is 'Parameter utm_medium of the URL of the page.';
comment on column sessions.utm_campaign is 'Parameter utm_campaign of the URL of the page.';
comment on column sessions.country is 'Country of the viewer: two letters of ISO 3166-1.';
