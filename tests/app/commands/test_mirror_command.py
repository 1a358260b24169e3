"""`sluice mirror`: what it prints, and how `follow` takes the commits of another server, each once and in order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.client.api_client import Client, ProblemError
from storage.base.settings import Settings
from storage.mirrors.remote import RemoteFailed
from tests.support.api import Api, Json
from tests.support.collisions import Run, runner
from tests.support.git_repository import GitRepository, environments
from tests.support.git_server import PASSWORD, GitServer, credentials, git_server
from tests.support.principals import ROOT_TOKEN, grants, principal, secured
from tests.support.waiting import await_true as until

FOLLOW = ("mirror", "follow", "source", "--once", "--folder")


@pytest.fixture
def api(settings: Settings, unsent: object) -> Api:
    return Api(replace(settings, mirror_folder="/nowhere", mirror_private_targets=True))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with git_server(tmp_path / "server") as server:
        yield server


@pytest.fixture
def run(api: Api, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setenv("SLUICE_MIRROR_PRIVATE_TARGETS", "yes")
    monkeypatch.setenv("SLUICE_MIRROR_CREDENTIALS", str(credentials(tmp_path, server)))
    with runner(api, monkeypatch) as run:
        yield run


@pytest.fixture
def theirs(tmp_path: Path, server: GitServer) -> GitRepository:
    """A clone of somebody who works at the other server."""
    made = GitRepository.begun(tmp_path / "theirs")
    made.git("remote", "add", "origin", str(server.repository))
    made.git("push", "--quiet", "origin", "HEAD:refs/heads/main")
    return made


def push(theirs: GitRepository, *options: str) -> str:
    theirs.git("push", "--quiet", *options, "origin", "HEAD:refs/heads/main")
    return theirs.git("rev-parse", "HEAD")


@contextmanager
def worker(api: Api) -> Iterator[None]:
    """Commit what is submitted, as workers do."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(0.02):
            api.world.work()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def files(api: Api) -> dict[str, str]:
    return {path: content.decode() for path, content in api.world.files().items()}


def history(api: Api) -> list[Json]:
    return api.get("/slices/all/commits")["items"]


def test_a_mirror_from_its_creation_to_its_end(run: Run) -> None:
    url = "https://git.example/team/code.git"
    assert run("mirror", "add", "host", url).stdout == f"host -> {url} refs/heads/main  unknown\n"
    with pytest.raises(ProblemError, match="user or password"):
        run("mirror", "add", "other", "https://me:hunter2@git.example/code.git")
    [listed] = run("mirror", "list", "--json").stdout.splitlines()
    assert json.loads(listed)["url"] == url
    run("mirror", "stop", "host", "--reason", "a move")
    shown = run("mirror", "status", "host", code=1).stdout
    assert "stopped (asked)" in shown and "why: a move" in shown
    run("mirror", "resume", "host")
    assert "unknown" in run("mirror", "status", "host").stdout
    run("mirror", "remove", "host")
    with pytest.raises(ProblemError, match="host"):
        run("mirror", "status", "host")


def test_commits_are_taken_once_in_order_with_their_authors(
    api: Api, run: Run, server: GitServer, theirs: GitRepository, tmp_path: Path
) -> None:
    run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all")
    theirs.write("a", "1\n")
    theirs.commit("Second\n\nWith a body.", GIT_AUTHOR_NAME="Eve", GIT_AUTHOR_EMAIL="eve@example.org")
    theirs.commit("Empty")
    theirs.write("a", "2\n")
    tip = theirs.commit("Third")
    push(theirs)
    with worker(api):
        assert json.loads(run(*FOLLOW, tmp_path / "f", "--json").stdout) == {"name": "source", "taken": 4}
        assert json.loads(run(*FOLLOW, tmp_path / "f", "--json").stdout)["taken"] == 0
        # On another machine, with nothing in Redis: it goes on where it was.
        api.http.application.extensions["sluice"].repo.mirrors.forget("source")
        assert json.loads(run(*FOLLOW, tmp_path / "g", "--json").stdout)["taken"] == 0
    assert files(api) == {"README": "first\n", "a": "2\n"}
    taken = history(api)
    assert [each["message"].partition("\n")[0] for each in taken] == ["Begin", "Second", "Third"]
    assert taken[1]["author"]["name"] == "Eve" and "With a body." in taken[1]["message"]
    assert taken[-1]["labels"] == {"mirror": "source", "upstream": tip}
    shown = api.get("/mirrors/source")
    assert (shown["state"], shown["remote"], shown["local"]) == ("current", tip, tip)


def test_no_process_of_git_has_the_secrets_of_the_one_that_follows(
    api: Api, run: Run, server: GitServer, theirs: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all")
    monkeypatch.setenv("SLUICE_S3_SECRET_KEY", "a hidden word")
    seen = environments(tmp_path, monkeypatch)
    with worker(api):
        assert "1 commits taken" in run(*FOLLOW, tmp_path / "f").stderr
    told = seen.read_text()
    assert {"word fetch", "word rev-list", "word cat-file"} <= set(told.splitlines()), "all of them have told theirs"
    assert "a hidden word" not in told and "SLUICE_" not in told


def test_a_merge_is_one_changeset_against_its_first_parent(
    api: Api, run: Run, server: GitServer, theirs: GitRepository, tmp_path: Path
) -> None:
    run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all")
    theirs.git("checkout", "--quiet", "-b", "topic")
    for number in "12":
        theirs.write("topic", number)
        theirs.commit(f"Topic {number}")
    theirs.git("checkout", "--quiet", "main")
    theirs.write("line", "1\n")
    theirs.commit("On the line")
    theirs.git("merge", "--quiet", "--no-ff", "-m", "Merge topic", "topic")
    push(theirs)
    with worker(api):
        run(*FOLLOW, tmp_path / "f")
    assert files(api) == {"README": "first\n", "line": "1\n", "topic": "2"}
    subjects = [each["message"].partition("\n")[0] for each in history(api)]
    assert subjects == ["Begin", "On the line", "Merge topic"]


def test_it_begins_behind_a_commit_whose_files_are_here(
    api: Api, run: Run, server: GitServer, theirs: GitRepository, tmp_path: Path
) -> None:
    api.put("README", "first\n")
    api.world.work()
    start = theirs.git("rev-parse", "HEAD")
    theirs.write("README", "second\n")
    theirs.commit("Second")
    push(theirs)
    run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all", "--start", start)
    with worker(api):
        assert json.loads(run(*FOLLOW, tmp_path / "f", "--json").stdout)["taken"] == 1
    assert files(api) == {"README": "second\n"}


def test_a_conflict_stops_it_there_and_it_goes_on_when_that_is_resolved(
    api: Api, run: Run, server: GitServer, theirs: GitRepository, tmp_path: Path
) -> None:
    run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all")
    with worker(api):
        run(*FOLLOW, tmp_path / "f")
        api.put("README", "ours\n")
        theirs.write("README", "theirs\n")
        commit = theirs.commit("Their README")
        theirs.write("later")
        theirs.commit("Later")
        push(theirs)
        told = run(*FOLLOW, tmp_path / "f", code=1)
        assert f"commit {commit} is changeset" in told.stderr and "README" in told.stderr
        stopped = api.get("/mirrors/source")
        assert stopped["stopped"] == "conflict" and commit in stopped["detail"]
        assert "later" not in files(api)
        run(*FOLLOW, tmp_path / "f", code=1)
        run("mirror", "resume", "source")
        run(*FOLLOW, tmp_path / "f", code=1)  # nobody has resolved it
        [conflict] = api.get("/conflicts")["items"]
        api.post(f"/changesets/{conflict['id']}/resolve", {"paths": {"README": {"take": "theirs"}}}, 202)
        run("mirror", "resume", "source")
        run(*FOLLOW, tmp_path / "h")
    assert files(api) == {"README": "theirs\n", "later": "content\n"}
    assert api.get("/mirrors/source")["state"] == "current" and len(history(api)) == 4


def undecided(api: Api, monkeypatch: pytest.MonkeyPatch, then: Callable[[int], object]) -> list[str]:
    """Have the time over at once in which a changeset is waited for; `then` is called with the number of the wait."""
    waits: list[str] = []

    def await_final(client: Client, changeset: str, until: str, timeout: float) -> Json:
        waits.append(changeset)
        then(len(waits))
        return client.changeset(changeset, None, until)

    monkeypatch.setattr("app.commands.operator.mirror.await_final", await_final)
    return waits


def test_while_nothing_is_committed_it_waits_and_then_goes_on(
    api: Api, run: Run, server: GitServer, theirs: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all")
    theirs.write("a", "1\n")
    tip = theirs.commit("Second")
    push(theirs)
    shown = []

    def then(number: int) -> None:
        shown.append(api.get("/mirrors/source"))
        if number > 4:
            api.world.work()

    waits = undecided(api, monkeypatch, then)
    assert "2 commits taken" in run(*FOLLOW, tmp_path / "f").stderr
    assert len(set(waits[:5])) == 1 and len(waits) == 6, "the first one is waited for, the second one once"
    assert {(each["stopped"], each["behind"]["commits"]) for each in shown} == {(None, 2)}
    assert shown[4]["looked_at"] >= shown[1]["looked_at"] > shown[0]["created_at"]
    assert files(api) == {"README": "first\n", "a": "1\n"} and api.get("/mirrors/source")["local"] == tip


def test_one_that_waits_can_be_stopped(
    api: Api, run: Run, server: GitServer, theirs: GitRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all")

    def then(number: int) -> None:
        if number == 2:
            api.post("/mirrors/source/stop", {"reason": "asked", "detail": "for now"}, 200)

    waits = undecided(api, monkeypatch, then)
    assert "source is stopped (asked): for now" in run(*FOLLOW, tmp_path / "f", code=1).stderr
    assert len(waits) == 2 and api.get("/mirrors/source")["stopped"] == "asked"


def test_a_conflict_that_is_closed_by_hand_leaves_its_commit_out(
    api: Api, run: Run, server: GitServer, theirs: GitRepository, tmp_path: Path
) -> None:
    run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all")
    with worker(api):
        run(*FOLLOW, tmp_path / "f")
        api.put("README", "ours\n")
        theirs.write("README", "theirs\n")
        theirs.commit("Their README")
        theirs.write("later")
        theirs.commit("Later")
        push(theirs)
        run(*FOLLOW, tmp_path / "f", code=1)
        [conflict] = api.get("/conflicts")["items"]
        api.post(f"/changesets/{conflict['id']}/abandon", {}, 200)
        run("mirror", "resume", "source")
        run(*FOLLOW, tmp_path / "f")
    assert files(api) == {"README": "ours\n", "later": "content\n"}


def test_a_branch_that_is_forced_stops_it(
    api: Api, run: Run, server: GitServer, theirs: GitRepository, tmp_path: Path
) -> None:
    run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all")
    with worker(api):
        theirs.write("a", "1\n")
        old = theirs.commit("Second")
        push(theirs)
        run(*FOLLOW, tmp_path / "f")
        theirs.git("reset", "--quiet", "--hard", "HEAD~1")
        theirs.write("a", "another\n")
        theirs.commit("Another second")
        push(theirs, "--force")
        for folder in ("f", "g"):  # with what was fetched before, and without
            told = run(*FOLLOW, tmp_path / folder, code=1)
            assert old in told.stderr and api.get("/mirrors/source")["stopped"] == "diverged"
            run("mirror", "resume", "source")
        theirs.git("reset", "--quiet", "--hard", old)
        push(theirs, "--force")
        run(*FOLLOW, tmp_path / "f")
    assert files(api)["a"] == "1\n" and api.get("/mirrors/source")["state"] == "current"


def test_a_server_that_is_down_or_refuses_is_told_and_has_no_password_said(
    api: Api, run: Run, server: GitServer, theirs: GitRepository, tmp_path: Path
) -> None:
    run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all")
    for behaviour, word in (({"password": "x"}, "unauthorized"), ({"status": 500, "says": PASSWORD}, "unavailable")):
        server.behave(**behaviour)
        with pytest.raises(RemoteFailed) as failed:
            run(*FOLLOW, tmp_path / "f")
        shown = api.get("/mirrors/source")
        assert (shown["state"], shown["error"]) == ("failing", word)
        assert PASSWORD not in f"{failed.value} {shown}"
    server.behave()
    with worker(api):
        run(*FOLLOW, tmp_path / "f")
    assert api.get("/mirrors/source")["state"] == "current"


def test_a_mirror_to_which_is_pushed_is_not_followed(run: Run, tmp_path: Path) -> None:
    run("mirror", "add", "source", "https://git.example/code.git")
    assert "pushed" in run(*FOLLOW, tmp_path / "f", code=2).stderr


def test_labels_of_another_principal_move_no_mirror(
    settings: Settings, unsent: object, server: GitServer, theirs: GitRepository, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    root = secured(settings, mirror_folder="/nowhere", mirror_private_targets=True)
    grants(root, "mirror:source writer /", "user:eve writer /")
    monkeypatch.setenv("SLUICE_MIRROR_PRIVATE_TARGETS", "yes")
    monkeypatch.setenv("SLUICE_MIRROR_CREDENTIALS", str(credentials(tmp_path, server)))
    follower = principal(root, "mirror:source").http.environ_base["HTTP_AUTHORIZATION"].partition(" ")[2]
    eve = principal(root, "user:eve")
    with runner(root, monkeypatch) as run, worker(root):
        monkeypatch.setenv("SLUICE_TOKEN", ROOT_TOKEN)
        run("mirror", "add", "source", server.url, "--direction", "in", "--slice", "all")
        monkeypatch.setenv("SLUICE_TOKEN", follower)
        run(*FOLLOW, tmp_path / "f")
        theirs.write("fix", "of a hole\n")
        wanted = theirs.commit("Mend a hole")
        push(theirs)
        for number in range(25):  # more than are looked at
            labels = {"mirror": "source"} | ({"upstream": wanted} if number % 2 else {})
            made = eve.submit(
                changes=[{"op": "put", "path": f"eve{number}", "content": "1\n"}], base=eve.tip, labels=labels
            )
            until(lambda made=made: root.get(f"/changesets/{made['id']}")["status"] in ("committed", "landed"))
        assert json.loads(run(*FOLLOW, tmp_path / "f", "--json").stdout)["taken"] == 1
    assert files(root)["fix"] == "of a hole\n"
