"""What the fault harness stops nodes at is there, so that a step that was renamed is missed here and not in a rig."""

from __future__ import annotations

import itertools

import pytest

from tests.harness import stoppable

TARGETS = sorted({*itertools.chain.from_iterable(stoppable.SCOPES.values()), *stoppable.STEPS.values()})


@pytest.mark.parametrize("target", TARGETS)
def test_a_step_that_nodes_are_stopped_at_is_there(target: str) -> None:
    owner, name = stoppable.find(target)
    assert callable(getattr(owner, name))
