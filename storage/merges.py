"""Merging contents: which are merged at all, and what came of it, remembered by the ids of the three.

The memory holds only what follows from content-addressed things, so it can never be wrong; it is bounded by bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

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

# Merges that one run of Git makes: it bounds memory, and what is lost where one of them fails.
_TOGETHER = 100


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
        for three in wanted:
            if three not in found and three not in texts:
                read_three = self._texts(three, read)
                if isinstance(read_three, ConflictClass):
                    found[three] = read_three
                else:
                    texts[three] = read_three
        todo = list(texts)
        for start in range(0, len(todo), _TOGETHER):
            part = todo[start : start + _TOGETHER]
            found |= zip(part, self._merge([texts[each] for each in part]), strict=True)
        with self._lock:
            for three, result in found.items():
                if len(result) < self._known.maxsize / 8:
                    self._known[three] = result
        return [found[three] for three in wanted]

    def _merge(self, texts: Sequence[Texts]) -> list[bytes | ConflictClass]:
        try:
            return [merged.content if merged.clean else ConflictClass.CONTENT for merged in self._git.merge(texts)]
        except MergeTooSlow:
            if len(texts) > 1:
                return [result for each in texts for result in self._merge([each])]
            return [ConflictClass.TOO_LARGE]

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
