"""Clones and fetches: `info/refs` and `git-upload-pack` of each repository, and its bundle."""

from __future__ import annotations

import re
from typing import IO

from flask import Blueprint, Response, request

from app.access.current import caller
from app.gateway.answers import Broken, Full, Reader
from app.gateway.bundles import NAME as BUNDLE
from app.gateway.pushes import RECEIVE, advertise
from app.gateway.sending import Exchange, answer
from app.gateway.services import gateway
from app.gateway.wire import protocol
from app.gateway.wire.bodies import Body
from app.gateway.wire.pkt_lines import FLUSH, NotPktLines, pkt
from app.gateway.wire.protocol import Request
from app.protocol.problems import Problem, http_problem, malformed, not_found
from storage.base.logging_setup import log
from storage.metrics.counts import COUNTS
from storage.metrics.definitions import GIT_ANSWERS

routes = Blueprint("git", __name__)

UPLOAD = "git-upload-pack"
_REQUEST, _RESULT = "application/x-git-upload-pack-request", "application/x-git-upload-pack-result"
_ADVERTISEMENT = "application/x-git-upload-pack-advertisement"
_AT_ONCE = 256 << 10  # a larger fetch is for upload-pack alone to read
_MOST_OTHERWISE = 4 << 20  # bytes of any other command: 65,536 prefixes of refs, of which Git sends no more
_VERSION = re.compile(r"(?:^|:)version=([0-9])(?=:|$)")


def protocol_version() -> int:
    """Return the version of Git's protocol that the client of the present request speaks: 0 or 2."""
    versions = _VERSION.findall(request.headers.get("Git-Protocol", ""))
    return 2 if "2" in versions else 0


@routes.get("/<repository:name>.git/info/refs")
def info_refs(name: str) -> Response:
    """Begin a conversation: what the server speaks, or by protocol version 0 its refs."""
    service = request.args.get("service")
    if service == RECEIVE:
        return advertise(name)
    if service != UPLOAD:
        raise http_problem(403, "it can be cloned, fetched and pushed to, by Git's smart protocol alone")
    here = gateway()
    if protocol_version() == 2:
        here.stores.find(caller(), name)
        return answer(protocol.advertisement(here.settings.gateway_bundle_bytes > 0), _ADVERTISEMENT)
    with Exchange(here.current(caller(), name)) as exchange:
        head = pkt(b"# service=git-upload-pack\n") + FLUSH
        path = exchange.use()
        return exchange.alone(lambda: here.processes.advertise(path, exchange.who), _ADVERTISEMENT, head)


@routes.post("/<repository:name>.git/git-upload-pack")
def upload_pack(name: str) -> Response:
    """Answer one command of a client that clones or fetches."""
    here = gateway()
    found = here.stores.find(caller(), name)
    if request.content_type != _REQUEST:
        raise http_problem(415, f"the body must be {_REQUEST}")
    with Exchange(found) as exchange, _body().spool() as body:
        try:
            if protocol_version() != 2 or _is_large_fetch(body):
                exchange.catch_up()
                return _alone(exchange, body)
            asked = protocol.read_request(_whole(body))
        except NotPktLines as error:
            raise malformed(f"it is no request of Git's protocol: {error}") from None
        if asked is None:
            return answer(b"", _RESULT)
        return _fetch(exchange, asked, body) if asked.command == b"fetch" else answer(_told(exchange, asked), _RESULT)


@routes.get(f"/<repository:name>.git/{BUNDLE}")
def bundle(name: str) -> Response:
    """Send the branch as a bundle."""
    here = gateway()
    found = here.current(caller(), name)
    main = found.store.refs().main
    if main is None or not here.settings.gateway_bundle_bytes:
        raise not_found("bundle", name)
    with Exchange(found) as exchange:
        exchange.use()
        made = exchange.patiently(lambda: here.bundles.open(found.store, main, exchange.who))
        return exchange.shared(made, "application/x-git-bundle")


def _body() -> Body:
    encoding = request.headers.get("Content-Encoding", "")
    return Body(request.environ["wsgi.input"], encoding, gateway().settings.gateway_request_bytes)


def _is_large_fetch(body: IO[bytes]) -> bool:
    """Tell whether a body is a fetch that is not read here; it is at its beginning then. Raises NotPktLines.

    All else is answered here, whatever its size: Git compares each ref with each prefix of an `ls-refs`.
    """
    data = body.read(_AT_ONCE + 1)
    body.seek(0)
    return len(data) > _AT_ONCE and protocol.command_of(data[:_AT_ONCE]) == b"fetch"


def _whole(body: IO[bytes]) -> bytes:
    """Return all of a body. Raises a Problem (413)."""
    data = body.read(_MOST_OTHERWISE + 1)
    if len(data) > _MOST_OTHERWISE:
        raise Problem(413, "too-large", "It is too large", f"the command has more than {_MOST_OTHERWISE} bytes")
    return data


def _told(exchange: Exchange, asked: Request) -> bytes:
    """Return the answer to a command for which no process is needed."""
    if asked.command == b"ls-refs":
        exchange.catch_up()
        refs = exchange.found.store.refs()
        COUNTS.add(GIT_ANSWERS, "refs")
        return protocol.list_refs(asked, refs.main, refs.tags)
    if asked.command == b"bundle-uri":
        # By an address that is relative to the repository's own.
        return protocol.list_bundles({"main": BUNDLE} if exchange.here.bundles.is_there(exchange.found.store) else {})
    return protocol.error("there is no such command here")


def _fetch(exchange: Exchange, asked: Request, body: IO[bytes]) -> Response:
    if not protocol.are_ids(asked.wants):
        raise malformed("a want is no id")
    if not exchange.found.store.has_listed(asked.wants):
        exchange.catch_up()
    here, store = exchange.here, exchange.found.store
    path, refs = exchange.use(), store.refs()
    here.bundles.consider(store, refs.main)
    key = asked.key(refs.tags)
    if not (asked.is_repeatable and here.answers.is_worth(path, key)):
        return _alone(exchange, body)
    try:
        made = exchange.patiently(
            lambda: here.answers.open(path, key, lambda: here.processes.upload_pack(path, body, 2, exchange.who))
        )
        _begin(made)
    except (Broken, Full, OSError) as error:
        log.info("answer_not_shared", reason=str(error))  # the disk of answers is full, say
        return _alone(exchange, body)
    return exchange.shared(made, _RESULT)


def _alone(exchange: Exchange, body: IO[bytes]) -> Response:
    body.seek(0)
    path, version = exchange.use(), protocol_version()
    return exchange.alone(lambda: exchange.here.processes.upload_pack(path, body, version, exchange.who), _RESULT)


def _begin(made: IO[bytes] | Reader) -> None:
    """Wait for the first bytes of an answer. Raises Broken."""
    if isinstance(made, Reader):
        try:
            made.begin()
        except Broken:
            made.close()
            raise
