"""Merging contents: which are merged at all, and a cache of the results by the ids of the three inputs.

The cache has only results that follow from content-addressed inputs, so it can never be wrong; it is limited in bytes.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from cachetools import LRUCache

from storage.base.ids import ObjectId
from storage.base.settings import Settings
from storage.git.merge_tree import GitMerger, MergeTooSlow, Texts
from storage.git.threeway import ConflictClass, MergesTooLong, is_binary
from storage.lookup.object_store import ObjectMissing

MergeInputs = tuple[ObjectId | None, ObjectId, ObjectId]
"""The blobs of base (None: an empty one), head and submission."""

ReadBlob = Callable[[ObjectId], bytes]
"""Returns a blob's bytes; raises ObjectMissing."""

# Merges and bytes of one run of Git: they bound memory, and what is done again where one merge is too slow.
_TOGETHER = 100
_BYTES_TOGETHER = 32 << 20
# Of a merge that is remembered, beside its content: three ids, and its entry in the cache.
_ROW_BYTES = 350


class ContentMerges:
    """Merges blobs, each three once. Safe for threads."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_merge_bytes
        self._git = GitMerger(timeout=settings.merge_timeout)
        self._known: LRUCache[MergeInputs, bytes | ConflictClass] = LRUCache(
            settings.merge_cache_bytes, getsizeof=lambda result: _ROW_BYTES + len(result)
        )
        self._lock = threading.Lock()

    def __call__(self, three: MergeInputs, read: ReadBlob) -> bytes | ConflictClass:
        """Return what the three merge to, or what forbids it. Raises MergerFailed, BucketError and CorruptObject."""
        known = self.known(three)
        if known is None:
            results: dict[MergeInputs, bytes | ConflictClass] = {}
            self._merge_some([three], read, results)
            known = results[three]
        return known

    def known(self, three: MergeInputs) -> bytes | ConflictClass | None:
        """Return what is remembered of the three, None where nothing is."""
        with self._lock:
            return self._known.get(three)

    def premerge(self, wanted: Sequence[MergeInputs], read: ReadBlob, seconds: float) -> None:
        """Merge and remember these in few runs of Git, none begun after `seconds`. Raises Unavailable and Corrupt."""
        until = time.monotonic() + seconds
        todo = [three for three in dict.fromkeys(wanted) if self.known(three) is None]
        while todo and time.monotonic() < until:
            todo = todo[self._merge_some(todo, read, {}) :]

    def _merge_some(
        self, todo: Sequence[MergeInputs], read: ReadBlob, results: dict[MergeInputs, bytes | ConflictClass]
    ) -> int:
        """Merge the first of these into `results`, as many as one run of Git takes; return how many were dealt with."""
        texts: dict[MergeInputs, Texts] = {}
        size = count = 0
        for three in todo:
            count += 1
            three_texts = self._texts(three, read)
            if isinstance(three_texts, ConflictClass):
                results[three] = three_texts
                continue
            texts[three] = three_texts
            size += three_texts.size
            if len(texts) == _TOGETHER or size >= _BYTES_TOGETHER:
                break
        self._keep(results)
        self._merge(texts, results)
        return count

    def _merge(self, texts: Mapping[MergeInputs, Texts], results: dict[MergeInputs, bytes | ConflictClass]) -> None:
        if not texts:
            return
        try:
            merged = self._git.merge(list(texts.values()))
        except MergeTooSlow:
            if len(texts) > 1:
                for item in texts.items():
                    self._merge(dict([item]), results)
                return
            fresh: dict[MergeInputs, bytes | ConflictClass] = dict.fromkeys(texts, ConflictClass.TOO_LARGE)
        else:
            contents = (result.content if result.clean else ConflictClass.CONTENT for result in merged)
            fresh = dict(zip(texts, contents, strict=True))
        # At once: whoever is cut off here need not begin from nothing.
        self._keep(fresh)
        results |= fresh

    def _keep(self, results: Mapping[MergeInputs, bytes | ConflictClass]) -> None:
        with self._lock:
            for three, result in results.items():
                if len(result) < self._known.maxsize / 8:
                    self._known[three] = result

    def _texts(self, three: MergeInputs, read: ReadBlob) -> Texts | ConflictClass:
        base, head, submitted = three
        try:
            contents = [read(head), read(submitted), read(base) if base else b""]
        except ObjectMissing:
            # A base by versions may name what was never stored here: its lines are unknown.
            return ConflictClass.CONTENT
        if any(map(is_binary, contents)):
            return ConflictClass.BINARY
        if max(map(len, contents)) > self._most:
            return ConflictClass.TOO_LARGE
        return Texts(contents[2] if base else None, contents[0], contents[1])


class MergeBudget:
    """Merges for one batch: after so many seconds, merges that are not cached have to wait for another batch."""

    def __init__(self, merges: ContentMerges, seconds: float) -> None:
        self._merges = merges
        self._left = seconds

    def __call__(self, three: MergeInputs, read: ReadBlob) -> bytes | ConflictClass:
        """Return what three merge to, or what forbids it. Raises MergesTooLong, Unavailable and Corrupt."""
        known = self._merges.known(three)
        if known is not None:
            return known
        if self._left <= 0:
            raise MergesTooLong("the batch has merged for as long as one may")
        started = time.monotonic()
        try:
            return self._merges(three, read)
        finally:
            self._left -= time.monotonic() - started
