"""The audit as it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlencode

from app.client.api_client import Client, Json


def follow(
    client: Client, filters: Mapping[str, str], pause: float, sleep: Callable[[float], object] = time.sleep
) -> Iterator[Json]:
    """Yield the rows of the audit from `since` or now on, in order and each once, for ever.

    Looks again after `pause` seconds where there is nothing new. Raises ProblemError for a final refusal, and
    Unreachable.
    """
    query = {**filters, "order": "oldest"}
    if "since" not in query:
        query["after"] = client.call("GET", "/v1/audit?limit=1")["through"]
    while True:
        answer = client.call("GET", f"/v1/audit?{urlencode(query)}")
        yield from answer["items"]
        if answer["next"] is not None:
            query["cursor"] = answer["next"]
            continue
        query = {**filters, "order": "oldest", "after": answer["through"]}
        query.pop("since", None)
        sleep(pause)
