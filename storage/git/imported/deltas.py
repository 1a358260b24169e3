"""Deltified objects of packs: what they are based on, and what becomes of a base by them. Pure.

Format: Git's Documentation/gitformat-pack.txt. Only packs of an import have such objects, and only the form that names
its base by its id (REF_DELTA), which is found by the same look-up as any object: a pack is never read as a whole.
"""

import zlib
from typing import NamedTuple

from isal import isal_zlib

from storage.base.ids import ObjectId
from storage.git.objects import CorruptObject

REF_DELTA = 7
HEAD_BYTES = 512
"""In so many bytes at the beginning of a stored delta, or in fewer, stand its base and the size of its result."""
MAX_CHAIN = 64
"""No object is so many deltas away from one that is whole; an import makes chains of a few."""
_ID_BYTES = 20
_LARGEST_COPY = 0x10000  # a copy of size 0 is one of so many bytes
_LAST_SHIFT = 63  # as in Git, where a size is a number of 64 bits


class Delta(NamedTuple):
    """A stored delta."""

    base: ObjectId
    instructions: bytes  # or as many of them as the stored bytes had


def is_delta(stored: bytes) -> bool:
    """Tell whether a stored object, of which at least one byte is given, is a delta."""
    return (stored[0] >> 4) & 7 == REF_DELTA


def base_of(stored: bytes) -> ObjectId:
    """Return the base of a stored delta, given its first bytes. Raises CorruptObject."""
    _, at = _head_of(stored)
    return ObjectId(stored[at : at + _ID_BYTES])


def read_delta(stored: bytes) -> Delta:
    """Return a whole stored delta. Raises CorruptObject."""
    size, at = _head_of(stored)
    try:
        instructions = isal_zlib.decompress(stored[at + _ID_BYTES :])
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub types the class as an instance
        raise CorruptObject("a delta cannot be inflated") from error
    if len(instructions) != size:
        raise CorruptObject("a delta's size is not what its header says")
    return Delta(ObjectId(stored[at : at + _ID_BYTES]), instructions)


def base_and_size(stored: bytes) -> tuple[ObjectId, int]:
    """Return a delta's base and the size of its result, given its first HEAD_BYTES. Raises CorruptObject."""
    _, at = _head_of(stored)
    try:
        begin = zlib.decompressobj().decompress(stored[at + _ID_BYTES :], 32)
    except zlib.error as error:
        raise CorruptObject("a delta cannot be inflated") from error
    _, after = _size(begin, 0)
    result, _ = _size(begin, after)
    return ObjectId(stored[at : at + _ID_BYTES]), result


def result_size(instructions: bytes) -> int:
    """Return the size of what a delta's instructions make. Raises CorruptObject."""
    _, at = _size(instructions, 0)
    return _size(instructions, at)[0]


def patched(base: bytes, instructions: bytes) -> bytes:
    """Return what a delta's instructions make of its base. Raises CorruptObject where they do not fit it."""
    expected, at = _size(instructions, 0)
    result_size, at = _size(instructions, at)
    if expected != len(base):
        raise CorruptObject("a delta is of another base")
    parts, end, made = [], len(instructions), 0
    while at < end:
        op = instructions[at]
        at += 1
        if op & 0x80:
            offset, size, at = _copied(instructions, op, at)
            part = base[offset : offset + size]
            if len(part) != size:
                raise CorruptObject("a delta copies what its base has not")
        else:
            part = instructions[at : at + op]
            at += op
            if not op or len(part) != op:
                raise CorruptObject("a delta has an instruction that there is not")
        parts.append(part)
        made += len(part)
        if made > result_size:
            break
    if made != result_size:
        raise CorruptObject("a delta makes another size than it says")
    return b"".join(parts)


def _copied(instructions: bytes, op: int, at: int) -> tuple[int, int, int]:
    """Return from where and how much is copied, and where the next instruction begins."""
    fields = [0] * 7  # four bytes of the offset, three of the size, each left out where it is 0
    for bit in range(7):
        if op & (1 << bit):
            if at >= len(instructions):
                raise CorruptObject("a delta ends within an instruction")
            fields[bit] = instructions[at]
            at += 1
    offset = int.from_bytes(bytes(fields[:4]), "little")
    return offset, int.from_bytes(bytes(fields[4:]), "little") or _LARGEST_COPY, at


def _head_of(stored: bytes) -> tuple[int, int]:
    """Return the size of a stored delta's instructions, and where the id of its base stands."""
    try:
        if not is_delta(stored):
            raise CorruptObject("not a delta")
        size, shift, i = stored[0] & 15, 4, 1
        while stored[i - 1] & 0x80:
            size |= (stored[i] & 0x7F) << shift
            shift += 7
            i += 1
    except IndexError as error:
        raise CorruptObject("a stored object is cut short") from error
    if len(stored) < i + _ID_BYTES:
        raise CorruptObject("a stored object is cut short")
    return size, i


def _size(data: bytes, at: int) -> tuple[int, int]:
    """Return a size as deltas write it, and where it ends."""
    size = shift = 0
    while True:
        if at >= len(data):
            raise CorruptObject("a delta ends within a size")
        if shift > _LAST_SHIFT:  # else each byte of a number without end costs as much as all before it
            raise CorruptObject("a delta has a size that nothing has")
        byte = data[at]
        size |= (byte & 0x7F) << shift
        shift += 7
        at += 1
        if not byte & 0x80:
            return size, at
