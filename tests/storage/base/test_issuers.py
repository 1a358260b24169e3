"""The setting `jwt_issuers`: what is wrong in it is said at the start."""

from __future__ import annotations

import json
from typing import Any

import pytest

from storage.base import settings
from storage.base.settings import SettingsError

GOOD: dict[str, Any] = {
    "issuer": "https://i.example", "audience": "a", "jwks": "https://i.example/k", "algorithms": ["RS256", "EdDSA"],
}  # fmt: skip


def load(text: str) -> settings.Settings:
    return settings.load({"SLUICE_JWT_ISSUERS": text})


def test_a_list_of_issuers_is_read_and_handed_on() -> None:
    loaded = load(json.dumps([GOOD, {**GOOD, "issuer": "other", "jwks": "http://127.0.0.1:8/k"}]))
    assert [each.issuer for each in loaded.issuers] == ["https://i.example", "other"]
    assert settings.load(settings.dump(loaded)) == loaded and settings.load({}).issuers == ()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is not JSON"),
        ({}, "must be a list"),
        ([1], "must be an object"),
        ([{**GOOD, "more": 1}], "must be an object with algorithms, audience, issuer, jwks"),
        ([{**GOOD, "audience": ""}], r"\[0\].audience must be a text"),
        ([{**GOOD, "algorithms": []}], r"\[0\].algorithms must be a list"),
        ([{**GOOD, "algorithms": ["HS256"]}], r"\[0\].algorithms must be a list"),
        ([{**GOOD, "algorithms": ["none"]}], r"\[0\].algorithms must be a list"),
        ([{**GOOD, "jwks": "http://i.example/k"}], "must begin with https://"),
        ([{**GOOD, "jwks": "file:///etc/keys"}], "is not a URL"),
        ([{**GOOD, "jwks": "https://user:secret@i.example/k"}], "is not a URL without user"),
        ([GOOD, GOOD], "names an issuer twice"),
    ],
)
def test_what_is_wrong_is_named(value: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=f"SLUICE_JWT_ISSUERS: .*{message}"):
        load(value if isinstance(value, str) else json.dumps(value))
