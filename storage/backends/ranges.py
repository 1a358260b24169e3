"""Which ranges of objects are read by one request: those that are near one another. Pure."""

from collections.abc import Iterable

# Each request costs about as much as reading these bytes: 0.7 ms of an S3 server's CPU time, what signing it takes, and
# the way there.
GAP = 256 << 10
LARGEST = 1 << 20

Range = tuple[str, int, int]
"""An object's name, the first byte, and how many bytes."""


def groups(ranges: Iterable[Range]) -> list[list[Range]]:
    """Return ranges in groups, each to be read at once: of one object, in its order, with less than GAP in between.

    From the first byte to the last, a group of more than one has at most LARGEST bytes.
    """
    made: list[list[Range]] = []
    name, start, end = "", 0, 0
    for wanted in sorted(ranges):
        other, offset, length = wanted
        if other != name or offset - end > GAP or offset + length - start > LARGEST:
            made.append([])
            name, start, end = other, offset, offset
        made[-1].append(wanted)
        end = max(end, offset + length)
    return made
