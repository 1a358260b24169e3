"""Webhooks as the log has them: whom Sluice tells of which events. Without their secrets (signing.py). Pure."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from storage.access.policy import Role


class Disabled(StrEnum):
    """Why a webhook is told nothing."""

    GONE = "gone"  # its receiver answered 410
    FAILING = "failing"  # all tries of an event failed
    ASKED = "asked"  # somebody asked for it
    RESTORED = "restored"  # a backup was restored: the deployment that it is of may call as well


class Webhook(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody who is told of events by requests. It is told what its owner may read, and no more."""

    id: str
    url: str
    owner: str  # a principal
    name: str = ""
    events: tuple[str, ...] = ()  # names of events; none: all
    slices: tuple[str, ...] = ()  # ids of slices, whose events it is told; none: of all
    paths: tuple[str, ...] = ()  # path prefixes that an event has to touch; none: all
    role: Role | None = None  # to what the token is limited that made it: so is the webhook
    within: tuple[str, ...] = ()  # and to which path prefixes
    rotation: int = 1  # number of its secret
    rotated: int | None = None  # when the secret took the place of the one before it, in seconds
    disabled: Disabled | None = None  # None: it is enabled
    since: int | None = None  # when it was disabled, in seconds
    created: int = 0  # in seconds
