"""Records a batch and reads reports with a client that openapi-python-client generates. Run with the URL of a server."""

import json
import sys

from metrics_client import Client
from metrics_client.api.exports import post_sessions_export
from metrics_client.api.recording import record_events
from metrics_client.api.reports import get_plays, get_query, post_engagement, post_plays, post_query
from metrics_client.models import (
    Accepted,
    Answer,
    Batch,
    Engagement,
    EngagementParameters,
    Error,
    Event,
    Format,
    Part,
    Plays,
    PlaysParameters,
    QueryParameters,
    SessionsParameters,
)

KEY = "HDsj3NfKQTNwn5Ix9g+cfQ=="
IDENTIFIER = "python"

client = Client(base_url=sys.argv[1])


def event(session: str, name: str, second: float) -> Event:
    return Event(name=name, session_id=session, embed_id=IDENTIFIER, video_time=second, duration=60, key=KEY)


recorded = record_events.sync(
    client=client,
    body=Batch(
        events=[
            event("python-1", "play", 0),
            event("python-1", "pause", 30),
            event("python-2", "play", 0),
            event("python-2", "pause", 10),
            event("python-2", "pause", -1),
        ]
    ),
)
assert isinstance(recorded, Accepted), recorded
assert recorded.accepted == 4, recorded
assert [it.index for it in recorded.rejected] == [4], recorded

for plays in [
    post_plays.sync(client=client, body=PlaysParameters(identifier=IDENTIFIER)),
    get_plays.sync(client=client, identifier=[IDENTIFIER]),
]:
    assert isinstance(plays, Plays), plays
    [bucket] = plays.views
    assert (bucket.views, bucket.total_view_time, bucket.browser.other) == (2, 40, 2), bucket

engagement = post_engagement.sync(client=client, body=EngagementParameters(identifier=IDENTIFIER, ranges=2))
assert isinstance(engagement, Engagement), engagement
assert [it.viewers for it in engagement.engagement if isinstance(it, Part)] == [2, 1], engagement

query = QueryParameters.from_dict(
    {
        "metrics": ["plays", "view_time", "startup_time_p50"],
        "dimensions": ["video"],
        "filters": ["is", "video", [IDENTIFIER]],
    }
)
for answer in [
    post_query.sync(client=client, body=query),
    get_query.sync(client=client, q=json.dumps(query.to_dict())),
]:
    assert isinstance(answer, Answer), answer
    [row] = answer.results
    assert (row.dimensions, row.metrics) == ([IDENTIFIER], [2, 40, None]), row
    assert answer.meta.rows == 1

refused = post_plays.sync_detailed(client=client, body=PlaysParameters(identifier=IDENTIFIER, interval="never"))
assert refused.status_code == 400
assert isinstance(refused.parsed, Error) and "`interval`" in refused.parsed.error, refused

exported = post_sessions_export.sync_detailed(
    client=client, body=SessionsParameters(identifier=IDENTIFIER, format_=Format.NDJSON)
)
assert len(exported.content.splitlines()) == 2, exported
print("the client in Python reads what it records")
