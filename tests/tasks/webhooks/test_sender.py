"""One call of a receiver: to an address that was judged, with the name's certificate, and an end to all waiting."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from storage.base.settings import Settings
from tasks.webhooks import sender
from tasks.webhooks.sender import Answer, Sender
from tests.support.receiver import Receiver, receiving

PUBLIC = Settings(webhook_timeout=5.0)
PRIVATE = Settings(webhook_timeout=5.0, webhook_private_targets=True)
QUICK = Settings(webhook_timeout=1.5, webhook_private_targets=True)
HEADERS = {"webhook-id": "msg_1"}


def post(url: str, body: bytes, headers: Mapping[str, str], settings: Settings) -> Answer:
    """Make one call."""
    with closing(Sender(settings)) as made:
        return made.post(url, body, headers)


def outcome(answer: Answer) -> tuple[int | None, str | None]:
    return answer.status, answer.error


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, None), (204, None), (299, None), (301, "redirect"), (307, "redirect"), (404, "status"), (410, "status"),
     (429, "status"), (500, "status"), (503, "status")],
)  # fmt: skip
def test_success_is_a_status_of_200_to_299(status: int, error: str | None) -> None:
    with receiving(Receiver(lambda told: (status, {"Location": "http://127.0.0.1:1/"}))) as receiver:
        assert outcome(post(receiver.url, b"{}", HEADERS, PRIVATE)) == (status, error)
    [told] = receiver.told
    assert (told.id, told.body, told.headers["content-type"]) == ("msg_1", b"{}", "application/json")
    assert told.headers["host"] == f"127.0.0.1:{receiver.port}"


def test_a_redirect_is_not_followed() -> None:
    with (
        receiving(Receiver()) as private,
        receiving(Receiver(lambda told: (307, {"Location": private.url}))) as receiver,
    ):
        assert post(receiver.url, b"{}", HEADERS, PRIVATE).error == "redirect"
        assert private.told == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0"])
def test_a_private_address_is_not_called_however_it_is_written(host: str) -> None:
    with receiving(Receiver()) as receiver:
        assert outcome(post(f"http://{host}:{receiver.port}/", b"{}", HEADERS, PUBLIC)) == (None, "private-target")
        assert receiver.told == []


def test_one_private_address_among_several_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert post("https://rebound.example/", b"{}", HEADERS, PUBLIC).error == "private-target"


def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    with receiving(Receiver()) as receiver:

        def resolve(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"  # it is another one at the second look
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        real = socket.create_connection
        called: list[Any] = []
        monkeypatch.setattr(sender.socket, "create_connection", lambda to, left: called.append(to) or real(to, left))
        with monkeypatch.context() as patch:
            patch.setattr(sender.socket, "getaddrinfo", resolve)
            patch.setattr(sender, "is_public", lambda address: address == "127.0.0.1")
            found = sender._addresses("rebound.example", receiver.port, private=False)
        assert (asked, found) == (["rebound.example"], [("127.0.0.1", receiver.port)])
        monkeypatch.setattr(sender, "_addresses", lambda name, port, private: found)
        assert post(f"http://rebound.example:{receiver.port}/", b"{}", HEADERS, PUBLIC).error is None
        assert called == [("127.0.0.1", receiver.port)]
        assert receiver.told[0].headers["host"] == f"rebound.example:{receiver.port}"


def test_nobody_listens_and_no_such_name() -> None:
    assert post("http://127.0.0.1:1/", b"{}", HEADERS, PRIVATE).error == "connection"
    assert post("http://no-such-name.invalid/", b"{}", HEADERS, PRIVATE).error == "name"


def test_a_connection_is_kept_for_the_next_call_of_the_same_receiver_and_no_other() -> None:
    with (
        receiving(Receiver(keeps=True)) as first,
        receiving(Receiver(keeps=True)) as second,
        closing(Sender(PRIVATE)) as made,
    ):
        for receiver in (first, first, first, second, second, first):
            assert made.post(receiver.url, b"{}", HEADERS).error is None
        assert [len(set(receiver.clients)) for receiver in (first, second)] == [2, 1]
        assert [len(receiver.told) for receiver in (first, second)] == [4, 2]


def test_a_connection_that_the_receiver_closed_meanwhile_is_replaced() -> None:
    """It hangs up at every second request, as one does that was idle for too long."""
    with socket.create_server(("127.0.0.1", 0)) as server, closing(Sender(PRIVATE)) as made:

        def serve() -> None:
            for _ in range(3):
                client, _ = server.accept()
                with client:
                    read_request(client)
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        for _ in range(3):
            assert made.post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", HEADERS).error is None
        thread.join(20)
        assert not thread.is_alive()


def test_one_that_hangs_up_has_failed() -> None:
    with receiving(Receiver(lambda told: None)) as receiver:
        assert outcome(post(receiver.url, b"{}", HEADERS, PRIVATE)) == (None, "connection")


def read_request(client: socket.socket) -> bytes:
    """Return all of a request with the body `{}`: what is not read would reset the connection."""
    data = b""
    while not data.endswith(b"{}"):
        data += client.recv(65536)
    return data


@contextmanager
def dripping(head: bytes, drop: bytes) -> Iterator[int]:
    """Listen, send `head` and then a drop again and again, until the client is gone; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            client, _ = server.accept()
            with client:
                client.settimeout(10)
                try:
                    read_request(client)
                    client.sendall(head)
                    over = threading.Event()
                    while drop and not over.wait(0.02):
                        client.sendall(drop)
                    client.recv(1)  # until it hangs up
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        yield server.getsockname()[1]
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("head", "drop", "status", "error"),
    [
        (b"", b"", None, "timeout"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", None, "timeout"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"z", 200, None),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 100_000, b"z" * 1000, 200, None),
        (b"not HTTP\r\n\r\n", b"z", None, "connection"),
    ],
    ids=["silent", "endless headers", "slow body", "endless body", "no HTTP"],
)
@pytest.mark.long
def test_no_receiver_holds_a_sender_longer_than_the_limit(
    head: bytes, drop: bytes, status: int | None, error: str | None
) -> None:
    with dripping(head, drop) as port:
        answer = post(f"http://127.0.0.1:{port}/", b"{}", HEADERS, QUICK)
    assert outcome(answer) == (status, error)
    assert len(answer.text) <= 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of `hooks.example` with its key, in one file, signed by itself."""
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hooks.example -addext"
    argv = [*line.split(), "subjectAltName=DNS:hooks.example", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(argv, check=True, capture_output=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.mark.parametrize(("name", "error"), [("hooks.example", None), ("other.example", "certificate")])
def test_a_certificate_has_to_be_of_the_name_and_not_of_the_address(
    certificate: Path, name: str, error: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context(cafile=f"{certificate}.crt")
    monkeypatch.setattr(sender, "_context", lambda: trusting)
    told: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names: list[Any] = []
    context.sni_callback = lambda _socket, shown, _context: names.append(shown)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            try:
                with context.wrap_socket(client, server_side=True) as secured:
                    told.append(read_request(secured))
                    secured.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            except OSError:  # who calls refuses the certificate
                client.close()

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        monkeypatch.setattr(sender, "_addresses", lambda *_: [("127.0.0.1", port)])
        assert post(f"https://{name}:{port}/", b"{}", HEADERS, PUBLIC).error == error
        thread.join(20)
    assert names == [name] and (error is None) == bool(told)


def test_certificates_are_asked_for() -> None:
    assert sender._context().verify_mode is ssl.CERT_REQUIRED and sender._context().check_hostname


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, None), ("", None), ("120", 120.0), ("soon", None), ("-1", None), ("1" * 30, None)]
)
def test_retry_after_is_read_where_it_can_be(value: str | None, seconds: float | None) -> None:
    assert sender._retry_after(value) == seconds
    assert sender._retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
