"""The gateway's Flask application, `app.gateway.application:create_app()`, for the worker of serving.py."""

from __future__ import annotations

import os
import stat
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Flask, Response, g, jsonify, request
from werkzeug.routing import BaseConverter

from app.access.authentication import Access
from app.access.caller import Caller, NotAllowed
from app.gateway import fetches, pushes
from app.gateway.answers import Answers, own_folder
from app.gateway.bundles import Bundles
from app.gateway.git_processes import GitProcesses
from app.gateway.receive.receiver import Receiver
from app.gateway.services import Gateway, gateway
from app.gateway.shares import Shares
from app.gateway.stores import CatchingUp, Stores
from app.gateway.streams import Watch
from app.protocol import problems
from app.protocol.problems import Problem
from app.service import metrics
from app.service.readiness import checks, fit
from app.service.request_log import refused
from app.shares.limits import QuotaReached, limits_of
from app.shares.rates import Rates, refusal
from storage.backends import deadline
from storage.base import logging_setup, settings
from storage.base.errors import LimitReached, NeedsUpkeep, Refused
from storage.base.settings import Settings
from storage.clones.clones import Clones
from storage.clones.locks import Busy
from storage.coordination import Reporter, RequestCounts
from storage.git.run_git import GitFailed
from storage.repository import Repository

# How long (seconds) a start waits for a view that another process loads.
_START_PATIENCE = 300.0
# Seconds: a client that has read all of an answer may send its next request before its place is given back.
_GIVEN_BACK = 0.25
_OPEN = ("alive", "ready")
_NOT_YET = "the clone store is being brought up to date: ask again in a while"
_CHALLENGE = 'Basic realm="sluice", charset="UTF-8"'


class RepositoryName(BaseConverter):
    """In a URL, the name or id of a slice, or that of the whole repository."""

    regex = r"[^/]+(?:/[^/]+)*?"
    part_isolating = False
    weight = 200


def create_app(chosen: Settings | None = None) -> Flask:
    """Build the application. Raises Unavailable."""
    chosen = chosen or settings.load()
    logging_setup.configure("gateway", chosen.log_level, chosen.secrets)
    repo = Repository(chosen)
    repo.prepare(_START_PATIENCE)
    folder = _folder(repo)
    app = Flask("sluice-gateway", static_folder=None)
    processes = GitProcesses(chosen.gateway_processes, chosen.gateway_patience, chosen.gateway_share)
    answers = Answers(own_folder(folder / "answers"), chosen.gateway_answer_bytes)
    watch = Watch()
    access, rates = Access(repo), Rates(chosen, RequestCounts(repo.view).add)
    services = app.extensions["sluice"] = Gateway(
        repo,
        access,
        rates,
        Stores(repo, Clones(repo, folder / "clones")),
        processes,
        answers,
        Bundles(answers, processes, chosen.gateway_bundle_bytes),
        watch,
        Reporter(chosen, "gateway", lambda: {"git_requests": watch.count}),
        Receiver(repo, access, rates, folder / "pushes"),
        Shares("requests under way", chosen.gateway_threads, chosen.gateway_share),
    )
    services.start()
    app.url_map.converters["repository"] = RepositoryName
    app.url_map.merge_slashes = False
    metrics.register(app)
    problems.register(app, _problems(chosen))
    app.before_request(_let_in)
    app.after_request(_in_words_of_git)
    app.after_request(_give_back_when_sent)
    app.teardown_request(_give_back)
    app.add_url_rule("/healthz", "alive", _alive)
    app.add_url_rule("/readyz", "ready", _ready)
    app.register_blueprint(fetches.routes, url_prefix="/git")
    app.register_blueprint(pushes.routes, url_prefix="/git")
    return app


class FolderNotOurs(Refused):
    """The folder for clone stores is another user's, or others may look into it."""


def _folder(repo: Repository) -> Path:
    """Return the folder for clone stores and answers: chosen, or one of this repository's own. Raises FolderNotOurs."""
    if repo.settings.gateway_folder:
        folder = Path(repo.settings.gateway_folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    genesis = sha256(repo.log.read(1) or b"").hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"sluice-gateway-{genesis}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077 or not stat.S_ISDIR(found.st_mode):
        raise FolderNotOurs(f"{folder} is another user's, or others may look into it: set SLUICE_GATEWAY_FOLDER")
    return folder


def _let_in() -> None:
    """Find out who a request is from, before anything of it is read. Raises a Problem, Unavailable, RedisError."""
    if request.endpoint in _OPEN:
        return
    here = gateway()
    with deadline.budget("request_budget", here.settings.request_budget):
        g.caller = who = here.access.caller(request.headers.get("Authorization"))
    if request.endpoint != "pushes.receive_pack":  # which counts itself, and tells its client in words of the protocol
        _count(here, who)
    g.place = here.shares.take(who, _GIVEN_BACK)


def _count(here: Gateway, who: Caller) -> None:
    standing = here.rates.take(who)
    if standing is not None and not standing.allowed:
        raise refusal(who, limits_of(here.settings, who).requests_per_second, standing)


def _in_words_of_git(response: Response) -> Response:
    """Have Git show its user why a request is refused, and ask for a token where none was sent."""
    problem: Problem | None = g.get("problem")
    if problem is not None:
        # Git asks without a token first: that is no refusal that anybody has to know of.
        if problem.status in (401, 403) and "Authorization" in request.headers:
            refused(problem.status, problem.reason)
        response.set_data(f"{problem.title}: {problem.detail}\n" if problem.detail else f"{problem.title}\n")
        response.headers["Content-Type"] = "text/plain; charset=utf-8"
        if problem.status == 401:
            response.headers["WWW-Authenticate"] = _CHALLENGE
    return response


def _give_back_when_sent(response: Response) -> Response:
    """Have a request count as under way until its answer is sent; an Exchange has seen to that for its own."""
    if place := g.pop("place", None):
        response.call_on_close(place)
    return response


def _give_back(error: BaseException | None) -> None:
    """Have a request count no more that came to no answer."""
    if place := g.pop("place", None):
        place()


def _alive() -> Response:
    """Say that the process lives."""
    return jsonify({"alive": True})


def _ready() -> tuple[Response, int]:
    """Say whether this process can serve, and what it lacks."""
    checked = checks(gateway().repo)
    answer = jsonify({"ready": fit(checked), "checks": checked})
    if not fit(checked):
        answer.headers["Retry-After"] = str(gateway().settings.retry_after)
    return answer, 200 if fit(checked) else 503


def _problems(chosen: Settings) -> problems.Table:
    """Return what is made of exceptions."""

    def away(detail: str) -> Any:
        return lambda error: problems.unavailable(detail, chosen.retry_after)

    return {
        **problems.SERVERS,
        NotAllowed: lambda error: problems.forbidden(str(error), error.path, error.role),
        NeedsUpkeep: away("the view is being loaded"),
        CatchingUp: away(_NOT_YET),
        Busy: away(_NOT_YET),
        QuotaReached: lambda error: problems.too_many(str(error), error.wait or chosen.retry_after),
        LimitReached: lambda error: problems.too_many(str(error), chosen.retry_after),
        GitFailed: away("Git cannot be run"),
        # Of files: the store was deleted, or its disk is full.
        OSError: away("the clone store is being made anew"),
    }
