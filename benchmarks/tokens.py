"""What tokens cost: landing with them and without, and a single question to a large policy.

Two stacks take turns. On one, everybody may do everything. On the other, changesets come from a principal that may
read everything, and is a writer by ten grants of its own and by its groups, in a policy of many grants for others.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.client.api_client import Client as ApiClient
from benchmarks.figures import Figure, at_most
from benchmarks.landing import Phase, Say, site
from benchmarks.ratios import Question, compare
from benchmarks.workload import Workload
from storage.access.policy import Grant, Policy, Right, Role
from storage.access.rights import Compiled

GOAL = 1.05
"""Times the CPU, and the time, without tokens."""
GRANTS = 10_000
QUESTION_GOAL = 5.0
"""Microseconds of a question."""
_WRITER = "agent:bench"
_GROUPS = 20
_QUESTIONS, _QUESTION_ROUNDS = 20_000, 7


def grants(count: int, slices: Mapping[str, Sequence[str]]) -> tuple[Policy, dict[str, Any]]:
    """Return a policy of so many grants, also as the API takes it; the writer's own are those that it needs."""
    chance = random.Random(1)
    own = sorted({path for paths in slices.values() for path in paths})
    rows = [{"to": "user:admin", "role": "admin", "path": "/"}, {"to": _WRITER, "role": "reader", "path": "/"}]
    rows += [{"to": _WRITER, "role": "writer", "path": path} for path in own]
    groups = {f"group{number}": [_WRITER, f"user:member{number}"] for number in range(_GROUPS)}
    rows += [{"to": f"group:{name}", "role": "writer", "path": f"shared/{name}/"} for name in groups]
    while len(rows) < count:
        who, where = chance.randrange(count // 10 + 1), f"area{chance.randrange(100)}/part{len(rows)}/"
        rows.append({"to": f"user:other{who}", "role": chance.choice(["reader", "writer"]), "path": where})
    policy = Policy(
        groups={name: tuple(members) for name, members in groups.items()},
        grants=tuple(Grant(to=row["to"], role=Role(row["role"]), path=row["path"]) for row in rows),
    )
    return policy, {"grants": rows, "groups": groups}


def question(policy: Policy, slices: Mapping[str, Sequence[str]], seed: int) -> Figure:
    """Return how long the question takes whether the writer may write at a path, of microseconds; the best of some."""
    compiled = Compiled(policy)
    rights = compiled.rights(_WRITER)
    paths = [f"{path}sub/directory/file{number}.py".encode() for paths in slices.values() for path in paths
             for number in range(10)]  # fmt: skip
    paths = [*paths, *(b"area7/part%d/file" % number for number in range(len(paths)))]  # where it may not
    assert sum(rights.has(Right.WRITE, path) for path in paths) == len(paths) // 2
    rounds = []
    for _ in range(_QUESTION_ROUNDS):
        began = time.process_time()
        for number in range(_QUESTIONS):
            rights.has(Right.WRITE, paths[number % len(paths)])
        rounds.append(1e6 * (time.process_time() - began) / _QUESTIONS)
    axis = f"µs of CPU to ask for a right at a path, of {len(policy.grants):,} grants"
    return Figure("tokens, a question", axis, "µs", seed, tuple(rounds), at_most(QUESTION_GOAL))


def run(
    workload: Workload,
    folder: Path,
    say: Say,
    *,
    phases: Sequence[Phase],
    rounds: int = 10,
    grants_in_all: int = GRANTS,
    s3: str = "auto",
) -> list[Figure]:
    """Measure in pairs of rounds. Raises Refused and Disproved."""
    slices = workload.slices()
    policy, document = grants(grants_in_all, slices)
    figures = [question(policy, slices, workload.seed)]
    settings = {"max_grants": max(GRANTS, grants_in_all)}
    with (
        site(workload, folder / "open.git", say, s3=s3, with_flower=False) as plain,
        site(
            workload, folder / "tokens.git", say, s3=s3, with_flower=False, with_tokens=True, settings=settings
        ) as hard,
    ):
        root = ApiClient(hard.stack.url, token=hard.stack.token)
        root.set_policy(document, None)
        hard.token = root.create_token(_WRITER)["token"]
        writer = ApiClient(hard.stack.url, token=hard.token)
        while slices.keys() - {each["name"] for each in writer.slices()}:  # the API knows of a policy a moment later
            time.sleep(0.1)
        for number, phase in enumerate(phases):
            asked = Question(f"tokens, {phase.name.removeprefix('sluice, ')}", "with tokens against without", GOAL)
            figures += compare(asked, (plain, workload), (hard, workload), rounds, number * rounds, say, phase)
    return figures
