"""What a caller may use, by the policy's quotas and the settings; and the refusal where that is used up."""

from __future__ import annotations

from dataclasses import dataclass

from app.access.caller import Caller
from storage.access.policy import ROOT
from storage.base.errors import LimitReached
from storage.base.settings import Settings


class QuotaReached(LimitReached):
    """The caller has used up what it may use; it is told, since that tells nothing of others."""

    def __init__(self, detail: str, limit: str, value: float, wait: float | None = None) -> None:
        """Take a limit's name in the policy's quotas, its value, and the seconds after which a repeat may succeed."""
        super().__init__(detail)
        self.limit, self.value, self.wait = limit, value, wait


@dataclass(frozen=True, slots=True)
class Limits:
    """What a principal may use; 0: no limit."""

    requests_per_second: float = 0.0
    bodies_bytes: int = 0  # received and not answered, in one API process
    queued: int = 0  # changesets that are queued or held


UNLIMITED = Limits()


def is_limited(who: Caller) -> bool:
    """Tell whether a caller has a share: nobody has without tokens, nor has root, who is the way back."""
    return who.is_known and who.principal != ROOT


def limits_of(settings: Settings, who: Caller) -> Limits:
    """Return what a caller may use."""
    if not is_limited(who):
        return UNLIMITED
    quota = who.quota
    return Limits(
        settings.principal_rate if quota.requests_per_second is None else quota.requests_per_second,
        settings.max_principal_bodies_bytes if quota.bodies_bytes is None else quota.bodies_bytes,
        settings.max_principal_queued if quota.queued is None else quota.queued,
    )


def check_queued(limits: Limits, who: Caller, waiting: int, coming: int) -> None:
    """Raise QuotaReached where so many more changesets are too many beside those of a caller that wait."""
    most = limits.queued
    if most and waiting + coming > most:
        detail = f"{waiting} changesets of {who.principal} are queued or held, of {most} (queued)"
        raise QuotaReached(detail, "queued", most)
