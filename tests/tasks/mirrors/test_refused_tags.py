"""A tag that a mirror's server does not take is told, and holds nothing up."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from storage.base.settings import Settings
from storage.queue import MirrorProgress
from tests.support.git_server import GitServer
from tests.support.mirrored import Mirrored, tag

# Of one ref, of all that come with it, and a server that dies of it and says nothing.
EACH = ("update", 'case "$1" in refs/tags/bad*) exit 1;; esac')
_EVERY = 'while read old new ref; do case "$ref" in refs/tags/bad*) {};; esac; done'
ALL = ("pre-receive", _EVERY.format("echo no bad tags; exit 1"))
DEATH = ("pre-receive", _EVERY.format("kill -9 $PPID; exit 1"))


def progress_of(mirrored: Mirrored) -> MirrorProgress:
    progress = mirrored.standing.progress
    assert progress
    return progress


@pytest.mark.parametrize(("hook", "said"), [(EACH, "hook declined"), (ALL, "no bad tags"), (DEATH, "bad")],
                         ids=["itself", "all with it", "in silence"])  # fmt: skip
def test_the_branch_goes_on_and_so_do_other_tags(
    mirrored: Mirrored, server: GitServer, hook: tuple[str, str], said: str
) -> None:
    name, script = hook
    server.hook(script, name)
    first = mirrored.land("a")
    for each in ("bad1", "bad2", *(f"good{number}" for number in range(3))):
        tag(mirrored, each, first)
    with capture_logs() as logs:
        mirrored.push()
        if hook is DEATH:
            mirrored.push()  # the first was a push of everything, of which nobody knows what became
    assert server.at() == first, "the branch is there"
    told = [each for each in logs if each["event"] == "mirror_tags_refused"]
    assert told and said in told[-1]["detail"] and told[-1]["log_level"] == "warning"
    for number in range(2):
        tip = mirrored.land(f"b{number}")
        mirrored.push()
        assert server.at() == tip
        assert (mirrored.standing.state, progress_of(mirrored).failed) == ("current", 0)
    for _ in range(200):
        if progress_of(mirrored).refused_tags == 2:
            break
        mirrored.push()
    assert [server.at(f"refs/tags/good{number}") for number in range(3)] == [first] * 3
    assert server.at("refs/tags/bad1") == "" == server.at("refs/tags/bad2")
    shown = mirrored.standing.as_json()
    assert shown["refused_tags"] == 2 and shown["refused_tags_detail"].startswith("bad") and shown["error"] is None
    tag(mirrored, "new", first)
    mirrored.push()
    assert server.at("refs/tags/new") == first, "one that is made later goes at once"
    server.hook(None, name)
    for _ in range(200):
        if not progress_of(mirrored).refused_tags:
            break
        mirrored.push()
    assert server.at("refs/tags/bad1") == first == server.at("refs/tags/bad2")
    assert mirrored.standing.as_json()["refused_tags_detail"] is None


def test_what_was_refused_is_tried_again_only_after_a_while(
    settings: Settings, server: GitServer, tmp_path: Path
) -> None:
    mirrored = Mirrored(settings, server, tmp_path, mirror_check=3600.0)
    mirrored.make()
    first = mirrored.land("a")
    tag(mirrored, "bad", first)
    server.hook(EACH[1] + "\n" + 'echo "$1" >> pushed', "update")

    def pushed() -> list[str]:
        return (server.repository / "pushed").read_text().split()

    mirrored.push()
    for number in range(3):
        tip = mirrored.land(f"b{number}")
        mirrored.push()
        assert server.at() == tip
    server.hook('echo "$1" >> pushed', "update")
    mirrored.land("c")
    mirrored.push()
    tag(mirrored, "new", first)
    mirrored.push()
    assert pushed() == ["refs/heads/main"] * 5 + ["refs/tags/new"]
    assert progress_of(mirrored).refused_tags == 1


def test_a_server_that_refuses_the_branch_too_is_tried_again_later(mirrored: Mirrored, server: GitServer) -> None:
    server.hook("echo nothing at all >&2; exit 1")
    first = mirrored.land("a")
    tag(mirrored, "v1", first)
    for number in range(1, 4):
        mirrored.push()
        assert (progress_of(mirrored).error, progress_of(mirrored).failed) == ("refused", number)
    server.hook(None)
    mirrored.push()
    assert server.at() == first == server.at("refs/tags/v1") and mirrored.standing.state == "current"
