"""Pushes by plain Git: what their commits become, and what their author is told."""

from __future__ import annotations

import pytest

from storage.base.ids import ObjectId
from tests.support.pushing import LINES, WHOLE, Clone, Pushing


def messages(pushed: Pushing, count: int) -> list[str]:
    """Return the subjects of the newest commits of the chain, the newest first."""
    repo, oid = pushed.world.repo, ObjectId(pushed.world.tip)
    found = []
    for _ in range(count):
        commit = repo.objects.commit(oid)
        found.append(commit.message.partition("\n")[0])
        [oid] = commit.parents
    return found


def test_a_commit_lands_with_one_push_and_comes_back_under_its_own_id(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    commit = clone.commit({"docs/b.txt": b"new\n"}, "Add b\n\nWith a body.  \n\n")
    done = clone.push()
    assert done.ok, done.said
    assert done.remote[0].startswith(f"{commit[:10]} Add b: landed (changeset ")
    assert pushed.world.files()["docs/b.txt"] == b"new\n"
    clone.git("pull", "-q", "--ff-only")
    assert clone.git("rev-parse", "origin/main") == commit
    clone.git("checkout", "-q", "-b", "other", "origin/main")
    clone.git("branch", "-d", "main")


def test_a_linear_range_is_a_stack_that_comes_back_commit_by_commit(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    commits = [clone.commit({"docs/s": b"%d\n" % i}, f"Step {i}") for i in range(4)]
    done = clone.push()
    assert done.ok, done.said
    assert len(set(done.changesets)) == 4 and messages(pushed, 4) == ["Step 3", "Step 2", "Step 1", "Step 0"]
    packs = {pushed.submitted(each).pack for each in done.changesets}
    assert len(packs) == 1
    clone.git("fetch", "-q")
    assert clone.git("rev-list", "-4", "--reverse", "origin/main").split() == commits


def test_what_others_landed_meanwhile_is_no_reason_to_refuse(pushed: Pushing) -> None:
    first, second = pushed.clone("docs"), pushed.clone("docs")
    first.commit({"docs/one": b"1\n"})
    second.commit({"docs/two": b"2\n"})
    assert first.push().ok and second.push().ok
    assert {"docs/one", "docs/two"} <= pushed.world.files().keys()
    second.git("pull", "-q", "--rebase")
    assert second.head == second.git("rev-parse", "origin/main")


def test_the_same_push_again_is_told_what_became_of_it(pushed: Pushing) -> None:
    clone, other = pushed.clone("docs"), pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"})
    clone.commit({"docs/b": b"2\n"})
    other.commit({"docs/c": b"1\n"})
    assert other.push().ok  # so that the commits land under other ids
    first = clone.push()
    again = clone.push()
    assert first.ok and again.ok and first.changesets == again.changesets
    # By whoever it is pushed, with whatever options, and with more on top of it.
    other.git("fetch", "-q", str(clone.path), "main")
    told = other.push("-o", "hold", refs=("FETCH_HEAD:refs/for/main",))
    assert told.ok and told.changesets == first.changesets
    clone.commit({"docs/d": b"1\n"}, "More")
    third = clone.push()
    assert third.ok and third.changesets[:2] == first.changesets and len(third.changesets) == 3
    assert pushed.world.repo.view.head().committed == 5


def test_what_has_landed_as_it_is_need_not_be_pushed(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    commit = clone.commit({"docs/b": b"1\n"})
    assert clone.push().ok
    again = clone.push()
    assert again.ok and again.remote == [f"{commit[:10]} has landed, as it is"]


def test_a_range_with_merges_becomes_one_changeset(pushed: Pushing) -> None:
    clone, other = pushed.clone("docs"), pushed.clone("docs")
    clone.commit({"docs/mine": b"1\n"}, "Mine")
    other.commit({"docs/theirs": b"1\n"})
    assert other.push().ok
    clone.git("pull", "-q", "--no-rebase", "--no-edit")
    clone.commit({"docs/more": b"1\n"}, "More of mine")
    done = clone.push()
    assert done.ok, done.said
    assert "has merges in it: its 3 commits become one changeset" in done.remote[0]
    [changeset] = done.changesets
    made = pushed.submitted(changeset)
    assert sorted(change.path for change in made.changes) == [b"docs/mine", b"docs/more"]
    assert made.message == "Mine\n\n* More of mine\n"
    assert clone.push().changesets == [changeset]


def test_squash_makes_one_changeset_of_a_range(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/x": b"1\n"}, "First\n\nBody")
    clone.commit({"docs/y": b"1\n"}, "Second")
    done = clone.push("-o", "squash")
    assert done.ok and "is squashed: its 2 commits become one changeset" in done.remote[0]
    [changeset] = done.changesets
    assert pushed.submitted(changeset).message == "First\n\nBody\n\n* Second\n"


def conflicting(pushed: Pushing) -> tuple[Clone, str]:
    """Return a clone whose commit collides with what another has landed, and what that commit says."""
    clone, other = pushed.clone("docs"), pushed.clone("docs")
    clone.commit({"docs/a.txt": LINES.replace(b"line 3\n", b"mine\n")}, "Mine\n\nChange-Id: I0123456789abcdef")
    other.commit({"docs/a.txt": LINES.replace(b"line 3\n", b"theirs\n")})
    assert other.push().ok
    return clone, clone.head


def test_a_conflict_is_told_and_pull_rebase_and_push_closes_it(pushed: Pushing) -> None:
    clone, commit = conflicting(pushed)
    done = clone.push()
    assert not done.ok
    assert f"{commit[:10]}: conflict in docs/a.txt (content); run: git pull --rebase, then push again" in done.said
    [old] = done.changesets
    again = clone.push()
    assert not again.ok and again.changesets == [old]
    assert clone.run("pull", "-q", "--rebase").returncode != 0
    clone.write({"docs/a.txt": LINES.replace(b"line 3\n", b"both\n")})
    clone.git("add", ".")
    clone.git("rebase", "--continue", GIT_EDITOR="true")
    resolved = clone.push()
    assert resolved.ok, resolved.said
    [new] = resolved.changesets
    _, [state] = pushed.world.repo.queue.states([old])
    assert state.closed_by == new
    assert b"both\n" in pushed.world.files()["docs/a.txt"]
    # The conflict's own commit is told what took its place.
    assert clone.push(refs=(f"{commit}:refs/for/main",)).changesets == [new]


def test_a_topic_names_the_conflict_whose_place_is_taken(pushed: Pushing) -> None:
    clone, _ = conflicting(pushed)
    clone.git("commit", "-q", "--amend", "-m", "Mine")
    first = clone.push("-o", "topic=mine")
    assert not first.ok
    clone.git("reset", "-q", "--hard", "HEAD~1")
    clone.git("pull", "-q", "--rebase")
    clone.commit({"docs/a.txt": LINES.replace(b"line 3\n", b"better\n")}, "Mine")
    done = clone.push("-o", "topic=mine")
    assert done.ok, done.said
    _, [state] = pushed.world.repo.queue.states(first.changesets)
    assert state.closed_by == done.changesets[0]
    assert pushed.submitted(done.changesets[0]).labels == {"topic": "mine"}


def test_a_strategy_decides_a_conflict_of_the_same_commit(pushed: Pushing) -> None:
    clone, _ = conflicting(pushed)
    old = clone.push()
    done = clone.push("-o", "strategy=theirs")
    assert not old.ok and done.ok, done.said
    assert b"mine\n" in pushed.world.files()["docs/a.txt"]
    _, [state] = pushed.world.repo.queue.states(old.changesets)
    assert state.closed_by == done.changesets[0]


def test_in_a_stack_nothing_above_a_conflict_lands(pushed: Pushing) -> None:
    clone, _ = conflicting(pushed)
    clone.commit({"docs/above": b"1\n"}, "Above")
    done = clone.push()
    assert not done.ok and "conflict in docs/a.txt" in done.said
    assert "docs/above" not in pushed.world.files()


def test_an_amended_commit_is_another_one(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"}, "One")
    with pushed.paused():
        first = clone.push("-o", "wait=no")
        assert first.ok and "queued at position 0" in first.said
        clone.git("commit", "-q", "--amend", "-m", "Two")
        second = clone.push("-o", "wait=no", "--force")
        assert second.ok and second.changesets != first.changesets


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "wait=forever"], "push option wait=forever: give one of landed, committed, no"),
        (["-o", "weight=1"], "push option weight=1 is not known; there are wait="),
        (["-o", "strategy=best"], "push option strategy=best: give one of"),
        (["-o", "label=x"], "push option label=x: give label=KEY:VALUE"),
        (["-o", "label=bad key:v"], "push option: label"),
        (["-o", "topic=a", "-o", "topic=b"], "push option topic=b is not known"),
    ],
)
def test_an_option_that_is_not_understood_is_named(pushed: Pushing, options: list[str], said: str) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"})
    done = clone.push(*options)
    assert not done.ok and said in done.said, done.said
    assert pushed.world.repo.queue.length() == 0


def test_held_ones_wait_and_labels_are_kept(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"})
    done = clone.push("-o", "hold", "-o", "label=ticket:A-1", "-o", "topic=t")
    assert done.ok and ": held (changeset" in done.said
    made = pushed.submitted(done.changesets[0])
    assert made.hold and made.labels == {"ticket": "A-1", "topic": "t"}
    assert ": held (changeset" in clone.push().said


def test_wait_committed_returns_before_it_has_landed(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"})
    done = clone.push("-o", "wait=committed")
    assert done.ok and (": committed (" in done.said or ": landed (" in done.said)


@pytest.mark.parametrize(
    ("refs", "said"),
    [
        (("HEAD:refs/heads/main",), "push to refs/for/main instead: git push origin HEAD:refs/for/main"),
        (("HEAD:refs/heads/feature",), "there is no such ref to push to"),
        (("HEAD:refs/tags/v1",), "there is no such ref to push to"),
        ((":refs/for/main",), "refs cannot be deleted here"),
        ((":refs/heads/main",), "refs cannot be deleted here"),
    ],
)
def test_any_other_ref_is_refused(pushed: Pushing, refs: tuple[str, ...], said: str) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"})
    done = clone.push(refs=refs)
    assert not done.ok and said in done.said, done.said
    assert "docs/b" not in pushed.world.files()


def test_of_several_refs_each_has_its_answer_unless_the_push_is_atomic(pushed: Pushing) -> None:
    clone = pushed.clone("docs")
    clone.commit({"docs/b": b"1\n"})
    refs = ("HEAD:refs/for/main", "HEAD:refs/heads/x", "HEAD:refs/heads/main")
    atomic = clone.push("--atomic", refs=refs)
    assert not atomic.ok and "another ref of this atomic push was refused" in atomic.said
    assert "docs/b" not in pushed.world.files()
    done = clone.push(refs=refs)
    assert not done.ok and "[new reference]" in done.said and done.said.count("[remote rejected]") == 2
    assert pushed.world.files()["docs/b"] == b"1\n"


def test_the_whole_repository_takes_pushes_in_a_slice_of_everything(pushed: Pushing) -> None:
    clone = pushed.clone(WHOLE)
    clone.commit({"docs/b": b"1\n", "new/at-the-top": b"2\n"}, "Both")
    done = clone.push()
    assert done.ok, done.said
    assert {"docs/b", "new/at-the-top"} <= pushed.world.files().keys()
    # Its ids are the chain's, which has the trailers of Sluice; a rebase drops what has landed.
    clone.git("pull", "-q", "--rebase")
    assert clone.head == clone.git("rev-parse", "origin/main")
    # One that repeats a message of the chain, with these trailers, is taken all the same.
    clone.write({"docs/c": b"1\n"})
    clone.git("add", ".")
    clone.git("commit", "-q", "-C", "HEAD")
    again = clone.push()
    assert again.ok, again.said
