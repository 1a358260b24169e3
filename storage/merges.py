"""Merging contents: which are merged at all, and what came of it, remembered by the ids of the three.

The memory holds only what follows from content-addressed things, so it can never be wrong; it is bounded by bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from cachetools import LRUCache

from storage.git_merger import GitMerger, MergeTooSlow, Texts
from storage.ids import ObjectId
from storage.settings import Settings
from storage.store import ObjectMissing
from storage.threeway import ConflictClass, is_binary

Three = tuple[ObjectId | None, ObjectId, ObjectId]
"""The blobs of base (None: an empty one), head and submission."""

ReadBlob = Callable[[ObjectId], bytes]
"""Returns a blob's bytes; raises ObjectMissing."""

# Merges and bytes of one run of Git: they bound memory, and what is done again where one merge is too slow.
_TOGETHER = 100
_BYTES_TOGETHER = 32 << 20


class ContentMerges:
    """Merges blobs, each three once. Safe for threads."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_merge_bytes
        self._git = GitMerger(patience=settings.merge_timeout)
        self._known: LRUCache[Three, bytes | ConflictClass] = LRUCache(
            settings.merge_cache_bytes, getsizeof=lambda found: 200 + len(found)
        )
        self._lock = threading.Lock()

    def __call__(self, three: Three, read: ReadBlob) -> bytes | ConflictClass:
        """Return what the three merge to, or what forbids it.

        Raises MergerFailed, BucketError and CorruptObject.
        """
        return self.together([three], read)[0]

    def together(self, wanted: Sequence[Three], read: ReadBlob) -> list[bytes | ConflictClass]:
        """Merge each of these, as few runs of Git as can be.

        Raises MergerFailed, BucketError and CorruptObject.
        """
        with self._lock:
            found = {three: self._known[three] for three in wanted if three in self._known}
        texts: dict[Three, Texts] = {}
        size = 0
        for three in wanted:
            if three in found or three in texts:
                continue
            read_three = self._texts(three, read)
            if isinstance(read_three, ConflictClass):
                found[three] = read_three
                continue
            texts[three] = read_three
            size += read_three.size
            if len(texts) == _TOGETHER or size >= _BYTES_TOGETHER:
                found |= self._merge(texts)
                texts, size = {}, 0
        found |= self._merge(texts)
        with self._lock:
            for three, result in found.items():
                if len(result) < self._known.maxsize / 8:
                    self._known[three] = result
        return [found[three] for three in wanted]

    def _merge(self, texts: Mapping[Three, Texts]) -> dict[Three, bytes | ConflictClass]:
        if not texts:
            return {}
        try:
            merged = self._git.merge(list(texts.values()))
        except MergeTooSlow:
            if len(texts) > 1:
                return {three: result for each in texts.items() for three, result in self._merge(dict([each])).items()}
            return dict.fromkeys(texts, ConflictClass.TOO_LARGE)
        results = (each.content if each.clean else ConflictClass.CONTENT for each in merged)
        return dict(zip(texts, results, strict=True))

    def _texts(self, three: Three, read: ReadBlob) -> Texts | ConflictClass:
        base, head, submitted = three
        try:
            contents = [read(head), read(submitted), read(base) if base else b""]
        except ObjectMissing:
            # A base by versions may name what was never stored here: nothing can be said of its lines.
            return ConflictClass.CONTENT
        if any(map(is_binary, contents)):
            return ConflictClass.BINARY
        if max(map(len, contents)) > self._most:
            return ConflictClass.TOO_LARGE
        return Texts(contents[2] if base else None, contents[0], contents[1])
