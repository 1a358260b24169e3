"""The API itself: what it has, its description, its health, and merges on demand."""

from app.openapi.operation import HTML, JSON, TEXT, Answer, Family, Operation, answer, nothing
from app.openapi.operation import schema as of
from app.openapi.values import TEXT as STRING

_PROBLEM = {"application/problem+json": of("Problem")}

FAMILY = Family(
    "Service",
    "The API itself.",
    {
        "index.root": Operation(
            id="getIndex",
            summary="List what the API has",
            answers={200: answer("Every operation by its id, with the template of its URL", "Index")},
        ),
        "index.version": Operation(
            id="getVersion",
            summary="Show the versions of Sluice, of the API, and of the log's entries that it reads",
            answers={200: answer("The versions", "ServiceVersion")},
        ),
        "index.openapi": Operation(
            id="getOpenApi",
            summary="Return this document",
            headers=("If-None-Match",),
            answers={
                200: Answer("The document", {JSON: {"type": "object"}}, ("ETag", "Cache-Control")),
                304: nothing("The client has it already", "ETag", "Cache-Control"),
            },
        ),
        "index.docs": Operation(
            id="getDocs",
            summary="Show this document as a page",
            answers={200: Answer("The page", {HTML: STRING}, ("Content-Security-Policy",))},
        ),
        "index.problems": Operation(
            id="getProblemTypes",
            summary="Show the types of problems as a page: when each comes, and what to do",
            answers={200: Answer("The page", {HTML: STRING}, ("Content-Security-Policy",))},
        ),
        "index.docs_file": Operation(
            id="getDocsFile",
            summary="Return a file of the page that shows this document",
            headers=("If-None-Match",),
            answers={
                200: Answer("The file", {"text/css": STRING, "text/javascript": STRING, "image/png": {}},
                            ("ETag", "Cache-Control")),
                304: nothing("The client has it already", "ETag", "Cache-Control"),
            },
            problems=("not-found",),
        ),
        "operations.merge": Operation(
            id="requestMerge",
            summary="Ask for a batch merge",
            answers={202: answer("It is requested; `pending` changesets are committed and not landed",
                                 "MergeRequested")},
        ),
        "operations.deployment": Operation(
            id="getHealth",
            summary="Say whether the deployment does its work",
            answers={
                200: answer("It does", "Health"),
                503: Answer("It does not, or a part of it", {JSON: of("Health"), **_PROBLEM}, ("Retry-After",)),
            },
        ),
        "health.alive": Operation(
            id="getLiveness",
            summary="Say that the process lives",
            answers={200: answer("It lives", "Alive")},
        ),
        "health.ready": Operation(
            id="getReadiness",
            summary="Say whether this process can serve",
            answers={
                200: answer("It can", "Ready"),
                503: Answer("It cannot", {JSON: of("Ready"), **_PROBLEM}, ("Retry-After",)),
            },
        ),
        "health.metrics": Operation(
            id="getMetrics",
            summary="Show metrics for Prometheus",
            text="Without a token where `open_metrics` says so.",
            answers={200: Answer("The metrics", {TEXT: STRING})},
        ),
    },
)  # fmt: skip
