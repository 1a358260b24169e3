"""`sluice submit`: a directory, or a range of Git commits, as one changeset."""

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from app.client.api_client import Client, Json
from app.client.sending import Sender, Sent, is_there
from app.console.changesets import await_final, label_of, show
from app.console.claims import claimed
from app.console.exit_codes import of_status
from app.console.options import Command, as_json, ask_to_wait, console, emit, emit_or_show, end, tell, url, warn
from app.folder import folder_base
from app.folder.git_folder import git_author
from app.folder.prepared import Prepared, from_folder, from_range

_AUTHOR = re.compile(r"\s*(.+?)\s*<([^<>]*)>\s*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
STRATEGIES = ("merge", "ours", "theirs", "exact")


_OPTIONS = (
    click.argument("slice_name", metavar="SLICE"),
    click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False),
    click.option("--git", "commits", metavar="RANGE", help="Take these commits of the repository DIRECTORY instead."),
    click.option("--moves", is_flag=True,
                 help="With --git: submit as moved what Git takes for renamed, so that others' edits go along."),
    click.option("-m", "--message", help="The commit message. Default with --git: that of the commits."),
    click.option("--author", metavar="'NAME <EMAIL>'",
                 help="Default: with --git, the last commit's; else your identity in Git."),
    click.option("--delete", is_flag=True, help="Also delete the files that are gone from DIRECTORY."),
    click.option("--base", metavar="COMMIT",
                 help="The commit that DIRECTORY is based on. Default: what `sluice checkout` or the last submission "
                      "recorded, else Git's HEAD. Only without --git."),
    click.option("--no-ignore", is_flag=True, help="Also submit files that Git ignores (.gitignore)."),
    click.option("--hold", is_flag=True, help="Hold the changeset: it is not committed before `sluice release`."),
    click.option("--label", "labels", metavar="KEY=VALUE", multiple=True,
                 help="What to find the changeset by later, such as ticket=ABC-12."),
    click.option("--priority", type=click.IntRange(-100, 100), metavar="N",
                 help="From -100 (after all others) to 100; above 0 only for maintainers of its paths. Default: 0."),
    click.option("--strategy", "strategies", metavar="PATTERN=STRATEGY", multiple=True,
                 help=f"What to do with paths of a gitignore pattern that changed meanwhile: {', '.join(STRATEGIES)}. "
                      "The last match counts."),
)  # fmt: skip


def what(command: Command) -> Command:
    """Add the arguments that say what is submitted; `changeset_from` takes them."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@what
@click.option("--key", help="Idempotency-Key. Default: derived from what is submitted, so that a repeat "
                            "submits nothing new.")  # fmt: skip
@click.option("--split", is_flag=True, help="Split what is too large for one changeset into several, each on the "
                                            "one before.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the changes; submit nothing.")
@ask_to_wait
@url
@as_json
def command(
    client: Client, slice_name: str, directory: Path | None, key: str | None, split: bool, dry_run: bool, wait: bool,
    timeout: float, as_json: bool, message: str | None, author: str | None, **given: Any,
) -> None:  # fmt: skip
    """Submit the files of DIRECTORY (the current one by default) against SLICE, as one changeset.

    Paths are relative to DIRECTORY: DIRECTORY/web/a.js becomes web/a.js. The changes are the files that differ from the
    commit that DIRECTORY is based on: `sluice checkout` records it, and each submission updates the record. Files that
    the slice does not cover or Git ignores, .git, .sluice* and a stack's data folder are left alone.

    With --git the changes between two Git commits are submitted, based on the versions of files that they changed: what
    changed in Sluice since is merged, or is a conflict. RANGE is A..B, A...B, or one commit.

    The id is printed as soon as it is accepted. To repeat the command is harmless: it gets the same changeset. With
    --wait the exit code is the outcome: 0 committed, 3 conflicted, 4 rejected or abandoned, 5 timed out. `sluice
    check` predicts the outcome.

    \b
    Example: sluice submit web ./checkout -m "Say hello" --wait
             sluice submit web ~/src/site --git main..feature --strategy "*.lock=theirs"
    """  # noqa: D301 - click takes the character itself
    if wait and given["hold"]:
        raise click.UsageError("--wait does not go with --hold: nothing becomes of it before its release")
    if key is not None and not key.strip():
        raise click.BadParameter("is empty", param_hint="--key")
    who = None if author is None else _author(author)
    prepared = prepare(client, slice_name, directory, **given)
    changeset = prepared.changeset
    if message is not None:
        changeset["message"] = message
    if who is not None:
        changeset["author"] = who
    if dry_run or not changeset["changes"]:
        _show_changes(changeset["changes"], as_json)
    elif not changeset.get("message", "").strip():
        raise click.UsageError("a changeset needs a message: -m")
    elif _is_there(client, prepared):
        tell("nothing is submitted: all of it is there already")
        _show_changes([], as_json, quiet=True)
    else:
        if "author" not in changeset:
            changeset["author"] = _who(prepared.folder or directory or Path())
        sent = _send(Sender(client, prepared.slice["id"], key), prepared, split)
        _finish(client, sent, wait, timeout, as_json)


def prepare(
    client: Client, slice_name: str, directory: Path | None, commits: str | None, moves: bool, delete: bool,
    base: str | None, no_ignore: bool, hold: bool, strategies: tuple[str, ...], labels: tuple[str, ...],
    priority: int | None,
) -> Prepared:  # fmt: skip
    """Return the changeset that the arguments of `what` describe, and print what there is to say about it."""
    rules = [_rule(strategy) for strategy in strategies]
    named = dict(label_of(label) for label in labels)
    if commits is not None and not commits.strip(". \t\n"):
        raise click.BadParameter(f"{commits!r} names no commit", param_hint="--git")
    if commits is not None and (delete or base or no_ignore):
        raise click.UsageError("--delete, --base and --no-ignore do not go with --git")
    if moves and commits is None:
        raise click.UsageError("--moves goes with --git: what a folder's files were named before, nobody recorded")
    if base is not None and not _COMMIT.fullmatch(base):
        raise click.BadParameter("is not the id of a commit, in full", param_hint="--base")
    if commits is None:
        prepared = from_folder(client, slice_name, directory, delete, base, not no_ignore)
    else:
        prepared = from_range(client, slice_name, directory or Path(), commits, moves)
    if hold:
        prepared.changeset["hold"] = True
    if rules:
        prepared.changeset["strategies"] = rules
    if named:
        prepared.changeset["labels"] = named
    if priority:
        prepared.changeset["priority"] = priority
    for note in prepared.notes:
        tell(note)
    return prepared


def _rule(text: str) -> Json:
    pattern, _, strategy = text.rpartition("=")
    if not pattern or strategy not in STRATEGIES:
        raise click.BadParameter(f"{text!r} is not PATTERN={'|'.join(STRATEGIES)}", param_hint="--strategy")
    return {"pattern": pattern, "strategy": strategy}


def _is_there(client: Client, prepared: Prepared) -> bool:
    if prepared.seen and prepared.seen.undecided:
        return False  # what stands there now is about to change
    return is_there(client, prepared.slice, prepared.changeset["changes"], prepared.files)


def _show_changes(changes: list[Json], as_json: bool, quiet: bool = False) -> None:
    if as_json:
        shown = ("op", "path", "from")
        emit({"changes": [{name: change[name] for name in shown if name in change} for change in changes]})
    for change in [] if as_json else changes:
        console.print(Text(f"{change['op']:6} {_named(change)}"), soft_wrap=True)
    if not changes and not quiet:
        tell("nothing differs")


def _named(change: Json) -> str:
    return f"{change['from']} => {change['path']}" if "from" in change else str(change["path"])


def _send(sender: Sender, prepared: Prepared, split: bool) -> list[Sent]:
    """Submit, and name each changeset as soon as it is accepted: whoever stops then knows what is on its way."""
    sent: list[Sent] = []
    try:
        for part in sender.send(prepared.changeset, split, prepared.is_new):
            sent.append(part)
            again = "had been submitted before (--key submits it once more), " if part.is_repeat else ""
            tell(f"submitted {part.changeset['id']}, {again}changes: {len(part.changes)}")
            for claim in part.changeset.get("claims", []):
                warn(claimed(claim))
            _remember(prepared, part)
    except KeyboardInterrupt:
        tell("stopped before an answer came: it may have been accepted. The same command again is harmless, it has the "
             f"same idempotency key ({sender.last_key})")  # fmt: skip
        raise
    if len(sent) > 1:
        tell(f"it was too large for one changeset: {len(sent)} of them, each with a part of the changes")
    return sent


def _remember(prepared: Prepared, sent: Sent) -> None:
    """Have the folder remember what its user has seen and submitted."""
    if prepared.folder is None or prepared.seen is None:
        return
    files = {change["path"]: prepared.files[change["path"]] for change in sent.changes}
    base = prepared.seen.base.after(sent.changeset["id"], files)
    prepared.seen = replace(prepared.seen, base=base)
    try:
        folder_base.write(prepared.folder, base)
    except OSError as error:
        tell(f"{prepared.folder / folder_base.FILE} could not be written ({error.strerror}): from this folder, submit "
             "with --base")  # fmt: skip


def _finish(client: Client, sent: list[Sent], wait: bool, timeout: float, as_json: bool) -> None:
    """Print each changeset, with `wait` once it is decided; end with the code of the first that was not committed."""
    code = 0
    for changeset in _awaited(client, sent, timeout) if wait else (part.changeset for part in sent):
        emit_or_show(as_json, changeset, show)
        code = code or (of_status(changeset["status"]) if wait else 0)
    end(code)


def _awaited(client: Client, sent: list[Sent], timeout: float) -> Iterator[Json]:
    until = time.monotonic() + timeout
    for part in sent:
        yield await_final(client, part.changeset["id"], "committed", max(0.0, until - time.monotonic()))


def _who(directory: Path) -> Json:
    """Return who submits: as Git says, or as is answered at a terminal."""
    author = git_author(directory)
    if author is not None:
        return author
    if not _is_asked():
        raise click.UsageError(
            "who is the author? --author 'NAME <EMAIL>', or `git config --global user.name` and `user.email`"
        )
    return {"name": click.prompt("Your name", err=True), "email": click.prompt("Your e-mail address", err=True)}


def _is_asked() -> bool:
    """Tell whether somebody is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _author(text: str) -> Json:
    match = _AUTHOR.fullmatch(text)
    if not match:
        raise click.BadParameter("is not 'NAME <EMAIL>'", param_hint="--author")
    return {"name": match[1], "email": match[2]}
