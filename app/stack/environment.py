"""The file from which operators' commands get a stack's settings: `set -a; . .sluice/environment` in a shell."""

import os
from pathlib import Path

from storage.base import settings
from storage.base.settings import Settings

ENVIRONMENT = "environment"


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
