"""What one gateway process has of everything that its routes use, each once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from app.access.authentication import Access
from app.access.caller import Caller
from app.gateway.answers import Answers
from app.gateway.bundles import Bundles
from app.gateway.git_processes import GitProcesses
from app.gateway.receive.receiver import Receiver
from app.gateway.shares import Shares
from app.gateway.stores import Found, Stores
from app.gateway.streams import Watch
from app.shares.rates import Rates
from storage.base.settings import Settings
from storage.coordination import Reporter
from storage.repository import Repository


@dataclass(frozen=True, slots=True)
class Gateway:
    """The services of a gateway."""

    repo: Repository
    access: Access
    rates: Rates
    stores: Stores
    processes: GitProcesses
    answers: Answers
    bundles: Bundles
    watch: Watch
    reporter: Reporter
    receiver: Receiver
    shares: Shares  # of the requests that are answered at once

    def start(self) -> None:
        """Start the threads that look at rights, count, and report."""
        self.watch.start()
        self.reporter.start()
        self.rates.start()
        self.receiver.start()

    def stop(self) -> None:
        """End them."""
        self.receiver.stop()
        self.watch.stop()
        self.reporter.stop()
        self.rates.stop()

    @property
    def settings(self) -> Settings:
        """The settings of the deployment."""
        return self.repo.settings

    def current(self, who: Caller, name: str, found: Found | None = None) -> Found:
        """Return the store of a name in a URL, at least where the view is now, or was when the store was `found`.

        Raises a Problem and Unavailable.
        """
        return self.stores.find_current(who, name, self.settings.gateway_patience, found)


def gateway() -> Gateway:
    """Return the services of the application that answers the present request."""
    return cast(Gateway, current_app.extensions["sluice"])
