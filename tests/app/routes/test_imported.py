"""The API on an imported history: reads at any commit, and paths and messages that are not UTF-8."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from base64 import b64decode, b64encode
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from storage.base.settings import Settings
from storage.importing import import_history
from storage.repository import Repository
from tasks.upkeep import run as run_upkeep
from tests.support.api import Api, walk
from tests.support.git_repository import GitRepository
from tests.support.histories import LATIN, large, odd
from tests.support.world import World


@pytest.fixture
def imported(settings: Settings, unsent: SimpleQueue[str], tmp_path: Path) -> tuple[Api, GitRepository]:
    return _imported(settings, large(tmp_path / "repo", 40, files=12))


def _imported(settings: Settings, source: GitRepository) -> tuple[Api, GitRepository]:
    repo = Repository(settings)
    import_history(repo, source.path)
    run_upkeep(repo)
    return Api(settings, World(repo)), source


def listed(source: GitRepository, commit: str) -> dict[bytes, tuple[str, str, int | None]]:
    """Return what Git lists at a commit: mode, id and size by path."""
    rows = source.git("-c", "core.quotePath=true", "ls-tree", "-r", "-l", commit)
    files = {}
    for row in rows.splitlines():
        about, _, path = row.partition("\t")
        mode, _, oid, size = about.split()
        raw = LATIN if path.startswith('"na') else path.encode()
        files[raw] = (mode, oid, None if size == "-" else int(size))
    return files


def shown(item: dict[str, Any]) -> bytes:
    assert ("path" in item) != ("path_base64" in item)
    return item["path"].encode() if "path" in item else b64decode(item["path_base64"])


def test_every_list_of_files_is_git_s_at_any_commit(imported: tuple[Api, GitRepository]) -> None:
    api, source = imported
    root = source.git("rev-list", "--max-parents=0", "HEAD").split()[-1]
    for commit in (source.git("rev-parse", "HEAD"), source.git("rev-parse", "HEAD~20"), root):
        expected = listed(source, commit)
        files = {shown(each): each for each in walk(api, "/slices/all/tree", commit=commit)}
        assert {path: (each["mode"], each["id"], each["size"]) for path, each in files.items()} == expected
        answer = api.http.get(
            f"/v1/slices/all/tree?commit={commit}&sizes=true", headers={"Accept": "application/x-ndjson"}
        )
        lines = [json.loads(line) for line in answer.data.splitlines()]
        files = {shown(each): each for each in lines if "mode" in each}
        assert {path: (each["mode"], each["id"], each["size"]) for path, each in files.items()} == expected
        for path, (mode, oid, _) in expected.items():
            if mode.startswith("100") and path != LATIN:
                content = api.http.get(f"/v1/slices/all/files/{path.decode()}?commit={commit}")
                assert content.status_code == 200 and content.get_etag()[0] == oid
                assert content.data.decode().strip() == source.git("cat-file", "blob", oid)


def test_archives_have_the_bytes_of_names_and_contents(imported: tuple[Api, GitRepository]) -> None:
    api, source = imported
    for commit in ("HEAD", "HEAD~20"):
        oid = source.git("rev-parse", commit)
        files = {path for path, (mode, _, _) in listed(source, oid).items() if mode != "160000"}
        answer = api.http.get(f"/v1/slices/all/files?commit={oid}&format=tar")
        with tarfile.open(fileobj=io.BytesIO(answer.data), encoding="utf-8", errors="surrogateescape") as tar:
            names = {member.name.encode(errors="surrogateescape") for member in tar if not member.isdir()}
            member = tar.extractfile("dir0/sub/file0.txt")
            assert member and member.read().decode().strip() == source.git("show", f"{oid}:dir0/sub/file0.txt")
        assert names == files
        answer = api.http.get(f"/v1/slices/all/files?commit={oid}&format=zip")
        with zipfile.ZipFile(io.BytesIO(answer.data)) as packed:
            assert packed.testzip() is None
            names = [info for info in packed.infolist() if not info.is_dir()]
            assert len({*names}) >= len(files)


def test_an_old_commit_is_a_base_and_what_is_put_by_id_is_found(imported: tuple[Api, GitRepository]) -> None:
    api, source = imported
    old = source.git("rev-parse", "HEAD~15")
    blob = source.git("rev-parse", "HEAD~25:dir1/sub/file1.txt")
    changes = [{"op": "put", "path": "copy", "id": blob}, {"op": "put", "path": "new", "content": "1\n"}]
    made = api.submit(base=old, changes=changes)
    gone = api.submit(base=old, changes=[{"op": "delete", "path": "run.sh"}])
    api.world.work()
    for each in (made, gone):
        assert api.get(f"/changesets/{each['id']}")["status"] == "landed"
    copied = api.http.get("/v1/slices/all/files/copy")
    assert copied.data.decode().strip() == source.git("cat-file", "blob", blob)
    assert api.http.get("/v1/slices/all/files/run.sh").status_code == 404


def test_a_name_that_is_not_utf_8_in_the_way_is_told_as_text(
    settings: Settings, unsent: SimpleQueue[str], tmp_path: Path
) -> None:
    source = GitRepository.begun(tmp_path / "repo")
    blob = source.git("hash-object", "-w", "--stdin", stdin=b"1")
    source.git("update-index", "-z", "--index-info", stdin=b"100644 %s\tfolder/%s\0" % (blob.encode(), LATIN))
    source.git("commit", "-qm", "latin")
    api, _ = _imported(settings, source)
    made = api.put("folder", "a file in the place of a directory\n", api.tip)
    by_versions = api.submit(changes=[{"op": "put", "path": "folder", "content": "x", "base": None}])
    api.world.work()
    for each in (made, by_versions):
        told = api.get(f"/changesets/{each['id']}")
        assert told["status"] in ("conflicted", "rejected"), told
        assert "na\\xefve" in json.dumps(told).replace("\\\\", "\\") or told["status"] == "conflicted"
    assert api.get("/conflicts")["items"]


def test_messages_and_names_of_any_encoding_are_shown(
    settings: Settings, unsent: SimpleQueue[str], tmp_path: Path
) -> None:
    api, source = _imported(settings, odd(tmp_path / "repo"))
    for commit in source.git("rev-list", "HEAD").split():
        files = {shown(each) for each in walk(api, "/slices/all/tree", commit=commit)}
        assert b"README" in files or LATIN in files
    tip = source.git("rev-parse", "HEAD")
    changed = {shown(each): each["change"] for each in walk(api, f"/commits/{tip}")}
    assert changed[LATIN] == "added"
    api.put("new", "1\n")
    api.world.work()
    compared = {shown(each) for each in walk(api, f"/compare/{tip}...{api.get('/head')['main']['commit']}")}
    assert compared == {b"new"}
    [latin] = [each for each in walk(api, "/slices/all/tree") if "path_base64" in each]
    assert latin["path_base64"] == b64encode(LATIN).decode()


def test_imported_commits_are_shown_as_git_shows_them(imported: tuple[Api, GitRepository]) -> None:
    api, source = imported
    merge = source.git("rev-list", "--merges", "--max-count=1", "HEAD")
    for commit in (
        source.git("rev-parse", "HEAD~3"),
        merge,
        source.git("rev-list", "--max-parents=0", "HEAD").split()[0],
    ):
        told = api.get(f"/commits/{commit}")
        assert told["kind"] == "imported" and told["tree"] == source.git("rev-parse", f"{commit}^{{tree}}")
        assert told["parents"] == source.git("rev-list", "--parents", "--max-count=1", commit).split()[1:]
        parent = told["parents"][0] if told["parents"] else source.git("hash-object", "-t", "tree", "/dev/null")
        paths = source.git("diff-tree", "-r", "--name-only", "--no-renames", "-z", parent, commit).split("\0")
        assert {shown(each) for each in walk(api, f"/commits/{commit}")} == {path.encode() for path in paths if path}
    api.get("/commits/" + source.git("rev-parse", "HEAD^{tree}"), 404)
    api.get("/commits/" + "12" * 20, 404)


def test_the_imported_tip_is_the_first_global_commit(imported: tuple[Api, GitRepository]) -> None:
    api, source = imported
    tip = source.git("rev-parse", "HEAD")
    assert api.get("/head")["main"]["commit"] == api.get("/head")["tip"]["commit"] == tip
    newest = api.get("/commits")["items"][0]
    assert (newest["commit"], newest["changesets"]) == (tip, 0)
    assert newest["parents"] == source.git("rev-parse", "HEAD^@").split()
    assert api.get(f"/commits/{tip}/changesets")["items"] == []
    api.put("new", "1\n")
    api.world.work()
    landed = api.get("/commits")["items"][0]
    assert landed["parents"][0] == tip
    [act] = [act for act in api.get("/audit")["items"] if act["action"] == "repository.import"]
    assert (act["actor"], act["commit"]) == ("sluice:import", tip)
