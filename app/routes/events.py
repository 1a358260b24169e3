"""The stream of changesets' events, as server-sent events."""

import json
import socket
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from app.access.caller import Caller
from app.access.claims import claim_json, may_know
from app.access.current import caller
from app.protocol.problems import invalid
from app.protocol.queries import load_query
from app.routes.slices import find_slice
from app.service.services import services
from storage.access.policy import Right
from storage.claims import ClaimEvent, overlap
from storage.log.events import Event, Position, behind, parse

routes = Blueprint("events", __name__)


@routes.get("/events")
def stream() -> Response:
    """Stream the events of changesets, from now on or after a client's last event."""
    query = load_query(request.args, services().settings, "slice", "after")
    slice_ = find_slice(query.slice) if query.slice is not None else None
    # An EventSource that comes back repeats its URL: the header is the newer one.
    if header := request.headers.get("Last-Event-ID"):
        position = _position("Last-Event-ID", header)
    elif query.after is not None:
        position = _position("after", query.after)
    else:
        position = behind(services().repo.view.head().applied)
    streams, peer = services().streams, request.environ.get("gunicorn.socket")
    heard = streams.heard
    streams.enter()
    try:
        gone, who, access = _watch(peer), caller(), services().access
        # Whoever lost a right comes back with what is left.
        wanted, told = _wanted(who, slice_.id if slice_ else None), _told(who, slice_.paths if slice_ else None)
        events = streams.read(position, wanted, gone, lambda: access.has_other_rights(who), told, heard)
        response = Response(events, mimetype="text/event-stream")
    except BaseException:
        streams.release()
        raise
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"

    # Not at the end of the generator: one that was never begun never ends.
    @response.call_on_close
    def leave() -> None:
        streams.release()

    return response


def _wanted(who: Caller, slice_id: str | None) -> Callable[[Event], bool]:
    """Return what tells which events a stream has: a slice's, or all, that its client may know of."""
    return lambda event: (slice_id is None or event.slice == slice_id) and who.may(Right.READ, event.prefixes)


def _told(who: Caller, paths: frozenset[bytes] | None) -> Callable[[ClaimEvent], str]:
    """Return what says what a stream tells of claims: of those on a slice's paths, or of all."""

    def told(event: ClaimEvent) -> str:
        claim = event.claim
        if not may_know(who, claim) or (
            paths is not None and not any(overlap(a, b) for a in paths for b in claim.paths)
        ):
            return ""
        # Without an id: it does not move a client's position in the log.
        return f"event: {event.name}\ndata: {json.dumps(claim_json(claim))}\n\n"

    return told


def _position(field: str, text: str) -> Position:
    """Return the position behind an event's id, or refuse: it is malformed, or the log has no such event."""
    try:
        position = parse(text)
    except ValueError:
        raise invalid(field, "is neither the id of an event, such as 812-3, nor the number of an entry") from None
    repo = services().repo
    # Redis may have been restored from an older snapshot than what was sent before: the log decides.
    if position.named > repo.view.head().applied and repo.log.read(position.named) is None:
        raise invalid(field, "is beyond the log")
    if position.sent and position.sent > services().streams.entries.of_entry(position.named).count:
        raise invalid(field, f"is beyond what entry {position.named} tells")
    return position


def _watch(peer: Any) -> Callable[[], bool]:
    """Return how to ask whether a client is gone.

    `peer` is the connection as gunicorn hands it on; under another server, writes alone will tell.
    """
    if peer is None:
        return lambda: False

    def gone() -> bool:
        # Nobody else uses the connection now: what could be read is its end, or a request that was sent ahead.
        peer.settimeout(0.0)
        try:
            return not peer.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ValueError:  # TLS has no such look
            return False
        except OSError:
            return True
        finally:
            peer.settimeout(None)

    return gone
