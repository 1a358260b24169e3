"""Commits, trees, files and their contents."""

from dataclasses import replace

from app.openapi.examples import COMMIT, PATH
from app.openapi.operation import JSON, OCTETS, Answer, Body, Family, Link, Operation, answer, nothing, page
from app.openapi.values import OID, TEXT

_LINES = (
    "a line of JSON each: first `{commit, tree, slice}`; then files; some 600 files on `{next}`, the cursor behind"
    " them; last `{next: null, files}`, without which it is not complete"
)
_COMMIT = ("X-Sluice-Commit", "X-Git-Commit")
_TREE = page("File", "A page of files; or, where `Accept` asks for lines, all of them", {"commit": OID, "tree": OID})

FAMILY = Family(
    "Reads",
    "What the repository has. Read the commit first (`/v1/head`), and then files at this commit.",
    {
        "reads.head": Operation(
            id="getHead",
            summary="Show the newest global commit and the tip of the chain",
            answers={
                200: answer(
                    "The head; `tree` and `pending` for readers of `/`",
                    "Head",
                    links={"changesets": Link("listMergedChangesets", {"id": "$response.body#/main/commit"})},
                )
            },
        ),
        "reads.global_commits": Operation(
            id="listGlobalCommits",
            summary="List the global commits, newest first",
            query=("limit", "cursor"),
            answers={200: page("GlobalCommit", "A page of the list; `tree` and `changesets` for readers of `/`")},
            problems=("invalid",),
        ),
        "reads.merged": Operation(
            id="listMergedChangesets",
            summary="List the changesets that a global commit merged, in log order",
            query=("limit", "cursor"),
            answers={200: replace(page("MergedChangeset"), headers=("X-Sluice-Commit",))},
            problems=("not-found", "invalid"),
        ),
        "reads.commits": Operation(
            id="listCommits",
            summary="List a slice's commits, oldest first",
            query=("limit", "cursor"),
            answers={200: page("SliceCommit")},
            problems=("not-found", "invalid"),
        ),
        "trees.tree": Operation(
            id="getTree",
            summary="List a slice's files at a commit",
            text=f"In pages, or with `Accept: application/x-ndjson` all of them in one answer, {_LINES}.",
            query=("limit", "cursor", "commit", "prefix", "encoding", "sizes"),
            answers={200: Answer(_TREE.text, {**_TREE.shapes, "application/x-ndjson": TEXT}, _COMMIT)},
            problems=("not-found", "not-acceptable", "invalid"),
        ),
        "trees.files": Operation(
            id="getArchive",
            summary="Return a slice's files at a commit as an archive",
            query=("format", "commit", "prefix", "encoding"),
            headers=("If-None-Match",),
            answers={
                200: Answer(
                    "The archive; if it cannot go on, the connection ends without the last chunk",
                    {"application/x-tar": {}, "application/gzip": {}, "application/zip": {}},
                    ("ETag", "X-Sluice-Commit", "X-Git-Commit", "Content-Disposition"),
                ),
                304: nothing("The client has it already", "ETag", "X-Sluice-Commit", "Content-Disposition"),
            },
            problems=("not-found", "invalid"),
        ),
        "file_contents.contents": Operation(
            id="getFiles",
            summary="Return the contents of several files",
            text="It changes nothing. If `next` is not null, send the same paths with it as `cursor` for the others.",
            body=Body(
                "WantedFiles",
                {"two, of which one is missing": {"paths": [PATH, "web/none.js"], "commit": COMMIT}},
            ),
            answers={200: Answer("The contents that have room", {JSON: {"$ref": "#/components/schemas/FileContents"}},
                                 ("X-Sluice-Commit", "X-Git-Commit"))},
            problems=("not-found", "invalid"),
        ),
        "reads.file": Operation(
            id="getFile",
            summary="Return a file's bytes",
            query=("commit", "encoding"),
            headers=("If-None-Match",),
            answers={
                200: Answer("The bytes", {OCTETS: {}}, ("ETag", "X-Sluice-Commit", "X-Git-Mode")),
                304: nothing("The client has them already", "ETag", "X-Sluice-Commit", "X-Git-Mode"),
            },
            problems=("not-found", "invalid"),
        ),
    },
)  # fmt: skip
