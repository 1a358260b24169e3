"""The Flask application: `gunicorn 'app.api:create_app()'`."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Request
from werkzeug.routing import MapAdapter

from app import guard, tracing
from app.access.authentication import Access
from app.access.caller import NotAllowed
from app.access.current import tells_counts
from app.intake.intake import Intake, NotQueued, TookTooLong
from app.intake.lookups import Lookups
from app.intake.refusals import ContentsTooLarge, Contradiction, FieldRefused, KeyReused
from app.protocol import problems
from app.protocol.queries import check_url
from app.protocol.url_names import ChangesetName, FilePath, SliceName
from app.routes import (
    changeset_lists,
    changesets,
    claims,
    conflicts,
    events,
    explanations,
    health,
    index,
    lifecycle,
    slices,
    webhooks,
)
from app.routes.access import audit, limits, policy, tokens
from app.routes.files import file_contents, reads, trees
from app.routes.git import mirrors
from app.routes.history import commits, reverts, tags
from app.service import memory_limit, metrics, request_log
from app.service.body_limit import BodyLimit
from app.service.downloads import Downloads
from app.service.event_streams import Streams
from app.service.long_polls import Waiting
from app.service.services import Services
from app.shares.limits import QuotaReached
from app.shares.rates import Rates
from storage.backends import deadline
from storage.base import logging_setup, settings
from storage.base.errors import LimitReached, NeedsUpkeep, Recovering
from storage.base.settings import Settings
from storage.commit import LogBusy
from storage.coordination import Reporter, RequestCounts
from storage.git.threeway import MergeUnavailable
from storage.lookup.object_kinds import LookedUpInPart
from storage.operations.access import MakerRevoked, NoAdmin, OlderNodes, PolicyChanged
from storage.operations.git.mirrors import MirrorExists, MirrorGone, NoMirrorFolder, TooManyMirrors
from storage.operations.lifecycle import NotPossible
from storage.operations.seen import StackTooDeep, UnknownBase
from storage.operations.slices import SliceChanged, SliceExists, SliceGone
from storage.operations.succession import TakesTooLong
from storage.operations.tags import TagChanged, TagGone, TagInTheWay
from storage.operations.webhooks import NoWebhookKey, TooManyWebhooks, WebhookGone
from storage.repository import Repository
from tasks.notify import ask_for_upkeep
from tasks.report import because
from tasks.tracing import start as start_tracing

# How long (seconds) a start waits for a view that another process loads.
_START_PATIENCE = 300.0


class _Application(Flask):
    """Flask without what no route here uses and each request would pay for: coroutines, and URLs with a host."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function as it is."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return what finds the route of a request by its method and path alone."""
        if request is None:
            return None
        query = request.query_string.decode("latin-1")
        return MapAdapter(self.url_map, "", "/", "", request.scheme, request.path, request.method, query)


def create_app(chosen: Settings | None = None, check: bool = True) -> Flask:
    """Build the application; `check` refuses to serve where the guarantees have nothing to stand on.

    Raises RedisUnsafe, BucketUnsafe and Unavailable.
    """
    chosen = chosen or settings.load()
    logging_setup.configure("api", chosen.log_level, chosen.secrets)
    start_tracing(chosen, "api")
    repo = Repository(chosen)
    if check:
        repo.check()
    repo.prepare(_START_PATIENCE)
    app = _Application("sluice", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    app.config["MAX_CONTENT_LENGTH"] = repo.settings.max_body_bytes
    access = Access(repo)
    waiting, streams = Waiting(repo, access.expire), Streams(repo, access.expire)
    services = app.extensions["sluice"] = Services(
        repo,
        Lookups(repo.queue),
        Intake(repo),
        waiting,
        streams,
        Downloads(chosen),
        access,
        Reporter(chosen, "api", lambda: {"event_streams": streams.open, "long_polls": waiting.count}),
        Rates(chosen, RequestCounts(repo.view).add),
    )
    services.start()
    app.url_map.converters |= {"slice": SliceName, "path": FilePath, "changeset": ChangesetName}
    app.url_map.merge_slashes = False  # a redirect would be made of what the client says its host is
    metrics.register(app)  # first, so that its time is that of everything
    tracing.register(app)
    problems.register(app, problem_table(repo))
    request_log.register(app)
    app.after_request(guard.tell_standing)
    app.before_request(guard.check)  # before anything of a body is read
    BodyLimit(repo.settings).register(app)
    app.before_request(guard.check_again)
    app.before_request(check_url)
    # All calls of one request together have `request_budget`.
    app.before_request(lambda: deadline.set_current(deadline.Budget("request_budget", chosen.request_budget)))
    app.teardown_request(lambda _error: deadline.set_current(None))
    memory_limit.register(app, repo)
    for module in (
        tokens,
        policy,
        limits,
        audit,
        slices,
        changesets,
        changeset_lists,
        lifecycle,
        conflicts,
        claims,
        explanations,
        events,
        reads,
        trees,
        file_contents,
        webhooks,
        commits,
        reverts,
        tags,
        mirrors,
    ):
        app.register_blueprint(module.routes, url_prefix="/v1")
    app.register_blueprint(health.routes, url_prefix="/v1")
    app.register_blueprint(health.health)
    app.register_blueprint(index.routes)
    guard.check_complete(app)
    return app


def problem_table(repo: Repository) -> problems.Table:
    """Return the problems with which an application that serves `repo` answers errors of ours."""
    wait = repo.settings.retry_after

    def away(detail: str = "") -> Callable[[Exception], problems.Problem]:
        return lambda error: problems.unavailable(detail or str(error), wait)

    def upkeep(error: Exception) -> problems.Problem:
        # Whoever comes first has it done; everybody is asked to come back.
        with because("a request met no view that is up to date"):
            ask_for_upkeep(repo)
        detail = str(error) if isinstance(error, Recovering) else "the view is being loaded"
        return problems.unavailable(detail, wait)

    return {
        **problems.SERVERS,
        NeedsUpkeep: upkeep,
        QuotaReached: lambda error: problems.too_many(
            str(error), error.wait or wait, limit=error.limit, value=error.value
        ),
        LimitReached: lambda error: problems.too_many(str(error) if tells_counts() else "too much is waiting", wait),
        LogBusy: away("the log is busy"),
        MergeUnavailable: away("contents cannot be merged"),
        LookedUpInPart: lambda error: problems.unavailable(f"{error}: repeat the request, which goes on from there"),
        TakesTooLong: away(),
        TookTooLong: away("the bucket was too slow"),
        NotQueued: away(),
        SliceGone: lambda error: problems.not_found("slice", str(error)),
        SliceExists: slices.collision,
        SliceChanged: slices.changed,
        NotPossible: lambda error: problems.conflict(str(error)),
        Contradiction: lambda error: problems.conflict(str(error), **error.more),
        UnknownBase: lambda error: problems.conflict(f"what its writer saw is not known: {error}"),
        StackTooDeep: lambda error: problems.conflict(f"what its writer saw is out of reach: {error}"),
        ContentsTooLarge: lambda error: problems.Problem(413, "too-large", "It is too large", str(error)),
        FieldRefused: lambda error: problems.invalid(error.field, error.message),
        KeyReused: lambda error: problems.key_reused(),
        NotAllowed: lambda error: problems.forbidden(str(error), error.path, error.role),
        OlderNodes: away(),
        MakerRevoked: lambda error: problems.unauthorized("the token is not valid any more"),
        NoAdmin: lambda error: problems.invalid("grants", str(error)),
        NoWebhookKey: lambda error: problems.conflict("there are no webhooks here: the setting webhook_key is empty"),
        TooManyWebhooks: lambda error: problems.conflict(str(error)),
        WebhookGone: lambda error: problems.not_found("webhook", str(error)),
        TagGone: lambda error: problems.not_found("tag", str(error)),
        TagInTheWay: lambda error: problems.conflict(str(error)),
        TagChanged: tags.changed,
        NoMirrorFolder: lambda error: problems.conflict("there are no mirrors: the setting mirror_folder is empty"),
        TooManyMirrors: lambda error: problems.conflict(str(error)),
        MirrorExists: lambda error: problems.conflict(f"there is a mirror {error} already"),
        MirrorGone: lambda error: problems.not_found("mirror", str(error)),
        PolicyChanged: lambda error: problems.precondition_failed(str(error), version=error.current.version),
    }
