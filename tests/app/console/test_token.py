"""Which token the command line sends, and to whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.console.token import TokenFileError, find_token, find_url
from app.stack import state
from app.stack.environment import save_environment
from app.stack.state import ROOT_TOKEN
from storage.base.settings import Settings, given

URL = "http://127.0.0.1:8080"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The data folder of a stack that runs, and whose API is at URL."""
    save_environment(tmp_path, Settings(api_url=URL, s3_access_key="a", s3_secret_key="b"))
    (tmp_path / ROOT_TOKEN).write_text("slc_root\n")
    with state.lock(tmp_path):
        yield tmp_path


def test_of_a_stack_that_ended_no_token_is_sent(tmp_path: Path) -> None:
    """Anybody on this machine may listen on its port by now."""
    save_environment(tmp_path, Settings(api_url=URL, s3_access_key="a", s3_secret_key="b"))
    (tmp_path / ROOT_TOKEN).write_text("slc_root\n")
    assert find_token(URL, {}, tmp_path) is None


@pytest.mark.parametrize("content", ["", " \n", "# mine\nslc_x", "slc_x slc_y", "slc_\x00", "slc_\u00e9"])
def test_what_is_no_token_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine").write_text(content)
    with pytest.raises(TokenFileError) as refusal:
        find_token(URL, {"SLUICE_TOKEN_FILE": str(tmp_path / "mine")}, tmp_path)
    assert "SLUICE_TOKEN_FILE" in str(refusal.value) and "slc_x" not in str(refusal.value)
    with pytest.raises(TokenFileError, match=r"^SLUICE_TOKEN: "):
        find_token(URL, {"SLUICE_TOKEN": content}, tmp_path)


def test_a_file_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"\xef\xbb\xbfslc_x\r\n")
    assert find_token(URL, {"SLUICE_TOKEN_FILE": str(tmp_path / "mine")}, tmp_path) == "slc_x"


def test_the_environment_comes_first_then_a_file_then_the_stack_beside(folder: Path) -> None:
    (folder / "mine").write_text(" slc_file\n")
    both = {"SLUICE_TOKEN": "slc_env", "SLUICE_TOKEN_FILE": str(folder / "mine")}
    assert find_token(URL, both, folder) == "slc_env"
    assert find_token(URL, {"SLUICE_TOKEN_FILE": both["SLUICE_TOKEN_FILE"]}, folder) == "slc_file"
    assert find_token(URL, {}, folder) == "slc_root"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8081", "http://example.org:8080", "https://10.0.0.1:8080", "example.org:8080"]
)
def test_a_root_token_goes_to_its_own_stack_alone(folder: Path, url: str) -> None:
    assert find_token(url, {}, folder) is None


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080/"])
def test_the_loopback_has_several_names(folder: Path, url: str) -> None:
    assert find_token(url, {}, folder) == "slc_root"


def test_the_address_is_that_of_the_variable_then_of_the_stack_beside(folder: Path, tmp_path: Path) -> None:
    save_environment(folder, Settings(api_url="http://127.0.0.1:8099", s3_access_key="a", s3_secret_key="b"))
    assert find_url({"SLUICE_API_URL": "http://example.org"}, folder) == "http://example.org"
    assert find_url({}, folder) == "http://127.0.0.1:8099"
    assert find_url({}, tmp_path / "none") == Settings.api_url


def test_the_address_of_a_stack_that_ended_is_not_taken(tmp_path: Path) -> None:
    save_environment(tmp_path, Settings(api_url="http://127.0.0.1:8099", s3_access_key="a", s3_secret_key="b"))
    assert find_url({}, tmp_path) == Settings.api_url


def test_without_any_there_is_none(tmp_path: Path) -> None:
    assert find_token(URL, {}, tmp_path) is None


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r"SLUICE_TOKEN_FILE: .*/none: No such file"):
        find_token(URL, {"SLUICE_TOKEN_FILE": str(tmp_path / "none")}, tmp_path)
    with pytest.raises(TokenFileError, match="SLUICE_TOKEN_FILE is set and empty"):
        find_token(URL, {"SLUICE_TOKEN_FILE": ""}, tmp_path)


def test_no_server_takes_a_clients_token_as_a_setting() -> None:
    assert given({"SLUICE_TOKEN": "slc_x", "SLUICE_TOKEN_FILE": "/x"}) == {}
