"""The files of a slice as an archive, whose memory does not depend on their number or their size together.

Contents are read while the client takes those before, and put into the archive's format in a thread beside the one that
serves all requests.
"""

from collections.abc import Callable, Generator, Iterator
from operator import attrgetter
from typing import Protocol

from app.downloads.contents import Stored, read_ahead
from app.downloads.files import File, files_of
from app.downloads.tar_format import GzippedTar, Tar
from app.downloads.zip_format import Zip
from storage.backends.turns import breathe, in_thread
from storage.base.batched import batched_by_size
from storage.git.trees import Run
from storage.repository import Repository

# Contents that are inflated at once, unless one alone has more; and how many.
_INFLATED_BYTES = 1 << 20
_INFLATED = 256


class Format(Protocol):
    """One archive, in the order of these methods."""

    media_type: str
    suffix: str
    is_stable: bool

    def begin(self) -> bytes:
        """Return what stands before the first file."""

    def add(self, file: File, content: bytes) -> bytes:
        """Return the next file."""

    def end(self, files: Iterator[File]) -> Iterator[bytes]:
        """Yield what stands behind the last file; `files` are again those that were added."""


FORMATS: dict[str, Callable[[str, int], Format]] = {"tar": Tar, "tar.gz": GzippedTar, "zip": Zip}
"""The formats by their names; each takes a commit and the time of all entries."""


def archive(made: Format, runs: Callable[[], Iterator[Run]], repo: Repository) -> Generator[bytes, None, None]:
    """Yield an archive of the files in `runs`, which are asked for again at its end.

    Raises what reading raises: Unavailable, Corrupt, and ObjectMissing where a content is not stored.
    """
    yield made.begin()
    for group in read_ahead(repo, files_of(runs())):
        for some in batched_by_size(group, attrgetter("size"), _INFLATED_BYTES, _INFLATED):
            yield in_thread(_add, made, some)
    for piece in made.end(files_of(runs())):
        breathe()
        yield piece


def _add(made: Format, some: list[Stored]) -> bytes:
    return b"".join([made.add(stored.file, stored.content()) for stored in some])
