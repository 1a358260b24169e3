"""Git finds our trailer in every message that is taken, beside its writer's own, and where Git would put it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from storage.git.fsck import FsckError, check_message
from storage.git.trailers import (
    CHANGESET_ID,
    CHANGESET_SUBMITTER,
    NO_SUBJECT,
    carries,
    changeset_of_old,
    trailers,
    with_trailer,
    without_submitter,
)
from tests.support.git_oracle import GitOracle

ID = "01JG8Y6Z3M4N5P6Q7R8S9T0V1W"
SUBMITTER = (CHANGESET_SUBMITTER, "ci:github/owner/repo")
BOTH = f"{CHANGESET_ID}: {ID}\n{CHANGESET_SUBMITTER}: {SUBMITTER[1]}\n"
SCISSORS = "# ------------------------ >8 ------------------------"
# Shrinking hundreds of messages would take minutes; the assertion shows the first.
MANY = settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))

LINES = [
    *[
        "",
        "",
        "",
        "Fix it",
        "#12 fix",
        "# comment",
        "no trailer",
        "text: with colon",
        SCISSORS,
        "Conflicts:",
        "\tfile.c",
    ],
    *[
        "Signed-off-by: A <a@b>",
        "Signed-off-by:A",
        "Co-authored-by: B <b@c>",
        "Fixes : #1",
        "(cherry picked from commit",
    ],
    *[
        "(cherry picked from commit 12)",
        " continued",
        "\tcontinued",
        "---",
        "--- a/x",
        "diff --git a/x b/x",
        "@@ -1 +1 @@",
    ],
    *[
        "  ",
        "\r",
        "Fix it\r",
        "Signed-off-by: A\r",
        "\f",
        "\v",
        "\x85",
        "\u2028",
        ": no name",
        "-: x",
        "é: x",
        "a b: c",
    ],
]
MESSAGES = st.lists(st.sampled_from(LINES), max_size=9).map("\n".join)

CORPUS = [
    "Fix it",
    "Fix it\n\nSigned-off-by: A <a@b>\n",
    "Fix it\n\nBody.\n\nCo-authored-by: A <a@b>\nSigned-off-by: B <b@c>\n",
    "Fix it\n\nBody.\n(cherry picked from commit 1234)\nSigned-off-by: B <b@c>\n",
    "Fix it\n\nOne\ntwo\nthree\nSigned-off-by: B <b@c>\n",
    "Fix it\n\nOne\ntwo\nthree\nfour\nSigned-off-by: B <b@c>\n",
    "Fix it\n\nSigned-off-by: A <a@b>\n  who is\n  from there\n",
    "Fix it\n\nSigned-off-by: A <a@b>\n\n# Please enter the message\n# of your changes\n",
    "Fix it\n\nSigned-off-by: A <a@b>\n\nConflicts:\n\ta.c\n\tb.c\n",
    f"Fix it\n\nSigned-off-by: A <a@b>\n{SCISSORS}\n# Do not touch this line\ndiff --git a/x b/x\n",
    "Fix it\n\nBody\n---\n x | 2 +-\n\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-1\n+2\n",
    "Fix it\r\n\r\nBody.\r\n\r\nSigned-off-by: A <a@b>\r\n",
    "#12: fix it",
    "# a heading\n\nSigned-off-by: A <a@b>",
    "\n \nFix it\n",
    "Signed-off-by: A <a@b>",
    "Fix it\n\n" + "x" * 60_000,
    "Fix it\n\n" + "x: y\n" * 10_000,
    "\n" * 60_000 + "Fix it",
]


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> GitOracle:
    return GitOracle(tmp_path_factory.mktemp("trailers"))


def found_by_git(oracle: GitOracle, messages: Sequence[str]) -> list[str]:
    """Return what `git log` finds in commits with these messages, a trailer a line."""
    commits = [oracle.write_commit(b"A <a@b> 1 +0000", message.encode()).hex() for message in messages]
    listed = subprocess.run(
        ["git", "log", "--no-walk=unsorted", "--stdin", "-z", "--format=%H%n%(trailers:only)"],
        cwd=oracle.folder, env=oracle.environment, input="\n".join(dict.fromkeys(commits)).encode(),
        capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    found = {each[:40]: each[41:] for each in listed.split("\0") if each}
    return [found[commit] for commit in commits]


def interpreted(oracle: GitOracle, message: str, *arguments: str) -> str:
    return subprocess.run(
        ["git", "interpret-trailers", "--no-divider", *arguments],
        cwd=oracle.folder, env=oracle.environment, input=message.encode(), capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip


def shown(message: str) -> str:
    return "".join(f"{name}: {value}\n" for name, value in trailers(message))


@MANY
@given(batch=st.lists(MESSAGES, min_size=300, max_size=300))
def test_trailers_are_those_that_git_finds(oracle: GitOracle, batch: list[str]) -> None:
    messages = [*batch, *CORPUS]
    for message, found in zip(messages, found_by_git(oracle, messages), strict=True):
        assert shown(message) == found, repr(message)


@MANY
@given(batch=st.lists(MESSAGES, min_size=300, max_size=300))
def test_git_reads_our_trailer_and_the_writers_own_in_every_valid_message(oracle: GitOracle, batch: list[str]) -> None:
    # A message ends with a line feed to whoever adds a trailer, and blank lines before its subject are none of it.
    taken = [message for message in [*batch, *CORPUS] if carries(message)]
    trimmed = [message.rstrip(" \t\r\n") + "\n" for message in taken]
    before, after = (
        found_by_git(oracle, messages)
        for messages in (trimmed, [with_trailer(each, CHANGESET_ID, ID) for each in taken])
    )
    for message, old, new in zip(taken, before, after, strict=True):
        assert new == f"{old}{CHANGESET_ID}: {ID}\n", repr(message)


@pytest.mark.parametrize("message", CORPUS[:-2])
def test_our_trailer_stands_where_git_would_have_put_it(oracle: GitOracle, message: str) -> None:
    trimmed = message.lstrip("\n \r") + "\n" * (not message.endswith("\n"))
    made = interpreted(oracle, trimmed, "--trailer", f"{CHANGESET_ID}: {ID}")
    mine = with_trailer(message, CHANGESET_ID, ID)
    assert mine.replace("\r\n", "\n") == made.replace("\r\n", "\n")
    assert f"{CHANGESET_ID}: {ID}\n" in interpreted(oracle, mine, "--parse")


@MANY
@given(batch=st.lists(MESSAGES, min_size=300, max_size=300))
def test_two_trailers_are_found_as_one_is_and_stand_as_if_added_in_turn(oracle: GitOracle, batch: list[str]) -> None:
    taken = [*batch, *CORPUS, f"{SCISSORS}\nx\n", ""]
    made = [with_trailer(each, CHANGESET_ID, ID, SUBMITTER) for each in taken]
    alone = [with_trailer(each, CHANGESET_ID, ID) for each in taken]
    in_turn = [with_trailer(each, *SUBMITTER) for each in alone]
    assert [each.rstrip() for each in made] == [each.rstrip() for each in in_turn]
    found = zip(taken, found_by_git(oracle, alone), found_by_git(oracle, made), strict=True)
    for message, one, two in found:
        assert two == one.replace(f"{CHANGESET_ID}: {ID}\n", BOTH), repr(message)


@pytest.mark.parametrize("message", CORPUS[:-2])
def test_both_trailers_stand_where_git_would_have_put_them(oracle: GitOracle, message: str) -> None:
    trimmed = message.lstrip("\n \r") + "\n" * (not message.endswith("\n"))
    wanted = [f"--trailer={line}" for line in BOTH.splitlines()]
    mine = with_trailer(message, CHANGESET_ID, ID, SUBMITTER)
    assert mine.replace("\r\n", "\n") == interpreted(oracle, trimmed, *wanted).replace("\r\n", "\n")
    assert BOTH in interpreted(oracle, mine, "--parse")


FORGED = ["Changeset-Submitter: root", "changeset-SUBMITTER \t:root", "Changeset-Submitter:", " Changeset-Submitter: x"]
FORGED_MESSAGES = st.lists(st.sampled_from([*LINES, *FORGED]), max_size=9).map("\n".join)


@MANY
@given(batch=st.lists(FORGED_MESSAGES, min_size=300, max_size=300))
def test_git_finds_one_submitter_whatever_an_old_message_says(oracle: GitOracle, batch: list[str]) -> None:
    made = [with_trailer(without_submitter(each), CHANGESET_ID, ID, SUBMITTER) for each in batch]
    for message, found in zip(batch, found_by_git(oracle, made), strict=True):
        named = [line for line in found.splitlines() if line.lower().startswith("changeset-submitter")]
        assert named == [": ".join(SUBMITTER)], repr(message)


@pytest.mark.parametrize(
    "message", ["Fix it", "Fix -submitter\n", " Changeset-Submitter: x", "A Changeset-Submitter: x"]
)
def test_a_message_that_git_finds_no_submitter_in_stays_as_it_is(message: str) -> None:
    assert without_submitter(message) == message


@MANY
@given(batch=st.lists(MESSAGES, min_size=300, max_size=300))
def test_a_message_that_cannot_carry_a_trailer_is_refused(oracle: GitOracle, batch: list[str]) -> None:
    scissors = [f"{SCISSORS}\nx\n", f"\n\n{SCISSORS}\n\nSigned-off-by: A\n"]
    refused = [message for message in [*batch, *scissors, "", " \n", "\r\n"] if not carries(message)]
    for message in refused:
        with pytest.raises(FsckError):
            check_message(message)
        assert not message.strip() or message.lstrip(" \r\n").startswith(SCISSORS), repr(message)
    made = [with_trailer(message, CHANGESET_ID, ID) for message in refused]
    assert all(message.startswith(NO_SUBJECT) for message in made)
    assert set(found_by_git(oracle, made)) == {f"{CHANGESET_ID}: {ID}\n"}


@MANY
@given(batch=st.lists(MESSAGES, min_size=300, max_size=300))
def test_every_old_message_names_its_changeset_to_git_or_in_the_old_form(oracle: GitOracle, batch: list[str]) -> None:
    written = [f"{message.rstrip()}\n\n{CHANGESET_ID}: {ID}\n".lstrip("\n") for message in [*batch, *CORPUS]]
    for message, found in zip(written, found_by_git(oracle, written), strict=True):
        by_git = found.splitlines().count(f"{CHANGESET_ID}: {ID}")
        assert by_git + (changeset_of_old(message) == ID) == 1, repr(message)


@pytest.mark.parametrize(
    ("before", "after"),
    list(product(["", "Fix it\n\n", "Fix it\n\nBody\n\n"], ["", f"\n{SCISSORS}\n", "\n\n# comment\n"])),
)
def test_the_old_form_is_read_only_where_git_finds_nothing(oracle: GitOracle, before: str, after: str) -> None:
    message = f"{before}{after.lstrip() if not before else after}".rstrip() + f"\n\n{CHANGESET_ID}: {ID}\n"
    message = message.lstrip("\n")
    [found] = found_by_git(oracle, [message])
    assert (changeset_of_old(message) == ID) is (found == "")
    for other in (message + "\n", message + "x\n", message.replace(ID, ID[1:]), message.replace("Id: ", "Id:")):
        assert changeset_of_old(other) is None
