"""Reading a slice's commits and single files, and the global history."""

from collections.abc import Iterator, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify, request

from app.access.current import caller
from app.access.visibility import visible
from app.protocol import cursors
from app.protocol.history.moments import shown_moment
from app.protocol.loading import load_path
from app.protocol.problems import not_found
from app.protocol.queries import load_oid, load_query
from app.routes.changeset_facts import short_json
from app.routes.changesets import states_of
from app.routes.files.trees import commit_of
from app.routes.pages import blob_response, of_commit, page
from app.routes.slices import find_slice
from app.service.services import services
from storage.base.ids import ChangesetId, ObjectId
from storage.git.objects import SUBMODULE_MODE, Version
from storage.git.trees import covers, lookup
from storage.log.entry import SLOTS, GlobalCommit, log_position
from storage.log.records import Status
from storage.operations import history
from storage.queue import ChangesetState

routes = Blueprint("reads", __name__)

_OF_GLOBAL_COMMITS = ("commit", "parents", "tree", "seq", "through", "changesets")
_OF_GLOBAL_COMMITS_TO_ALL = ("commit", "parents", "seq", "through")
# Rows of a list that are looked up at once, where none of them is large: a whole page.
_ROWS = 1000


@routes.get("/slices/<slice:name>/commits")
def commits(name: str) -> Response:
    """List a slice's commits, oldest first."""
    slice_ = find_slice(name)
    query = load_query(request.args, services().settings, "limit", "cursor")
    filters = {"slice": slice_.id}
    position = int(cursors.decode(query.cursor, "commits", filters, (int,))[0]) if query.cursor is not None else -1
    repo = services().repo
    rows, looked = history.decided(repo, slice_.id, Status.COMMITTED, position, None, query.limit + 1)
    # All of a page at once: those that are archived are spread over the same few tables.
    ids = [changeset for changeset, _ in rows]
    states = dict(zip(ids, states_of(ids), strict=True))
    seen = visible(repo, caller(), states)
    states = {changeset: state for changeset, state in states.items() if changeset in seen}
    oids = [_oid(state.outcome.commit) for state in states.values() if state.outcome and state.outcome.commit]
    repo.objects.prefetch(oids, services().settings.max_page_bytes)

    def show(batch: Sequence[tuple[ChangesetId, int]]) -> Iterator[dict[str, Any] | None]:
        for changeset, _ in batch:
            yield _commit_json(changeset, states[changeset]) if changeset in states else None

    return page("commits", filters, rows, query.limit, lambda row: (row[1],), show, looked=looked)


def _commit_json(changeset: str, state: ChangesetState) -> dict[str, Any] | None:
    outcome = state.outcome
    if outcome is None or outcome.commit is None:
        return None
    commit = services().repo.objects.commit(_oid(outcome.commit))
    return {
        "changeset": changeset,
        "commit": outcome.commit,
        "seq": outcome.seq,
        "status": Status.LANDED if outcome.seq <= state.through else Status.COMMITTED,
        "time": shown_moment(commit.author),
        **short_json(changeset, state),
        "author": {"name": commit.author.name, "email": commit.author.email},
        "message": commit.message,
    }


@routes.get("/slices/<slice:name>/files/<path:path>")
def file(name: str, path: str) -> Response:
    """Return one file's bytes."""
    query = load_query(request.args, services().settings, "commit", "encoding")
    raw = load_path(path, services().settings, encoded=query.encoding)
    objects = services().repo.objects

    def read() -> tuple[Version, bytes, ObjectId] | None:
        covered = covers(find_slice(name).paths, raw)
        commit = ObjectId(query.commit) if query.commit else _oid(services().repo.view.head().main)
        root = commit_of(commit).tree
        version = lookup(objects.tree, root, raw) if covered else None
        if version is None or version.is_tree or version.mode == SUBMODULE_MODE:
            return None
        return version, objects.read(version.oid)[1], commit

    stored = services().repo.confirmed(read)
    if stored is None:
        raise not_found("file", path)
    version, content, commit = stored
    return of_commit(blob_response(version, content), commit.hex())


@routes.get("/head")
def head() -> Response:
    """Show the newest global commit and the tip of the chain."""
    now = services().repo.view.head()
    main: dict[str, Any] = {"commit": now.main, "seq": now.main_seq}
    tip: dict[str, Any] = {"commit": now.tip, "seq": now.applied}
    if not caller().reads_all:
        # By the id of a tree one could find out whether a guess of a small hidden file is right.
        return jsonify({"main": main, "tip": tip, "applied": now.applied})
    main["tree"], tip["tree"] = now.main_tree, now.root
    return jsonify({"main": main, "tip": tip, "applied": now.applied, "pending": now.pending})


@routes.get("/commits")
def global_commits() -> Response:
    """List the global commits, newest first."""
    query = load_query(request.args, services().settings, "limit", "cursor")
    before = int(cursors.decode(query.cursor, "global", {}, (int,))[0]) if query.cursor is not None else None
    rows, looked = history.global_commits(services().repo, before, query.limit + 1)

    def show(batch: Sequence[GlobalCommit]) -> Iterator[dict[str, Any]]:
        shown = _OF_GLOBAL_COMMITS if caller().reads_all else _OF_GLOBAL_COMMITS_TO_ALL
        yield from ({name: getattr(merge, name) for name in shown} for merge in batch)

    return page("global", {}, rows, query.limit, lambda merge: (merge.seq,), show, looked=looked)


@routes.get("/commits/<commit>/changesets")
def merged(commit: str) -> Response:
    """List the changesets that a global commit merged, in log order."""
    load_oid(commit, "commit")
    query = load_query(request.args, services().settings, "limit", "cursor")
    repo = services().repo
    merge = repo.confirmed(lambda: history.global_commit(repo, commit))
    if merge is None:
        raise not_found("global commit", commit)
    filters = {"commit": commit}
    position = int(cursors.decode(query.cursor, "merged", filters, (int,))[0]) if query.cursor is not None else -1
    low, high = max(position, log_position(merge.first, 0) - 1), log_position(merge.through, SLOTS - 1)
    rows, looked = history.committed(repo, low, high, query.limit + 1)

    def show(batch: Sequence[tuple[str, int]]) -> Iterator[dict[str, Any] | None]:
        ids = [changeset for changeset, _ in batch]
        states = dict(zip(ids, repo.queue.states(ids)[1], strict=True))
        seen = visible(repo, caller(), states)
        for changeset, now in states.items():
            of = now.outcome if changeset in seen else None
            about = {"changeset": changeset, "commit": of.commit, "slice": of.slice} if of else None
            yield about and about | short_json(changeset, now)

    shown = page("merged", filters, rows, query.limit, lambda row: (row[1],), show, looked=looked, together=_ROWS)
    return of_commit(shown, commit)


def _oid(text: str) -> ObjectId:
    return ObjectId(bytes.fromhex(text))
