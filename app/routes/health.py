"""Merging on demand, and requests of operators: liveness, readiness, health, metrics."""

from flask import Blueprint, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST

from app.service.metrics import render
from app.service.readiness import Check, checks, fit, work_checks
from app.service.services import services
from tasks.notify import ask_for_merge, ask_for_upkeep
from tasks.report import because

routes = Blueprint("operations", __name__)
health = Blueprint("health", __name__)


@routes.post("/merges")
def merge() -> tuple[Response, int]:
    """Ask for a batch merge."""
    repo = services().repo
    pending = repo.view.head().pending
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
    found = checks(repo)
    _put_right(work_checks(repo, found))
    return _answer("ready", found)


@routes.get("/health")
def deployment() -> tuple[Response, int]:
    """Say whether the deployment does its work, and what is wrong."""
    repo = services().repo
    found = checks(repo)
    found |= work_checks(repo, found)
    _put_right(found)
    return _answer("healthy", found)


def _put_right(found: dict[str, Check]) -> None:
    """Request upkeep if that can help: so a health check is enough to start it, without beat."""
    if not all(found[name]["ok"] for name in ("view", "queue")):
        with because(f"GET {request.path}"):
            ask_for_upkeep(services().repo)


def _answer(word: str, found: dict[str, Check]) -> tuple[Response, int]:
    answer = jsonify({word: fit(found), "checks": found})
    if not fit(found):
        answer.headers["Retry-After"] = str(services().settings.retry_after)
    return answer, 200 if fit(found) else 503


@health.get("/metrics")
def metrics() -> Response:
    """Show metrics for Prometheus."""
    return Response(render(services().repo), content_type=CONTENT_TYPE_LATEST)
