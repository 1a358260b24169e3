"""`sluice policy`: who may do what, as one document."""

from __future__ import annotations

import json
import tomllib
from typing import BinaryIO

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.console.options import as_json, console, emit, notes, url, warn

_FILE = click.File("rb")


@click.group()
def command() -> None:
    """Show, set and check the policy: groups, and grants of a role to somebody on a path prefix.

    \b
    A policy as TOML (JSON with the same names does as well):
        version = 3                      # that was read; another one meanwhile is an error
        authors = "any"                  # or "own": nobody commits under others' names
        [groups]
        web = ["user:ada", "agent:fixer-12"]
        [[grants]]
        to = "group:web"                 # or a principal, or "everyone"
        role = "writer"                  # reader, writer, maintainer, admin; checker, impersonate
        path = "web/"                    # "/", a directory, or a file
        until = "2027-01-01T00:00:00Z"   # optional
        [quotas."group:web"]             # optional: what each of them may use; or "everyone"
        requests_per_second = 50         # and queued, bodies_bytes
        [[identities]]                   # whose JSON Web Tokens are which principal
        issuer = "https://token.actions.githubusercontent.com"
        claims = {repository_id = "74", repository_owner_id = "65"}
        principal = "ci:github/acme/web"

    Example: sluice policy show > policy.json
    """  # noqa: D301 - click takes the character itself


@command.command()
@url
@as_json
def show(client: Client, as_json: bool) -> None:
    """Print the policy as JSON, with its version, ready to be edited and set.

    Example: sluice policy show > policy.json
    """
    policy = client.policy()
    if as_json:
        emit(policy)
    else:
        console.print(Text(json.dumps(policy, indent=2, ensure_ascii=False)), soft_wrap=True)


@command.command("set")
@click.argument("file", type=_FILE)
@click.option("--any-version", is_flag=True, help="Whatever version there is, also if somebody changed it meanwhile.")
@url
@as_json
def set_(client: Client, file: BinaryIO, any_version: bool, as_json: bool) -> None:
    """Set the policy to that of FILE (TOML or JSON; - is standard input), if it still has the version in FILE.

    \b
    Example: sluice policy set policy.toml
    """  # noqa: D301
    policy = _read(file)
    version = _version(policy, any_version)
    made = client.set_policy(policy, version)
    if as_json:
        emit(made)
    else:
        notes.print(f"the policy has version {made['version']}")


@command.command()
@click.argument("file", type=_FILE)
@url
@as_json
def check(client: Client, file: BinaryIO, as_json: bool) -> None:
    """Say what the policy in FILE would change, and for whom; set nothing.

    It also tells of paths that most likely want a slash at their end, and of another version than that in FILE.

    Example: sluice policy check policy.toml
    """
    policy = _read(file)
    answer = client.set_policy(policy, None, dry_run=True)
    version = policy.get("version")
    if as_json:
        emit({**answer, "file_version": version})
        return
    if version is None:
        notes.print("FILE has no version: `sluice policy set` needs that of the policy which it replaces")
    elif version != answer["version"]:
        warn(
            f"FILE has version {version}, and the policy has version {answer['version']} by now: `sluice policy set` "
            "refuses it; what is below is the difference to the present policy"
        )
    for warning in answer.get("warnings", []):
        warn(f"{warning['field']}: {warning['message']}")
    for change in answer["changes"]:
        console.print(Text(change["principal"], "bold"), soft_wrap=True)
        for sign, style, name in (("+", "green", "gains"), ("-", "red", "loses")):
            for text in change[name]:
                console.print(Text(f"  {sign} {text}", style), soft_wrap=True)
    if not answer["changes"]:
        notes.print("nothing would change")


def _read(file: BinaryIO) -> Json:
    """Return the document of a file, by its form: JSON begins with a brace."""
    data = file.read()
    try:
        if data.lstrip().startswith(b"{"):
            document = json.loads(data)
        else:
            document = tomllib.loads(data.decode())
    except (ValueError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{file.name}: neither JSON nor TOML: {error}") from error
    return json.loads(json.dumps(document, default=_time))


def _time(value: object) -> str:
    """Return a time as JSON has it: TOML has a type of its own."""
    text = getattr(value, "isoformat", None)
    if text is None:
        raise click.UsageError(f"{value!r} has no place in a policy")
    return str(text())


def _version(policy: Json, any_version: bool) -> int | None:
    if any_version:
        return None
    version = policy.get("version")
    if not isinstance(version, int):
        raise click.UsageError("FILE has no version: `sluice policy show` prints it; or give --any-version")
    return version
