"""Packs that cannot be indexed are not written. That Git reads the others is in tests/compat/test_packs_oracle.py."""

from __future__ import annotations

import random
import zlib

import pytest

from storage.git.objects import Kind
from storage.git.packs import MAX_PACK_BYTES, PackTooLarge, PackWriter, decode, encode, read_index


def test_a_pack_ends_where_its_index_could_not_address_more() -> None:
    stored = [encode(Kind.BLOB, b"%d" % i) for i in range(3)]
    whole = PackWriter()
    for data in stored[:2]:
        oid = whole.add(Kind.BLOB, data)
    assert whole.size < MAX_PACK_BYTES
    writer = PackWriter(max_bytes=whole.size)
    for data in stored[:2]:
        writer.add(Kind.BLOB, data)
    with pytest.raises(PackTooLarge, match=f"at most {whole.size} can be indexed"):
        writer.add(Kind.BLOB, stored[2])
    assert writer.add(Kind.BLOB, stored[1]) == oid, "what it has already takes no more bytes"
    assert writer.finish() == whole.finish(), "and it is as it was"
    assert len(read_index(writer.index(), writer.size)) == 2


@pytest.mark.parametrize("size", [0, 1, 255, 256, 4000, (32 << 10) - 1, 32 << 10, (32 << 10) + 1, 70_000, 200_000])
def test_what_is_not_deflated_is_read_by_zlib(size: int) -> None:
    content = random.Random(size).randbytes(size)
    stored = encode(Kind.TREE, content, level=0)
    assert decode(stored) == (Kind.TREE, content)
    at = len(stored) - len(zlib.compress(content, 0))
    inflate = zlib.decompressobj()
    assert inflate.decompress(stored[at:]) == content and inflate.eof and not inflate.unused_data
