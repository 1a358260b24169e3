"""Slices."""

from dataclasses import replace

from app.openapi import examples
from app.openapi.operation import JSON, Answer, Body, Family, Link, Operation, answer, nothing, page, schema

_MADE = {"anyOf": [schema("Slice"), schema("SliceOutcomes")]}

_OF_SLICE = ("getSlice", "changeSlice", "submitChangeset", "listChangesetsOfSlice", "listCommits", "getTree")
_LINKS = {name: Link(name, {"slice": "$response.body#/items/0/id"}) for name in _OF_SLICE}

FAMILY = Family(
    "Slices",
    "A slice is a named set of paths: directories, single files, or everything. Slices may overlap.",
    {
        "slices.create": Operation(
            id="createSlice",
            summary="Make a slice, or many",
            text="Many slices are made by one entry of the log, with an outcome for each, in order.",
            body=Body(
                {"anyOf": [schema("NewSlice"), schema("NewSlices")]},
                {
                    "one": {"name": "docs", "paths": ["docs/", "README.md"]},
                    "many": {
                        "slices": [{"name": "api", "paths": ["src/api/"]}, {"name": "team/ui", "paths": ["src/ui/"]}]
                    },
                },
            ),
            answers={
                201: Answer(
                    "The slice; of many, an outcome for each, at least one of which is new",
                    {JSON: _MADE},
                ),
                200: Answer("Of many, each of which was there already or is refused: an outcome for each",
                            {JSON: schema("SliceOutcomes")}),
                403: Answer("None of many may be made: an outcome for each", {JSON: schema("SliceOutcomes")}),
                422: Answer("None of many can be made: an outcome for each", {JSON: schema("SliceOutcomes")}),
            },
            problems=("forbidden", "conflict", "invalid"),
        ),
        "slices.listing": Operation(
            id="listSlices",
            summary="List slices, by id",
            text="With `path`, those that cover it.",
            query=("limit", "cursor", "path", "encoding"),
            answers={200: replace(page("Slice"), links=_LINKS)},
            problems=("invalid",),
        ),
        "slices.show": Operation(
            id="getSlice",
            summary="Show a slice",
            answers={200: answer("The slice", "Slice")},
            problems=("not-found",),
        ),
        "slices.change": Operation(
            id="changeSlice",
            summary="Give a slice other paths",
            text="Queued changesets are decided by the definition that is current then.",
            body=Body("SlicePaths", {"with another file": {"paths": ["web/", "package.json"], "version": 1}}),
            answers={200: answer("The slice with its next version", "Slice")},
            problems=("forbidden", "not-found", "conflict", "invalid"),
        ),
        "slices.remove": Operation(
            id="deleteSlice",
            summary="Delete a slice",
            text="Its queued changesets will be `rejected` with `no-such-slice`.",
            query=("version",),
            answers={204: nothing("It is deleted")},
            problems=("forbidden", "not-found", "conflict", "invalid"),
            path={"slice": examples.SLICE},
        ),
    },
)  # fmt: skip
