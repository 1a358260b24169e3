"""The past: tags, commits, versions of paths, blame, comparisons."""

from dataclasses import replace

from app.openapi import examples
from app.openapi.operation import Body, Family, Operation, answer, nothing, or_null, page
from app.openapi.values import COUNT, OID

_TAG = {"tag": examples.TAG}

FAMILY = Family(
    "History",
    "What was: tags, commits, the versions of a path, who wrote which line, and what differs between two commits.",
    {
        "commits.show": Operation(
            id="getCommit",
            summary="Show a commit, with what it changed",
            text="A commit of the chain, a global commit, of which the changes are those since the one before, or an"
            " imported one. What one may not read is left out.",
            query=("limit", "cursor"),
            answers={200: answer("The commit, and a page of its changes", "Commit", "X-Sluice-Commit")},
            problems=("not-found", "invalid"),
        ),
        "commits.history": Operation(
            id="getHistory",
            summary="List the commits that changed a path, newest first",
            text="Of a file, by `path`; of a directory, by `prefix`; without both of everything, for readers of `/`."
            " Behind what is committed here stands what was imported.",
            query=("limit", "cursor", "path", "prefix", "encoding", "slice", "commit"),
            meanings={
                "path": "The file.",
                "prefix": "The directory.",
                "commit": "Only what this commit has; without it all that is committed.",
            },
            answers={200: page("PathCommit")},
            problems=("not-found", "invalid"),
        ),
        "commits.lines": Operation(
            id="getBlame",
            summary="Tell which commit each line of a file came with",
            query=("path", "encoding", "commit"),
            meanings={"path": "The file."},
            answers={200: answer("Its lines, in order", "Blame", "X-Sluice-Commit")},
            problems=("not-found", "invalid"),
        ),
        "commits.comparison": Operation(
            id="compareCommits",
            summary="Show what a commit has that another one lacks",
            text="The files that differ between the merge base of both and the second.",
            query=("limit", "cursor"),
            answers={
                200: replace(
                    page(
                        "FileDiff", "A page of the files; `ahead` and `behind` for readers of `/`",
                        {"base": OID, "head": OID, "merge_base": OID},
                        {"ahead": or_null(COUNT), "behind": or_null(COUNT)},
                    ),
                    headers=("X-Sluice-Commit",),
                )
            },
            problems=("not-found", "invalid"),
        ),
        "reverts.make": Operation(
            id="revertChangeset",
            summary="Make a changeset that takes back what a committed one has changed",
            text="It is merged on the tip as `git revert` merges it, and may be in conflict there as any other.",
            headers=("Idempotency-Key",),
            answers={202: answer("The new changeset", "Changeset")},
            problems=("forbidden", "not-found", "conflict", "too-large", "invalid", "key-reused"),
        ),
        "tags.listing": Operation(
            id="listTags",
            summary="List the tags, in the order of their names",
            query=("limit", "cursor"),
            answers={200: page("Tag")},
            problems=("forbidden", "invalid"),
        ),
        "tags.show": Operation(
            id="getTag",
            summary="Show a tag",
            answers={200: answer("The tag", "Tag", "ETag")},
            problems=("forbidden", "not-found", "invalid"),
            path=_TAG,
        ),
        "tags.put": Operation(
            id="putTag",
            summary="Make a tag, or move it",
            text="A tag that says the same already stays as it is. One that names something else is moved only with"
            " `If-Match`.",
            headers=("If-Match",),
            body=Body(
                "NewTag",
                {
                    "annotated": {"commit": examples.COMMIT, "message": "The first release"},
                    "lightweight": {"commit": examples.COMMIT},
                },
            ),
            answers={
                200: answer("The tag, moved or as it was", "Tag", "ETag"),
                201: answer("The new tag", "Tag", "ETag"),
            },
            problems=("forbidden", "conflict", "precondition-failed", "invalid"),
            path=_TAG,
        ),
        "tags.remove": Operation(
            id="deleteTag",
            summary="Delete a tag",
            headers=("If-Match",),
            answers={204: nothing("It is deleted")},
            problems=("forbidden", "not-found", "precondition-failed", "invalid"),
            path=_TAG,
        ),
    },
)  # fmt: skip
