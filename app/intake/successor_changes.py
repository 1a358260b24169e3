"""The changes of a changeset that replaces another one, with contents: copied, or by id where the log has them."""

from __future__ import annotations

from msgspec import structs

from app.intake.packing import blob
from app.intake.refusals import ContentsTooLarge, FieldRefused
from app.protocol.changesets.resolutions import resolved_field
from app.protocol.changesets.submissions import Change
from storage.base.ids import ObjectId
from storage.git.fsck import ContentError, check_content, needs_content
from storage.git.objects import SUBMODULE_MODE, UNKNOWN_MODE, Kind, Version
from storage.git.threeway import Strategy
from storage.log.manifest import Op
from storage.operations.rebase import Remerge
from storage.repository import Repository


class SuccessorChanges:
    """Collects the changes; see the module."""

    def __init__(self, repo: Repository, remerge: Remerge) -> None:
        """`remerge` has the contents that the log may lack."""
        self._repo = repo
        self._remerge = remerge
        self._blobs: dict[ObjectId, tuple[bytes, int]] = {}
        self._needed = 0  # bytes of contents
        self._counted: set[ObjectId] = set()  # those contents
        self._changes: dict[bytes, Change] = {}  # by path
        self._oids: dict[bytes, ObjectId | None] = {}

    def _change_mode(self, path: bytes, version: Version | None, base: Version | None, strategy: Strategy) -> None:
        """Change the mode alone: no content need be copied."""
        assert version is not None
        self._add("mode", path, version.mode, None, base, strategy)

    def _take(self, path: bytes, version: Version | None, base: Version | None, strategy: Strategy) -> None:
        """Change a path to a version whose content is known; `base` is what was seen there. Raises ObjectMissing."""
        if version is None:
            self._add("delete", path, 0, None, base, strategy)
        elif version.mode == SUBMODULE_MODE:
            self._add("put", path, version.mode, version.oid, base, strategy)
        elif not needs_content(path, version.mode) and (size := self._size_in_log(version.oid)) is not None:
            self._count(version.oid, size)
            self._add("put", path, version.mode, version.oid, base, strategy)
        else:
            self._put(path, version.mode, self._content(version.oid), base, strategy)

    def _size_in_log(self, oid: ObjectId) -> int | None:
        """Return the size of a content that need not be copied, since the log has it; None of any other."""
        described = {} if self._remerge.brings(oid) else self._repo.kinds.of([oid])
        return described[oid].size if oid in described and described[oid].kind == Kind.BLOB else None

    def _content(self, oid: ObjectId) -> bytes:
        content = self._remerge.content(oid)
        self._count(oid, len(content))
        return content

    def _count(self, oid: ObjectId, size: int) -> None:
        """Count a content that the new changeset needs, put by its id or copied; each once. Raises ContentsTooLarge."""
        if oid not in self._counted:
            self._counted.add(oid)
            self._needed += size
        most = self._repo.settings.max_body_bytes
        if self._needed > most:
            raise ContentsTooLarge(f"the contents of the new changeset exceed {most} bytes (max_body_bytes)")

    def _put(
        self, path: bytes, mode: int, content: bytes, base: Version | None, strategy: Strategy = Strategy.MERGE
    ) -> None:
        try:
            check_content(path, mode, content)
        except ContentError as error:
            raise FieldRefused(resolved_field(path), str(error)) from None
        oid, stored = blob(content)
        self._blobs[oid] = stored
        # The content is in the blobs; a second copy would be held for nothing.
        self._add("put", path, mode, oid, base, strategy)

    def _add(
        self, op: Op, path: bytes, mode: int, oid: ObjectId | None, base: Version | None, strategy: Strategy
    ) -> None:
        """Add a change, with what it says of the version that was seen: its id, and its mode where that is known."""
        seen = base.oid if base else None
        seen_mode = base.mode if base and base.mode != UNKNOWN_MODE else None
        self._changes[path] = Change(op, path, mode, oid=oid, base=seen, strategy=strategy, base_mode=seen_mode)
        self._oids[path] = oid

    def _move(
        self,
        source: bytes,
        path: bytes,
        version: Version | None,
        head: Version | None,
        base: Version | None,
        strategy: Strategy,
    ) -> None:
        """Move what stands at `source`, which is `head`, and make it `version`; `base` is what was seen there."""
        assert version is not None
        if head is not None and head.oid == version.oid:
            mode = 0 if head.mode == version.mode else version.mode
            self._add("move", path, mode, None, None, strategy)
        else:
            self._take(path, version, None, strategy)
        self._join(source, path, base, strategy)

    def _join(self, source: bytes, path: bytes, base: Version | None, strategy: Strategy) -> None:
        """Have a change say where its file comes from, and that it leaves that place."""
        self._changes[path] = structs.replace(self._changes[path], op="move", source=source)
        self._add("delete", source, 0, None, base, strategy)
