"""Times of commits and tags as answers show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from storage.git.objects import Ident


def shown_moment(who: Ident) -> str:
    """Return a time as its writer's clock showed it; what no calendar has is shown as the nearest that one has."""
    zone = timezone(timedelta(minutes=who.zone)) if 0 < abs(who.zone) < 24 * 60 else UTC
    try:
        # Not by way of UTC, where the first or the last day may have no date.
        clock = datetime(1970, 1, 1, tzinfo=zone) + timedelta(seconds=who.time) + (zone.utcoffset(None) or timedelta())
    except OverflowError:
        clock = datetime.max.replace(tzinfo=zone) if who.time > 0 else datetime.min.replace(tzinfo=zone)
    return clock.isoformat(timespec="seconds")
