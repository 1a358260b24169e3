"""`strategies` of a changeset: gitignore patterns that say how paths are merged; the last match counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from marshmallow import ValidationError

from app.protocol import fields
from app.protocol.patterns import Pattern, PatternError, Patterns, parse
from storage.git.threeway import Strategy

STRATEGIES = {strategy.value: strategy for strategy in Strategy}
MAX_PATTERN_BYTES = 1000
# Of a changeset's patterns together: a step of matching takes a time that grows with them, 0.5 us at most so.
MAX_PATTERNS_BYTES = 4000
# Of the paths of a request that rules are matched with: some seconds at worst.
MAX_MATCHED_BYTES = 8 << 20
# Making ready to match a byte of a pattern takes as long as matching so many bytes of a path.
_BYTES_A_PATTERN_BYTE = 10


@dataclass(frozen=True, slots=True)
class Rule:
    """One pattern and what it asks for."""

    pattern: Pattern
    strategy: Strategy


def pattern(value: Any) -> Pattern:
    """Return a gitignore pattern, without negation: the order of the rules says more. Raises ValidationError."""
    line = fields.utf8(value)
    fields.within(len(line), ("MAX_PATTERN_BYTES", MAX_PATTERN_BYTES))
    if not value.strip() or value[0] in "!#" or any(sign in value for sign in "\n\r\0"):
        raise ValidationError("must be one gitignore pattern, without `!` or `#` at its beginning")
    try:
        return parse(line)
    except PatternError as error:
        raise ValidationError(f"is no gitignore pattern: it {error}") from None


class MatchBudget:
    """What one request may have matched."""

    def __init__(self) -> None:
        self._left = MAX_MATCHED_BYTES

    def spend(self, count: int) -> None:
        """Take so many bytes of paths. Raises ValidationError where too few are left."""
        self._left -= count
        if self._left < 0:
            limit = f"{MAX_MATCHED_BYTES} bytes (MAX_MATCHED_BYTES)"
            raise ValidationError(f"is too much: what one request has matched with `strategies` exceeds {limit}")


class Rules:
    """The rules of a changeset."""

    def __init__(self, rules: Sequence[Rule], effort: MatchBudget) -> None:
        """Make them ready. Raises ValidationError where they are too long, or there is no effort left."""
        size = sum(len(rule.pattern.tokens) for rule in rules)
        fields.within(size, ("MAX_PATTERNS_BYTES", MAX_PATTERNS_BYTES))
        effort.spend(size * _BYTES_A_PATTERN_BYTE)
        self._effort = effort
        self._strategies = [rule.strategy for rule in rules]
        self._patterns = Patterns([rule.pattern for rule in rules])

    def strategy_for(self, path: bytes) -> Strategy:
        """Return the strategy that the last matching rule asks for. Raises ValidationError, as `spend` does."""
        self._effort.spend(len(path))
        last = self._patterns.last(path)
        return Strategy.MERGE if last is None else self._strategies[last]
