"""The OpenAPI document of a whole stack: tried by schemathesis, by a client generated from it, and in a browser.

`TEST_SCHEMATHESIS_EXAMPLES=200` tries more than the few examples of each operation that are tried here.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import urllib3

from app.client.api_client import Client
from app.guard import RULES
from app.stack.stack import Stack
from storage.repository import Repository
from tests.support.conformance import closed
from tests.support.example_ids import real_ids, with_real
from tests.support.servers import MISSING
from tests.support.waiting import await_true

pytestmark = pytest.mark.parametrize("s3_kind", ["seaweedfs"], indirect=True)

BIN = Path(sys.executable).parent
EXAMPLES = os.environ.get("TEST_SCHEMATHESIS_EXAMPLES", "3")
# Streams and long polls end soon, so that each can be asked for to its end.
SETTINGS = {"max_stream_seconds": 0.2, "max_wait": 0.2, "merge_interval": 0.5}
# A 503 is described, with the Retry-After that it must have. A request that fits its schema may still be refused, for
# what is there or by a rule that no schema has; it is never malformed, and never a fault.
CONFIGURATION = """
hooks = "hooks.py"
[generation]
deterministic = true
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 503]
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 304, 401, 403, 404, 406, 409, 412, 413, 422, 428, 429, 503]
"""
# Webhooks are called: no URL that is made up may be one of a real host.
HOOKS = """
import re
import schemathesis

@schemathesis.hook
def before_call(context, case, **kwargs):
    url = case.body.get("url") if isinstance(case.body, dict) else None
    if isinstance(url, str) and len(url) <= 2000:
        case.body = {**case.body, "url": re.sub("^https://[^/?#]*", "https://example.invalid", url)}
"""
Json = dict[str, Any]


@dataclass
class Tried:
    """What schemathesis reports."""

    report: Json
    output: str

    @property
    def accepted(self) -> set[str]:
        """The operations (method and path) that answered a request with success."""
        return {
            name
            for name, phases in self.report["valid_rates"].items()
            if sum(phase["accepted"] for phase in phases.values())
        }


def try_all(stack: Stack, document: Json, token: str, folder: Path, *options: str) -> Tried:
    """Have schemathesis try every operation of a document."""
    folder.mkdir()
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    (folder / "hooks.py").write_text(HOOKS)
    command = [
        str(BIN / "schemathesis"), "--config-file", "schemathesis.toml", "run", "openapi.json", "--url", stack.url,
        "--header", f"Authorization: Bearer {token}", "--max-examples", EXAMPLES, "--warnings", "off", "--no-color",
        "--report-json-path", "report.json", *options,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=3600)
    assert (folder / "report.json").exists(), done.stdout[-5000:] + done.stderr[-5000:]
    return Tried(json.loads((folder / "report.json").read_text()), done.stdout)


def ask(stack: Stack, method: str, path: str, body: Any) -> Json:
    """Send a request that has to succeed, with the root token."""
    headers = {"Authorization": f"Bearer {stack.token}"}
    answer = urllib3.request(method, stack.url + path, json=body, headers=headers, timeout=60)
    assert answer.status < 300, answer.data
    shown: Json = answer.json()
    return shown


@pytest.fixture
def chromium() -> str:
    """A browser. Where there is none the pages are tested by what the server sends alone, in CI too."""
    program = shutil.which(os.environ.get("TEST_CHROMIUM") or "chromium")
    if program is None:
        pytest.skip(f"chromium {MISSING}: put it on PATH or name it in TEST_CHROMIUM (apt-get install chromium)")
    return program


def served(stack: Stack) -> Json:
    document: Json = urllib3.request("GET", f"{stack.url}/v1/openapi.json", timeout=60).json()
    return document


def test_whatever_is_asked_is_answered_as_the_document_says(new_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = new_stack(SETTINGS, with_flower=False, with_tokens=True, with_webhooks=True)
    root = Client(stack.url, token=stack.token)

    def settle(changeset: str) -> None:
        await_true(lambda: root.changeset(changeset, 0.2, "landed")["status"] in {"landed", "conflicted"})

    ids = real_ids(lambda method, path, body: ask(stack, method, path, body), settle)
    root.set_policy(
        {
            "grants": [
                {"to": "user:admin", "role": "admin", "path": "/"},
                {"to": "agent:lesser", "role": "writer", "path": "web/"},
                {"to": "agent:lesser", "role": "maintainer", "path": "mine/"},
            ]
        },
        None,
    )
    lesser = root.create_token("agent:lesser")["token"]
    document = closed(with_real(served(stack), ids))
    count = sum(len(methods) for methods in document["paths"].values())
    assert stack.token
    for name, token, options in (
        # First who may not change what the examples name.
        ("agent:lesser", lesser, ["--phases", "examples,coverage,fuzzing"]),
        ("root", stack.token, []),
    ):
        tried = try_all(stack, document, token, tmp_path / name.replace(":", "-"), *options)
        cases, operations = tried.report["test_cases"], tried.report["operations"]
        print(
            f"{name}: {operations['tested']} operations, {cases['generated']} cases,"
            f" {cases['unique_failures']} failures, {len(tried.accepted)} operations succeeded"
        )
        assert tried.report["failures"] == [] and tried.report["errors"] == [], tried.output[-20_000:]
        assert tried.report["complete"] and operations["tested"] == operations["total"] == count
        assert len(tried.accepted) > count // 2, sorted(tried.accepted)
    repo = Repository(stack.settings)
    assert repo.view.head().applied > 0


def test_a_generated_client_lands_a_change(
    new_stack: Callable[..., Stack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = new_stack(with_flower=False, with_tokens=True)
    (tmp_path / "openapi.json").write_text(json.dumps(served(stack)))
    overrides = {f"application/{kind}": "application/octet-stream" for kind in ("x-tar", "gzip", "zip")}
    (tmp_path / "config.json").write_text(json.dumps({"content_type_overrides": overrides}))
    command = [
        str(BIN / "openapi-python-client"), "generate", "--path", "openapi.json", "--meta", "none",
        "--config", "config.json", "--output-path", "sluice_client", "--fail-on-warning",
    ]  # fmt: skip
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    made = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert made.returncode == 0, made.stdout + made.stderr
    monkeypatch.syspath_prepend(tmp_path)

    def module(name: str) -> Any:
        return importlib.import_module(f"sluice_client.{name}")

    models, api = module("models"), "api."
    with module("client").AuthenticatedClient(base_url=stack.url, token=stack.token or "", timeout=60.0) as client:
        slice_ = module(api + "slices.create_slice").sync(
            client=client, body=models.NewSlice(name="docs", paths=["docs/"])
        )
        assert isinstance(slice_, models.Slice) and slice_.name == "docs"
        head = module(api + "reads.get_head").sync(client=client)
        change = models.Change(op=models.ChangeOp.PUT, path="docs/hello.txt", content="hello\n")
        body = models.NewChangeset(message="Say hello", changes=[change], base=head.tip.commit)
        submit = module(api + "changesets.submit_changeset").sync
        submitted = submit("docs", client=client, body=body, idempotency_key="hello-1")
        assert submit("docs", client=client, body=body, idempotency_key="hello-1").id == submitted.id
        until = models.GetChangesetUntil.LANDED
        landed = module(api + "changesets.get_changeset").sync(submitted.id, client=client, wait=50.0, until=until)
        assert landed.status == models.Status.LANDED
        read = module(api + "reads.get_file").sync("docs", "docs/hello.txt", client=client, commit=landed.commit)
        assert read == b"hello\n"
        refused = module(api + "slices.get_slice").sync("none", client=client)
        assert isinstance(refused, models.Problem) and refused.type_ == "urn:sluice:problem:not-found"


def test_curl_lists_every_operation(new_stack: Callable[..., Stack]) -> None:
    stack = new_stack(with_flower=False, with_tokens=True)
    asked = ["curl", "--silent", "--fail", f"{stack.url}/v1/openapi.json"]
    document = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
    listed = [f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods]
    print(*listed, sep="\n")
    assert len(listed) == len(RULES)


def test_a_browser_shows_every_operation(new_stack: Callable[..., Stack], chromium: str, tmp_path: Path) -> None:
    stack = new_stack(with_flower=False, with_tokens=True)
    summaries = [each["summary"] for methods in served(stack)["paths"].values() for each in methods.values()]
    browser = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=30000", "--dump-dom", f"{stack.url}/docs",
    ]  # fmt: skip
    shown = subprocess.run(browser, capture_output=True, text=True, check=True, timeout=300)
    found = re.findall(r'class="opblock-summary-description">([^<]*)<', shown.stdout)
    assert sorted(map(unescape, found)) == sorted(summaries)
    assert "CONSOLE" not in shown.stderr, "the page's policy forbids nothing that it needs"
