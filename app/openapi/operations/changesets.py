"""Changesets: submitting them, their states, and what can be done with one."""

from app.openapi import examples
from app.openapi.examples import COMMIT, CONFLICTED, HELD, PATH, QUEUED, SLICE, STRANDED, TIME
from app.openapi.operation import JSON, Answer, Body, Family, Link, Operation, answer, page, schema

_OF_CHANGESET = ("getChangeset", "getDiff", "getConflicts", "releaseChangeset", "abandonChangeset", "rebaseChangeset")
_LINKS = {name: Link(name, {"id": "$response.body#/id"}) for name in _OF_CHANGESET}
_PUT = {"op": "put", "path": PATH, "content": "hello\n"}
_ONE = {"base": COMMIT, "message": "Say hello", "changes": [_PUT]}
_SUBMISSIONS = {
    "a file": _ONE,
    "with an author, held": {
        "base": COMMIT,
        "author": {"name": "Ada", "email": "ada@example.org"},
        "time": TIME,
        "message": "Say hello, and a picture",
        "changes": [
            {"op": "put", "path": "web/logo.png", "content_base64": "iVBORw0KGgo="},
            {"op": "put", "path": "web/run", "content": "#!/bin/sh\n", "mode": "100755"},
            {"op": "mode", "path": PATH, "mode": "100755"},
        ],
        "labels": {"ticket": "ABC-12"},
        "strategies": [{"pattern": "*.lock", "strategy": "theirs"}],
        "hold": True,
    },
    "a move": {"base": COMMIT, "message": "A better name", "changes": [{"op": "move", "path": "web/hi", "from": PATH}]},
    "a path that is not UTF-8": {
        "base": COMMIT,
        "message": "A name of old",
        "changes": [{"op": "put", "path_base64": "d2ViL2NhZukudHh0", "content": "hello\n"}],
    },
    "by versions": {"message": "Say goodbye", "changes": [{"op": "delete", "path": PATH, "base": examples.BLOB}]},
}
_KEY = ("Idempotency-Key",)

FAMILY = Family(
    "Changesets",
    "A changeset is what a writer submits. It is durable once it is answered with 202, and decided later.",
    {
        "changesets.submit": Operation(
            id="submitChangeset",
            summary="Submit a changeset to a slice",
            text="It is durable once this is answered; what becomes of it, `GET /v1/changesets/{id}?wait=50` tells.",
            headers=_KEY,
            body=Body("NewChangeset", _SUBMISSIONS),
            answers={202: answer("It is accepted; a repeat gets the first one", "Changeset", links=_LINKS)},
            problems=("forbidden", "not-found", "conflict", "invalid", "key-reused"),
        ),
        "changesets.submit_many": Operation(
            id="submitChangesets",
            summary="Submit many changesets",
            text="An item without `idempotency_key` gets the header's key with `/<position>` appended. If every item is"
            " refused because a limit is reached, the whole request is a 429.",
            headers=_KEY,
            body=Body(
                "NewChangesets",
                {
                    "a stack": {
                        "changesets": [
                            {**_ONE, "slice": SLICE, "idempotency_key": "hello-1"},
                            {
                                "slice": SLICE,
                                "base": 0,
                                "message": "Say more",
                                "changes": [{**_PUT, "content": "hello, world\n"}],
                            },
                        ]
                    }
                },
            ),
            answers={
                202: answer("At least one is accepted: an outcome for each, in order", "ChangesetOutcomes"),
                422: Answer("None is accepted: an outcome for each", {JSON: schema("ChangesetOutcomes")}),
            },
            problems=("invalid",),
        ),
        "changesets.show": Operation(
            id="getChangeset",
            summary="Show a changeset",
            text="With `wait`, once it has a final status or the time is over; then ask again.",
            query=("wait", "until"),
            answers={200: answer("The changeset", "Changeset")},
            problems=("not-found", "invalid"),
        ),
        "changesets.listing": Operation(
            id="listChangesetsOfSlice",
            summary="List a slice's changesets of one status",
            query=("limit", "cursor", "status"),
            answers={200: page("Changeset")},
            problems=("not-found", "invalid"),
        ),
        "changeset_lists.listing": Operation(
            id="listChangesets",
            summary="List changesets by who submitted them, slice, path, status, label and time",
            text="Those that pass all filters. Messages are cut to their first line; a page may be empty and have a"
            " `next`.",
            query=(
                "limit",
                "cursor",
                "submitter",
                "author",
                "slice",
                "path",
                "status",
                "label",
                "since",
                "order",
                "encoding",
            ),
            answers={200: page("Changeset")},
            problems=("not-found", "invalid"),
        ),
        "changeset_lists.states": Operation(
            id="getChangesets",
            summary="Show many changesets by their ids",
            text="In the order of the request, without their conflicts.",
            body=Body("WantedChangesets", {"two": {"ids": [examples.LANDED, QUEUED]}}),
            answers={200: answer("The changesets", "ChangesetStates")},
            problems=("invalid",),
        ),
        "explanations.diff": Operation(
            id="getDiff",
            summary="Show what a changeset changes, file by file",
            text="`patch` is a unified diff; where it is not UTF-8 it is null, and `patch_base64` has it. Where there"
            " is none, `omitted` says why.",
            query=("limit", "cursor"),
            answers={200: page("FileDiff")},
            problems=("not-found", "conflict", "invalid"),
        ),
        "lifecycle.release_one": Operation(
            id="releaseChangeset",
            summary="Let a held changeset be committed",
            answers={200: answer("The changeset, which is queued", "Changeset")},
            problems=("forbidden", "not-found", "conflict", "invalid"),
            path={"id": HELD},
        ),
        "lifecycle.abandon_one": Operation(
            id="abandonChangeset",
            summary="Take back a changeset, or close its conflict",
            answers={200: answer("The changeset", "Changeset")},
            problems=("forbidden", "not-found", "conflict", "invalid"),
            path={"id": QUEUED},
        ),
        "lifecycle.rebase": Operation(
            id="rebaseChangeset",
            summary="Make a new changeset on the tip of one that was not committed",
            text="It has to be held, conflicted and open, abandoned, or rejected as `base-not-landed`.",
            headers=_KEY,
            answers={202: answer("The new changeset, whose `resolves` names the old one", "Changeset", links=_LINKS)},
            problems=("forbidden", "not-found", "conflict", "too-large", "invalid", "key-reused"),
            path={"id": STRANDED},
        ),
        "lifecycle.resolve": Operation(
            id="resolveChangeset",
            summary="Make a new changeset with the conflicts of one resolved",
            headers=_KEY,
            body=Body(
                "Resolutions",
                {
                    "the submitted side": {"paths": {PATH: {"take": "theirs"}}},
                    "a text of one's own": {"paths": {PATH: {"content": "hello, all\n"}}, "message": "Say hello"},
                },
            ),
            answers={202: answer("The new changeset, which replaces the old one", "Changeset", links=_LINKS)},
            problems=("forbidden", "not-found", "conflict", "too-large", "invalid", "key-reused"),
            path={"id": CONFLICTED},
        ),
        "lifecycle.check": Operation(
            id="checkChangeset",
            summary="Say whether a changeset would land now, and store nothing",
            body=Body("NewChangeset", {"a file": _ONE}),
            answers={200: answer("What it would become", "CheckResult")},
            problems=("forbidden", "not-found", "conflict", "invalid", "key-reused"),
        ),
    },
)
