"""Merging on demand, and what operators ask: health, readiness, metrics."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST

from app.metrics import render
from app.readiness import checks
from app.services import services
from tasks.commits import ask_for_merge, ask_for_upkeep

routes = Blueprint("operations", __name__)
health = Blueprint("health", __name__)


@routes.post("/merges")
def merge() -> tuple[Response, int]:
    """Ask for a batch merge."""
    repo = services().repo
    pending = repo.view.head().pending
    ask_for_merge(repo)
    return jsonify({"requested": True, "pending": pending}), 202


@health.get("/healthz")
def alive() -> Response:
    """Say that the process lives."""
    return jsonify({"alive": True})


@health.get("/readyz")
def ready() -> tuple[Response, int]:
    """Say whether the deployment can do its work, and what is wrong."""
    repo = services().repo
    found = checks(repo)
    if not (found["view"]["ok"] and found["queue"]["ok"]):
        ask_for_upkeep(repo)
    fit = all(check["ok"] for check in found.values())
    answer = jsonify({"ready": fit, "checks": found})
    if not fit:
        answer.headers["Retry-After"] = str(services().settings.retry_after)
    return answer, 200 if fit else 503


@health.get("/metrics")
def metrics() -> Response:
    """Show metrics for Prometheus."""
    return Response(render(services().repo), content_type=CONTENT_TYPE_LATEST)
