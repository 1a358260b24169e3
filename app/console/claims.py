"""Advisory claims on a terminal."""

from rich.text import Text

from app.client.api_client import Json

_SHOWN = 3  # paths


def line_of(claim: Json) -> Text:
    """Return a claim on one line."""
    return Text.assemble(
        (claim["id"], "cyan"), " ", (claim["principal"], "bold"), f" {_paths(claim)} until {claim['expires']}: ",
        _intent(claim),
    )  # fmt: skip


def claimed(claim: Json) -> str:
    """Return a warning of a claim on what is being changed."""
    who, until = claim["principal"], claim["expires"]
    return f"{_paths(claim)} claimed by {who} until {until} ({claim['id']}): {_intent(claim)}"


def _intent(claim: Json) -> str:
    return " ".join(claim["intent"].split())


def _paths(claim: Json) -> str:
    paths = claim["paths"]
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
