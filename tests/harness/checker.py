"""The judge: what writers sent and were answered, against what the API and an export say at the end.

It knows docs/api.md and nothing of how Sluice works. Each rule yields violations, with what shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.harness.evidence import Commit, Evidence
from tests.harness.history import FINAL, Edit, History, Json, Submission
from tests.harness.pushers.judge import PUSH_RULES
from tests.harness.rights.judge import RIGHTS_RULES

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    rule: str
    text: str

    def __str__(self) -> str:
        """Return both as one line."""
        return f"{self.rule}: {self.text}"


class Case:
    """A history and the evidence, with what several rules look up in them."""

    def __init__(self, history: History, evidence: Evidence) -> None:
        self.history = history
        self.evidence = evidence
        # The last word about each changeset that the API has an answer for.
        self.final: dict[str, Json] = {
            changeset: answer.document for changeset, answer in evidence.final.items() if answer.status == 200
        }
        self.key_of = {
            changeset: key for key, submission in history.submissions.items() for changeset in submission.ids
        }
        self.commits: dict[str, list[Commit]] = {}  # of the chain, by changeset
        self.by_key: dict[str, list[Commit]] = {}
        self.position: dict[str, int] = {}  # in the chain, by commit
        for position, commit in enumerate(evidence.chain):
            self.position[commit.id] = position
            for changeset in commit.changesets:
                self.commits.setdefault(changeset, []).append(commit)
            if commit.key is not None:
                self.by_key.setdefault(commit.key, []).append(commit)

    def status(self, changeset: str) -> str:
        """Return a changeset's last status, empty where the API has no answer."""
        return str(self.final.get(changeset, {}).get("status", ""))


Rule = Callable[[Case], Iterator[str]]


def by_rule(rules: Iterable[Rule], history: History, evidence: Evidence) -> dict[str, list[str]]:
    """Return what some rules find, by their names."""
    found: dict[str, list[str]] = {}
    for each in check(history, evidence, rules):
        found.setdefault(each.rule, []).append(each.text)
    return found


def check(history: History, evidence: Evidence, rules: Iterable[Rule] | None = None) -> list[Violation]:
    """Return every violation, at most some of each rule; None: of all rules."""
    case = Case(history, evidence)
    shown: list[Violation] = []
    for rule in RULES if rules is None else rules:
        name = rule.__name__.strip("_").replace("_", "-")
        violations = [Violation(name, text) for text in rule(case)]
        shown += violations[:_SHOWN]
        if len(violations) > _SHOWN:
            shown.append(Violation(name, f"and {len(violations) - _SHOWN} more"))
    return shown


def _one_final_outcome(case: Case) -> Iterator[str]:
    """Every changeset that was answered 202 has ended."""
    for submission in case.history.submissions.values():
        for changeset in submission.ids:
            answer = case.evidence.final[changeset]
            if answer.status != 200:
                yield f"{changeset} ({submission.key}) was accepted, and at the end the answer is {answer.status}"
            elif case.status(changeset) not in FINAL:
                yield f"{changeset} ({submission.key}) was accepted, and at the end it is {case.status(changeset)}"


def _answers_stay_true(case: Case) -> Iterator[str]:
    """An outcome that an answer had never changes, nor does its commit or its sequence number."""
    first: dict[str, tuple[str, object, object]] = {}
    for answer in case.history.answers:
        status = "landed" if answer.status == "committed" else answer.status
        if status not in FINAL:
            continue
        now = (status, answer.commit, answer.seq)
        before = first.setdefault(answer.changeset, now)
        if before != now:
            yield f"{answer.changeset} was answered as {before} and then as {now}"
    for changeset, before in first.items():
        last = case.final.get(changeset)
        if last is not None and before != (last["status"], last.get("commit"), last.get("seq")):
            yield f"{changeset} was answered as {before}, and at the end it is {last}"


def _one_changeset_a_key(case: Case) -> Iterator[str]:
    """However often a submission was sent, one changeset counts, and every other names it as the first."""
    for submission in case.history.submissions.values():
        known = {changeset for changeset in submission.ids if changeset in case.final}
        duplicates = {changeset for changeset in known if case.final[changeset].get("reason") == "duplicate"}
        firsts = {str(case.final[changeset].get("first")) for changeset in duplicates}
        counting = (known - duplicates) | firsts
        if known and len(counting) != 1:
            yield f"{submission.key} has the changesets {sorted(known)}, of which {sorted(counting)} count"
        if firsts & duplicates:
            yield f"{submission.key}: the first of a duplicate is a duplicate: {sorted(firsts & duplicates)}"
        for commit in case.by_key.get(submission.key, []):
            if known and not counting.intersection(commit.changesets):
                yield f"{submission.key} is committed as {commit.changesets}, and {sorted(counting)} should count"
        if len(case.by_key.get(submission.key, [])) > 1:
            yield f"{submission.key} is committed {len(case.by_key[submission.key])} times"


def _landed_is_in_the_history_once(case: Case) -> Iterator[str]:
    """The commits' trailers are exactly the changesets that landed, and nobody else's."""
    for changeset, last in case.final.items():
        commits = [commit.id for commit in case.commits.get(changeset, [])]
        expected = [last.get("commit")] if last["status"] == "landed" else []
        if commits != expected:
            yield f"{changeset} is {last['status']} ({expected}), and the commits with its trailer are {commits}"
    for commit in case.evidence.chain[1:]:
        if len(commit.changesets) != 1:
            yield f"the commit {commit.id} names the changesets {commit.changesets}"
        submission = case.history.submissions.get(commit.key or "")
        if submission is None:
            yield f"the commit {commit.id} is of {commit.key}, which nobody submitted"
        elif not submission.unknown and not submission.ids.keys() & set(commit.changesets):
            yield f"the commit {commit.id} is of {commit.key}, whose writer was always answered something else"
    reached = Counter(case.evidence.main_changesets)
    for changeset, standing in case.commits.items():
        if reached[changeset] != 1:
            yield f"{changeset} stands {reached[changeset]} times in main, as {[commit.id for commit in standing]}"
    for changeset in reached.keys() - case.commits.keys():
        yield f"{changeset} stands in main and not in the chain"


def _commits_do_what_was_submitted(case: Case) -> Iterator[str]:
    """Each commit changes what its submission changes: whatever else it took away would be somebody's work."""
    there: dict[str, set[str]] = {}
    for before, commit in zip([None, *case.evidence.chain], case.evidence.chain, strict=False):
        if before is not None and commit.parents != (before.id,):
            yield f"the commit {commit.id} has the parents {commit.parents}, and {before.id} comes before it"
        submission = case.history.submissions.get(commit.key or "")
        edits = submission.edits if submission else {}
        for path in commit.edits.keys() | edits.keys():
            lines = there.setdefault(path, set())
            did, wanted = commit.edits.get(path, Edit()), edits.get(path, Edit())
            added, removed = set(wanted.added) - lines, set(wanted.removed) & lines
            if (sorted(did.added), sorted(did.removed)) != (sorted(added), sorted(removed)):
                yield (
                    f"the commit {commit.id} of {commit.key} should add {sorted(added)} to {path} and remove "
                    f"{sorted(removed)}, and adds {list(did.added)} and removes {list(did.removed)}"
                )
            lines.update(did.added)
            lines.difference_update(did.removed)


def _files_are_what_landed(case: Case) -> Iterator[str]:
    """Main has every line that landed, once, unless what removed it landed too; and no other line."""
    expected: dict[str, dict[str, str]] = {}
    written: dict[str, str] = {}
    for submission in case.history.submissions.values():
        for edit in submission.edits.values():
            written |= dict.fromkeys(edit.added, submission.key)
    for commit in case.evidence.chain:
        landed = case.history.submissions.get(commit.key or "")
        for path, edit in (landed.edits if landed else {}).items():
            lines = expected.setdefault(path, {})
            for line in edit.removed:
                lines.pop(line, None)
            lines |= dict.fromkeys(edit.added, commit.id)
    for path in expected.keys() | case.evidence.files.keys():
        actual = Counter(case.evidence.files.get(path, []))
        wanted = expected.get(path, {})
        for line in wanted.keys() | actual.keys():
            if actual[line] != (line in wanted):
                whose = f"of {written.get(line)}, committed as {wanted.get(line)}"
                yield f"{path} in main has the line {line!r} {actual[line]} times ({whose})"


def _order_is_what_writers_saw(case: Case) -> Iterator[str]:
    """A stack is in its order, and what an answer had as committed comes before everything that was sent later."""
    committed_at: dict[str, float] = {}
    for answer in case.history.answers:
        if answer.commit is not None:
            committed_at.setdefault(answer.commit, answer.at)
    earliest, who = float("inf"), ""
    for commit in reversed(case.evidence.chain):
        submission = case.history.submissions.get(commit.key or "")
        if submission is None:
            continue
        if earliest < submission.sent:
            yield f"{who} was answered as committed before {submission.key} was sent, and comes behind it"
        if committed_at.get(commit.id, earliest) < earliest:
            earliest, who = committed_at[commit.id], commit.key or ""
        below = submission.on
        if below is not None:
            positions = [case.position[lower.id] for lower in case.by_key.get(below, [])]
            if not positions or positions[0] > case.position[commit.id]:
                yield f"{submission.key} is committed, and {below}, on which it stands, is not before it"


def _what_was_seen_is_still_there(case: Case) -> Iterator[str]:
    """Every commit that an answer ever named is in the history for good."""
    main = {commit.id: position for position, commit in enumerate(case.evidence.main)}
    for head in case.history.heads:
        if head.main not in main:
            yield f"the global head was answered as {head.main}, which main has no more"
        if head.tip not in case.position:
            yield f"the tip was answered as {head.tip}, which the chain has no more"
    for answer in case.history.answers:
        if answer.commit is not None and answer.commit not in case.position:
            yield f"{answer.changeset} was answered as committed by {answer.commit}, which the chain has no more"
    yield from case.evidence.misread


def _no_base_is_forgotten(case: Case) -> Iterator[str]:
    """A commit in an answer is a base for good: only what stands on one that did not land is rejected for its base.

    Nor for anything else that writers here never do.
    """
    for changeset, last in case.final.items():
        submission = case.history.submissions.get(case.key_of.get(changeset, ""))
        if last["status"] != "rejected" or submission is None:
            continue
        below = submission.on
        match last.get("reason"):
            case "duplicate" | "poison":
                continue
            case "not-allowed" if case.evidence.rights.policies:
                continue  # whether it was, rights/judge.py says
            case "base-not-landed" if below is not None and not case.by_key.get(below):
                continue
        yield f"{changeset} ({submission.key}, on {below}) is rejected as {last.get('reason')}: {last.get('detail')}"


def _what_did_not_land_is_not_there(case: Case) -> Iterator[str]:
    """Nothing of what was conflicted, rejected or abandoned is committed."""
    for changeset, last in case.final.items():
        if last["status"] in {"landed", "committed"}:
            continue
        for commit in case.commits.get(changeset, []):
            yield f"{changeset} is {last['status']}, and {commit.id} has it"
        key = case.key_of.get(changeset)
        if key and last.get("reason") != "duplicate":
            for commit in case.by_key.get(key, []):
                yield f"{key} is {last['status']} as {changeset}, and {commit.id} has it as {commit.changesets}"


def _global_commits_go_forward(case: Case) -> Iterator[str]:
    """Each global commit publishes the next run of the chain, as it is, and the last one all of it."""
    at = 0
    trees = {commit.id: commit.tree for commit in case.evidence.chain}
    for before, commit in zip(case.evidence.main, case.evidence.main[1:], strict=False):
        if len(commit.parents) != 2 or commit.parents[0] != before.id:
            yield f"the global commit {commit.id} has the parents {commit.parents}, and {before.id} comes before it"
            continue
        merged = commit.parents[1]
        position = case.position.get(merged)
        if position is None or position <= at:
            yield f"the global commit {commit.id} merges {merged}, which main had before it, or is not in the chain"
        else:
            at = position
        if trees.get(merged) != commit.tree:
            yield f"the global commit {commit.id} has another tree than {merged}, which it merges"
    if case.evidence.chain and at != len(case.evidence.chain) - 1:
        yield f"main ends at commit {at} of the chain, which has {len(case.evidence.chain) - 1}"


def _valid_requests_are_not_refused(case: Case) -> Iterator[str]:
    for refusal in case.history.refusals:
        yield f"{refusal.writer}: {refusal.request} was answered {refusal.status}: {refusal.document}"


def _git_finds_no_fault(case: Case) -> Iterator[str]:
    yield from case.evidence.git


def _verify_finds_no_difference(case: Case) -> Iterator[str]:
    yield from case.evidence.differences


RULES: tuple[Rule, ...] = (
    _one_final_outcome,
    _answers_stay_true,
    _one_changeset_a_key,
    _landed_is_in_the_history_once,
    _commits_do_what_was_submitted,
    _files_are_what_landed,
    _order_is_what_writers_saw,
    _what_was_seen_is_still_there,
    _no_base_is_forgotten,
    _what_did_not_land_is_not_there,
    _global_commits_go_forward,
    _valid_requests_are_not_refused,
    _git_finds_no_fault,
    _verify_finds_no_difference,
    *RIGHTS_RULES,
    *PUSH_RULES,
)


def outcomes(history: History, evidence: Evidence) -> Counter[str]:
    """Return how many accepted changesets came to which end; some of the rejected apart, by their reason."""
    counted: Counter[str] = Counter()
    as_it_is = {told.key for told in history.told if told.changeset is None}
    for submission in history.submissions.values():
        counted.update(_end(submission, evidence, as_it_is))
    return counted


def _end(submission: Submission, evidence: Evidence, as_it_is: set[str]) -> Iterator[str]:
    if not submission.ids:
        yield "landed" if submission.key in as_it_is else "unknown" if submission.unknown else "refused"
    for changeset in submission.ids:
        answer = evidence.final[changeset]
        document = answer.document if answer.status == 200 else {}
        reason = document.get("reason")
        yield reason if reason in {"duplicate", "poison", "not-allowed"} else str(document.get("status", "lost"))
