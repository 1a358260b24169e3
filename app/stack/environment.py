"""A stack and the environment: which settings it takes from there, and the file from which commands get its settings.

In a shell: `set -a; . .sluice/environment`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storage.base import settings
from storage.base.settings import PREFIX, Settings, SettingsError

ENVIRONMENT = "environment"
# A stack starts these servers itself and chooses where they listen.
OWN_ADDRESSES = ("redis_url", "broker_url", "s3_endpoints", "s3_access_key", "s3_secret_key", "api_url", "git_url")


def save_environment(folder: Path, chosen: Settings) -> None:
    """Write the settings of the running stack where commands find them; secrets are among them."""
    path = folder / ENVIRONMENT
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(f"{name}={text}\n" for name, text in settings.dump(chosen).items())


def load_environment(folder: Path) -> dict[str, str]:
    """Return the environment of the stack that runs, or last ran, on `folder`; empty if none did."""
    try:
        lines = (folder / ENVIRONMENT).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def limits(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the fields of Settings that `environ` sets, without the addresses of servers. Raises SettingsError."""
    return {name: value for name, value in settings.given(environ).items() if name not in OWN_ADDRESSES}


def refuse_addresses(data: Path, environ: Mapping[str, str] | None = None) -> None:
    """Refuse the address of a server that the stack on `data` will start itself. Raises SettingsError.

    An address that the same stack had last time is accepted: a shell may have read `environment` of its folder.
    """
    # As text: the folder may be of a version with other settings.
    before = load_environment(data)
    for name, value in settings.given(environ).items():
        variable = PREFIX + name.upper()
        if name in OWN_ADDRESSES and value != before.get(variable):
            raise SettingsError(f"{variable} is set, but this stack starts that server itself: unset it")
