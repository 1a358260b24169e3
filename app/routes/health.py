"""Merging on demand, and requests of operators: liveness, readiness, health, metrics."""

from flask import Blueprint, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST

from app.access.current import known_actor
from app.service.metrics import render
from app.service.readiness import Check, checks, degraded, fit, work_checks
from app.service.services import services
from storage.operations.requests import record_merge_request
from tasks.notify import ask_for_merge, ask_for_upkeep
from tasks.report import because

routes = Blueprint("operations", __name__)
health = Blueprint("health", __name__)


@routes.post("/merges")
def merge() -> tuple[Response, int]:
    """Ask for a batch merge."""
    repo = services().repo
    pending = repo.view.head().pending
    if pending and (who := known_actor()):
        record_merge_request(repo, who)
    with because("POST /v1/merges"):
        ask_for_merge(repo)
    return jsonify({"requested": True, "pending": pending}), 202


@health.get("/healthz")
def alive() -> Response:
    """Say that the process lives."""
    return jsonify({"alive": True})


@health.get("/readyz")
def ready() -> tuple[Response, int]:
    """Say whether this process can serve, and what it lacks."""
    repo = services().repo
    checked = checks(repo)
    _put_right(work_checks(repo, checked))
    return _answer("ready", checked, {"degraded": degraded(repo)})


@routes.get("/health")
def deployment() -> tuple[Response, int]:
    """Say whether the deployment does its work, and what is wrong."""
    repo = services().repo
    checked = checks(repo)
    checked |= work_checks(repo, checked)
    _put_right(checked)
    return _answer("healthy", checked)


def _put_right(checked: dict[str, Check]) -> None:
    """Request upkeep if that can help: so a health check is enough to start it, without beat."""
    if not all(checked[name]["ok"] for name in ("view", "queue")):
        with because(f"GET {request.path}"):
            ask_for_upkeep(services().repo)


def _answer(word: str, checked: dict[str, Check], more: dict[str, list[str]] | None = None) -> tuple[Response, int]:
    answer = jsonify({word: fit(checked), "checks": checked, **(more or {})})
    if not fit(checked):
        answer.headers["Retry-After"] = str(services().settings.retry_after)
    return answer, 200 if fit(checked) else 503


@health.get("/metrics")
def metrics() -> Response:
    """Show metrics for Prometheus."""
    return Response(render(services().repo), content_type=CONTENT_TYPE_LATEST)
