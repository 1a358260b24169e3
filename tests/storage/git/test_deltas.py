"""Deltas as Git writes them into packs, and bytes that are none."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from storage.git.imported.deltas import HEAD_BYTES, base_and_size, base_of, is_delta, patched, read_delta, result_size
from storage.git.objects import CorruptObject, object_id
from storage.git.packs import decode, decode_head, read_index
from tests.support.git_repository import GitRepository

SAMPLE = bytes([12, 14, 0x90, 6, 2]) + b"!!" + bytes([0x91, 6, 6])
"""Of "hello world!": its first six bytes, two of its own, and the last six."""


def pack_of(repo: GitRepository, tmp_path: Path) -> tuple[bytes, bytes]:
    """Return a pack of everything with deltas that name their bases, and its index."""
    out = tmp_path / "out"
    out.mkdir()
    repo.git("-c", "pack.indexVersion=2", "pack-objects", "--all", "-q", "--depth=8", str(out / "pack"))
    [pack] = out.glob("*.pack")
    return pack.read_bytes(), pack.with_suffix(".idx").read_bytes()


def test_git_s_deltas_make_what_git_has(tmp_path: Path) -> None:
    repo = GitRepository(tmp_path / "repo")
    choose = random.Random(7)
    lines = [b"line %d with some text\n" % n for n in range(9000)]  # more than one copy can bring
    for number in range(12):
        for _ in range(5):
            lines[choose.randrange(len(lines))] = b"changed %d\n" % number
        repo.write("large.txt", b"".join(lines))
        repo.write("small.txt", b"".join(lines[:20]))
        repo.commit(f"{number}")
    data, index = pack_of(repo, tmp_path)
    stored = {oid: data[at.offset : at.offset + at.length] for oid, at in read_index(index, len(data)).items()}
    deltas = {oid: each for oid, each in stored.items() if is_delta(each)}
    assert len(deltas) > 8

    def content(oid: bytes) -> tuple[int, bytes]:
        each = stored[oid]  # type: ignore[index]
        if not is_delta(each):
            return decode(each)
        delta = read_delta(each)
        assert delta.base == base_of(each[:30])
        kind, base = content(delta.base)
        return kind, patched(base, delta.instructions)

    for oid, each in deltas.items():
        kind, made = content(oid)
        assert object_id(kind, made) == oid  # type: ignore[arg-type]
        assert base_and_size(each[:HEAD_BYTES]) == (base_of(each), len(made))
        with pytest.raises(CorruptObject):
            decode_head(each)
        with pytest.raises(CorruptObject):
            decode(each)


def test_a_delta_copies_and_brings_its_own() -> None:
    assert patched(b"hello world!", SAMPLE) == b"hello !!world!"


@pytest.mark.parametrize(
    ("base", "instructions"),
    [
        (b"hello world", SAMPLE),  # another base
        (b"hello world!", SAMPLE[:-1]),  # cut within an instruction
        (b"hello world!", SAMPLE[:-3]),  # less than it says
        (b"hello world!", SAMPLE + bytes([1]) + b"x"),  # more than it says
        (b"hello world!", bytes([12, 14, 0x91, 6, 14])),  # behind the end of the base
        (b"hello world!", bytes([12, 1, 0])),  # an instruction that is reserved
        (b"hello world!", bytes([12, 5, 5]) + b"abc"),  # fewer of its own than it says
        (b"hello world!", bytes([0x8C])),
        (b"", b""),
    ],
)
def test_what_is_no_delta_of_a_base_is_refused(base: bytes, instructions: bytes) -> None:
    with pytest.raises(CorruptObject):
        patched(base, instructions)


def test_a_size_without_end_is_refused_at_once() -> None:
    """In a number of any length each byte would cost as much as all before it: seconds, for a few bytes deflated."""
    for size in (b"\xff" * 20 + b"\x01", b"\x80" * 20 + b"\x00"):
        for instructions in (size + SAMPLE[1:], SAMPLE[:1] + size + SAMPLE[2:]):
            with pytest.raises(CorruptObject):
                result_size(instructions)
    assert result_size(b"\x8c\x80\x00" + SAMPLE[1:]) == 14  # Git reads what is written longer than it need be


def test_stored_bytes_that_are_no_delta_are_refused() -> None:
    for stored in (b"\x7e", b"\xfe", b"\x72" + b"b" * 20 + b"no zlib", b"\x32x\x9c"):
        for read in (read_delta, base_and_size):
            with pytest.raises(CorruptObject):
                read(stored)


def test_damaged_deltas_never_make_anything_else() -> None:
    """Whatever byte is changed: it is refused, or makes as many bytes as it says."""
    for at in range(len(SAMPLE)):
        for value in range(256):
            damaged = SAMPLE[:at] + bytes([value]) + SAMPLE[at + 1 :]
            try:
                made = patched(b"hello world!", damaged)
            except CorruptObject:
                continue
            assert len(made) == damaged[1]
