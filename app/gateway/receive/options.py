"""Push options: what a push may say of its changesets, `git push -o topic=x -o wait=no`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

from app.protocol.changesets.labels import load_labels
from app.protocol.changesets.strategies import STRATEGIES
from app.protocol.problems import Problem
from storage.base.errors import Refused
from storage.base.settings import Settings
from storage.git.threeway import Strategy

TOPIC, CHANGE_ID = "topic", "change-id"
"""The labels of a changeset that say which earlier one it takes the place of."""

Wait = Literal["landed", "committed", "no"]
Moves = Literal["similar", "exact", "no"]
_CHOICES = {"wait": ("landed", "committed", "no"), "moves": ("similar", "exact", "no"), "strategy": tuple(STRATEGIES)}
_FLAGS = ("hold", "squash")
_ONCE = ("topic", *_CHOICES)
_KNOWN = ", ".join(
    [f"{name}={'|'.join(choices)}" for name, choices in _CHOICES.items()] + ["topic=NAME", *_FLAGS, "label=KEY:VALUE"]
)


class OptionRefused(Refused):
    """A push option is not understood."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one push."""

    wait: Wait = "landed"
    hold: bool = False
    squash: bool = False
    strategy: Strategy | None = None
    said_moves: Moves | None = None
    labels: dict[str, str] = field(default_factory=dict)  # with the topic

    @property
    def moves(self) -> Moves:
        """Which new files count as moved from where one is gone: as Git has it, or only the same."""
        return self.said_moves or "similar"

    @property
    def says_how(self) -> bool:
        """Whether it says how to merge: then what is in conflict is tried again."""
        return self.strategy is not None or self.said_moves is not None

    @property
    def topic(self) -> str | None:
        """What its changesets are about, and with which a later push takes the place of those in conflict."""
        return self.labels.get(TOPIC)


def read_options(given: tuple[str, ...], settings: Settings) -> Options:
    """Return the options that a client gave. Raises OptionRefused, which names the option."""
    values: dict[str, str] = {}
    labels: dict[str, str] = {}
    for option in given:
        name, equals, value = option.partition("=")
        if name == "label":
            key, colon, text = value.partition(":")
            if not colon or key in labels:
                raise OptionRefused(f"push option {option}: give label=KEY:VALUE, each key once")
            labels[key] = text
            continue
        is_flag = name in _FLAGS and (not equals or value in ("true", "false"))
        if not is_flag and not (name in _ONCE and equals and name not in values):
            raise OptionRefused(f"push option {option} is not known; there are {_KNOWN}")
        values[name] = value
    if "topic" in values:
        labels[TOPIC] = values["topic"]
    for name, choices in _CHOICES.items():
        if name in values and values[name] not in choices:
            raise OptionRefused(f"push option {name}={values[name]}: give one of {', '.join(choices)}")
    try:
        checked = load_labels(labels, settings, "label") if labels else {}
    except Problem as problem:
        why = "; ".join(f"{error['field']} {error['message']}" for error in problem.errors)
        raise OptionRefused(f"push option: {why}") from None
    return Options(
        wait=cast(Wait, values.get("wait", "landed")),
        said_moves=cast(Moves, values["moves"]) if "moves" in values else None,
        hold=values.get("hold", "false") != "false",
        squash=values.get("squash", "false") != "false",
        strategy=STRATEGIES[values["strategy"]] if "strategy" in values else None,
        labels=checked,
    )
