"""Every example of the OpenAPI document is submitted, and does what its operation says."""

from __future__ import annotations

from typing import Any

import pytest

from app.openapi.document import FAMILIES, METHODS
from app.openapi.operation import JSON
from app.routes.index import Described
from storage.base.settings import Settings
from tests.support.api import Api
from tests.support.example_ids import real_ids, with_real
from tests.support.principals import secured

BODIES = [
    (each.id, name)
    for family in FAMILIES
    for each in family.operations.values()
    if each.body
    for name in each.body.examples
]


class Examples:
    """A repository with what the examples name."""

    def __init__(self, api: Api) -> None:
        self.api = api
        ids = real_ids(self._ask, lambda _: api.world.work())
        self.document = with_real(Described(api.http.application).document, ids)

    def _ask(self, method: str, path: str, body: Any) -> dict[str, Any]:
        answer = self.api.http.open(path, method=method, **({} if body is None else {"json": body}))
        assert answer.status_code < 300, answer.get_data()
        shown: dict[str, Any] = answer.get_json(force=True)
        return shown

    def operations(self) -> dict[str, tuple[str, str, dict[str, Any]]]:
        """Method, path and description of each operation."""
        paths = self.document["paths"].items()
        return {
            each["operationId"]: (method, path, each)
            for path, methods in paths
            for method, each in methods.items()
            if method in METHODS
        }

    def send(self, operation_id: str, body: Any = None) -> int:
        """Send a request with the examples of its parameters, and return the status."""
        method, path, operation = self.operations()[operation_id]
        headers: dict[str, str] = {}
        query = {}
        for parameter in operation["parameters"]:
            if parameter["in"] == "path":
                path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
            elif parameter["in"] == "header" and "example" in parameter:
                headers[parameter["name"]] = parameter["example"]
            elif parameter["required"]:
                query[parameter["name"]] = parameter.get("example") or parameter["schema"]["enum"][0]
        options = {} if body is None else {"json": body}
        answer = self.api.http.open(path, method=method, headers=headers, query_string=query, buffered=False, **options)
        status = answer.status_code
        assert str(status) in operation["responses"], (operation_id, status)
        shown = b"" if answer.is_streamed else answer.get_data()
        answer.close()
        assert status < 300 or operation_id == "getHealth", (operation_id, status, shown)
        return status


@pytest.fixture
def shown(settings: Settings, unsent: object) -> Examples:
    return Examples(secured(settings, webhook_key="k" * 32, mirror_folder="/nowhere"))


@pytest.mark.parametrize(("operation_id", "name"), BODIES)
def test_each_example_of_a_body_is_accepted(shown: Examples, operation_id: str, name: str) -> None:
    _, _, operation = shown.operations()[operation_id]
    assert shown.send(operation_id, operation["requestBody"]["content"][JSON]["examples"][name]["value"]) < 300


def test_every_operation_without_a_body_answers_the_examples_of_its_parameters(shown: Examples) -> None:
    operations = [each for each in shown.operations().items() if "requestBody" not in each[1][2]]
    for verb in ("get", "post", "delete"):
        for operation_id, (method, _, _) in operations:
            if method == verb:
                shown.send(operation_id)
    assert len(operations) + len({operation_id for operation_id, _ in BODIES}) == len(shown.operations())
