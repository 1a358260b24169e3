"""The past: tags, commits, versions of paths, blame, comparisons."""

from app.openapi import examples
from app.openapi.operation import Body, Family, Operation, answer, nothing, page

_TAG = {"tag": examples.TAG}

FAMILY = Family(
    "History",
    "What was: tags, commits, the versions of a path, who wrote which line, and what differs between two commits.",
    {
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
)
