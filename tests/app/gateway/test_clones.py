"""Plain Git clones and fetches slices and the whole, and what it has is what the API has."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.gateway.wire.pkt_lines import pkt
from storage.base.settings import Settings
from storage.clones.locks import locked
from storage.clones.stores import WRITING
from tests.support.api import Api
from tests.support.gateway import WHOLE, Gateway, git, serving
from tests.support.principals import ROOT_TOKEN
from tests.support.waiting import await_true
from tests.support.world import World

LS_REFS = pkt(b"command=ls-refs") + b"0000"
FILES = {
    "docs/guide.md": b"guide\n",
    "docs/deep/er.txt": b"deeper\n",
    "docs/run.sh": "exec:#!/bin/sh\n",
    "docs/link": "link:guide.md",
    "docs/sp ace \xc3\xa4".encode("latin-1").decode(): b"odd name\n",
    "secret/plan.txt": b"the plan\n",
    "README": b"read me\n",
}


def land(world: World, files: dict, **more) -> None:
    world.put(files, **more)
    world.work()


@pytest.fixture
def docs(root: Api, world: World) -> str:
    """The id of a slice of docs/ with some history, of which a part is elsewhere."""
    made = root.post("/slices", {"name": "docs", "paths": ["docs/"]}, 201).get_json()
    land(world, FILES)
    for number in range(4):
        land(world, {"docs/guide.md": f"guide {number}\n".encode()}, message=f"Guide {number}")
    land(world, {"secret/plan.txt": b"another plan\n"}, message="Plan")
    return made["id"]


def test_a_clone_of_a_slice_has_the_apis_files_byte_for_byte(
    root: Api, docs: str, gateway: Gateway, tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    gateway.clone(clone, name="docs")
    archive = root.http.get(f"/v1/slices/{docs}/files?format=tar&commit={root.tip}")
    assert archive.status_code == 200, archive.data
    assert git(clone, "status", "--porcelain") == ""
    found = {}
    for path in sorted(clone.rglob("*")):
        if ".git" not in path.parts and not path.is_dir():
            name = path.relative_to(clone).as_posix()
            found[name] = path.readlink().as_posix() if path.is_symlink() else path.read_bytes()
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        expected = {
            each.name: each.linkname if each.issym() else tar.extractfile(each).read()  # type: ignore[union-attr]
            for each in tar.getmembers() if each.issym() or each.isfile()
        }  # fmt: skip
    assert found == expected and "docs/guide.md" in found and not any(name.startswith("secret") for name in found)
    assert (clone / "docs/run.sh").stat().st_mode & 0o111
    git(clone, "fsck", "--strict")


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Another process that brings the only store of a gateway up to date, and is slow."""
    [store] = (folder / "gateway" / "clones").iterdir()
    with locked(store / WRITING, timeout=60):
        yield


def test_a_store_that_takes_longer_than_clone_wait_is_waited_for(
    docs: str, world: World, with_tokens: Settings, tmp_path: Path
) -> None:
    with serving(replace(with_tokens, clone_wait=0.05), tmp_path / "one", token=ROOT_TOKEN) as gateway:
        gateway.clone(tmp_path / "clone", name="docs")
        land(world, {"docs/guide.md": b"newer\n"})
        with ThreadPoolExecutor(1) as beside, at_work(tmp_path / "one"):
            pulled = beside.submit(git, tmp_path / "clone", "pull", "-q")
            assert not wait([pulled], 1).done
        pulled.result(60)
    assert (tmp_path / "clone" / "docs" / "guide.md").read_bytes() == b"newer\n"


def test_who_has_no_more_patience_is_told_and_the_work_goes_on(
    docs: str, world: World, with_tokens: Settings, tmp_path: Path
) -> None:
    hurried = replace(with_tokens, clone_wait=0.05, gateway_patience=0.3)
    with serving(hurried, tmp_path / "one", token=ROOT_TOKEN) as gateway:
        await_true(lambda: gateway.ask_git("docs", LS_REFS).status == 200)  # it may take longer to be made
        land(world, {"docs/guide.md": b"newer\n"})
        with at_work(tmp_path / "one"):
            refused = gateway.ask_git("docs", LS_REFS)
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert b"is being brought up to date" in refused.body
        await_true(lambda: gateway.ask_git("docs", LS_REFS).status == 200)


def test_history_of_a_slice_is_git_history(docs: str, gateway: Gateway, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    gateway.clone(clone, name=docs)  # by its id as well
    subjects = git(clone, "log", "--format=%s").splitlines()
    part = "The part of a change that has other paths too"
    assert subjects == ["Guide 3", "Guide 2", "Guide 1", "Guide 0", part]
    blamed = git(clone, "blame", "--porcelain", "docs/guide.md")
    assert "summary Guide 3" in blamed and "author Ada" in blamed
    git(clone, "bisect", "start", "HEAD", "HEAD~4")
    assert "Guide 2" in git(clone, "bisect", "run", "sh", "-c", "! grep -q 'guide [23]' docs/guide.md")


def test_the_whole_has_the_chains_commits(world: World, docs: str, gateway: Gateway, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    gateway.clone(clone)
    assert git(clone, "rev-parse", "HEAD") == world.tip.hex()
    assert git(clone, "rev-parse", "HEAD^{tree}") == world.repo.view.head().root
    git(clone, "fsck", "--strict")


KINDS = {
    "full": (), "one": ("--depth=1",), "three": ("--depth=3", "--no-single-branch"), "branch": ("--single-branch",),
    "blobless": ("--filter=blob:none",), "treeless": ("--filter=tree:0",), "bare": ("--bare",), "mirror": ("--mirror",),
    "sparse": ("--filter=blob:none", "--sparse"), "since": ("--shallow-since=2000-01-01",), "untagged": ("--no-tags",),
}  # fmt: skip


@pytest.mark.parametrize("version", [0, 2])
def test_every_kind_of_clone(world: World, docs: str, gateway: Gateway, tmp_path: Path, version: int) -> None:
    heads = set()
    for kind, options in KINDS.items():
        clone = tmp_path / f"{kind}-clone"
        gateway.clone(clone, f"-c=protocol.version={version}", *options, name="docs")
        heads.add(git(clone, "rev-parse", "HEAD"))
        assert int(git(clone, "rev-list", "--count", "HEAD")) == {"one": 1, "three": 3}.get(kind, 5), kind
        # What a filter left out comes now.
        assert git(clone, "cat-file", "blob", "HEAD:docs/deep/er.txt") == "deeper", kind
        git(clone, "fsck")
    assert len(heads) == 1
    git(tmp_path / "sparse-clone", "sparse-checkout", "set", "docs/deep")
    assert (tmp_path / "sparse-clone/docs/deep/er.txt").read_bytes() == b"deeper\n"
    git(tmp_path / "one-clone", "fetch", "-q", "--unshallow")
    assert git(tmp_path / "one-clone", "rev-list", "--count", "HEAD") == "5"


@pytest.mark.parametrize("version", [0, 2])
def test_a_fetch_has_what_landed_before_it_and_sends_only_that(
    world: World, docs: str, gateway: Gateway, tmp_path: Path, version: int
) -> None:
    clone, shallow = tmp_path / "clone", tmp_path / "shallow"
    gateway.clone(clone, name="docs")
    gateway.clone(shallow, "--depth=1", name="docs")
    for number in range(3):
        land(world, {"docs/guide.md": f"new {number}\n".encode()}, message=f"New {number}")
        git(clone, "-c", f"protocol.version={version}", "pull", "-q", "--ff-only")
        assert (clone / "docs/guide.md").read_bytes() == f"new {number}\n".encode()
        git(shallow, "-c", f"protocol.version={version}", "pull", "-q", "--ff-only")
    assert git(clone, "count-objects", "-v").splitlines()[0] == "count: 12", "four objects for each of three changesets"
    land(world, {"secret/plan.txt": b"other\n"})
    before = git(clone, "rev-parse", "origin/main")
    git(clone, "fetch", "-q")
    assert git(clone, "rev-parse", "origin/main") == before, "what is elsewhere is no commit of the slice"


def test_an_empty_slice_can_be_cloned_and_filled(root: Api, world: World, gateway: Gateway, tmp_path: Path) -> None:
    root.post("/slices", {"name": "new/area", "paths": ["area/"]}, 201)
    clone = tmp_path / "clone"
    gateway.clone(clone, name="new/area")
    assert git(clone, "symbolic-ref", "HEAD") == "refs/heads/main"
    land(world, {"area/a": b"a\n"})
    git(clone, "pull", "-q")
    assert (clone / "area/a").read_bytes() == b"a\n"


def test_gateways_give_the_same_ids_also_on_an_empty_disk_and_when_a_cache_is_deleted(
    with_tokens: Settings, world: World, docs: str, gateway: Gateway, tmp_path: Path
) -> None:
    ids = set()
    gateway.clone(tmp_path / "a", name="docs")
    ids.add(git(tmp_path / "a", "rev-parse", "HEAD"))
    with serving(with_tokens, tmp_path / "two", token=ROOT_TOKEN) as second:
        second.clone(tmp_path / "b", name="docs")
        ids.add(git(tmp_path / "b", "rev-parse", "HEAD"))
        shutil.rmtree(second.folder)
        second.clone(tmp_path / "c", "--depth=1", name="docs")
        second.clone(tmp_path / "d", "--depth=1", name="docs")
        ids |= {git(tmp_path / "c", "rev-parse", "HEAD"), git(tmp_path / "d", "rev-parse", "HEAD")}
        shutil.rmtree(second.folder)
        land(world, {"docs/guide.md": b"after\n"})
        git(tmp_path / "b", "pull", "-q")
        git(tmp_path / "c", "pull", "-q")
    git(tmp_path / "a", "pull", "-q")
    assert len(ids) == 1
    assert len({git(tmp_path / name, "rev-parse", "HEAD") for name in "abc"}) == 1
    assert (tmp_path / "c/docs/guide.md").read_bytes() == b"after\n"


def test_a_gateway_that_was_killed_goes_on(world: World, docs: str, gateway: Gateway, tmp_path: Path) -> None:
    gateway.clone(tmp_path / "a", name="docs")
    starts = gateway.process.starts
    gateway.process.send(9)
    assert gateway.process.await_start(starts, 60)
    gateway.process.await_ready()
    land(world, {"docs/guide.md": b"after\n"})
    git(tmp_path / "a", "pull", "-q")
    gateway.clone(tmp_path / "b")
    assert (tmp_path / "a/docs/guide.md").read_bytes() == (tmp_path / "b/docs/guide.md").read_bytes() == b"after\n"


def test_a_bundle_is_offered_and_loaded(with_tokens: Settings, docs: str, gateway: Gateway, tmp_path: Path) -> None:
    bundle = gateway.get(f"/git/{WHOLE}.git/clone.bundle", Authorization=f"Bearer {ROOT_TOKEN}")
    assert bundle.status == 200
    (tmp_path / "clone.bundle").write_bytes(bundle.body)
    gateway.clone(tmp_path / "full")
    listed = git(tmp_path / "full", "bundle", "verify", str(tmp_path / "clone.bundle"))
    assert "refs/heads/main" in listed and "complete history" in listed
    gateway.clone(tmp_path / "clone", f"--bundle-uri={gateway.url()}/clone.bundle")
    assert git(tmp_path / "clone", "rev-parse", "HEAD") == git(tmp_path / "full", "rev-parse", "HEAD")
    assert "refs/bundles/main" in git(tmp_path / "clone", "for-each-ref")
    asked = b"0017command=bundle-uri\n0000"
    assert gateway.ask_git(WHOLE, b"0017command=bundle-uri\n0000").body.endswith(b"0000"), asked
    assert b"bundle.main.uri=clone.bundle" in gateway.ask_git(WHOLE, asked).body


def test_tags_of_the_whole_come_with_a_clone_and_with_a_fetch_and_a_slice_has_none(
    root: Api, world: World, docs: str, gateway: Gateway, tmp_path: Path
) -> None:
    def tag(name: str, **more: str) -> None:
        made = root.http.put(f"/v1/tags/{name}", json={"commit": root.tip, **more})
        assert made.status_code == 201, made.data

    tag("v1", message="The first one")
    clone = tmp_path / "clone"
    gateway.clone(clone)
    assert git(clone, "tag") == "v1" and git(clone, "rev-parse", "v1^{commit}") == world.tip.hex()
    assert "The first one" in git(clone, "cat-file", "tag", "v1")
    land(world, {"README": b"again\n"})
    tag("light/v2")
    tag("v3", message="With the next")
    git(clone, "pull", "-q")
    assert git(clone, "tag").split() == ["light/v2", "v1", "v3"]
    for version in (0, 2):
        listed = git(clone, "-c", f"protocol.version={version}", "ls-remote", "--tags", "origin").splitlines()
        assert [line.split("\t")[1] for line in listed] == [
            "refs/tags/light/v2", "refs/tags/v1", "refs/tags/v1^{}", "refs/tags/v3", "refs/tags/v3^{}",
        ]  # fmt: skip
    assert root.http.delete("/v1/tags/v1").status_code == 204
    assert "refs/tags/v1" not in git(clone, "ls-remote", "--tags", "origin")
    git(clone, "fsck", "--strict")
    gateway.clone(tmp_path / "slice", name="docs")
    assert git(tmp_path / "slice", "tag") == ""
