"""What lands is at a mirror's server soon, forward only, and whatever the server does, nothing is lost or forced."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace as changed
from structlog.testing import capture_logs

from storage.base.settings import Settings
from storage.git.run_git import Git
from storage.mirrors.records import Mirror, Stopped
from storage.mirrors.remote import Remote
from storage.operations.git import mirrors
from storage.operations.slices import define
from storage.operations.slices import delete as delete_slice
from tasks.mirrors.due import due
from tasks.mirrors.push import push
from tests.support.git_repository import environments
from tests.support.git_server import PASSWORD, GitServer, git_server
from tests.support.mirrored import NAME, REF, WHO, Mirrored, tag
from tests.support.waiting import await_true


def test_what_landed_is_there_with_the_same_commits(mirrored: Mirrored, server: GitServer) -> None:
    mirrored.land("a", message="First\n\nWith a body.\n")
    assert due(mirrored.repo) == [NAME]
    mirrored.push()
    tip = mirrored.land("b")
    assert server.at() != tip and mirrored.standing.state == "behind" and mirrored.standing.commits == 1
    mirrored.push()
    assert server.at() == tip
    with mirrored.source.ready(mirrored.mirror, mirrored.repo.view.head()) as own:
        assert (
            server.git("log", "--format=%H %T %an %ae %at %s%n%b", "main")
            == Git(own).output("log", "--format=%H %T %an %ae %at %s%n%b", "main").decode().strip()
        )
    server.git("fsck", "--strict")
    standing = mirrored.standing
    assert (standing.state, standing.commits, standing.seconds) == ("current", 0, 0.0)
    assert standing.progress and standing.progress.remote == tip


def test_a_server_that_has_everything_is_asked_again_only_after_a_while(
    settings: Settings, server: GitServer, tmp_path: Path
) -> None:
    mirrored = Mirrored(settings, server, tmp_path, mirror_check=3600.0)
    mirrored.make()
    mirrored.land("a")
    mirrored.push()
    asked = len(server.requests())
    assert due(mirrored.repo) == []
    mirrors.create(mirrored.repo, Mirror(name="other", url=server.url, ref="refs/heads/x"), WHO)  # an entry, no landing
    mirrored.push()
    assert len(server.requests()) == asked
    mirrored.land("b")
    mirrored.push()
    assert len(server.requests()) > asked


def test_pushes_to_one_mirror_are_so_far_apart(settings: Settings, server: GitServer, tmp_path: Path) -> None:
    mirrored = Mirrored(settings, server, tmp_path, mirror_interval=3600.0)
    mirrored.make()
    mirrored.land("a")
    assert mirrored.push()
    first = server.at()
    mirrored.land("b")
    assert due(mirrored.repo) == [] and mirrored.push() == "" and server.at() == first
    mirrors.resume(mirrored.repo, NAME, WHO)  # somebody wants it now
    assert mirrored.push() and server.at() != first


def test_a_long_history_is_pushed_in_steps(settings: Settings, server: GitServer, tmp_path: Path) -> None:
    mirrored = Mirrored(settings, server, tmp_path, mirror_commits=2)
    mirrored.make()
    for i in range(4):
        tip = mirrored.land(f"f{i}")
    seen = []
    while server.at() != tip:
        mirrored.push()
        seen.append(int(server.git("rev-list", "--count", "main")))
    assert seen == [2, 4, 5], "the first commit is the repository's own"
    assert mirrored.standing.state == "current"


def test_no_process_of_git_has_the_secrets_of_the_sender(
    mirrored: Mirrored, server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tip = mirrored.land("a")
    monkeypatch.setenv("SLUICE_S3_SECRET_KEY", "a hidden word")
    seen = environments(tmp_path, monkeypatch)
    mirrored.push()
    assert server.at() == tip
    told = seen.read_text()
    assert {"word push", "word ls-remote", "word rev-parse", "word for-each-ref"} <= set(told.splitlines())
    assert "a hidden word" not in told and "SLUICE_" not in told


def test_tags_come_with_what_landed_and_are_never_moved(mirrored: Mirrored, server: GitServer) -> None:
    tip = mirrored.land("a")
    tag(mirrored, "v1", tip)
    tag(mirrored, "team/v1", tip, "A release\n")
    mirrored.push()
    assert server.at("refs/tags/v1") == tip and server.at() == tip
    assert server.git("cat-file", "-t", "team/v1") == "tag" and server.git("rev-parse", "team/v1^{}") == tip
    assert server.git("tag", "-l", "--format=%(contents:subject) %(taggername)", "team/v1") == "A release Ada"
    other = server.push_over({"x": "y"}, parent=tip)
    server.git("update-ref", "refs/heads/main", tip)
    server.git("update-ref", "refs/tags/v2", other)
    tag(mirrored, "v2", tip)
    tag(mirrored, "v3", tip)
    mirrored.push()
    assert server.at("refs/tags/v2") == other and server.at("refs/tags/v3") == tip
    assert mirrored.standing.progress and mirrored.standing.progress.other_tags == 1
    assert mirrored.standing.state == "current", "a tag of the server's own holds nothing up"


def test_a_slice_is_pushed_as_its_own_history(settings: Settings, server: GitServer, tmp_path: Path) -> None:
    mirrored = Mirrored(settings, server, tmp_path)
    docs = define(mirrored.repo, "docs", ["docs/"])
    mirrored.make(slice=docs.id)
    mirrored.land("secret/plan", "hidden\n")
    assert mirrored.push() == "" and server.at() == "", "nothing of the slice has landed"
    mirrored.land("docs/a")
    mirrored.push()
    mirrored.land("secret/plan", "hidden 2\n")
    mirrored.push()
    assert server.git("log", "--format=%s", "--name-only", "main").split() == ["Change", "things", "docs/a"]
    assert "hidden" not in server.git("log", "-p", "main") and mirrored.standing.state == "current"
    delete_slice(mirrored.repo, docs.id)
    mirrored.land("b")
    with pytest.raises(Exception, match="deleted"):
        mirrored.push()


def test_a_server_that_has_other_commits_stops_its_mirror_and_keeps_them(mirrored: Mirrored, server: GitServer) -> None:
    tip = mirrored.land("a")
    mirrored.push()
    theirs = server.push_over({"theirs": "1"}, parent=tip)
    mirrored.land("b")
    with capture_logs() as logs:
        mirrored.push()
    assert server.at() == theirs, "nothing is overwritten"
    assert mirrored.mirror.stopped == Stopped.DIVERGED and theirs in mirrored.mirror.detail
    assert [each["event"] for each in logs if each["log_level"] == "error"] == ["mirror_diverged"]
    assert due(mirrored.repo) == [] and mirrored.push() == ""
    assert mirrored.standing.state == "stopped" and mirrored.standing.commits == 1
    mirrors.resume(mirrored.repo, NAME, WHO)
    mirrored.push()
    assert mirrored.mirror.stopped == Stopped.DIVERGED, "nobody has mended it"
    server.git("update-ref", "refs/heads/main", tip)
    mirrors.resume(mirrored.repo, NAME, WHO)
    mirrored.push()
    assert server.at() == mirrored.repo.view.head().tip and mirrored.standing.state == "current"


def test_a_server_with_an_unrelated_history_is_not_touched(mirrored: Mirrored, server: GitServer) -> None:
    theirs = server.push_over({"README": "mine\n"})
    mirrored.land("a")
    mirrored.push()
    assert server.at() == theirs and mirrored.mirror.stopped == Stopped.DIVERGED


def test_a_branch_that_was_forced_back_is_seen_also_while_nothing_lands(mirrored: Mirrored, server: GitServer) -> None:
    first = mirrored.land("a")
    tip = mirrored.land("b")
    mirrored.push()
    server.git("update-ref", "refs/heads/main", first)
    mirrored.push()
    assert server.at() == tip, "what is only behind goes forward again"
    forced = server.push_over({"c": "d"}, parent=first)
    mirrored.push()
    assert server.at() == forced and mirrored.mirror.stopped == Stopped.DIVERGED


def test_a_branch_that_moves_between_question_and_push_is_not_overwritten(
    mirrored: Mirrored, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tip = mirrored.land("a")
    mirrored.push()
    mirrored.land("b")
    asked = Remote.refs

    def refs(self: Remote, *arguments: Any) -> dict[str, str]:
        there = asked(self, *arguments)
        server.push_over({"theirs": "1"}, parent=tip)
        return there

    monkeypatch.setattr(Remote, "refs", refs)
    mirrored.push()
    theirs = server.at()
    assert theirs not in (tip, mirrored.repo.view.head().tip)
    assert mirrored.standing.progress and mirrored.standing.progress.error == "moved"
    monkeypatch.undo()
    mirrored.push()
    assert server.at() == theirs and mirrored.mirror.stopped == Stopped.DIVERGED


def test_while_much_lands_the_server_is_not_asked_before_each_push_and_nothing_is_overwritten_all_the_same(
    settings: Settings, server: GitServer, tmp_path: Path
) -> None:
    mirrored = Mirrored(settings, server, tmp_path, mirror_check=3600.0)
    mirrored.make()
    mirrored.land("a")
    mirrored.push()
    asked = len([each for each in server.requests() if "upload-pack" in each["path"]])
    tip = mirrored.land("b")
    mirrored.push()
    assert server.at() == tip
    assert len([each for each in server.requests() if "upload-pack" in each["path"]]) == asked
    theirs = server.push_over({"theirs": "1"}, parent=tip)
    mirrored.land("c")
    mirrored.push()
    assert server.at() == theirs and mirrored.mirror.stopped == Stopped.DIVERGED


def test_a_run_that_is_early_waits_and_pushes_what_landed_meanwhile(
    settings: Settings, server: GitServer, tmp_path: Path
) -> None:
    mirrored = Mirrored(settings, server, tmp_path, mirror_interval=3600.0, mirror_look=7200.0)
    mirrored.make()
    mirrored.land("a")
    mirrored.push()
    mirrored.land("b")
    assert due(mirrored.repo) == [NAME]

    class Clock(threading.Event):
        """The time is over at once, and something has landed."""

        waited = 0.0

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout
            self.waited = timeout
            mirrored.land("c")
            return False

    clock = Clock()
    assert push(mirrored.repo, NAME, mirrored.source, clock)
    assert 0 < clock.waited <= 3600 and server.at() == mirrored.repo.view.head().tip
    mirrored.land("d")
    stopping = threading.Event()
    stopping.set()
    assert push(mirrored.repo, NAME, mirrored.source, stopping) == "", "the node is stopped meanwhile"


def error_of(mirrored: Mirrored) -> str:
    mirrored.push()
    progress = mirrored.standing.progress
    assert progress and progress.failed and mirrored.standing.state == "failing"
    return progress.error


def test_whatever_a_server_does_it_is_tried_again_and_has_everything_then(
    settings: Settings, server: GitServer, tmp_path: Path
) -> None:
    mirrored = Mirrored(settings, server, tmp_path, mirror_timeout=2.0)
    mirrored.make()
    mirrored.land("a")
    server.stop()
    assert error_of(mirrored) == "connection"
    server.start()
    for behaviour, word in (
        ({"status": 500}, "unavailable"),
        ({"status": 429}, "rate-limited"),
        ({"status": 403}, "forbidden"),
        ({"status": 404}, "not-found"),
        ({"redirect": "http://127.0.0.1:9"}, "redirect"),
        ({"password": "another"}, "unauthorized"),
        ({"silent": True}, "timeout"),
        ({"hold_push": True}, "timeout"),
    ):
        server.behave(**behaviour)
        assert error_of(mirrored) == word, behaviour
    server.behave()
    server.hook("echo no pushes on Sundays >&2; exit 1")
    assert error_of(mirrored) == "refused"
    progress = mirrored.standing.progress
    assert progress and "no pushes on Sundays" in progress.detail and progress.failed == 10
    assert mirrored.mirror.stopped is None
    server.hook(None)
    mirrored.push()
    assert server.at() == mirrored.repo.view.head().tip and mirrored.standing.state == "current"


def test_waits_between_tries_double_up_to_a_limit(settings: Settings, server: GitServer, tmp_path: Path) -> None:
    mirrored = Mirrored(settings, server, tmp_path, mirror_interval=100.0, mirror_wait=350.0)
    mirrored.make()
    mirrored.land("a")
    server.stop()
    for failed, least in enumerate((100, 200, 350, 350), 1):
        began = time.time()
        mirrored.push()
        progress = mirrored.standing.progress
        assert progress and progress.failed == failed
        assert began + least <= progress.due <= time.time() + 1.2 * least
        mirrored.repo.mirrors.save(NAME, changed(progress, due=0.0))


def test_a_git_that_hangs_is_killed_with_all_that_it_started(
    settings: Settings, server: GitServer, tmp_path: Path
) -> None:
    mirrored = Mirrored(settings, server, tmp_path, mirror_timeout=1.0)
    mirrored.make()
    mirrored.land("a")
    server.behave(silent=True)
    assert error_of(mirrored) == "timeout"
    await_true(lambda: not [each for each in gits() if server.url in " ".join(each)])


def is_pushing(server: GitServer) -> bool:
    return any("receive-pack" in each["path"] and not each["status"] for each in server.requests())


def gits() -> list[list[str]]:
    return [each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"]]


def test_a_password_is_in_no_argument_variable_log_entry_row_or_url(mirrored: Mirrored, server: GitServer) -> None:
    mirrored.land("a")
    server.behave(hold_push=True)
    with capture_logs() as logs:
        thread = threading.Thread(target=mirrored.push)
        thread.start()
        try:
            await_true(lambda: is_pushing(server))
            seen = [psutil.Process(os.getpid()), *psutil.Process(os.getpid()).children(recursive=True)]
            ours = [each for each in seen if any("git" in part for part in each.cmdline())]
            assert len(ours) > 1, "Git is at work"
            told = [text for each in ours for text in (*each.cmdline(), *each.environ().values())]
        finally:
            server.behave()
            thread.join()
        server.behave(password="another")
        mirrored.land("b")
        mirrored.push()
        server.behave(status=500, says=f"your password {PASSWORD} is bad")
        mirrored.push()
        server.behave()
        server.hook(f"echo {PASSWORD} >&2; exit 1")
        mirrored.push()
    told.append(repr(logs))
    told += [mirrored.repo.bucket.get(key).decode() for key in mirrored.repo.bucket.list_keys("log/")]
    redis = mirrored.repo.redis
    told += [str(redis.dump(key)) for key in redis.scan_iter("*mirror*")]
    told += [repr(mirrored.standing.as_json())]
    told += [path.read_text(errors="replace") for path in (mirrored.folder / "clones").rglob("*") if path.is_file()
             and path.suffix not in (".pack", ".idx")]  # fmt: skip
    quoted = PASSWORD.replace("/", "%2F").replace("+", "%2B").replace(":", "%3A")
    for secret in (PASSWORD, quoted):
        assert not [text for text in told if secret in text]
    assert "***" in repr(logs), "the server did say it"


def test_a_file_of_credentials_that_others_can_read_is_not_used(mirrored: Mirrored, server: GitServer) -> None:
    mirrored.land("a")
    file = Path(mirrored.settings.mirror_credentials)
    file.chmod(0o644)
    assert error_of(mirrored) == "credentials"
    assert server.requests() == []
    file.chmod(0o600)
    mirrored.push()
    assert server.at()


def test_a_password_that_is_refused_stays_in_the_file(mirrored: Mirrored, server: GitServer) -> None:
    mirrored.land("a")
    before = Path(mirrored.settings.mirror_credentials).read_bytes()
    server.behave(password="another")
    assert error_of(mirrored) == "unauthorized"
    assert Path(mirrored.settings.mirror_credentials).read_bytes() == before


def test_a_password_goes_to_no_other_server_than_its_own(settings: Settings, server: GitServer, tmp_path: Path) -> None:
    with git_server(tmp_path / "other") as other:
        mirrored = Mirrored(settings, server, tmp_path)
        mirrored.make()
        mirrored.land("a")
        server.behave(redirect=f"http://127.0.0.1:{other.port}")
        assert error_of(mirrored) == "redirect"
        assert other.requests() == []
        mirrors.create(mirrored.repo, Mirror(name="other", url=other.url, ref=REF), WHO)
        push(mirrored.repo, "other", mirrored.source, threading.Event())
        assert {each["status"] for each in other.requests()} == {401}, "no password was sent there"


def test_a_name_of_a_private_address_is_not_called(settings: Settings, server: GitServer, tmp_path: Path) -> None:
    mirrored = Mirrored(settings, server, tmp_path, mirror_private_targets=False)
    url = f"https://localhost:{server.port}/code.git"
    mirrors.create(mirrored.repo, Mirror(name=NAME, url=url, ref=REF), WHO)
    mirrored.land("a")
    assert error_of(mirrored) == "private-target" and server.requests() == []


def test_two_runs_at_once_push_once(mirrored: Mirrored, server: GitServer) -> None:
    mirrored.land("a")
    server.behave(hold_push=True)
    first: list[str] = []
    thread = threading.Thread(target=lambda: first.append(mirrored.push()))
    thread.start()
    await_true(lambda: is_pushing(server))
    assert mirrored.push() == "", "somebody else is at it"
    server.behave()
    thread.join()
    assert first[0].startswith("pushed ")
    pushes = [each for each in server.requests() if each["method"] == "POST" and "receive-pack" in each["path"]]
    assert len([each for each in pushes if each["status"] == 200]) == 1


def test_without_redis_the_server_says_how_far_it_is(mirrored: Mirrored, server: GitServer) -> None:
    mirrored.land("a")
    mirrored.push()
    mirrored.repo.mirrors.forget(NAME)
    assert mirrored.standing.state == "unknown"
    pushes = len([each for each in server.requests() if each["method"] == "POST" and "receive-pack" in each["path"]])
    mirrored.push()
    after = len([each for each in server.requests() if each["method"] == "POST" and "receive-pack" in each["path"]])
    assert mirrored.standing.state == "current" and after == pushes


def test_clones_that_are_lost_are_made_again(mirrored: Mirrored, server: GitServer) -> None:
    mirrored.land("a")
    mirrored.push()
    shutil.rmtree(mirrored.folder / "clones")
    tip = mirrored.land("b")
    mirrored.push()
    assert server.at() == tip


def test_a_deleted_mirror_is_not_pushed_to(mirrored: Mirrored, server: GitServer) -> None:
    mirrored.land("a")
    mirrors.delete(mirrored.repo, NAME, WHO)
    assert due(mirrored.repo) == [] and mirrored.push() == "" and server.requests() == []
    assert server.at() == ""
