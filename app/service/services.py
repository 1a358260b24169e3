"""The services that routes use: one object for each API process, returned by `services()` inside a request."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from app.access.authentication import Access
from app.intake.intake import Intake
from app.intake.lookups import Lookups
from app.service.downloads import Downloads
from app.service.event_streams import Streams
from app.service.long_polls import Waiting
from app.shares.rates import Rates
from storage.base.settings import Settings
from storage.coordination import Reporter
from storage.repository import Repository


@dataclass(frozen=True, slots=True)
class Services:
    """What this process has of everything that routes use, each once."""

    repo: Repository
    lookups: Lookups
    intake: Intake
    waiting: Waiting
    streams: Streams
    downloads: Downloads
    access: Access
    reporter: Reporter
    rates: Rates

    def start(self) -> None:
        """Start the threads that store packs, announce, wait for news, and count and report with other processes."""
        self.intake.start()
        self.waiting.feed.start()
        self.streams.feed.start()
        self.reporter.start()
        self.rates.start()

    def stop(self) -> None:
        """End them; returns when what was asked before is done. Long polls and streams end as after `leave`."""
        self.leave()
        self.intake.stop()
        self.waiting.feed.stop()
        self.streams.feed.stop()
        self.reporter.stop()
        self.rates.stop()

    def leave(self) -> None:
        """End long polls and streams in order from now on: this process stops, and their clients come back."""
        self.waiting.leave()
        self.streams.leave()

    @property
    def settings(self) -> Settings:
        """The settings of the deployment."""
        return self.repo.settings


def services() -> Services:
    """Return the services of the app that answers the present request."""
    return cast(Services, current_app.extensions["sluice"])
