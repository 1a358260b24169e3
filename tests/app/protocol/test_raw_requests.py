"""Whatever a socket sends is answered by a problem document, or by the end of the connection, and holds nobody up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from storage.base.settings import Settings
from storage.repository import Repository
from tests.support.api_server import Answer, Server, answers_of, serving
from tests.support.world import World

END = b"\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: h\r\n"
POST = b"POST /v1/slices/all/changesets HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked" + END
LAST = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close" + END


@pytest.fixture
def server(settings: Settings, tmp_path: Path) -> Iterator[Server]:
    World(Repository(settings))
    with serving(replace(settings, max_body_bytes=1 << 20), tmp_path) as running:
        yield running


REFUSED: dict[str, tuple[bytes, int]] = {
    "no HTTP at all": (b"hello\r\n\r\n", 400),
    "only line ends": (b"\r\n\r\n\r\n\r\n", 400),
    "the hello of TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/0.9": (b"GET /healthz\r\n", 400),
    "HTTP/2 by name": (b"GET /healthz HTTP/2.0" + END, 400),
    "HTTP/1.2.3": (b"GET /healthz HTTP/1.2.3" + END, 400),
    "no version": (b"GET /healthz " + END, 400),
    "another protocol": (b"GET /healthz FTP/1.1" + END, 400),
    "four words": (b"GET /healthz x HTTP/1.1" + END, 400),
    "two spaces": (b"GET  /healthz HTTP/1.1" + END, 400),
    "tabs for spaces": (b"GET\t/healthz\tHTTP/1.1" + END, 400),
    "a method in lower case": (b"get /healthz HTTP/1.1" + END, 400),
    "a method that is no token": (b"G{T /healthz HTTP/1.1" + END, 400),
    "a NUL in the target": (b"GET /heal\0thz HTTP/1.1" + END, 400),
    "a space in the target": (b"GET /heal thz HTTP/1.1" + END, 400),
    "bytes in the target": (b"GET /\xff HTTP/1.1" + END, 400),
    "no UTF-8 behind the percents": (b"GET /v1/paths/%FF HTTP/1.1\r\nConnection: close" + END, 400),
    "no UTF-8 in the query": (b"GET /v1/slices?path=%FF HTTP/1.1\r\nConnection: close" + END, 400),
    "authority-form": (b"GET example.org:80 HTTP/1.1" + END, 400),
    "CONNECT": (b"CONNECT example.org:80 HTTP/1.1" + END, 404),
    "a star": (b"GET * HTTP/1.1" + END, 400),
    "a target of 100 KB": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1" + END, 414),
    "a first line without an end": (b"GET /" + b"a" * 100_000, 414),
    "a header of 20 KB": (GET + b"X-A: " + b"a" * 20_000 + END, 431),
    "headers of 100 KB": (GET + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 7000) for i in range(15)) + b"\r\n", 431),
    "a thousand headers": (GET + b"".join(b"X-%d: a\r\n" % i for i in range(1000)) + b"\r\n", 431),
    "headers without an end": (GET + b"X-A: a\r\n" * 20_000, 431),
    "a line feed alone": (b"GET /healthz HTTP/1.1\nHost: h\n\n", 400),
    "a line feed alone in the headers": (GET + b"X-A: b\nX-B: c" + END, 400),
    "a header without a colon": (GET + b"nonsense" + END, 400),
    "a header without a name": (GET + b": x" + END, 400),
    "a space before the colon": (GET + b"X-A : b" + END, 400),
    "a folded header": (GET + b"X-A: b\r\n c" + END, 400),
    "a NUL in a header": (GET + b"X-A: b\0c" + END, 400),
    "a carriage return in a header": (GET + b"X-A: b\rc" + END, 400),
    "an escape in a header": (GET + b"X-A: \x1b[31m" + END, 400),
    "two hosts": (GET + b"Host: i" + END, 400),
    "two lengths": (POST + b"Content-Length: 1\r\nContent-Length: 2" + END + b"{}", 400),
    "two lengths that are one": (POST + b"Content-Length: 2\r\nContent-Length: 2" + END + b"{}", 400),
    "a list of lengths": (POST + b"Content-Length: 2, 2" + END + b"{}", 400),
    "a negative length": (POST + b"Content-Length: -1" + END, 400),
    "a signed length": (POST + b"Content-Length: +2" + END + b"{}", 400),
    "a length in hexadecimal": (POST + b"Content-Length: 0x2" + END + b"{}", 400),
    "a length of other digits": (POST + b"Content-Length: \xb2" + END + b"{}", 400),
    "no length": (POST + b"Content-Length: " + END, 400),
    "a length of 40 digits": (POST + b"Content-Length: " + b"9" * 40 + END, 413),
    "a length of 5,000 digits": (POST + b"Content-Length: " + b"9" * 5000 + END, 400),
    "a length beside chunks": (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked" + END + b"0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked" + END + b"0\r\n\r\n",
        400,
    ),
    "an unknown coding": (POST + b"Transfer-Encoding: cow" + END, 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked, chunked" + END, 400),
    "chunked first": (POST + b"Transfer-Encoding: chunked, gzip" + END, 400),
    "gzip alone": (POST + b"Transfer-Encoding: gzip" + END, 400),
    "a bad chunk size": (CHUNKED + b"zz\r\nab\r\n0\r\n\r\n", 400),
    "a negative chunk size": (CHUNKED + b"-5\r\nab\r\n0\r\n\r\n", 400),
    "a chunk size with a prefix": (CHUNKED + b"0x2\r\nab\r\n0\r\n\r\n", 400),
    "no chunk size": (CHUNKED + b"\r\nab\r\n0\r\n\r\n", 400),
    "a chunk that is too long": (CHUNKED + b"2\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk size without an end": (CHUNKED + b"1" * 20_000, 400),
    "a bad chunk extension": (CHUNKED + b"2;\0\r\n{}\r\n0\r\n\r\n", 400),
    "a bad trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nnonsense\r\n\r\n", 400),
    "a forbidden trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n", 400),
    "trailers without an end": (CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X-A: a\r\n" * 20_000, 400),
    "chunks above max_body_bytes": (CHUNKED + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 17 + b"0\r\n\r\n", 413),
    "a length above max_body_bytes": (POST + b"Content-Length: 1048577" + END, 413),
    "an unknown expectation": (POST + b"Expect: tea\r\nContent-Length: 2" + END + b"{}", 417),
    "a method that no resource has": (b"BREW /healthz HTTP/1.1\r\nConnection: close" + END, 405),
    "a resource that is none": (b"GET /nothing HTTP/1.1\r\nConnection: close" + END, 404),
    "a slash too many": (b"GET /v1//head HTTP/1.1\r\nHost: evil\r\nConnection: close" + END, 404),
    "a slash at the end": (b"GET /v1/head/ HTTP/1.1\r\nHost: evil\r\nConnection: close" + END, 404),
}


def test_malformed_requests_get_a_problem_document_and_others_an_answer(server: Server) -> None:
    for name, (sent, status) in REFUSED.items():
        sock = server.connect()
        with suppress(OSError):  # refused before all was sent
            sock.sendall(sent)
        answers = answers_of(sock)
        assert [each.status for each in answers] == [status], f"{name}: {answers}"
        assert answers[0].problem["title"] and b"<html" not in answers[0].body, name
        assert server.get("/healthz").status == 200, f"after {name}"
    assert "Traceback" not in server.process.logs()


def test_a_client_that_goes_away_in_the_middle_harms_nobody(server: Server) -> None:
    halves = [b"", b"G", GET, POST + b"Content-Length: 100" + END, CHUNKED, CHUNKED + b"5\r\nab", LAST[:-2]]
    for half in halves:
        sock = server.send(half)
        sock.close()
        assert server.get("/healthz").status == 200
    truncated = server.send(POST + b"Content-Length: 100" + END + b'{"message": "m"}')
    truncated.shutdown(1)
    assert [each.status for each in answers_of(truncated)] == [400], "not taken for the whole"
    assert "Traceback" not in server.process.logs()


def test_what_http_allows_is_answered(server: Server) -> None:
    allowed = {
        "a line end before the request": b"\r\n" + LAST,
        "HTTP/1.0": b"GET /healthz HTTP/1.0" + END,
        "absolute-form": LAST.replace(b"/healthz", b"http://example.org/healthz"),
        "no host": LAST.replace(b"Host: h\r\n", b""),
        "an odd host": LAST.replace(b"Host: h", b"Host: a..b<>\xff:x"),
        "a body of a GET": LAST[:-2] + b"Content-Length: 2" + END + b"{}",
        "a chunk extension": LAST[:-2] + b"Transfer-Encoding: chunked" + END + b'2;a="b"\r\n{}\r\n0\r\nX-T: 1\r\n\r\n',
    }
    for name, sent in allowed.items():
        answers = answers_of(server.send(sent))
        assert [each.status for each in answers] == [200], f"{name}: {answers}"
    pipelined = answers_of(server.send((GET + b"\r\n") * 5 + LAST))
    assert [each.status for each in pipelined] == [200] * 6
    expecting = server.send(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close" + END)
    assert expecting.recv(100).startswith(b"HTTP/1.1 100 ")
    expecting.sendall(b"{}")
    assert [each.status for each in answers_of(expecting)] == [422]
    too_large = server.send(POST + b"Expect: 100-continue\r\nContent-Length: 99999999" + END)
    assert too_large.recv(20).startswith(b"HTTP/1.1 413 "), "before any of it was sent"


def test_a_request_behind_a_refused_one_is_never_taken_from_its_body(server: Server) -> None:
    hidden = b"POST /v1/slices HTTP/1.1\r\nContent-Length: 33\r\n\r\n" + b'{"name": "hidden", "paths": ["/"]}'
    for head in (
        POST + b"Content-Length: 99999999" + END,
        CHUNKED + b"zz\r\n",
        CHUNKED + b"2\r\n{}xx",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked" + END + b"0\r\n\r\n",
        POST + b"Expect: tea\r\nContent-Length: %d" % len(hidden) + END,
    ):
        assert len(answers_of(server.send(head + hidden))) == 1, head
    assert server.get("/v1/slices/hidden").status == 404


def test_no_header_of_a_clients_changes_what_the_application_is(server: Server) -> None:
    plain = server.get("/v1/head")
    names = ["SCRIPT_NAME", "Script-Name", "PATH_INFO", "Path-Info", "X-Script-Name", "X-Forwarded-Prefix"]
    names += ["X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For", "X-Forwarded-Port", "Forwarded", "X-Real-IP"]
    names += ["X-Original-URL", "X-Rewrite-URL", "X-HTTP-Method-Override", "X-HTTP-Method", "X_HTTP_METHOD", "Upgrade"]
    names += ["REMOTE_USER", "REMOTE_ADDR", "Remote-User", "wsgi.url_scheme", "wsgi.input", "REQUEST_METHOD", "HTTPS"]
    names += ["X-Forwarded-Ssl", "X-Forwarded-Protocol", "HTTP_HOST", "QUERY_STRING", "CONTENT_LENGTH", "Proxy", "TE"]
    for name in names:
        for value in ("/v1", "/other", "https", "DELETE", "h2c", "7", "ssl", "on"):
            request = f"GET /v1/head HTTP/1.1\r\nHost: h\r\n{name}: {value}\r\nConnection: close\r\n\r\n".encode()
            [answer] = answers_of(server.send(request))
            assert (answer.status, answer.body) == (200, plain.body), (name, value)
    assert "Location" not in _moved(server).headers


def _moved(server: Server) -> Answer:
    [answer] = answers_of(server.send(b"GET /v1/slices/all//tree HTTP/1.1\r\nHost: evil\r\nConnection: close" + END))
    return answer


def test_a_body_may_come_in_any_pieces_that_http_allows(server: Server) -> None:
    body = json.dumps({"message": "m", "changes": [{"op": "put", "path": "a", "content": "x", "base": None}]}).encode()
    pieces = b"".join(b"1\r\n" + body[i : i + 1] + b"\r\n" for i in range(len(body)))
    sock = server.send(CHUNKED[:-2] + b"Connection: close" + END)
    sock.sendall(pieces + b"0\r\n\r\n")
    assert [each.status for each in answers_of(sock)] == [202]
