"""An import that dies, that is repeated, that meets garbage collection, and that is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from app.admin.verify import verify
from storage.base.errors import Refused
from storage.base.settings import Settings
from storage.commit.append_loop import Draft, append_directly
from storage.coordination import EVERY, Node
from storage.importing import Unfit, import_history
from storage.importing.importing import Collected, NotEmpty, Older
from storage.importing.source import NoSource
from storage.log.entry import Condemn
from storage.log.log import name_of
from storage.maintenance import collect
from storage.operations.slices import define
from storage.repository import Repository
from tests.support.dying import Died, Dying
from tests.support.git_repository import GitRepository
from tests.support.histories import large
from tests.support.world import World


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> GitRepository:
    """A small history."""
    return large(tmp_path_factory.mktemp("small") / "repo", 30, files=10)


def packs(repo: Repository) -> set[str]:
    return set(repo.bucket.list_keys("packs/"))


def test_wherever_it_dies_it_goes_on_and_stores_nothing_twice(
    settings: Settings, source: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    Repository(settings).prepare()
    dying = Dying(monkeypatch)
    for name in ("packs/", name_of(2)):  # behind the first PUT of a pack, and behind the entry
        dying.arm_on(name)
        with pytest.raises(Died):
            import_history(Repository(settings), source.path)
        dying.arm(0)
    repo = Repository(settings)
    before = packs(repo)
    done = import_history(repo, source.path)
    assert packs(repo) == before and done.already and done.commit == source.git("rev-parse", "HEAD")
    assert repo.view.head().applied == 2 and repo.view.head().tip == done.commit
    assert verify(repo).differences == []


def test_what_is_stored_is_not_stored_again(
    settings: Settings, source: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = Repository(settings)
    repo.prepare()
    with monkeypatch.context() as patch:
        patch.setattr("storage.importing.importing.append_directly", _fails)
        with pytest.raises(Died):
            import_history(repo, source.path)
    before = packs(repo)
    done = import_history(Repository(settings), source.path)
    assert packs(repo) == before and done.stored == 0 < done.bytes


def _fails(*_: object) -> None:
    raise Died


def test_garbage_collection_waits_for_an_import_and_clears_up_behind_one_that_died(
    settings: Settings, source: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = Repository(replace(settings, gc_grace=-1.0))
    repo.prepare()
    named = packs(repo)
    during = []

    def collects(*_: object) -> None:
        during.append(collect(Repository(repo.settings)))
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr("storage.importing.importing.append_directly", collects)
        with pytest.raises(Died):
            import_history(repo, source.path)
    assert during[0].listed == 0 and len(packs(repo)) > len(named)
    assert collect(repo).deleted and packs(repo) == named
    # What was tombstoned is never named again, though the contents are the same.
    done = import_history(Repository(settings), source.path)
    assert done.stored == done.bytes and verify(repo).differences == []


def test_what_was_tombstoned_meanwhile_is_not_named(
    settings: Settings, source: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = Repository(settings)
    repo.prepare()

    def condemned_before(of: Repository, build: Callable[..., object]) -> object:
        names = {name.rpartition(".")[0] for name in packs(repo)}
        append_directly(repo, lambda _: Draft(Condemn(condemned=tuple(sorted(names))), None))
        return append_directly(of, build)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("storage.importing.importing.append_directly", condemned_before)
        with pytest.raises(Collected):
            import_history(repo, source.path)
    assert repo.view.head().main_seq == 1
    assert import_history(repo, source.path).stored


def test_only_an_empty_repository_takes_a_history(settings: Settings, source: GitRepository) -> None:
    world = World(Repository(settings))
    define(world.repo, "docs", ["docs/"])  # slices may be there
    waiting = world.put({"f": b"1"})
    with pytest.raises(NotEmpty):
        import_history(Repository(settings), source.path)
    world.work()
    assert world.status(waiting) == "committed"
    before = packs(world.repo)
    with pytest.raises(NotEmpty):
        import_history(Repository(settings), source.path)
    assert packs(world.repo) == before


def test_a_second_history_is_refused(settings: Settings, source: GitRepository) -> None:
    repo = Repository(settings)
    import_history(repo, source.path)
    with pytest.raises(NotEmpty):
        import_history(repo, source.path, ref="HEAD~1")


def test_an_older_node_is_waited_for(settings: Settings, source: GitRepository) -> None:
    repo = Repository(settings)
    repo.prepare()
    repo.nodes.say(Node("old@host", ("commits",), 1, reads=4))
    with pytest.raises(Older):
        import_history(repo, source.path)
    assert EVERY and repo.view.head().applied == 1


def shallow(source: GitRepository, tmp_path: Path) -> Path:
    source.git("clone", "-q", "--depth=3", f"file://{source.path}", str(tmp_path / "copy"))
    return tmp_path / "copy"


def partial(source: GitRepository, tmp_path: Path) -> Path:
    source.git("config", "uploadpack.allowFilter", "true")
    source.git("clone", "-q", "--bare", "--filter=blob:none", f"file://{source.path}", str(tmp_path / "copy"))
    return tmp_path / "copy"


def replaced(source: GitRepository, tmp_path: Path) -> Path:
    copy = _copy(source, tmp_path)
    copy.git("replace", "HEAD~3", "HEAD~5")
    return copy.path


def grafted(source: GitRepository, tmp_path: Path) -> Path:
    copy = _copy(source, tmp_path)
    (copy.path / ".git" / "info" / "grafts").write_text(copy.git("rev-parse", "HEAD~2") + "\n")
    return copy.path


def damaged(source: GitRepository, tmp_path: Path) -> Path:
    copy = _copy(source, tmp_path)
    blob = copy.git("rev-parse", "HEAD~4:dir0/sub/file0.txt")
    for pack in list((copy.path / ".git" / "objects" / "pack").glob("*.pack")):
        data = pack.read_bytes()
        for each in pack.parent.glob(pack.stem + ".*"):
            each.unlink()
        copy.git("unpack-objects", "-q", stdin=data)
    (copy.path / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    return copy.path


def dangerous(source: GitRepository, tmp_path: Path) -> Path:
    copy = _copy(source, tmp_path)
    blob = bytes.fromhex(copy.git("rev-parse", "HEAD:dir0/sub/file0.txt"))
    below = copy.git("hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=b"100644 config\0" + blob)
    tree = b"40000 .git\0" + bytes.fromhex(below) + b"100644 a\0" + blob
    oid = copy.git("hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=tree)
    copy.git("update-ref", "HEAD", copy.git("commit-tree", "-p", "HEAD", "-m", "dangerous", oid))
    return copy.path


def twice(source: GitRepository, tmp_path: Path) -> Path:
    copy = _copy(source, tmp_path)
    row = b"100644 a\0" + bytes.fromhex(copy.git("rev-parse", "HEAD:dir0/sub/file0.txt"))
    oid = copy.git("hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=row + row)
    copy.git("update-ref", "HEAD", copy.git("commit-tree", "-p", "HEAD", "-m", "twice", oid))
    return copy.path


def _copy(source: GitRepository, tmp_path: Path) -> GitRepository:
    source.git("clone", "-q", "--no-checkout", str(source.path), str(tmp_path / "copy"))
    made = GitRepository.__new__(GitRepository)
    made.path = tmp_path / "copy"
    return made


CASES: list[tuple[Callable[[GitRepository, Path], Path], str]] = [
    (shallow, "shallow"),
    (partial, "partial"),
    (replaced, "replace refs"),
    (grafted, "grafts"),
    (damaged, "missing|unable to read|bad object|could not"),
    (dangerous, "hasDotgit"),
    (twice, "duplicateEntries"),
]


@pytest.mark.parametrize(("make", "said"), CASES)
def test_what_cannot_be_carried_is_named_before_anything_is_written(
    make: Callable[[GitRepository, Path], Path], said: str, settings: Settings, source: GitRepository, tmp_path: Path
) -> None:
    folder = make(source, tmp_path)
    repo = Repository(settings)
    repo.prepare()
    before = packs(repo)
    with pytest.raises(Refused, match=said):
        import_history(repo, folder)
    assert packs(repo) == before and repo.view.head().applied == 1


def test_an_object_that_is_too_large_is_named(
    settings: Settings, source: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = Repository(settings)
    repo.prepare()
    before = packs(repo)
    monkeypatch.setattr("storage.importing.packing.LARGEST", 300)
    with pytest.raises(Unfit, match="has more than") as refused:
        import_history(repo, source.path)
    sizes = source.git("cat-file", "--batch-all-objects", "--batch-check=%(objectsize) %(objectname)").splitlines()
    large_ones = {oid for size, oid in (line.split() for line in sizes) if int(size) > 300}
    assert {problem.split()[1] for problem in refused.value.problems} == large_ones and packs(repo) == before


def test_what_is_no_repository_or_commit_is_named(settings: Settings, source: GitRepository, tmp_path: Path) -> None:
    repo = Repository(settings)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoSource, match="not a git repository"):
        import_history(repo, tmp_path / "empty")
    with pytest.raises(NoSource, match="no commit 'nowhere'"):
        import_history(repo, source.path, ref="nowhere")
    with pytest.raises(NoSource):
        import_history(repo, source.path, ref="--all")
