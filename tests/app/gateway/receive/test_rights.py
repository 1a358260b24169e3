"""What who pushes may do: paths, authors, quotas, tokens; and what a refused one learns."""

from __future__ import annotations

import os
import re
import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from app.gateway.wire.pkt_lines import FLUSH, pkt
from storage.access.tokens import hash_of
from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.api import Api
from tests.support.principals import ROOT_TOKEN, grants
from tests.support.pushing import GRANTS, LINES, WHOLE, Pushed, Pushing, pushing, token
from tests.support.waiting import await_true as until
from tests.support.world import World


def test_a_writer_pushes_and_the_log_names_it(guarded: Pushing, root: Api) -> None:
    clone = guarded.clone("docs", token=token(root, "agent:w"))
    clone.commit({"docs/b": b"1\n"})
    done = clone.push()
    assert done.ok, done.said
    outcome = guarded.world.repo.outcome(done.changesets[0])
    assert outcome and outcome.by and outcome.by.principal == "agent:w" and outcome.by.request and outcome.by.address


def test_a_reader_is_told_before_it_sends_anything(guarded: Pushing, root: Api) -> None:
    for name, where in (("docs", "docs/"), (WHOLE, "/")):
        clone = guarded.clone(name, token=token(root, "agent:r" if name == "docs" else "agent:all"))
        clone.commit({"docs/b": b"1\n"})
        done = clone.push()
        assert not done.ok and f"remote: It is not allowed: {where}: the role writer is needed" in done.said, done.said
        assert "error: 403" in done.said
    assert guarded.world.repo.queue.length() == 0


def test_a_writer_of_a_part_is_told_the_path_that_it_may_not_write(guarded: Pushing, root: Api) -> None:
    grants(root, *GRANTS, "agent:part reader docs/", "agent:part writer docs/part/")
    clone = guarded.clone("docs", token=token(root, "agent:part"))
    clone.commit({"docs/part/b": b"1\n"})
    assert clone.push().ok
    clone.commit({"docs/b": b"1\n"})
    done = clone.push()
    assert not done.ok and "docs/b: the role writer is needed" in done.said, done.said
    made = root.post("/tokens", {"principal": "agent:w", "role": "reader"}, 201).get_json(force=True)
    limited = guarded.clone("docs", token=made["token"])
    limited.commit({"docs/part/b": b"2\n"})
    done = limited.push()
    assert not done.ok and "docs/: the role writer is needed" in done.said, done.said


@pytest.mark.parametrize(("role", "is_closed"), [("writer", False), ("maintainer", True)])
def test_only_a_maintainer_closes_anothers_conflict_by_pushing_its_commit(
    guarded: Pushing, root: Api, role: str, is_closed: bool
) -> None:
    grants(root, *GRANTS, f"agent:other {role} docs/")
    own, other = (guarded.clone("docs", token=token(root, f"agent:{name}")) for name in ("w", "other"))
    for each, word in ((own, b"mine\n"), (other, b"theirs\n")):
        each.commit({"docs/a.txt": LINES.replace(b"line 3\n", word)})
    assert other.push().ok
    conflict = own.push().changesets
    other.git("fetch", "-q", str(own.path), "HEAD")
    other.git("reset", "-q", "--hard", "FETCH_HEAD")
    assert other.push("-o", "strategy=ours").ok
    _, [state] = guarded.world.repo.queue.states(conflict)
    assert (state.closed_by is not None) is is_closed


def test_what_a_reader_sends_all_the_same_is_not_given_to_git(guarded: Pushing, root: Api) -> None:
    lines = b"0" * 40 + b" " + b"1" * 40 + b" refs/for/main\0report-status side-band-64k"
    body = pkt(lines) + FLUSH + b"no pack, which Git would say" * 100_000
    for name, who, where in (("docs", "agent:r", b"docs/"), (WHOLE, "agent:all", b"/")):
        asked = urllib.request.Request(
            f"{guarded.url}/{name}.git/git-receive-pack", data=body,
            headers={"Authorization": f"Bearer {token(root, who)}",
                     "Content-Type": "application/x-git-receive-pack-request"},
        )  # fmt: skip
        with urllib.request.urlopen(asked, timeout=60) as answer:
            said = answer.read()
        assert b"unpack ok" in said and b"ng refs/for/main %s: the role writer is needed" % where in said, said


def test_git_shows_it_to_who_loses_the_right_before_the_pack_is_sent(guarded: Pushing, root: Api) -> None:
    clone = guarded.clone("docs", token=token(root, "agent:w"))
    clone.commit({"docs/large": os.urandom(4 << 20)})  # more than Git sends at once
    hook = clone.path / ".git/hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch asked\nuntil test -e go; do sleep 0.05; done\n")
    hook.chmod(0o755)
    with ThreadPoolExecutor(1) as pool:
        pushing = pool.submit(clone.push)
        until((clone.path / "asked").exists)
        grants(root, "agent:w reader docs/")
        guarded.gateway.access.expire()
        (clone.path / "go").touch()
        done = pushing.result()
    assert not done.ok and done.remote == ["docs/: the role writer is needed"], done.said
    assert "(docs/: the role writer is needed)" in done.said, "of the ref"


def test_the_whole_takes_pushes_of_writers_of_everything_alone(guarded: Pushing, root: Api) -> None:
    clone = guarded.clone(WHOLE, token=token(root, "agent:all"))
    clone.commit({"docs/b": b"1\n"})
    done = clone.push()
    assert not done.ok and "/: the role writer is needed" in done.said, done.said


def test_who_may_not_read_a_slice_cannot_push_to_it(guarded: Pushing, root: Api) -> None:
    clone = guarded.clone("docs", token=token(root, "agent:w"))
    clone.commit({"docs/b": b"1\n"})
    for name in ("secret", "src", WHOLE, "nothing"):
        clone.git("remote", "set-url", "origin", f"{guarded.url}/{name}.git")
        done = clone.push()
        assert not done.ok and "not found" in done.said, done.said


def test_authors_are_ones_own_where_the_policy_says_so(guarded: Pushing, root: Api) -> None:
    people = {"agent:w": {"name": "W", "emails": ["w@example.org"]}}
    grants(root, *GRANTS, people=people, authors="own")
    clone = guarded.clone("docs", token=token(root, "agent:w"))
    clone.write({"docs/mine": b"1\n"})
    clone.git("add", ".")
    mine, others = "w@example.org", "x@example.org"

    def commit(author: str, committer: str, *options: str) -> Pushed:
        author = f"--author=W <{author}>"
        clone.git("commit", "-q", "-m", "Mine", author, *options, GIT_COMMITTER_EMAIL=committer)
        return clone.push()

    for author, committer in ((others, mine), (mine, others), (mine, "W@example.org"), (others, others)):
        done = commit(author, committer)
        assert not done.ok and "docs/mine: the role impersonate is needed" in done.said, (author, committer, done.said)
        clone.git("reset", "-q", "--soft", "HEAD~1")
    done = commit(mine, mine)
    assert done.ok, done.said


def test_who_may_impersonate_pushes_what_others_have_committed(guarded: Pushing, root: Api) -> None:
    people = {"agent:w": {"name": "W", "emails": ["w@example.org"]}}
    grants(root, *GRANTS, "agent:w impersonate docs/", people=people, authors="own")
    clone = guarded.clone("docs", token=token(root, "agent:w"))
    clone.commit({"docs/others": b"1\n"}, "Another's")
    assert clone.push().ok


def test_what_is_shown_before_a_push_is_of_the_paths_that_the_slice_has_now(guarded: Pushing, root: Api) -> None:
    made = root.post("/slices", {"name": "both", "paths": ["docs/", "secret/"]}, 201).get_json(force=True)
    wide = guarded.clone("both", token=ROOT_TOKEN)
    assert root.http.patch("/v1/slices/both", json={"paths": ["docs/"]}).status_code == 200
    # A process that died while it began the new definition's store from the older one's has left this.
    stores = guarded.folder / "gateway" / "clones"
    shutil.copytree(stores / f"{made['id']}.1", stores / f"{made['id']}.2")
    (stores / f"{made['id']}.2" / "reached").unlink()
    asked = urllib.request.Request(
        f"{guarded.url}/both.git/info/refs?service=git-receive-pack",
        headers={"Authorization": f"Bearer {token(root, 'agent:w')}"},
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        shown = answer.read()
    assert re.search(rb"[0-9a-f]{40} refs/heads/main\0", shown)
    for commit in wide.git("rev-list", "HEAD").split():
        assert commit.encode() not in shown


def test_quotas_are_told_and_refuse_the_ref(guarded: Pushing, root: Api) -> None:
    grants(root, *GRANTS, "agent:slow writer docs/", quotas={"agent:slow": {"queued": 1}})
    clone = guarded.clone("docs", token=token(root, "agent:slow"))
    clone.commit({"docs/a1": b"1\n"})
    clone.commit({"docs/a2": b"1\n"})
    done = clone.push()
    assert not done.ok and "(queued)" in done.said, done.said
    grants(root, *GRANTS, "agent:slow writer docs/", quotas={"agent:slow": {"requests_per_second": 0.001}})
    guarded.gateway.access.expire()
    rates = guarded.gateway.rates
    who = guarded.gateway.access.caller(f"Bearer {token(root, 'agent:slow')}")
    while (standing := rates.take(who)) and standing.allowed:
        pass
    again = clone.run("push", "origin", "HEAD:refs/for/main")
    assert again.returncode != 0 and b"requests_per_second" in again.stderr + again.stdout, again.stderr


def test_a_token_that_is_revoked_ends_the_wait_but_not_what_was_accepted(guarded: Pushing, root: Api) -> None:
    made = root.post("/tokens", {"principal": "agent:w"}, 201).get_json(force=True)
    clone = guarded.clone("docs", token=made["token"])
    clone.commit({"docs/b": b"1\n"})
    with guarded.paused():
        waiting = clone.start_push()
        guarded.until_queued(1)
        assert root.http.delete(f"/v1/tokens/{made['id']}").status_code in (200, 204)
        assert waiting.wait(60) != 0
    guarded.until_landed(b"docs/b")


def test_who_may_not_read_everything_learns_no_counts(
    settings: Settings, world: World, root: Api, tmp_path: Path
) -> None:
    chosen = replace(settings, root_token_sha256=hash_of(ROOT_TOKEN), max_queued=0)
    with pushing(World(Repository(chosen), world.all), tmp_path) as full:
        for who, said in ((token(root, "agent:w"), "too much is waiting"), (ROOT_TOKEN, "(max_queued)")):
            clone = full.clone("docs", token=who)
            clone.commit({"docs/b": b"1\n"})
            done = clone.push()
            assert not done.ok and said in done.said, done.said
            assert ("queued" in done.said) == (who == ROOT_TOKEN)
