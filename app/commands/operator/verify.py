"""`sluice verify`: the bucket, the log and the view against each other, and Git as the judge."""

import dataclasses
from pathlib import Path

import click
from rich.text import Text

from app.admin.deep import deep
from app.admin.verify import verify
from app.console import exit_codes
from app.console.options import as_json, console, data_folder, deployment, emit, end
from app.console.progress import progress_bars
from storage.repository import Repository


@click.command()
@click.option("--git/--no-git", "with_git", default=True, help="Also check an export with `git fsck --strict`.")
@click.option("--deep", "with_deep", is_flag=True, help="Have Git rebuild every commit's tree from what was submitted.")
@data_folder
@as_json
def command(with_git: bool, with_deep: bool, data: Path | None, as_json: bool) -> None:
    """Check everything that is stored; exit 1 and list the differences if there are any.

    Log entries have no gaps, and each has the hash of the one before; their packs exist; the view in Redis is what the
    entries make; every accepted changeset has one outcome or waits; an export passes `git fsck --strict`, and each
    committed changeset is in exactly one of its commits. Safe while others write.

    --deep reads everything that was ever submitted, rebuilds each changeset's tree with `git fast-import` and each
    merge with `git merge-tree`, and compares them with the commits, conflicts too. It names the first that differs.

    Example: sluice verify
    """
    with progress_bars() as progress:
        repo = Repository(deployment(data))
        findings = verify(repo, with_git, progress)
        looked = deep(repo.settings, progress) if with_deep else None
    if looked and looked.difference:
        findings.differences.append(f"deep: {looked.difference}")
    if as_json:
        more = {"deep": dataclasses.asdict(looked)} if looked else {}
        emit({**dataclasses.asdict(findings), **more, "clean": not findings.differences})
    else:
        for difference in findings.differences:
            console.print(Text(difference, "red"), soft_wrap=True)
        verdict = "[bold red]NOT clean[/]" if findings.differences else "[bold green]clean[/]"
        console.print(
            f"{verdict}: {findings.entries} entries, {findings.packs} packs, {findings.changesets} changesets decided"
            f" ({findings.committed} committed), {findings.queued} queued"
        )
        if looked:
            console.print(
                f"deep: {looked.committed} committed and {looked.conflicted} conflicted changesets made again,"
                f" {looked.merged} by merges; {looked.excepted} conflicts are ours alone, {looked.unchecked} unchecked"
            )
    if findings.differences:
        end(exit_codes.WRONG)
