"""An issuer of JSON Web Tokens: it serves its keys by HTTP, and signs whatever a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

AUDIENCE = "https://sluice.example"
CLAIMS = {"repository_id": "74", "repository_owner_id": "65", "sub": "repo:acme/web:ref:refs/heads/main"}
_KEYS = {name: rsa.generate_private_key(public_exponent=65537, key_size=2048) for name in ("first", "second")}
_CURVE = ec.generate_private_key(ec.SECP256R1())


def jwk(kid: str, **more: Any) -> dict[str, Any]:
    """Return a public key as key sets have it."""
    if kid == "curve":
        return {**ECAlgorithm.to_jwk(_CURVE.public_key(), as_dict=True), "kid": kid, **more}
    return {**RSAAlgorithm.to_jwk(_KEYS[kid].public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


def public_pem(kid: str) -> bytes:
    """Return a public key as text, of which an attacker could make a shared secret."""
    return _KEYS[kid].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@dataclass
class Issuer:
    """Serves `body` under `status`, and counts how often it is asked."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk("first")])
    body: bytes | None = None  # instead of the keys
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    waits: threading.Event | None = None  # nothing is answered before it is set

    def token(self, kid: str = "first", algorithm: str = "RS256", lifetime: int = 300, **claims: Any) -> str:
        """Return a token that it signs; a claim that is None is left out."""
        now = int(time.time())
        standard = {"iss": self.url, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + lifetime, "jti": "job-1"}
        payload = {name: value for name, value in {**standard, **CLAIMS, **claims}.items() if value is not None}
        key: Any = _CURVE if kid == "curve" else _KEYS.get(kid, _KEYS["first"])
        return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": kid})

    @property
    def setting(self) -> str:
        """The setting `jwt_issuers` that trusts it."""
        one = {"issuer": self.url, "audience": AUDIENCE, "jwks": f"{self.url}/jwks", "algorithms": ["RS256", "ES256"]}
        return json.dumps([one])


@contextmanager
def serving(issuer: Issuer) -> Iterator[Issuer]:
    """Let it answer at `url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            if issuer.waits:
                issuer.waits.wait(30)
            body = issuer.body if issuer.body is not None else json.dumps({"keys": issuer.keys}).encode()
            self.send_response(issuer.status)
            for name, value in {"Content-Length": str(len(body)), **issuer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield issuer
    finally:
        if issuer.waits:
            issuer.waits.set()
        server.shutdown()
        server.server_close()
        thread.join()
