"""The settings that a stack takes from the environment: every limit, and none of its own servers' addresses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.stack.environment import load_environment
from storage.base import settings
from storage.base.settings import PREFIX, SettingsError

# A stack starts these servers itself and chooses where they listen.
OWN_ADDRESSES = ("redis_url", "broker_url", "s3_endpoints", "s3_access_key", "s3_secret_key", "api_url")


def limits(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the fields of Settings that `environ` sets, without the addresses of servers. Raises SettingsError."""
    return {name: value for name, value in settings.given(environ).items() if name not in OWN_ADDRESSES}


def refuse_addresses(data: Path, environ: Mapping[str, str] | None = None) -> None:
    """Refuse the address of a server that the stack on `data` will start itself.

    An address that the same stack had last time is accepted: a shell may have read `environment` of its folder.

    Raises SettingsError.
    """
    # As text: the folder may be of a version with other settings.
    before = load_environment(data)
    for name, value in settings.given(environ).items():
        variable = PREFIX + name.upper()
        if name in OWN_ADDRESSES and value != before.get(variable):
            raise SettingsError(f"{variable} is set, but this stack starts that server itself: unset it")
