"""A slice of an imported repository, cloned by plain Git: its history is its part of the imported one."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.gateway.wire.pkt_lines import pkt
from storage.base.settings import Settings
from storage.importing import import_history
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api
from tests.support.gateway import WHOLE, Gateway, git, serving
from tests.support.git_repository import GitRepository
from tests.support.principals import ROOT_TOKEN, grants, principal
from tests.support.world import World

SECRET = "the secret plan"
BLAMED = ("author ", "author-mail ", "author-time ", "author-tz ", "committer ", "summary ", "filename ", "\t")


@pytest.fixture
def source(tmp_path: Path) -> GitRepository:
    """A history of two folders, with branches that were merged, and one commit that has something of both."""
    repo = GitRepository(tmp_path / "source")
    lines = [f"line {number}\n" for number in range(40)]

    def change(path: str, at: int, text: str, who: str, message: str) -> None:
        lines[at] = text
        repo.write(path, "".join(lines))
        repo.commit(message, GIT_AUTHOR_NAME=who, GIT_AUTHOR_DATE=f"{1_700_000_000 + at} +0530")

    repo.write("secret/plan", SECRET)
    repo.commit("Plan")
    change("docs/guide.md", 0, "first\n", "Ada", "Begin the guide\n\nWith a body.")
    for at in range(1, 9):
        change("docs/guide.md", at, f"changed {at}\n", "Ädä", f"Guide {at}")
        repo.write("secret/plan", f"{SECRET} {at}")
        repo.commit(f"Plan {at}")
    repo.git("checkout", "-q", "-b", "side", "HEAD~6")
    repo.write("docs/other.md", "other\n")
    repo.commit("Other", GIT_AUTHOR_NAME="Cleo")
    repo.write("secret/more", "more secrets")
    repo.write("docs/other.md", "other\nand more\n")
    repo.commit("Of both folders", GIT_AUTHOR_NAME="Cleo")
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge the other", "side")
    repo.git("checkout", "-q", "-b", "hidden", "HEAD~3")
    repo.write("secret/aside", "aside")
    repo.commit("Aside")
    repo.git("checkout", "-q", "main")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge what docs has nothing of", "hidden")
    change("docs/guide.md", 20, "changed 20\n", "Cleo", "Guide 20")
    return repo


@pytest.fixture
def docs(root: Api, world: World, source: GitRepository) -> str:
    """The id of a slice of docs/, made before the history was imported."""
    made = root.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201).get_json()
    root.post("/slices", {"name": "secret", "paths": ["secret/"]}, 201)
    import_history(world.repo, source.path)
    run_upkeep(world.repo)
    return str(made["id"])


def blamed(folder: Path, path: str) -> list[str]:
    told = git(folder, "blame", "--line-porcelain", path).splitlines()
    return [line for line in told if line.startswith(BLAMED)]


def test_log_blame_and_bisect_say_what_they_say_in_the_original(
    docs: str, gateway: Gateway, source: GitRepository, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    gateway.clone(clone, name="docs")
    # All were committed at one second, and the order of two branches is the order of such.
    form = ("log", "-z", "--format=%an %ae %ad %cn %ce %cd %B%n")
    shown = git(clone, *form)
    assert sorted(shown.split("\0")) == sorted(git(source.path, *form, "--", "docs/").split("\0"))
    assert "Of both folders" in shown and "Guide 20" in shown
    assert "Merge the other" in git(clone, "log", "--merges", "--format=%s")
    assert "Plan" not in shown and "nothing of" not in shown and "Aside" not in shown
    for path in ("docs/guide.md", "docs/other.md"):
        assert blamed(clone, path) == blamed(source.path, path) != []
    found = []
    for folder in (clone, source.path):
        oldest = git(folder, "log", "--format=%H", "--", "docs/").splitlines()[-1]
        git(folder, "bisect", "start", "HEAD", oldest)
        found.append(git(folder, "bisect", "run", "sh", "-c", "! grep -q 'changed 5' docs/guide.md"))
        git(folder, "bisect", "reset")
    assert all("Guide 5" in each for each in found)
    git(clone, "fsck", "--strict")
    assert git(clone, "rev-parse", "HEAD:docs") == source.git("rev-parse", "HEAD:docs")
    shallow = tmp_path / "shallow"
    gateway.clone(shallow, "--depth=2", name="docs")
    assert git(shallow, "rev-parse", "HEAD") == git(clone, "rev-parse", "HEAD")


def test_two_gateways_have_the_same_commits_and_go_on_from_them(
    docs: str, gateway: Gateway, with_tokens: Settings, world: World, tmp_path: Path
) -> None:
    one, two, three = (tmp_path / name for name in ("clone1", "clone2", "clone3"))
    gateway.clone(one, name="docs")
    before = git(one, "rev-parse", "HEAD")
    world.put({"docs/new": b"1\n"})
    world.work()
    git(one, "pull", "-q", "--ff-only")
    assert git(one, "rev-parse", "HEAD~1") == before
    with serving(with_tokens, tmp_path / "two", token=ROOT_TOKEN) as other:
        other.clone(two, name="docs")
    with serving(with_tokens, tmp_path / "three", token=ROOT_TOKEN) as third:
        third.clone(three, name=docs)
    assert len({git(folder, "rev-list", "HEAD") for folder in (one, two, three)}) == 1


def test_nobody_gets_anything_of_other_paths_of_the_imported_history(
    root: Api, docs: str, gateway: Gateway, source: GitRepository, tmp_path: Path
) -> None:
    grants(root, "user:ada reader docs/")
    token = principal(root, "user:ada").http.environ_base["HTTP_AUTHORIZATION"].partition(" ")[2]
    reader = gateway.as_(token)
    # The owner's stores are on the same gateway, with the packs of the whole history beside them.
    for name in ("secret", WHOLE):
        gateway.clone(tmp_path / f"owner-{name[0]}", name=name)
    clone = tmp_path / "clone"
    reader.clone(clone, name="docs")
    own = git(clone, "rev-parse", "HEAD")
    assert b"PACK" in reader.ask_git("docs", fetch(own)).body
    assert [path for path in gateway.folder.rglob("imported-*") if path.is_dir()] != []
    ours = git(clone, "rev-list", "--objects", "--no-object-names", "HEAD").split()
    theirs = set(source.git("rev-list", "--objects", "--no-object-names", "main").split()) - set(ours)
    assert {source.git("cat-file", "-t", oid) for oid in theirs} == {"commit", "tree", "blob"}
    for oid in theirs:
        for wants in ((oid,), (own, oid)):
            answer = reader.ask_git("docs", fetch(*wants))
            assert b"ERR" in answer.body and b"PACK" not in answer.body, oid
    for name in ("secret", WHOLE, "imported", f"imported-{source.git('rev-parse', 'main')}"):
        assert reader.ask_git(name, fetch(own)).status == 404
    said = git(clone, "cat-file", "--batch-all-objects", "--batch")
    assert SECRET not in said and "secret" not in said and "Plan" not in said


def fetch(*wants: str) -> bytes:
    """A fetch by protocol version 2."""
    lines = [b"command=fetch", b"agent=git/2", b"object-format=sha1"]
    asked = [b"ofs-delta", *(b"want " + want.encode() for want in wants), b"done"]
    return b"".join(map(pkt, lines)) + b"0001" + b"".join(pkt(each + b"\n") for each in asked) + b"0000"
