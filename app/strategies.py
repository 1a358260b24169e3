"""`strategies` of a changeset: gitignore patterns that say how paths are merged; the last that matches counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError
from marshmallow.fields import Field
from pathspec import GitIgnoreSpec

from app import fields
from storage.threeway import Strategy

STRATEGIES = {strategy.value: strategy for strategy in Strategy}
MAX_PATTERN_BYTES = 1000
# A pattern becomes a regular expression, whose cost grows with a path's length to the power of its stars.
MAX_STARS = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern and what it asks for."""

    spec: GitIgnoreSpec
    strategy: Strategy


class Pattern(Field[Any]):
    """A gitignore pattern, without negation: the order of the rules says more."""

    def _deserialize(self, value: Any, attr: str | None, data: fields.Data, **kwargs: Any) -> GitIgnoreSpec:
        fields.within(len(fields.utf8(value)), ("MAX_PATTERN_BYTES", MAX_PATTERN_BYTES))
        if not value.strip() or value[0] in "!#" or "\n" in value or "\0" in value:
            raise ValidationError("must be one gitignore pattern, without `!` or `#` at its beginning")
        if any(part != "**" and part.count("*") > MAX_STARS for part in value.split("/")):
            raise ValidationError(f"may have {MAX_STARS} `*` in each part of its path")
        if value.split("/").count("**") > MAX_STARS:
            raise ValidationError(f"may have {MAX_STARS} `**`")
        try:
            return GitIgnoreSpec.from_lines([value])
        except ValueError:
            raise ValidationError("is no gitignore pattern") from None


def strategy_for(rules: Sequence[Rule], path: bytes) -> Strategy:
    """Return the strategy that the last matching rule asks for."""
    name = path.decode()
    for rule in reversed(rules):
        if rule.spec.match_file(name):
            return rule.strategy
    return Strategy.MERGE
