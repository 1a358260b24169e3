"""docs/configuration.md and `sluice settings` say what storage/base/settings.py says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.commands.operator.settings import command, page
from storage.base.settings import PREFIX, Settings, SettingsError, load

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
FIELDS = dataclasses.fields(Settings)


def test_the_page_is_what_the_settings_say():
    assert PAGE.read_text() == page(), "make it again: sluice settings --markdown > docs/configuration.md"


def test_every_setting_has_a_unit_and_a_sentence():
    for field in FIELDS:
        assert field.metadata["unit"]
        assert field.metadata["about"].endswith(".")
        assert f"| `{PREFIX}{field.name.upper()}` |" in page()


def test_the_list_shows_what_is_set_but_no_secret_and_no_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLUICE_MAX_CHANGES", "17")
    monkeypatch.setenv("SLUICE_S3_SECRET_KEY", "hush-hush")
    monkeypatch.setenv("SLUICE_REDIS_URL", "redis://:hush-hush@cache:6379/1")
    answer = CliRunner().invoke(command, ["--json"])
    assert answer.exit_code == 0
    rows = {row["name"]: row for row in map(json.loads, answer.output.splitlines())}
    assert rows.keys() == {field.name for field in FIELDS}
    assert (rows["max_changes"]["default"], rows["max_changes"]["value"]) == (10_000, 17)
    assert rows["s3_secret_key"]["value"] is None
    assert rows["redis_url"]["value"] == "redis://:***@cache:6379/1"
    for options in (["--json"], [], ["--markdown"]):
        assert "hush-hush" not in CliRunner().invoke(command, options).output


def test_a_misspelt_setting_is_named_and_the_list_is_there_all_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SLUICE_MAX_CHAGNES", "17")
    answer = CliRunner().invoke(command, ["--json"])
    assert answer.exit_code == 2
    assert len(answer.stdout.splitlines()) == len(FIELDS)
    assert "SLUICE_MAX_CHAGNES is not a setting" in answer.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MAX_CHANGES", "many"), ("MAX_CHANGES", "-1"), ("MAX_CHANGES", "1.5"), ("S3_TIMEOUT", "nan"),
        ("S3_TIMEOUT", "-0.1"), ("USE_LOCKS", "perhaps"), ("REDIS_URL", "cache:6379"), ("REDIS_URL", "redis://h:port"),
        ("REDIS_URL", "redis://h:99999"), ("S3_ENDPOINTS", ""), ("S3_ENDPOINTS", " , "), ("S3_ENDPOINTS", "ftp://store"),
        ("S3_ENDPOINTS", "http://a,store:9000"), ("S3_ACCESS_KEY", "without a secret"), ("DEBUG", "2"),
        ("NO_SUCH_SETTING", "1"),
    ],
)  # fmt: skip
def test_a_variable_that_nothing_could_work_with_is_an_error_that_names_it(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(SettingsError, match=f"{PREFIX}{name}"):
        load({PREFIX + name: text})
    monkeypatch.setenv(PREFIX + name, text)
    assert CliRunner().invoke(command, []).exit_code == 2


def test_the_secret_in_a_wrong_address_is_not_repeated():
    with pytest.raises(SettingsError) as error:
        load({"SLUICE_REDIS_URL": "rediss:/hush-hush@cache"})
    assert "hush-hush" not in str(error.value)
