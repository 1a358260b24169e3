"""Mirrors: Git servers to which what lands is pushed, or from which commits are taken."""

from app.openapi import examples
from app.openapi.operation import Body, Family, Operation, answer, nothing, page

_URL = "https://git.example.invalid/team/code.git"

FAMILY = Family(
    "Mirrors",
    "Branches of other Git servers, pushed to or followed: docs/mirrors.md.",
    {
        "mirrors.create": Operation(
            id="createMirror",
            summary="Make a mirror",
            text="What lands is pushed from now on, with all that has landed before. Its URL has no password: that"
            " stands in the file of the setting `mirror_credentials`.",
            body=Body(
                "NewMirror",
                {
                    "of everything": {"name": "host", "url": _URL, "ref": "refs/heads/main"},
                    "whose commits are taken": {
                        "name": "source", "url": _URL, "ref": "refs/heads/main", "direction": "in",
                        "slice": examples.SLICE,
                    },
                },
            ),
            answers={201: answer("The mirror", "Mirror")},
            problems=("not-found", "conflict", "invalid"),
        ),
        "mirrors.listing": Operation(
            id="listMirrors",
            summary="List all mirrors, and how they stand",
            answers={200: page("Mirror")},
        ),
        "mirrors.show": Operation(
            id="getMirror",
            summary="Show a mirror, and how it stands",
            answers={200: answer("The mirror", "Mirror")},
            problems=("not-found", "invalid"),
        ),
        "mirrors.remove": Operation(
            id="deleteMirror",
            summary="Delete a mirror; its branch stays as it is",
            answers={204: nothing("It is deleted")},
            problems=("not-found", "invalid"),
        ),
        "mirrors.stop": Operation(
            id="stopMirror",
            summary="Stop a mirror until it is resumed",
            body=Body("MirrorStop", {"for a while": {"reason": "asked", "detail": "the host is being moved"}}),
            answers={200: answer("The mirror", "Mirror")},
            problems=("not-found", "invalid"),
        ),
        "mirrors.resume": Operation(
            id="resumeMirror",
            summary="Let a mirror go on",
            text="It looks at its server at once, and stops again if nothing was mended there.",
            answers={200: answer("The mirror", "Mirror")},
            problems=("not-found", "invalid"),
        ),
        "mirrors.report": Operation(
            id="reportMirror",
            summary="Note what the process that takes a mirror's commits has seen",
            text="`sluice mirror follow` does it. The principal `mirror:NAME` may, and admins.",
            body=Body("MirrorReport", {"all is taken": {"remote": "1" * 40, "taken": "1" * 40, "behind": 0}}),
            answers={200: answer("The mirror", "Mirror")},
            problems=("not-found", "conflict", "invalid"),
        ),
    },
)  # fmt: skip
