"""What every command has in common: how it fails, what it prints, and what a script can read of it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from app import cli
from app.console import exit_codes
from tests.support.command_line import COMMIT, ID, Fake, objects, serve, sluice

ROOT = Path(__file__).parents[3]
LONG = "a-name-that-is-longer-than-any-terminal-is-wide-" * 4
POLICY = ROOT / "tests" / "testdata" / "policy.json"
SUBMISSION = f"-m Hello --base {COMMIT} --author Ada<ada@example.org>"
# A line of each command that asks the API.
CLIENTS = [
    "audit", f"audit --changeset {ID}", "audit --follow -n 1",
    f"abandon {ID}", "changesets", "changesets --label a=b --since 1h", "mine",
    f"check web . {SUBMISSION}", "conflicts", f"conflicts {ID}", f"diff {ID}", "log", "log -v",
    "claim docs/ --intent Docs", "claims", "limits", "clone web",
    "blame web/a.txt", f"show {COMMIT}", f"revert {ID}", "tag create v1.0", "tag delete v1.0", "tag list",
    "mirror add host https://git.example.org/a.git", "mirror list", "mirror remove host", "mirror resume host",
    "mirror status host", "mirror stop host",
    "merge", f"policy check {POLICY}", f"policy set {POLICY}", "policy show", f"rebase {ID}", f"release {ID}",
    f"resolve {ID} --all-ours", f"resolve {ID} --checkout fix", "slice change web --path web/",
    "slice create web web/", "slice delete web", "slice list", "slice show web", "status", f"status {ID}",
    f"status {ID} --wait", f"submit web . {SUBMISSION}", "token create user:ada", "token list", f"token revoke {ID}",
    f"unclaim {ID}",
    "watch -n 1", "webhook create https://example.org/", f"webhook deliveries {ID}", f"webhook delete {ID}",
    f"webhook disable {ID}", f"webhook enable {ID}", "webhook list", f"webhook ping {ID}",
    f"webhook redeliver {ID} 3-0", f"webhook rotate {ID}", f"webhook show {ID}", "whoami",
]  # fmt: skip
# Those of the rest that ask Redis and the bucket.
OPERATORS = ["backup copy", "export copy.git", "gc", "rebuild", "verify"]
OTHERS = {
    "contend",
    "demo",
    "import",
    "replay",
    "replay-merges",
    "restart",
    "restore",
    "settings",
    "up",
    "checkout",
    "credential",
    "pull",
    "push",
}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of this machine's settings, no patience, a folder with a file; logging as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICE_API_PATIENCE", "0")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.txt").write_text("hello\n")
    known = structlog.get_config()
    yield
    structlog.configure(**known)


@pytest.fixture(scope="module")
def standing() -> Iterator[Fake]:
    """One server for hundreds of tests, which says what the `fake` of each says."""
    with serve(Fake()) as fake:
        yield fake


@pytest.fixture
def fake(standing: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    """The API of this test: of what another has set nothing is left."""
    standing.begin()
    monkeypatch.setenv("SLUICE_API_URL", standing.url)
    yield standing
    standing.end()


def test_the_lines_below_are_of_every_command() -> None:
    assert {line.split()[0] for line in CLIENTS + OPERATORS} | OTHERS >= cli.COMMANDS.keys()


@pytest.mark.parametrize("line", CLIENTS)
def test_every_command_says_that_nothing_listens(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_API_URL", "http://127.0.0.1:1")
    answer = sluice(*line.split())
    assert (answer.exit_code, answer.stdout) == (exit_codes.UNREACHABLE, "")
    assert answer.stderr.startswith("error: ")
    assert "http://127.0.0.1:1" in answer.stderr and "nothing listens there" in answer.stderr
    [document] = objects(sluice(*line.split(), "--json").stderr)
    assert document["type"] == "urn:sluice:problem:unreachable"
    assert (document["exit_code"], "nothing listens" in document["detail"]) == (exit_codes.UNREACHABLE, True)


NO_SLUICE = {
    "a page for everything": (200, b"<html>hello</html>"),
    "no such page": (404, b"<html>not found</html>"),
    "no such method": (501, b"<html>unsupported</html>"),
    "another API": (404, {"detail": "Not Found"}),
    "a list": (200, [1, 2]),
}


@pytest.mark.parametrize("said", NO_SLUICE)
@pytest.mark.parametrize("line", CLIENTS)
def test_every_command_says_that_what_answers_is_no_sluice(line: str, said: str, fake: Fake) -> None:
    fake.otherwise = NO_SLUICE[said]
    answer = sluice(*line.split())
    assert (answer.exit_code, answer.stdout) == (exit_codes.UNREACHABLE, ""), answer.output
    assert answer.stderr.startswith(f"error: {fake.url} answers, and is no Sluice: ")
    [document] = objects(sluice(*line.split(), "--json").stderr)
    assert document["type"] == "urn:sluice:problem:no-sluice"


@pytest.mark.parametrize(
    "line", ["status", "log", "slice list", "merge", f"release {ID}", f"submit web . {SUBMISSION}"]
)
def test_an_object_of_something_else_is_no_bug(line: str, fake: Fake) -> None:
    fake.otherwise = (200, {"hello": "world"})
    answer = sluice(*line.split())
    assert answer.exit_code == exit_codes.UNREACHABLE and "is no Sluice" in answer.stderr


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.2\r\n", b"-ERR unknown command\r\n"])
def test_what_speaks_another_protocol_is_told_at_once(greeting: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(greeting)

        thread = threading.Thread(target=greet)
        thread.start()
        monkeypatch.setenv("SLUICE_API_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        monkeypatch.setenv("SLUICE_API_PATIENCE", "600")
        answer = sluice("log")
        thread.join()
    assert answer.exit_code == exit_codes.UNREACHABLE and "it does not speak HTTP" in answer.stderr


@pytest.mark.parametrize("line", OPERATORS)
@pytest.mark.long
def test_operators_are_told_what_does_not_answer(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s", "S3_ENDPOINTS": "http://127.0.0.1:1", "S3_TIMEOUT": "0.01",
        "REDIS_URL": "redis://127.0.0.1:1/0", "REDIS_TIMEOUT": "0.1",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"SLUICE_{name}", value)
    answer = sluice(*line.split())
    assert answer.exit_code == exit_codes.UNREACHABLE, answer.output
    assert "does not answer" in answer.stderr and "hint: " in answer.stderr
    assert objects(sluice(*line.split(), "--json").stderr)[-1]["exit_code"] == exit_codes.UNREACHABLE


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("restore .", "has no backup in it"),
        ("restart --data nowhere", "no stack runs on nowhere"),
        ("replay web", "not a git repository"),
        ("replay-merges web", "not a git repository"),
        ("demo --repo web", "not a git repository"),
        ("verify --data nowhere", "no stack has run on nowhere"),
        ("status --timeout soon", "is not a number of seconds"),
        (f"status {ID} --wait --timeout -1", "is not a number of seconds"),
        (f"status {ID} --wait --timeout nan", "is not a number of seconds"),
        ("up --port 99999", "99999 is not in the range"),
        ("up --flower-port 65536", "65536 is not in the range"),
        ("up --port -1", "-1 is not in the range"),
        ("no-such-command", "No such command"),
        ("log --no-such-option", "No such option"),
    ],
)
def test_what_cannot_be_done_is_an_error_and_leaves_nothing(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLUICE_S3_ACCESS_KEY", "SLUICE_S3_SECRET_KEY"):
        monkeypatch.setenv(name, "k")
    answer = sluice(*line.split())
    assert answer.exit_code in {exit_codes.USAGE, exit_codes.REFUSED}
    assert said in answer.stderr and answer.stderr.startswith("error: ")
    assert answer.stdout == "" and "Error:" not in answer.stderr
    assert {each.name for each in tmp_path.iterdir()} == {"web"}
    if not line.startswith("up"):
        document = objects(sluice(*line.split(), "--json").stderr)[-1]
        assert (document["exit_code"], said in document["detail"]) == (answer.exit_code, True)


CHANGESET = {"id": ID, "slice": "01S", "status": "queued"}
OUTCOMES = [
    ("committed", exit_codes.DONE),
    ("landed", exit_codes.DONE),
    ("conflicted", exit_codes.CONFLICTED),
    ("rejected", exit_codes.REJECTED),
    ("abandoned", exit_codes.REJECTED),
    ("queued", exit_codes.TIMED_OUT),
]


@pytest.mark.parametrize("line", [f"status {ID}", f"release {ID}", f"rebase {ID}", f"resolve {ID} --ours web/a"])
@pytest.mark.parametrize(("status", "code"), OUTCOMES)
def test_whoever_waits_is_told_the_outcome_by_the_exit_code(line: str, status: str, code: int, fake: Fake) -> None:
    now = {**CHANGESET, "status": status, "commit": COMMIT, "seq": 7}
    fake.answers = [(r"POST .*", 202, CHANGESET), (r"GET /v1/changesets/[^/]*", 200, now)]
    answer = sluice(*line.split(), "--wait", "--timeout", 0)
    assert answer.exit_code == code, answer.output
    assert [row.split()[:2] for row in answer.stdout.splitlines()] == [[ID, f"{status}"]] or status in answer.stdout
    told = sluice(*line.split(), "--wait", "--timeout", 0, "--json")
    assert (told.exit_code, objects(told.stdout)) == (code, [now])
    objects(told.stderr)


@pytest.mark.parametrize("verb", ["rebase", "resolve"])
def test_a_new_changeset_is_named_before_anybody_waits_for_it(verb: str, fake: Fake) -> None:
    made = {**CHANGESET, "id": "01NEW"}
    fake.answers = [(r"POST .*", 202, made), (r"GET .*01NEW.*", 503, {"title": "Away", "status": 503})]
    answer = sluice(verb, ID, *(["--ours", "a"] if verb == "resolve" else []), "--wait")
    assert answer.exit_code == exit_codes.UNREACHABLE
    assert answer.stderr.startswith("made 01NEW")


@pytest.mark.parametrize(
    ("statuses", "code"),
    [(["committed", "conflicted"], 3), (["rejected", "conflicted"], 4), (["committed", "committed"], 0)],
)
def test_of_several_the_largest_exit_code_counts(statuses: list[str], code: int, fake: Fake) -> None:
    for name, status in zip(("01A", "01B"), statuses, strict=True):
        document = {**CHANGESET, "id": name, "status": status, "commit": COMMIT, "seq": 7}
        fake.answers.append((rf".* /v1/changesets/{name}.*", 200, document))
    assert sluice("release", "01A", "01B", "--wait").exit_code == code
    assert sluice("release", "01A", "01NO", "01B", "--wait").exit_code == 7, "the others are waited for all the same"


def test_a_refusal_names_the_file_and_says_each_fault_once(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "web" / "b.bin").write_bytes(b"\0")
    error = {"field": "changes[1].content_base64", "message": "is larger than max_blob_bytes"}
    refusal = {
        "type": "urn:sluice:problem:invalid", "title": "The request is not valid", "status": 422, "errors": [error],
        "detail": f"{error['field']}: {error['message']}",
    }  # fmt: skip
    fake.answers = [
        ("GET /v1/slices/web", 200, {"id": "01S", "name": "web", "paths": ["web/"], "version": 1}),
        ("GET .*/tree.*", 200, {"items": [], "next": None, "commit": COMMIT, "tree": COMMIT}),
        ("GET /v1/head", 200, {"tip": {"commit": COMMIT, "tree": COMMIT, "seq": 1}}),
        ("POST .*", 422, refusal),
    ]
    for verb in ("submit", "check"):
        line = [verb, "web", ".", *SUBMISSION.split()]
        answer = sluice(*line)
        assert answer.exit_code == exit_codes.REFUSED
        assert "error: The request is not valid: web/b.bin: is larger than max_blob_bytes\n" in answer.stderr
        assert answer.stderr.count("is larger than") == 1
        document = objects(sluice(*line, "--json").stderr)[-1]
        assert document["errors"] == [{**error, "path": "web/b.bin"}]
        assert document == {**refusal, "errors": document["errors"], "exit_code": exit_codes.REFUSED}


SLICE = {"id": "01S" + "0" * 23, "name": LONG, "paths": [f"{LONG}/", f"other/{LONG}"], "version": 1}
CONFLICT = {"path": f"web/{LONG}", "class": "content", "base": None, "head": None, "submitted": None}
ANSWERS: list[tuple[str, int, Any]] = [
    ("GET /v1/slices/[^/]*/changesets.*", 200, {"items": [], "next": None}),
    ("GET /v1/slices/[^/]*/tree.*", 200,
     {"items": [{"path": f"web/{LONG}\t", "mode": "100644", "id": COMMIT}], "next": None}),
    ("GET /v1/slices/[^?]+", 200, SLICE),
    ("GET /v1/slices.*", 200, {"items": [SLICE], "next": None}),
    ("GET /v1/commits/.*", 200, {"items": [{"commit": COMMIT, "changeset": ID, "slice": SLICE["id"]}], "next": None}),
    ("GET /v1/commits.*", 200, {"items": [{"commit": COMMIT, "tree": COMMIT, "changesets": 1}], "next": None}),
    ("GET /v1/conflicts.*", 200,
     {"items": [{**CHANGESET, "slice": SLICE["id"], "conflicts": [CONFLICT], "conflict_count": 1}], "next": None}),
    ("GET /v1/changesets/.*/conflicts.*", 200, {"items": [CONFLICT], "next": None}),
    ("GET /v1/changesets/.*", 200,
     {**CHANGESET, "status": "conflicted", "conflicts": [CONFLICT], "conflict_count": 1}),
    ("GET /v1/head", 200, {"main": {"commit": COMMIT, "seq": 7}, "tip": {"commit": COMMIT, "seq": 7}, "pending": 0}),
    ("GET /v1/health", 200, {"healthy": True, "checks": {"redis": {"ok": True, "detail": f"answers {LONG}"}}}),
    ("POST /v1/slices", 201, SLICE),
    ("POST /v1/merges", 202, {"pending": 0}),
]  # fmt: skip
PRINTED = [
    ("slice list", LONG), ("slice list", SLICE["id"]), ("slice show web --files", f"web/{LONG}\t"),
    ("slice show web", f"other/{LONG}"), ("slice create web web/", LONG), ("log -v", f"{ID} {LONG}"),
    ("log", f"tree {COMMIT}"), ("conflicts", f"{LONG}: web/{LONG} (content)"), (f"conflicts {ID}", f"web/{LONG}"),
    (f"status {ID}", f"web/{LONG}: content"), ("status", f"answers {LONG}"),
    ("settings", "Maximum size of a request body."),
]  # fmt: skip


@pytest.mark.parametrize(("line", "whole"), PRINTED)
def test_through_a_pipe_lines_are_whole(line: str, whole: str, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.answers = ANSWERS
    for name, value in {"COLUMNS": "40", "FORCE_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    answer = sluice(*line.split())
    assert any(whole in row for row in answer.stdout.splitlines()), answer.output
    assert "…" not in answer.stdout
    assert all(row.rstrip(" ") == row for row in answer.stdout.splitlines()), "no line is padded"


@pytest.mark.parametrize("line", sorted({line for line, _ in PRINTED} | {"merge", "slice list --path x"}))
def test_json_is_an_object_on_each_line_of_both_streams(line: str, fake: Fake) -> None:
    fake.answers = ANSWERS
    answer = sluice(*line.split(), "--json")
    assert answer.exit_code in {exit_codes.DONE, exit_codes.CONFLICTED}, answer.output
    assert objects(answer.stdout)
    objects(answer.stderr)


TREE = r"GET /v1/slices/[^/]*/tree\?prefix=agents%2F.*"
WARNINGS: list[tuple[str, str]] = [
    ("agents", "warning: agents is one file, and a directory stands there: agents/ is the directory"),
    ("web", "warning: web is one file, and a directory stands there: web/ is the directory"),
    ("*.py", "warning: *.py is taken as it stands"),
    ("src/**/x.ts", "warning: src/**/x.ts is taken as it stands"),
    ("README.md/", "warning: README.md/ is a directory, and README.md is a file"),
]


@pytest.mark.parametrize("command", ["slice create web {}", "slice change web --path {}"])
@pytest.mark.parametrize(("path", "warning"), WARNINGS)
def test_a_path_that_means_something_else_is_warned_of(command: str, path: str, warning: str, fake: Fake) -> None:
    listed = {"items": [{"path": "agents/x", "mode": "100644", "id": COMMIT}], "next": None}
    fake.answers = [
        (TREE, 200, listed),
        ("HEAD .*/files/README.md", 200, {}),
        ("HEAD .*", 404, {}),
        ("GET .*/tree.*", 200, {"items": [], "next": None}),
        ("GET /v1/slices.*", 200, {"items": [SLICE], "next": None}),
        ("(POST|PATCH) .*", 201, {**SLICE, "paths": [path]}),
    ]
    answer = sluice(*command.format(path).split())
    assert answer.exit_code == exit_codes.DONE
    assert answer.stderr.startswith(warning)
    told = sluice(*command.format(path).split(), "--json")
    assert objects(told.stderr)[0]["note"].startswith(warning) and len(objects(told.stdout)) == 1


@pytest.mark.parametrize("paths", ["agents/", "README.md", "/", "agents/x a.txt"])
def test_paths_that_mean_what_they_say_are_not_warned_of(paths: str, fake: Fake) -> None:
    fake.answers = [
        ("GET .*/tree.*", 200, {"items": [], "next": None}),
        ("GET /v1/slices.*", 200, {"items": [SLICE], "next": None}),
        ("POST .*", 201, SLICE),
    ]
    assert sluice("slice", "create", "web", *paths.split()).stderr == ""


MANY = [{"name": f"s{number}", "paths": [f"s{number}/"]} for number in range(3)]
REFUSED_SLICE = {"title": "It contradicts what is there", "detail": "s1 collides with the slice s1/x", "status": 409}
MADE: list[dict[str, Any]] = [
    {"status": 201, "slice": {**SLICE, "name": "s0"}},
    {"status": 409, "problem": REFUSED_SLICE},
    {"status": 200, "slice": {**SLICE, "name": "s2"}},
]


def test_the_slices_of_a_file_are_made_with_an_outcome_for_each(fake: Fake, tmp_path: Path) -> None:
    # What `slice list --json` prints has more than is needed, and files have empty lines.
    (tmp_path / "many").write_text("\n".join(json.dumps({**item, "id": "01S", "version": 3}) for item in MANY) + "\n\n")
    fake.answers = [("POST /v1/slices", 201, {"outcomes": MADE})]
    answer = sluice("slice", "create", "--from", "many")
    assert answer.exit_code == exit_codes.REFUSED
    assert answer.stdout == "made 1 slices; there before: 1; refused: 1\n"
    assert answer.stderr == "s1: s1 collides with the slice s1/x\n"
    assert objects(sluice("slice", "create", "--from", "many", "--json").stdout) == MADE


@pytest.mark.parametrize(
    ("text", "error"),
    [("{}", "line 1 is no JSON object"), ('{"name": "a", "paths": []}\n[]', "line 2 is no"), ("\n", "has no slices"),
     ("name", "line 1 is no")],
)  # fmt: skip
def test_a_file_without_a_slice_on_each_line_is_refused(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "many").write_text(text)
    answer = sluice("slice", "create", "--from", "many")
    assert answer.exit_code == exit_codes.USAGE and error in answer.stderr


@pytest.mark.parametrize("line", ["slice create", "slice create web", "slice create web web/ --from many"])
def test_a_slice_is_given_by_a_name_with_paths_or_by_a_file(tmp_path: Path, line: str) -> None:
    (tmp_path / "many").write_text(json.dumps(MANY[0]))
    answer = sluice(*line.split())
    assert answer.exit_code == exit_codes.USAGE and "--from" in answer.stderr


def test_the_exit_codes_are_one_table_in_help_and_in_the_documentation() -> None:
    shown = " ".join(sluice("--help").stdout.partition("Exit codes:")[2].split())
    page = (ROOT / "docs" / "cli.md").read_text()
    rows = [f"| {code} | {meaning} |" for code, meaning in exit_codes.MEANINGS.items()]
    assert [row for row in page.splitlines() if row[2:3].isdigit()] == rows
    assert shown == " ".join(f"{code} {meaning}" for code, meaning in exit_codes.MEANINGS.items())


def test_no_help_shows_what_formats_it() -> None:
    lines = [*cli.COMMANDS, "slice create", "slice change", "slice show"]
    for line in lines:
        assert "\\b" not in sluice(*line.split(), "--help").stdout, line


def test_a_file_that_cannot_be_read_is_named(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Callable[[Path], bytes] = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "secret.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    (tmp_path / "web" / "secret.txt").write_text("x")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    fake.answers = ANSWERS
    fake.answers = [("GET /v1/slices/web", 200, {**SLICE, "paths": ["/"]}), *ANSWERS]
    answer = sluice("submit", "web", ".", *SUBMISSION.split())
    assert answer.exit_code == exit_codes.USAGE
    assert answer.stderr.endswith("web/secret.txt cannot be read: Permission denied\n") and answer.stderr.startswith(
        "error: "
    )
    assert json.loads(sluice("submit", "web", ".", *SUBMISSION.split(), "--json").stderr)["exit_code"] == 2


def test_a_full_disk_is_an_error_that_names_the_folder(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    conflict = {**CONFLICT, "path": "web/a", "marked": "<<<<<<<", "submitted": {"mode": "100644", "id": COMMIT}}
    fake.answers = [("GET /v1/changesets/.*/conflicts.*", 200, {"items": [conflict], "next": None}), *ANSWERS]
    answer = sluice("resolve", ID, "--checkout", tmp_path / "fix")
    assert answer.exit_code == exit_codes.USAGE
    assert answer.stderr == f"error: {tmp_path / 'fix'}: No space left on device\n"
