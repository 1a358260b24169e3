"""Ninety-nine writers at once, through the commands' own code, on a real stack."""

from __future__ import annotations

from collections.abc import Callable

from app.admin.verify import verify
from app.client.api_client import Client
from app.demo.contend import Contest
from app.stack.stack import Stack
from storage.repository import Repository


def test_of_99_writers_67_land_and_32_are_told_why_and_land_too(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(with_flower=False)
    report = Contest(Client(stack.url, retry_for=60, connections=101), 99).run()
    assert not report.problems
    files, regions, lines = report.groups.values()
    assert (files.landed, regions.landed, lines.landed) == (33, 33, 1)
    assert regions.merged > 0 and lines.conflicted == lines.explained == lines.resolved == 32
    assert report.ok
    assert not verify(Repository(stack.settings)).differences
