"""The Flask application: `gunicorn 'app.api:create_app()'`."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from app.intake.intake import Intake, TookTooLong
from app.protocol import problems
from app.protocol.queries import check_url
from app.protocol.url_names import FilePath, SliceName
from app.routes import changesets, conflicts, events, explanations, health, lifecycle, reads, slices
from app.service import request_log
from app.service.body_limit import BodyLimit
from app.service.event_streams import Streams
from app.service.long_polls import Waiting
from app.service.memory_limit import MemoryGate
from app.service.services import Services
from storage.backends import deadline
from storage.base import logging_setup, settings
from storage.base.errors import Recovering, ViewAbsent, ViewStale
from storage.base.settings import Settings
from storage.commit.append_loop import LogBusy
from storage.git.merge_tree import MergerFailed
from storage.lookup.object_kinds import LookedUpInPart
from storage.operations.seen import StackTooDeep, UnknownBase
from storage.operations.succession import TakesTooLong
from storage.repository import Repository
from tasks.notify import ask_for_upkeep
from tasks.report import because

# How long (seconds) a start waits for a view that another process loads.
_START_PATIENCE = 300.0

problems.TABLE |= {
    ViewStale: lambda error: problems.unavailable("the view is being loaded"),
    MergerFailed: lambda error: problems.unavailable("contents cannot be merged"),
    LookedUpInPart: lambda error: problems.unavailable(f"{error}: repeat the request, which goes on from there"),
    LogBusy: lambda error: problems.unavailable("the log is busy"),
    UnknownBase: lambda error: problems.conflict(f"what its writer saw is not known: {error}"),
    StackTooDeep: lambda error: problems.conflict(f"what its writer saw is out of reach: {error}"),
    TakesTooLong: lambda error: problems.unavailable(str(error)),
    TookTooLong: lambda error: problems.unavailable("the bucket was too slow"),
}


def create_app(chosen: Settings | None = None, check: bool = True) -> Flask:
    """Build the application; `check` refuses to serve where the guarantees have nothing to stand on.

    Raises RedisUnsafe, BucketUnsafe, BucketError and redis.RedisError.
    """
    chosen = chosen or settings.load()
    logging_setup.configure("api", chosen.log_level, chosen.secrets)
    repo = Repository(chosen)
    if check:
        repo.check()
    repo.prepare(_START_PATIENCE)

    def kept_up(detail: str = "") -> Callable[[Exception], problems.Problem]:
        # Whoever comes first has it done; everybody is asked to come back.
        def answer(error: Exception) -> problems.Problem:
            with because("a request met a Redis that is not recovered"):
                ask_for_upkeep(repo)
            return problems.unavailable(detail or str(error), repo.settings.retry_after)

        return answer

    problems.TABLE[ViewAbsent] = kept_up("the view is being loaded")
    problems.TABLE[Recovering] = kept_up()
    app = Flask("sluice", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = repo.settings.max_body_bytes
    app.extensions["sluice"] = Services(repo, Intake(repo), Waiting(repo), Streams(repo))
    app.url_map.converters |= {"slice": SliceName, "path": FilePath}
    app.url_map.merge_slashes = False  # a redirect would be made of what the client says its host is
    problems.register(app)
    request_log.register(app)
    BodyLimit(repo.settings).register(app)
    app.before_request(check_url)
    _give_budgets(app, repo.settings)
    MemoryGate(repo).register(app)
    for module in (slices, changesets, lifecycle, conflicts, explanations, events, reads):
        app.register_blueprint(module.routes, url_prefix="/v1")
    app.register_blueprint(health.routes, url_prefix="/v1")
    app.register_blueprint(health.health)
    return app


def _give_budgets(app: Flask, settings: Settings) -> None:
    """Let all calls for one request take no longer, together, than `request_budget`."""

    def begin() -> None:
        deadline.set_current(deadline.Budget("request_budget", settings.request_budget))

    app.before_request(begin)
    app.teardown_request(lambda _error: deadline.set_current(None))
