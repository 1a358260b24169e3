"""Conflicts, the activity at a path, and events."""

from app.openapi.examples import CONFLICTED, PATH
from app.openapi.operation import OCTETS, Answer, Family, Operation, answer, nothing, page
from app.openapi.values import TEXT

FAMILY = Family(
    "Conflicts and events",
    "What collided with what, who is at work where, and what happens to changesets.",
    {
        "conflicts.listing": Operation(
            id="listConflicts",
            summary="List the changesets whose conflicts are open, oldest first",
            text="All, those of a slice, or those at a path.",
            query=("limit", "cursor", "slice", "path", "encoding"),
            answers={200: page("Changeset")},
            problems=("not-found", "invalid"),
        ),
        "conflicts.show": Operation(
            id="getActivity",
            summary="Show the slices that cover a path, and who is at work on it",
            query=("encoding",),
            answers={200: answer("The activity at the path", "Activity", "X-Sluice-Commit")},
            problems=("not-found", "invalid"),
        ),
        "explanations.conflicts": Operation(
            id="getConflicts",
            summary="Show the conflicts of a changeset, with what an editor needs",
            query=("limit", "cursor"),
            answers={200: page("ExplainedConflict")},
            problems=("not-found", "conflict", "invalid"),
            path={"id": CONFLICTED},
        ),
        "explanations.side": Operation(
            id="getConflictSide",
            summary="Return the bytes of one side of a conflict",
            query=("encoding",),
            headers=("If-None-Match",),
            answers={
                200: Answer("The bytes", {OCTETS: {}}, ("ETag", "X-Git-Mode")),
                304: nothing("The client has them already", "ETag", "X-Git-Mode"),
            },
            problems=("not-found", "invalid"),
            path={"id": CONFLICTED, "path": PATH},
        ),
        "events.stream": Operation(
            id="streamEvents",
            summary="Stream what happens to changesets, in log order",
            text="Server-sent events, from now on or behind `Last-Event-ID` or `after`, each exactly once. The stream"
            " ends after `max_stream_seconds`; clients reconnect by themselves.",
            query=("slice", "after"),
            headers=("Last-Event-ID",),
            answers={200: Answer("The stream", {"text/event-stream": TEXT}, ("Cache-Control",))},
            problems=("not-found", "invalid"),
        ),
    },
)
