"""The plan of a replay: every path has one slice, every slice a name and paths that the API takes."""

from __future__ import annotations

from random import Random

from hypothesis import example, given
from hypothesis import strategies as st

from app.demo.plan import MAX_PATHS, TOP, Plan, slice_name
from app.judge.local_history import FileChange, SourceCommit
from storage.git.fsck import check_slice_name
from storage.git.trees import covers

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
FEW_NAMES = st.sampled_from(
    ["a", "A", "a-", "a.", "-a", "b", "HEAD", "é", "ö", "top-level-files", ".git hub", "x.lock"]
)
PATHS = st.lists(FEW_NAMES | NAMES, min_size=1, max_size=3).map("/".join)


def commit(*paths: str) -> SourceCommit:
    changes = [FileChange(path, "100644", "1" * 40, "", "") for path in paths]
    return SourceCommit("c" * 40, "Ada", "ada@example.org", "1970-01-01T00:00:00+00:00", "Change", changes)


def named(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {each.name: each.paths for each in plan.slices}


def test_each_top_level_directory_is_a_slice_and_loose_files_are_one() -> None:
    plan = Plan(["src/a.py", "src/b/c.py", "docs/x", "README", "setup.py"])
    assert named(plan) == {"docs": ("docs/",), "src": ("src/",), TOP: ("README", "setup.py")}


def test_a_name_that_is_first_a_directory_and_then_a_file_is_one_slice() -> None:
    plan = Plan(["tool", "tool/main.py", "README"])
    assert named(plan) == {"tool": ("tool/", "tool"), TOP: ("README",)}
    assert list(plan.split(commit("tool", "tool/main.py"))) == [0], "a delete and the puts stay together"


def test_more_files_at_the_top_than_a_slice_can_name_are_several_slices() -> None:
    names = [f"{i:05}" for i in range(2 * MAX_PATHS + 1)]
    plan = Plan(names)
    assert [(each.name, len(each.paths)) for each in plan.slices] == [
        (TOP, MAX_PATHS), (f"{TOP}-2", MAX_PATHS), (f"{TOP}-3", 1)
    ]  # fmt: skip
    assert [path for each in plan.slices for path in each.paths] == names


def test_a_commit_that_spans_slices_is_a_changeset_for_each() -> None:
    plan = Plan(["a/1", "b/1", "top"])
    parts = plan.split(commit("b/1", "a/1", "top", "a/2"))
    assert {plan.slices[i].name: [c.path for c in part.changes] for i, part in parts.items()} == {
        "a": ["a/1", "a/2"], "b": ["b/1"], TOP: ["top"]
    }  # fmt: skip


def test_a_commit_without_changes_is_no_changeset() -> None:
    assert Plan(["a/1"]).split(commit()) == {}


def test_a_history_without_files_has_no_slices() -> None:
    assert Plan([]).slices == []


@given(st.sets(PATHS, max_size=40))
@example({"a/x", "A/x", "a-/x", "-a/x"})
@example({"HEAD/x", "01ARZ3NDEKTSV4RRFFQ69G5FAV/x", "x.lock/x", "@/x", "~/x", "é/x", "ö/x"})
@example({"top-level-files/x", "y"})
def test_whatever_the_paths_each_has_exactly_one_slice_that_covers_it(paths: set[str]) -> None:
    plan = Plan(paths)
    definitions = [{each.encode() for each in planned.paths} for planned in plan.slices]
    for path in paths:
        assert [i for i, definition in enumerate(definitions) if covers(definition, path.encode())] == [
            plan.slice_of(path)
        ]


@given(st.sets(PATHS, max_size=40))
def test_names_of_slices_are_valid_refs_and_differ_beyond_case(paths: set[str]) -> None:
    names = [each.name for each in Plan(paths).slices]
    for name in names:
        check_slice_name(name)
        assert "/" not in name, "no name is a directory of another"
    assert len({name.lower() for name in names}) == len(names)
    assert all(0 < len(each.paths) <= MAX_PATHS for each in Plan(paths).slices)


@given(st.lists(PATHS, unique=True, max_size=20), st.randoms())
def test_the_same_paths_give_the_same_slices_in_whatever_order(paths: list[str], random: Random) -> None:
    shuffled = list(paths)
    random.shuffle(shuffled)
    assert named(Plan(paths)) == named(Plan(shuffled))


@given(st.lists(PATHS, unique=True, min_size=1, max_size=20))
def test_no_change_is_lost_or_doubled_by_splitting_and_order_is_kept(paths: list[str]) -> None:
    source = commit(*paths)
    parts = Plan(paths).split(source)
    assert sorted(c.path for part in parts.values() for c in part.changes) == sorted(paths)
    for part in parts.values():
        assert [c for c in source.changes if c in part.changes] == part.changes


def test_names_are_cut_and_numbered() -> None:
    taken: set[str] = set()
    assert slice_name("é" * 3, taken) == "slice"
    assert slice_name("~", taken) == "slice-2"
    assert slice_name("my dir!", taken) == "my-dir"
    assert slice_name("My Dir", taken) == "My-Dir-2"
    assert slice_name("HEAD", taken) == "HEAD-2"
    assert len(slice_name("x" * 300, taken)) == 100
    assert len(slice_name("x" * 301, taken)) == 102
