"""gunicorn's own log as JSON lines: `gunicorn --logger-class app.service.gunicorn_logger.JsonLogger`.

gunicorn loads it before gevent has patched anything: of Sluice it may only import the modules for logs and settings.
"""

from typing import Any

from gunicorn.glogging import Logger

from storage.base import log_streams, logging_setup, settings
from storage.base.settings import SettingsError


class JsonLogger(Logger):
    """Hands all records on to the process's one log, which also has what is printed and what ends the process."""

    process = "api"

    def setup(self, cfg: Any) -> None:
        """Take over the process, and have no handler of gunicorn's own."""
        try:
            chosen = settings.load()
            logging_setup.configure(self.process, chosen.log_level, chosen.secrets)
        except SettingsError:  # the application will say so when it is loaded
            logging_setup.configure(self.process)
        super().setup(cfg)
        log_streams.take_over()

    def _set_handler(self, *_: Any, **__: Any) -> None:
        """Add none."""


class GatewayLogger(JsonLogger):
    """The same for a gateway."""

    process = "gateway"
