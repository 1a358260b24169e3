"""The settings of the API: who may ask, how large a request is, and how slow. The others: storage/base/settings.py."""

from dataclasses import dataclass, field
from typing import Any


def setting(default: Any, unit: str, about: str, secret: bool = False) -> Any:
    """Declare a field with the words that `--help` and the documentation show."""
    return field(default=default, repr=not secret, metadata={"unit": unit, "about": about, "secret": secret})


@dataclass(frozen=True)
class ApiSettings:
    """Who may ask, how large a request is, and how slow."""

    root_token_sha256: str = setting(
        "",
        "hash",
        "SHA-256, in hexadecimal, of the token that may do everything. Without it, and without any token that was "
        "issued, everybody may do everything, and the API listens on the loopback alone.",
    )
    jwt_issuers: str = setting(
        "",
        "JSON",
        "Issuers whose JSON Web Tokens are accepted: a list of objects with `issuer`, `audience`, `jwks` (the URL of "
        "its keys) and `algorithms`. The policy says which claims are which principal.",
    )
    trusted_proxies: str = setting(
        "",
        "networks",
        "Addresses or networks of proxies, separated by commas, whose X-Forwarded-For says where a request comes from. "
        "Without any, that is where its connection comes from.",
    )
    open_metrics: bool = setting(False, "yes/no", "/metrics answers without a token too.")
    max_body_bytes: int = setting(64 << 20, "bytes", "Maximum size of a request body.")
    max_bodies_bytes: int = setting(
        256 << 20, "bytes", "Bodies that one API process has received and not answered; above it 429."
    )
    max_answers_bytes: int = setting(256 << 20, "bytes", "Answers that one API process sends at once; above it 429.")
    max_head_bytes: int = setting(
        64 << 10, "bytes", "Maximum size of a request's head: its first line (else 414) with all headers (else 431)."
    )
    header_timeout: float = setting(
        20.0, "seconds", "Time limit for the head of a request; then 408, or the client is disconnected."
    )
    body_timeout: float = setting(
        20.0, "seconds", "In each such period of a body, min_rate must arrive on average, or the rest; else 408."
    )
    send_timeout: float = setting(
        20.0,
        "seconds",
        "In each such period of an answer, min_rate must be read on average; else the client is disconnected.",
    )
    min_rate: int = setting(
        16 << 10, "bytes a second", "What a client must send or read on average, over body_timeout and send_timeout."
    )
    max_claims: int = setting(10_000, "claims", "Maximum advisory claims; above it 429.")
    max_claims_per_principal: int = setting(100, "claims", "Maximum advisory claims of one principal; above it 429.")
    max_claim_paths: int = setting(50, "paths", "Maximum paths of an advisory claim.")
    max_claim_ttl: int = setting(86_400, "seconds", "Longest time for which an advisory claim is made or renewed.")
    max_claim_intent_bytes: int = setting(1000, "bytes", "Maximum length of an advisory claim's purpose.")
    max_labels: int = setting(8, "labels", "Maximum labels of a changeset.")
    max_label_bytes: int = setting(512, "bytes", "Maximum length of a changeset's labels, keys and values together.")
    max_status_ids: int = setting(1000, "changesets", "Maximum ids in one request for the states of many changesets.")
    max_grants: int = setting(10_000, "grants", "Maximum grants of the policy, and maximum members of a group.")
    max_wait: float = setting(
        50.0,
        "seconds",
        "Longest long poll, below the usual time-out of proxies (60 s); a longer `wait` counts as this.",
    )
    retry_after: int = setting(1, "seconds", "Retry-After of a 429 or 503.")
