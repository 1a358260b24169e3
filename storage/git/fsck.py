"""Checks that refuse, before it is stored, what `git fsck --strict` or a checkout would refuse. Pure.

Paths are checked in storage/git/paths.py, .gitmodules in storage/git/gitmodules.py; here are contents, people, messages
and names of slices. A check that refuses more than Git does has a comment with the reason;
tests/compat/test_fsck_oracle.py compares them with Git.
"""

import re

from storage.base.errors import BadInput
from storage.base.ids import is_ulid
from storage.git import gitmodules
from storage.git.objects import FILE_MODE, SUBMODULE_MODE, SYMLINK_MODE
from storage.git.paths import ATTRIBUTES, MODULES, PathError, check_path, special_names
from storage.git.trailers import RESERVED, carries

__all__ = [
    "ContentError",
    "FsckError",
    "PathError",
    "check_content",
    "check_ident",
    "check_message",
    "check_path",
    "check_slice_name",
    "check_tag_name",
    "needs_content",
]

MAX_TARGET_BYTES = 4095  # PATH_MAX without its NUL: a longer target cannot be checked out
MAX_ATTRIBUTE_LINE = 2048  # ATTR_MAX_LINE_LENGTH in Git's attr.h: a line this long is refused
MAX_ATTRIBUTES_BYTES = 100 << 20  # ATTR_MAX_FILE_SIZE there; reached only where max_blob_bytes is raised
MAX_SLICE_NAME_BYTES = 200

# A tab would pass fsck, but `git commit` makes no such name.
_NOT_IN_IDENT = re.compile(r"[\x00-\x1f\x7f<>]")
# The reserved trailers in any spelling that a reader might count, after any line break that a reader might honour. The
# space before it is without line breaks, else a message of nothing else would take quadratic time.
_BREAKS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_TRAILER = re.compile(rf"(?:^|[{_BREAKS}])[^\S{_BREAKS}]*({'|'.join(RESERVED)})[^\S{_BREAKS}]*:", re.IGNORECASE)
_OBJECT_ID = re.compile(r"[0-9a-f]{40}")
_NOT_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//")


class FsckError(BadInput):
    """Git would refuse the text."""


class ContentError(FsckError):
    """Git would refuse the content at that path."""


def needs_content(path: bytes, mode: int) -> bool:
    """Whether check_content looks at the content: of a blob given by its id, it must be read then."""
    return mode != SUBMODULE_MODE and (mode == SYMLINK_MODE or special_names(path.rpartition(b"/")[2]) != [])


def check_content(path: bytes, mode: int, content: bytes | None) -> None:
    """Check what is put at a good path; of None, only what the name forbids. Raises ContentError, for the writer."""
    special = special_names(path.rpartition(b"/")[2])
    if special and mode == SUBMODULE_MODE:
        raise ContentError(f"a submodule cannot stand at .{special[0]}")
    if MODULES in special and mode == SYMLINK_MODE:
        raise ContentError(".gitmodules cannot be a symlink")
    if content is None:
        return
    if mode == SYMLINK_MODE:
        _check_target(content)
    if MODULES in special:
        try:
            gitmodules.check(content)
        except gitmodules.ModulesError as error:
            raise ContentError(str(error)) from None
    # Symlinks too, which Git lets pass: a change of mode alone could make a file of one.
    if ATTRIBUTES in special:
        if len(content) > MAX_ATTRIBUTES_BYTES:
            raise ContentError(f"has {len(content)} bytes; a .gitattributes file may have {MAX_ATTRIBUTES_BYTES}")
        if _has_long_line(content):
            raise ContentError(f"has a line of {MAX_ATTRIBUTE_LINE} bytes or more, which Git refuses in .gitattributes")


def fit_to_stand(path: bytes, content: bytes) -> bool:
    """Tell whether a content that was not submitted, such as a merge's result, may be a regular file at `path`.

    Two good .gitmodules may merge into one that `git fsck --strict` refuses.
    """
    try:
        check_content(path, FILE_MODE, content)
    except ContentError:
        return False
    return True


def _has_long_line(content: bytes) -> bool:
    """Tell whether a content has a line above Git's limit, in linear time: each window is searched from its end.

    A regular expression would start again at each byte, which takes 20 seconds in the largest accepted file.
    """
    start = 0
    while len(content) - start >= MAX_ATTRIBUTE_LINE:
        newline = content.rfind(b"\n", start, start + MAX_ATTRIBUTE_LINE)
        if newline < 0:
            return True
        start = newline + 1
    return False


def _check_target(target: bytes) -> None:
    """Git stores any target, but a checkout of these fails or cuts them short."""
    if not target:
        raise ContentError("a symlink's target cannot be empty")
    if b"\0" in target:
        raise ContentError("a symlink's target cannot contain a NUL")
    if len(target) > MAX_TARGET_BYTES:
        raise ContentError(f"a symlink's target has {len(target)} bytes; at most {MAX_TARGET_BYTES} are allowed")


def check_ident(name: str, email: str) -> None:
    """Check the two texts of an author. Raises FsckError. An empty name passes fsck, but not `git commit`."""
    if not name.strip():
        raise FsckError("the name is empty")
    for what, text in (("name", name), ("e-mail address", email)):
        if _NOT_IN_IDENT.search(text):
            raise FsckError(f"the {what} contains <, > or a control character")


def check_message(text: str) -> None:
    """Check a commit's message.

    Raises FsckError. The trailers Changeset-Id and Changeset-Submitter are Sluice's own: audits count on them, so
    nobody else may write them, and every message has to be one that can carry them.
    """
    if not text.strip():
        raise FsckError("is empty")
    if "\0" in text:
        raise FsckError("contains a NUL")
    if found := _TRAILER.search(text):
        # As it is spelled here: the message may have it in other letters, even in some beyond ASCII.
        name = next(name for name in RESERVED if re.fullmatch(name, found[1], re.IGNORECASE))
        raise FsckError(f"has a line that begins with {name}:, which is for Sluice to write")
    if not carries(text):
        raise FsckError("has nothing before its scissors line (# --- >8 ---), where Git takes a message to end")


def check_slice_name(name: str) -> None:
    """Check a slice's name as `git check-ref-format --branch` does a branch's.

    Raises FsckError. More is refused: names over 200 bytes, and what could be mistaken for a slice's id or for HEAD.
    """
    if not name:
        raise FsckError("is empty")
    if len(name.encode()) > MAX_SLICE_NAME_BYTES:
        raise FsckError(f"has more than {MAX_SLICE_NAME_BYTES} bytes")
    if is_ulid(name):
        raise FsckError("could be mistaken for an id")
    _check_ref(name, "branch")


def check_tag_name(name: str) -> None:
    """Check a tag's name as `git tag` does: Git's rules for what may stand behind refs/tags/.

    Raises FsckError. More is refused: names over 200 bytes, and what could be mistaken for the id of an object.
    """
    if not name:
        raise FsckError("is empty")
    if len(name.encode()) > MAX_SLICE_NAME_BYTES:
        raise FsckError(f"has more than {MAX_SLICE_NAME_BYTES} bytes")
    if _OBJECT_ID.fullmatch(name):
        raise FsckError("could be mistaken for an id")
    _check_ref(name, "tag")


def _check_ref(name: str, kind: str) -> None:
    if name in {"@", "HEAD"} or name.startswith("-"):
        raise FsckError("is a name that Git reserves")
    if _NOT_IN_REF.search(name) or name[0] == "/" or name[-1] in "/.":
        raise FsckError(f"is no {kind} name to Git (see git check-ref-format)")
    for part in name.split("/"):
        if part.startswith(".") or part.endswith(".lock"):
            raise FsckError("has a part that begins with a dot or ends with .lock")
