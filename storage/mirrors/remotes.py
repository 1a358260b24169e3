"""Which URLs and branches a mirror may have. Pure."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from storage.webhooks.targets import MAX_URL, is_public

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
"""What a mirror's name is: it stands in URLs, metrics and the name of a principal."""
MAX_REF = 200
"""Characters of a branch."""
_URL = re.compile(r"[a-z]+://[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}|[0-9A-Fa-f:.]{2,45}", re.ASCII)
# What some resolvers take for an address, and ours would take for a name.
_ODD_ADDRESS = re.compile(r"(?!(\d{1,3}\.){3}\d{1,3}$)(0[xX][0-9A-Fa-f]*|[0-9]+)(\.(0[xX][0-9A-Fa-f]*|[0-9]+))*\.?")
# As git check-ref-format has it, and ASCII only.
_REF = re.compile(r"refs/heads/[A-Za-z0-9_][A-Za-z0-9_./+=-]*", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)


def check_url(text: str, private: bool, ssh: bool) -> None:
    """Raise ValueError, with what is wrong, where a mirror may not have this URL.

    `private` allows http, local files and private addresses, and `ssh` that scheme; see the settings
    mirror_private_targets and mirror_ssh_command.
    """
    if len(text) > MAX_URL:
        raise ValueError(f"has more than {MAX_URL} characters")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if not _URL.fullmatch(text):
        raise ValueError("must be a URL in ASCII, such as https://git.example.org/team/code.git")
    if parts.fragment or parts.query:
        raise ValueError("must have neither a query nor a fragment")
    if parts.scheme == "file":
        _check_file(parts.netloc, parts.path, private)
        return
    if parts.scheme not in ("https", "http", "ssh"):
        raise ValueError("must begin with https:// (or ssh://, where the setting mirror_ssh_command is set)")
    _check_user(parts.scheme, parts.netloc)
    if not _HOST.fullmatch(host) or port == 0 or _ODD_ADDRESS.fullmatch(host):
        raise ValueError("must have a host: a name, or an address as it is usually written")
    if parts.scheme == "ssh" and not ssh:
        raise ValueError("must begin with https://, unless the setting mirror_ssh_command is set")
    if parts.scheme == "http" and not private:
        raise ValueError("must begin with https://, unless the setting mirror_private_targets is on")
    if not private and not (_is_name(host) or is_public(host)):
        raise ValueError("is a private address, which only the setting mirror_private_targets allows")


def _is_name(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _check_file(host: str, path: str, private: bool) -> None:
    if not private:
        raise ValueError("is a folder, which only the setting mirror_private_targets allows")
    if host or not path.startswith("/") or path == "/":
        raise ValueError("must be file:// with the whole path of a folder")


def _check_user(scheme: str, netloc: str) -> None:
    user, at, _ = netloc.rpartition("@")
    # The user of ssh is no secret: it is `git` nearly everywhere, and the key says who it is.
    if at and not (scheme == "ssh" and _USER.fullmatch(user)):
        raise ValueError(
            "must not have a user or password, which would be shown to who lists mirrors: they belong into the file of"
            " the setting mirror_credentials"
        )


def check_ref(text: str) -> None:
    """Raise ValueError where a mirror may not have this branch."""
    bad = ("..", "//", "/.", ".lock/", "./")
    if len(text) > MAX_REF or not _REF.fullmatch(text) or any(each in text for each in bad):
        raise ValueError("must be the whole name of a branch, such as refs/heads/main")
    if text.endswith((".", "/", ".lock")):
        raise ValueError("must be the whole name of a branch, such as refs/heads/main")
