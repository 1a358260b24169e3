"""Names of slices: which are valid, and how they are recognized in a URL.

A name may have slashes, and WSGI decodes `%2F` to a slash. So that `/slices/web/files/commits` is the file `commits`
and not the commits of `web/files`, no component of a name may be a word that follows a name in a URL.
"""

from werkzeug.routing import BaseConverter

from storage.git.fsck import FsckError, check_slice_name

WORDS = ("changesets", "check", "commits", "files", "tree")

_PART = rf"(?!(?:{'|'.join(WORDS)})(?:/|\Z))[^/]+"


def check_name(name: str) -> None:
    """Check the name of a slice that is asked for. Raises FsckError."""
    check_slice_name(name)
    taken = sorted(set(WORDS).intersection(name.split("/")))
    if taken:
        raise FsckError(f"has the part {taken[0]!r}, which the API's URLs have behind a name")


class SliceName(BaseConverter):
    """In a URL, a slice's name or id."""

    regex = rf"{_PART}(?:/{_PART})*"
    part_isolating = False
    weight = 200  # that of `path`: what has a fixed text in its place goes first


class FilePath(BaseConverter):
    """In a URL, a file's path: all that is left of it, whatever characters it has.

    werkzeug's own converter stops at a line feed, and takes none at the end.
    """

    regex = r"(?s:.+)"
    part_isolating = False
    weight = 200


class ChangesetName(BaseConverter):
    """In a URL, a changeset's id where another word has a route of its own, which has other methods."""

    regex = r"(?!status\Z)[^/]+"
    part_isolating = True
