"""`sluice unclaim`: ending claims."""

import click

from app.client import claims
from app.client.api_client import Client, Json
from app.console.changesets import to_each
from app.console.options import as_json, emit, end, notes, url


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@url
@as_json
def command(client: Client, ids: tuple[str, ...], as_json: bool) -> None:
    """End advisory claims: your own, or on paths that you maintain.

    The exit code is 7 if one is unknown, or has ended by itself; the others are ended all the same.

    Example: sluice unclaim 01K0M8XJ5E3Q4T7N9V2B6C8D0F
    """

    def end_one(id_: str) -> Json:
        claims.end(client, id_)
        return {"id": id_, "ended": True}

    ended, code = to_each(end_one, ids)
    for each in ended:
        if as_json:
            emit(each)
        else:
            notes.print(f"ended {each['id']}")
    end(code)
