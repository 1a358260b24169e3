"""The Flask application: `gunicorn 'app.api:create_app()'`."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask

from app import errors, request_log
from app.intake import Intake, TookTooLong
from app.memory import MemoryGate
from app.names import FilePath, SliceName
from app.queries import check_url
from app.room import Room
from app.routes import changesets, conflicts, events, explanations, lifecycle, operations, reads, slices
from app.services import Services
from app.stream import Streams
from app.waiting import Waiting
from storage import budget, logs, settings
from storage.direct import LogBusy
from storage.git_merger import MergerFailed
from storage.kinds import LookedUpInPart
from storage.repository import Repository
from storage.scripts import Recovering, ViewAbsent, ViewStale
from storage.seen import StackTooDeep, UnknownBase
from storage.settings import Settings
from storage.succession import TakesTooLong
from tasks.commits import ask_for_upkeep
from tasks.report import because

# How long (seconds) a start waits for a view that another process loads.
_START_PATIENCE = 300.0

errors.TABLE |= {
    ViewStale: lambda error: errors.unavailable("the view is being loaded"),
    MergerFailed: lambda error: errors.unavailable("contents cannot be merged"),
    LookedUpInPart: lambda error: errors.unavailable(f"{error}: repeat the request, which goes on from there"),
    LogBusy: lambda error: errors.unavailable("the log is busy"),
    UnknownBase: lambda error: errors.conflict(f"what its writer saw is not known: {error}"),
    StackTooDeep: lambda error: errors.conflict(f"what its writer saw is out of reach: {error}"),
    TakesTooLong: lambda error: errors.unavailable(str(error)),
    TookTooLong: lambda error: errors.unavailable("the bucket was too slow"),
}


def create_app(chosen: Settings | None = None, check: bool = True) -> Flask:
    """Build the application; `check` refuses to serve where the guarantees have nothing to stand on.

    Raises RedisUnsafe, BucketUnsafe, BucketError and redis.RedisError.
    """
    chosen = chosen or settings.load()
    logs.configure("api", chosen.log_level, chosen.secrets)
    repo = Repository(chosen)
    if check:
        repo.check()
    repo.prepare(_START_PATIENCE)

    def kept_up(detail: str = "") -> Callable[[Exception], errors.Problem]:
        # Whoever comes first has it done; everybody is asked to come back.
        def answer(error: Exception) -> errors.Problem:
            with because("a request met no view that is vouched for"):
                ask_for_upkeep(repo)
            return errors.unavailable(detail or str(error), repo.settings.retry_after)

        return answer

    errors.TABLE[ViewAbsent] = kept_up("the view is being loaded")
    errors.TABLE[Recovering] = kept_up()
    app = Flask("sluice", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = repo.settings.max_body_bytes
    app.extensions["sluice"] = Services(repo, Intake(repo), Waiting(repo), Streams(repo))
    app.url_map.converters |= {"slice": SliceName, "path": FilePath}
    app.url_map.merge_slashes = False  # a redirect would be made of what the client says its host is
    errors.register(app)
    request_log.register(app)
    Room(repo.settings).register(app)
    app.before_request(check_url)
    _give_budgets(app, repo.settings)
    MemoryGate(repo).register(app)
    for module in (slices, changesets, lifecycle, conflicts, explanations, events, reads):
        app.register_blueprint(module.routes, url_prefix="/v1")
    app.register_blueprint(operations.routes, url_prefix="/v1")
    app.register_blueprint(operations.health)
    return app


def _give_budgets(app: Flask, settings: Settings) -> None:
    """Let all calls for one request take no longer, together, than `request_budget`."""

    def begin() -> None:
        budget.set_current(budget.Budget("request_budget", settings.request_budget))

    app.before_request(begin)
    app.teardown_request(lambda _error: budget.set_current(None))
