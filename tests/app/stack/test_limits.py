"""`sluice up` runs by the SLUICE_* settings of its environment, and refuses those that its own servers contradict."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from app.commands.local.up import command
from app.console.options import deployment
from app.stack import environment
from app.stack.environment import OWN_ADDRESSES, limits, refuse_addresses
from storage.base.settings import PREFIX, Settings, SettingsError


def variable(field: str) -> str:
    return PREFIX + field.upper()


def test_a_stack_takes_every_limit_that_is_set():
    chosen = limits({"SLUICE_MAX_CHANGES": "7", "SLUICE_MERGE_INTERVAL": "0.5", "PATH": "/bin"})
    assert chosen == {"max_changes": 7, "merge_interval": 0.5}


def test_a_misspelt_limit_is_an_error_that_names_it():
    with pytest.raises(SettingsError, match="SLUICE_MAX_CHANGE is not a setting"):
        limits({"SLUICE_MAX_CHANGE": "7"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"commit_pause": -0.1}, "SLUICE_COMMIT_PAUSE: must be 0 or more"),
        ({"commit_pause": float("nan")}, "SLUICE_COMMIT_PAUSE: must be 0 or more"),
        ({"gateway_workers": 0}, "SLUICE_GATEWAY_WORKERS must be above 0"),
    ],
)
def test_a_number_below_what_it_may_be_is_an_error(value: dict[str, float], message: str):
    with pytest.raises(SettingsError, match=message):
        Settings(**value)


def test_what_may_be_0_may_be_0():
    assert Settings(commit_pause=0).commit_pause == 0


@pytest.mark.parametrize("field", OWN_ADDRESSES)
def test_the_address_of_a_server_that_the_stack_starts_is_an_error(field: str, tmp_path: Path):
    elsewhere = "redis://elsewhere" if field in {"redis_url", "broker_url"} else "http://elsewhere"
    secret = {variable("s3_secret_key"): "x"} if field == "s3_access_key" else {}
    with pytest.raises(SettingsError, match=f"{variable(field)} is set"):
        refuse_addresses(tmp_path, {variable(field): elsewhere, **secret})


def test_the_stacks_own_earlier_addresses_may_stay_in_the_environment(tmp_path: Path):
    environment.save_environment(tmp_path, Settings(redis_url="redis://127.0.0.1:1234/0"))
    refuse_addresses(tmp_path, environment.load_environment(tmp_path))


def test_a_folder_of_a_version_with_other_settings_starts_all_the_same(tmp_path: Path):
    (tmp_path / environment.ENVIRONMENT).write_text(
        "SLUICE_A_SETTING_OF_OLD=1\nSLUICE_MAX_CHANGES=many\nSLUICE_REDIS_URL=redis://127.0.0.1:1234/0\n"
    )
    refuse_addresses(tmp_path, {})
    refuse_addresses(tmp_path, {"SLUICE_REDIS_URL": "redis://127.0.0.1:1234/0"})
    with pytest.raises(SettingsError, match="SLUICE_REDIS_URL is set"):
        refuse_addresses(tmp_path, {"SLUICE_REDIS_URL": "redis://elsewhere"})


@pytest.mark.parametrize("left", ["SLUICE_A_SETTING_OF_OLD=1", "SLUICE_MAX_CHANGES=many"])
def test_a_folder_of_another_version_is_an_error_that_says_how_to_fix_it(left: str, tmp_path: Path):
    path = tmp_path / environment.ENVIRONMENT
    path.write_text(left + "\n")
    with pytest.raises(SettingsError, match=left.partition("=")[0]) as error:
        deployment(tmp_path)
    assert str(path) in str(error.value) and f"sluice up --data {tmp_path}" in str(error.value)


def test_up_makes_no_folder_where_a_setting_is_wrong(tmp_path: Path):
    data = tmp_path / "data"
    result = CliRunner().invoke(command, ["--data", str(data)], env={"SLUICE_REDIS_URL": "redis://elsewhere"})
    assert isinstance(result.exception, SettingsError)
    assert not data.exists()
