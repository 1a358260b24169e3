"""What Git is never started for: URLs that are none of a Git server's, wherever they come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storage.base.settings import Settings
from storage.mirrors.remote import Remote, RemoteFailed
from tests.support.git_repository import GitRepository


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("url", ["ext::sh -c touch% {}", "--upload-pack=touch {};", "file://{}/../there"])
def test_a_url_runs_no_command_and_reads_no_folder_unless_that_is_allowed(
    tmp_path: Path, url: str, private: bool
) -> None:
    there = GitRepository.begun(tmp_path / "there")
    here = GitRepository.begun(tmp_path / "here")
    made = tmp_path / "made"
    settings = replace(Settings(), mirror_private_targets=private)
    remote = Remote(settings, url.format(made), here.path)
    if url.startswith("file:") and private:
        remote = Remote(settings, f"file://{there.path}", here.path)
        assert remote.refs("refs/heads/main") == {"refs/heads/main": there.git("rev-parse", "HEAD")}
        return
    for ask in (lambda: remote.refs("refs/heads/main"), lambda: remote.fetch("+refs/heads/main:refs/x")):
        with pytest.raises(RemoteFailed) as failed:
            ask()
        assert failed.value.word == "failed" and failed.value.detail.startswith("the URL ")
    assert not made.exists()
