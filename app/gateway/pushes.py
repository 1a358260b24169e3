"""Pushes: what a client is shown before, and `git-receive-pack` of each repository."""

from __future__ import annotations

from flask import Blueprint, Response, request

from app.access.caller import Caller
from app.access.current import caller, known_actor, submitter
from app.gateway.receive.taking import Pusher, check_may_push
from app.gateway.receive.words import BrokenOff, NotUnderstood
from app.gateway.sending import Exchange, answer
from app.gateway.services import gateway
from app.gateway.stores import Found
from app.gateway.wire.bodies import Body
from app.protocol.problems import http_problem, malformed
from storage.base.errors import Unavailable
from storage.base.ids import ObjectId

routes = Blueprint("pushes", __name__)

RECEIVE = "git-receive-pack"
_REQUEST, _RESULT = "application/x-git-receive-pack-request", "application/x-git-receive-pack-result"
_ADVERTISEMENT = "application/x-git-receive-pack-advertisement"
# Bytes of a push beside its pack: refs and options.
_BESIDE = 16 << 20


class _Followed:
    """The store of a push, as it is understood by it."""

    def __init__(self, who: Caller, found: Found) -> None:
        self._here = gateway()
        self._who = who
        self._found = found
        self.path = found.store.path
        self.chain_of = found.store.clone.chain_of

    def newest(self) -> ObjectId | None:
        """Return the newest commit of the store."""
        main = self._found.store.refs().main
        return ObjectId(bytes.fromhex(main.decode())) if main else None

    def make_current(self) -> None:
        """Have it follow to where the view is now. Raises Unavailable, also where the slice has other paths now."""
        if self._here.current(self._who, self._found.name).store.path != self.path:
            raise Unavailable("the paths of the slice were changed just now")


def advertise(name: str) -> Response:
    """Begin a push: show the branch, and what need not be sent, to who may push something. Raises NotAllowed."""
    here = gateway()
    # What is shown need not be new: it says what a client need not send.
    found = here.stores.find(caller(), name)
    check_may_push(caller(), found.slice)  # now Git shows its user why, and has made no pack yet
    if not found.store.path.exists():
        found = here.current(caller(), name)
    version = 1 if "version=1" in request.headers.get("Git-Protocol", "").split(":") else 0
    # One that is being made, or whose maker died, may still have the branch of an older definition, with more paths.
    with found.store.using() as path:
        shown = here.receiver.advertised.of(path, found.store.refs().main, version)
    return answer(shown, _ADVERTISEMENT)


@routes.post("/<repository:name>.git/git-receive-pack")
def receive_pack(name: str) -> Response:
    """Take a push."""
    here = gateway()
    if request.content_type != _REQUEST:
        raise http_problem(415, f"the body must be {_REQUEST}")
    who = caller()
    found = here.stores.find(who, name)
    if not found.store.path.exists():
        found = here.current(who, name)
    most = here.settings.max_push_bytes + _BESIDE
    body = Body(request.environ["wsgi.input"], request.headers.get("Content-Encoding", ""), most)
    with Exchange(found) as exchange:
        exchange.use()
        pusher = Pusher(who, submitter(), known_actor())

        try:
            push = here.receiver.receive(body.read_piece, _Followed(who, found), found.slice, pusher)
        except (NotUnderstood, BrokenOff) as error:
            raise malformed(f"it is no push: {error}") from None
        push.ended = exchange.hand_on_place()
        return exchange.sends(push, _RESULT, "push")
