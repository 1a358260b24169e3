"""Where the command line finds the API, and the token that it sends: never in an argument, which others can see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from app.stack import state
from app.stack.environment import load_environment
from app.stack.state import ROOT_TOKEN
from storage.base.errors import BadInput
from storage.base.settings import PREFIX, TOKEN, TOKEN_FILE, Settings, client_token, given

_API_URL = PREFIX + "API_URL"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class TokenFileError(BadInput):
    """The variable or the file with the token cannot be used."""


def find_token(url: str, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> str | None:
    """Return the token for an API: SLUICE_TOKEN, else that in SLUICE_TOKEN_FILE, else the root token of a stack here.

    The root token in `folder` (.sluice by default) is for the API of that folder's stack, and sent to no other address.
    Raises TokenFileError.
    """
    folder = folder or Path(".sluice")
    token, path = client_token(environ)
    if token is not None:
        return _checked(token, TOKEN)
    if path is not None:
        if not path:
            raise TokenFileError(f"{TOKEN_FILE} is set and empty; unset it, or let it name a file with a token")
        try:
            return _checked(Path(path).read_text(encoding="utf-8-sig"), f"{TOKEN_FILE}: {path}")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "is no text"
            raise TokenFileError(f"{TOKEN_FILE}: {path}: {why}") from None
    if not _is_of(url, folder):
        return None
    try:
        return (folder / ROOT_TOKEN).read_text().strip() or None
    except OSError:  # there is none, or it is another user's
        return None


def stack_of(url: str, environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Path | None:
    """Return the folder of the stack whose root token would be sent to an API; None where another token is, or none."""
    folder = folder or Path(".sluice")
    return folder if client_token(environ) == (None, None) and _is_of(url, folder) else None


def find_url(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> str:
    """Return the address of the API: SLUICE_API_URL, else that of a stack that runs on `folder` (.sluice), else 8080.

    Raises SettingsError.
    """
    chosen = given(environ).get("api_url")
    if chosen is not None:
        return str(chosen)
    folder = folder or Path(".sluice")
    known = load_environment(folder) if state.holder(folder) is not None else {}
    return known.get(_API_URL, Settings.api_url)


def why_refused(url: str, environ: Mapping[str, str] | None = None) -> str:
    """Return what to do about a 401: which token was sent there, or where one would be found."""
    token, path = client_token(environ)
    if token is not None or path is not None:
        where = TOKEN if token is not None else f"the file {path} ({TOKEN_FILE})"
        return f"{where} has the token that was sent: it is revoked, has expired, or is of another deployment"
    sent = find_token(url, environ)
    if sent:
        return f"the root token in .sluice/{ROOT_TOKEN} was sent, and the stack that runs here has another one"
    return (
        f"no token was sent: set {TOKEN}, or {TOKEN_FILE} to a file that has it. `sluice up` writes a root token to "
        f"{ROOT_TOKEN} in its data folder (.sluice), and is found by itself from the folder in which that is"
    )


def _checked(text: str, where: str) -> str:
    """Return a token; a JWT or an older form may come one day, but a header takes one word. Never shows the text."""
    token = text.strip()
    if not token:
        raise TokenFileError(f"{where}: is set and empty; unset it to send the root token of a stack here, or none")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise TokenFileError(f"{where}: is no token: one word, such as slc_…")
    return token


def _is_of(url: str, folder: Path) -> bool:
    """Tell whether a stack that runs on a folder has its API there: of one that ended, anybody may have the port."""
    known = load_environment(folder)
    if not known or state.holder(folder) is None:
        return False
    asked = urlsplit(url if "://" in url else f"http://{url}")
    own = urlsplit(known.get(_API_URL, Settings.api_url))
    return asked.port == own.port and asked.hostname in _LOOPBACK and own.hostname in _LOOPBACK
