"""`git archive` of an export makes the same archives, and the tools of others read ours."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.admin.export import export, git
from storage.base.settings import Settings
from storage.git.objects import Kind, object_id
from tasks import notify
from tests.support.api import Api
from tests.support.collisions import put

LONG = "/".join(["directory" * 3] * 4)
MODULE = "8d" * 20
UMASK = ("-c", "tar.umask=0002")


def archive_of(api: Api, where: str = "all", **query: str) -> bytes:
    answer = api.http.get(f"/v1/slices/{where}/files", query_string=query)
    assert answer.status_code == 200, answer.data
    return answer.data


def git_archive(folder: Path, commit: str, *paths: str) -> bytes:
    argv = ["git", *UMASK, "archive", "--format=tar", commit, *paths]
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True).stdout


@pytest.fixture
def empty(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """An API without any file."""
    monkeypatch.setattr(notify, "send", lambda app, task, token=None: None)
    api = Api(settings)
    yield api
    api.close()


@pytest.fixture
def filled(empty: Api) -> Api:
    """An API with one file of each kind."""
    api = empty
    api.post("/slices", {"name": "some", "paths": ["web/deep/", "run", f"{LONG}/"]}, 201)
    changes = [
        put("a.txt", "a\n"),
        put("empty", ""),
        put("exact", "x" * 512),
        put("large", "0123456789abcdef" * 200_000),
        put("web/deep/er/x", "x\n"),
        put("web/z", "z\n"),
        put(f"{LONG}/{'f' * 90}.txt", "fits in two parts of ustar\n"),
        put(f"top/{'n' * 200}.txt", "has a name that does not\n"),
        {"op": "put", "path": "run", "content": "#!/bin/sh\n", "mode": "100755"},
        {"op": "put", "path": "web/link", "content": "../a.txt", "mode": "120000"},
        {"op": "put", "path": "web/longlink", "content": f"../{'l' * 120}", "mode": "120000"},
        {"op": "put", "path": "web/module", "id": MODULE, "mode": "160000"},
        *[put(f"many/d{i % 7}/f{i:03}", f"{i}\n" * i) for i in range(300)],
    ]
    api.submit(base=api.tip, changes=changes)
    api.world.work()
    return api


def test_of_no_files_an_archive_is_what_git_archive_writes(empty: Api, settings: Settings, tmp_path: Path) -> None:
    export(settings, tmp_path / "all.git")
    assert archive_of(empty) == git_archive(tmp_path / "all.git", "main")
    with zipfile.ZipFile(io.BytesIO(archive_of(empty, format="zip"))) as archived:
        assert archived.namelist() == []


def test_a_tar_is_what_git_archive_writes(filled: Api, settings: Settings, tmp_path: Path) -> None:
    export(settings, tmp_path / "all.git")
    main = git(tmp_path / "all.git", "rev-parse", "main").strip()
    assert archive_of(filled) == git_archive(tmp_path / "all.git", main)
    assert archive_of(filled, prefix="web") == git_archive(tmp_path / "all.git", main, "web")
    some = git_archive(tmp_path / "all.git", main, "web/deep", "run", LONG)
    assert archive_of(filled, "some") == some
    packed = archive_of(filled, "some", format="tar.gz")
    assert subprocess.run(["gzip", "-dc"], input=packed, check=True, capture_output=True).stdout == some
    named = subprocess.run(["git", "get-tar-commit-id"], input=some, check=True, capture_output=True)
    assert named.stdout.decode().strip() == main


def test_a_zip_has_what_git_archive_puts_into_one(filled: Api, settings: Settings, tmp_path: Path) -> None:
    export(settings, tmp_path / "all.git")
    argv = ["git", "archive", "--format=zip", "main"]
    theirs = subprocess.run(argv, cwd=tmp_path / "all.git", check=True, capture_output=True).stdout
    mine = archive_of(filled, format="zip")
    with zipfile.ZipFile(io.BytesIO(theirs)) as expected, zipfile.ZipFile(io.BytesIO(mine)) as archived:
        assert archived.testzip() is None and archived.comment == expected.comment
        assert archived.namelist() == expected.namelist()
        for name in archived.namelist():
            assert archived.read(name) == expected.read(name)
            theirs_mode, mine_mode = (opened.getinfo(name).external_attr >> 16 for opened in (expected, archived))
            assert mine_mode & 0o170000 == theirs_mode & 0o170000 or not theirs_mode
            assert mine_mode & 0o100 == theirs_mode & 0o100 or not theirs_mode


@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_tar_extracts_every_file_with_its_path_mode_and_content(
    filled: Api, tmp_path: Path, form: str
) -> None:  # fmt: skip
    odd = {"ü/ß mit Leerzeichen.txt": "ü\n", "日" * 60 + "/本": "x\n", "new\nline": "y\n"}
    filled.submit(
        base=filled.tip,
        changes=[
            *[put(path, content) for path, content in odd.items()],
            {"op": "put", "path": "uml", "content": "ü/ß", "mode": "120000"},
        ],
    )
    filled.world.work()
    data = archive_of(filled, format=form)
    subprocess.run(["tar", "-xz" if form == "tar.gz" else "-x", "-f", "-", "-C", str(tmp_path)], input=data, check=True)
    for item in filled.get("/slices/all/tree", limit=1000)["items"]:
        path = tmp_path / item["path"]
        if item["mode"] == "160000":
            assert path.is_dir() and not list(path.iterdir())
            continue
        assert path.is_symlink() == (item["mode"] == "120000")
        content = path.readlink().as_posix().encode() if path.is_symlink() else path.read_bytes()
        assert object_id(Kind.BLOB, content).hex() == item["id"]
        if not path.is_symlink():
            assert bool(path.stat().st_mode & 0o100) == (item["mode"] == "100755")
    # Python's library takes names that are no pax records for what the locale says.
    with tarfile.open(fileobj=io.BytesIO(data), encoding="latin-1") as archived:
        names = set(archived.getnames())
        assert {"uml", *odd} <= names
        assert archived.getmember("uml").linkname == "ü/ß"
        assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in archived} == {(0, 0, "root", "root")}
