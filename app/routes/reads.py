"""Reading what is there: a slice's commits, tree and files, and the global history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import Any, cast

from flask import Blueprint, Response, jsonify, request

from app import cursors
from app.errors import Problem, invalid, not_found
from app.queries import load_oid, load_path, load_query
from app.routes.changesets import standings_of
from app.routes.pages import blob_response, page
from app.routes.slices import find_slice
from app.services import services
from storage import history
from storage.entries import SLOTS, Status, place_of
from storage.ids import ObjectId
from storage.objects import SUBMODULE_MODE, CorruptObject, Ident, Kind, Tree, Version
from storage.store import ObjectMissing
from storage.trees import covers, lookup, project, walk

routes = Blueprint("reads", __name__)


@routes.get("/slices/<slice:name>/commits")
def commits(name: str) -> Response:
    """List a slice's commits, oldest first."""
    found = find_slice(name)
    query = load_query(request.args, services().settings, "limit", "cursor")
    filters = {"slice": found.id}
    place = int(cursors.decode(query.cursor, "commits", filters, (int,))[0]) if query.cursor is not None else -1
    repo = services().repo
    rows, looked = history.decided(repo, found.id, Status.COMMITTED, place, None, query.limit + 1)
    items, answer = page("commits", filters, rows, query.limit, lambda each: (each[1],), looked)
    ids = [each for each, _ in items]
    outcomes = [(each, now.outcome, now.through) for each, now in zip(ids, standings_of(ids), strict=True)]
    repo.objects.warm(ObjectId(bytes.fromhex(outcome["commit"])) for _, outcome, _ in outcomes if outcome)
    for changeset, outcome, through in outcomes:
        if outcome is None:
            continue
        commit = repo.objects.commit(ObjectId(bytes.fromhex(outcome["commit"])))
        answer["items"].append(
            {
                "changeset": changeset,
                "commit": outcome["commit"],
                "seq": outcome["seq"],
                "status": Status.LANDED if outcome["seq"] <= through else Status.COMMITTED,
                "author": {"name": commit.author.name, "email": commit.author.email},
                "time": _time(commit.author),
                "message": commit.message,
            }
        )
    return jsonify(answer)


def _time(who: Ident) -> str:
    """Return a time as its writer's clock showed it; what no calendar has is shown as the nearest that one has."""
    zone = timezone(timedelta(minutes=who.zone)) if 0 < abs(who.zone) < 24 * 60 else UTC
    try:
        # Not by way of UTC, where the first or the last day may have no date.
        clock = datetime(1970, 1, 1, tzinfo=zone) + timedelta(seconds=who.time) + (zone.utcoffset(None) or timedelta())
    except OverflowError:
        clock = datetime.max.replace(tzinfo=zone) if who.time > 0 else datetime.min.replace(tzinfo=zone)
    return clock.isoformat(timespec="seconds")


@routes.get("/slices/<slice:name>/tree")
def tree(name: str) -> Response:
    """List a slice's files at a commit."""
    found = find_slice(name)
    query = load_query(request.args, services().settings, "limit", "cursor", "commit", "prefix")
    commit, root = _commit_and_root(query.commit)
    prefix = (query.prefix or b"").rstrip(b"/") + b"/" if query.prefix else b""
    filters: dict[str, str | int | None] = {
        "slice": found.id,
        "version": found.version,
        "commit": commit,
        "prefix": prefix.decode(),
    }
    after = cast(bytes, cursors.decode(query.cursor, "tree", filters, (bytes,))[0]) if query.cursor is not None else b""
    objects = services().repo.objects

    def look() -> tuple[ObjectId, list[tuple[bytes, Version]]]:
        projected, made = project(objects.tree, root, found.paths)

        def read(oid: ObjectId) -> Tree:
            return made[oid] if oid in made else objects.tree(oid)

        return projected, list(islice(walk(read, projected, after, prefix), query.limit + 1))

    projected, files = services().repo.surely(look)
    items, answer = page("tree", filters, files, query.limit, lambda each: (each[0],))
    places = objects.locate([version.oid for _, version in items]) if items else []
    answer |= {"commit": commit, "tree": projected.hex()}
    answer["items"] = [
        _file_json(path, version, place.place.size if place else None)
        for (path, version), place in zip(items, places, strict=True)
    ]
    return jsonify(answer)


def _file_json(path: bytes, version: Version, size: int | None) -> dict[str, Any]:
    submodule = version.mode == SUBMODULE_MODE
    return {
        "path": path.decode(),
        "mode": f"{version.mode:06o}",
        "type": "commit" if submodule else "blob",
        "id": version.oid.hex(),
        "size": None if submodule else size,
    }


@routes.get("/slices/<slice:name>/files/<path:path>")
def file(name: str, path: str) -> Response:
    """Return one file's bytes."""
    query = load_query(request.args, services().settings, "commit")
    raw = load_path(path, services().settings)
    objects = services().repo.objects

    def look() -> tuple[Version, bytes] | None:
        covered = covers(find_slice(name).paths, raw)
        _, root = _commit_and_root(query.commit)
        version = lookup(objects.tree, root, raw) if covered else None
        if version is None or version.is_tree or version.mode == SUBMODULE_MODE:
            return None
        return version, objects.read(version.oid)[1]

    found = services().repo.surely(look)
    if found is None:
        raise not_found("file", path)
    return blob_response(*found)


def _commit_and_root(oid: bytes | None) -> tuple[str, ObjectId]:
    """Return a commit that was asked for, or the global head, and its tree."""
    repo = services().repo
    if oid is None:
        head = repo.view.head()
        return head.main, ObjectId(bytes.fromhex(head.main_tree))
    try:
        kind, _ = repo.surely(lambda: repo.objects.read(ObjectId(oid)))
        if kind == Kind.COMMIT:
            return oid.hex(), repo.objects.commit(ObjectId(oid)).tree
    except (CorruptObject, ObjectMissing):
        pass  # refused below, like an id of another kind
    raise _no_commit(oid)


def _no_commit(oid: bytes) -> Problem:
    return invalid("commit", f"{oid.hex()} is no commit of this repository")


@routes.get("/head")
def head() -> Response:
    """Show the newest global commit and the tip of the chain."""
    now = services().repo.view.head()
    return jsonify(
        {
            "main": {"commit": now.main, "tree": now.main_tree, "seq": now.main_seq},
            "tip": {"commit": now.tip, "tree": now.root, "seq": now.applied},
            "applied": now.applied,
            "pending": now.pending,
        }
    )


@routes.get("/commits")
def global_commits() -> Response:
    """List the global commits, newest first."""
    query = load_query(request.args, services().settings, "limit", "cursor")
    before = int(cursors.decode(query.cursor, "global", {}, (int,))[0]) if query.cursor is not None else None
    rows, looked = history.global_commits(services().repo, before, query.limit + 1)
    items, answer = page("global", {}, rows, query.limit, lambda merge: (merge["seq"],), looked)
    names = ("commit", "parents", "tree", "seq", "through", "changesets")
    answer["items"] = [{name: merge[name] for name in names} for merge in items]
    return jsonify(answer)


@routes.get("/commits/<commit>/changesets")
def merged(commit: str) -> Response:
    """List the changesets that a global commit merged, in log order."""
    load_oid(commit, "commit")
    query = load_query(request.args, services().settings, "limit", "cursor")
    repo = services().repo
    merge = repo.surely(lambda: history.global_commit(repo, commit))
    if merge is None:
        raise not_found("global commit", commit)
    filters = {"commit": commit}
    place = int(cursors.decode(query.cursor, "merged", filters, (int,))[0]) if query.cursor is not None else -1
    low, high = max(place, place_of(merge["first"], 0) - 1), place_of(merge["through"], SLOTS - 1)
    rows, looked = history.committed(repo, low, high, query.limit + 1)
    items, answer = page("merged", filters, rows, query.limit, lambda each: (each[1],), looked)
    ids = [each for each, _ in items]
    for changeset, now in zip(ids, repo.queue.standing(ids)[1] if ids else [], strict=True):
        if now.outcome:
            answer["items"].append(
                {"changeset": changeset, "commit": now.outcome["commit"], "slice": now.outcome["slice"]}
            )
    return jsonify(answer)
