"""`sluice claim`: telling others what one is at work at."""

from typing import Any

import click

from app.client import claims
from app.client.api_client import Client
from app.console.claims import line_of
from app.console.options import as_json, console, emit_or_show, url

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class _Span(click.ParamType):
    """A time span, such as 30m."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return its seconds."""
        number, unit = value[:-1], value[-1:]
        if not (number.isascii() and number.isdecimal()) or unit not in _UNITS or not int(number):
            self.fail(f"{value!r} is no time span such as 90s, 30m, 2h or 1d", param, ctx)
        return int(number) * _UNITS[unit]


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option("--intent", help="What you are about to do there. Needed, but with --renew.")
@click.option("--ttl", type=_Span(), help="How long it lasts: 90s, 30m, 2h, 1d. Default: 10 minutes; --renew needs it.")
@click.option("--renew", metavar="ID", help="Let this claim last for --ttl from now on, instead of making one.")
@url
@as_json
def command(
    client: Client, paths: tuple[str, ...], intent: str | None, ttl: int | None, renew: str | None, as_json: bool
) -> None:
    """Tell others that you are at work at PATHs: directories with a slash at the end, files, or / for everything.

    A claim blocks nobody, and ends by itself. Whoever submits a change of such a path is warned, and `sluice claims`,
    `sluice watch` and the API show it. You need to be a writer of the paths.

    \b
    Example: sluice claim docs/ --intent "New chapter on claims" --ttl 30m
             sluice claim --renew 01K0M8XJ5E3Q4T7N9V2B6C8D0F --ttl 30m
    """  # noqa: D301 - click takes the character itself
    if renew is not None:
        if paths or ttl is None:
            raise click.UsageError("--renew needs --ttl, and takes no PATH")
        made = claims.renew(client, renew, ttl, intent)
    elif not paths or not intent:
        raise click.UsageError("a claim needs a PATH and an --intent")
    else:
        made = claims.claim(client, paths, intent, ttl)
    emit_or_show(as_json, made, lambda claim: console.print(line_of(claim), soft_wrap=True))
