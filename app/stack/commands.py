"""The command line of each process of a deployment: what `sluice up` starts and what compose.yaml names.

compose.yaml cannot call Python, so a test compares it with these. All processes read only the `SLUICE_*` environment;
Flower also reads its password from `FLOWER_BASIC_AUTH`, so that no process list shows it.
"""

import sys

from storage.base.settings import Settings

# The names of a stack's processes.
SERVERS = ("redis", "s3")
NAMES = (*SERVERS, "api", "gateway", "worker", "merger", "sender", "beat", "flower")
# Flower keeps its tasks in memory; beyond so many it forgets the oldest.
FLOWER_TASKS = 10_000

# No banner: everything that is written is JSON lines, at the level of the setting log_level.
_CELERY = ("celery", "-A", "tasks.celery", "--quiet")
# Gossip and mingle let workers follow one another's clocks. Nothing here needs that, and both cost Redis traffic.
_WORKER = ("-E", "--without-gossip", "--without-mingle")


# At a stop, requests under way have so many seconds: more than request_budget, within which all of them are answered.
API_GRACE = 30


def api(*binds: str) -> list[str]:
    """The HTTP API: one process, in which gevent keeps thousands of long polls cheap.

    It listens on each of `binds`: `host:port`, or `fd://3` if the parent process owns the socket.
    """
    return [
        *("gunicorn", "-k", "app.serving.ApiWorker", "-w", "1"),
        *(part for bind in binds for part in ("-b", bind)),
        # What one client may send is chosen by the worker itself, from the settings.
        *("--worker-connections", "4096", "--keep-alive", "30"),
        *("--graceful-timeout", str(API_GRACE), "--timeout", "120", "--no-control-socket"),
        *("--logger-class", "app.service.gunicorn_logger.JsonLogger"),
        "app.api:create_app()",
    ]


# A clone or fetch that is being sent has so many seconds at a stop; whoever is cut asks again.
GATEWAY_GRACE = 60


def gateway(workers: int, threads: int, *binds: str) -> list[str]:
    """Git's smart HTTP: Settings.gateway_workers with Settings.gateway_threads each. It listens as the API does."""
    return [
        *("gunicorn", "-k", "app.gateway.serving.GatewayWorker", "-w", str(workers)),
        *(part for bind in binds for part in ("-b", bind)),
        # Connections beyond the threads wait idly, or for their turn.
        *("--threads", str(threads), "--worker-connections", "4096", "--keep-alive", "30"),
        *("--graceful-timeout", str(GATEWAY_GRACE), "--timeout", "120", "--no-control-socket"),
        *("--logger-class", "app.service.gunicorn_logger.GatewayLogger"),
        "app.gateway.application:create_app()",
    ]


def worker(concurrency: int) -> list[str]:
    """Workers that commit; `concurrency` is Settings.commit_workers.

    They also run upkeep, so that a lost view is loaded again whichever node has died.
    """
    return [*_CELERY, "worker", "-Q", "commits,upkeep", "-c", str(concurrency), "-n", "commits@%h", *_WORKER]


def merger() -> list[str]:
    """The worker for merges and upkeep: two processes, so that merges do not wait for a compaction."""
    return [*_CELERY, "worker", "-Q", "merges,upkeep", "-c", "2", "-n", "merges@%h", *_WORKER]


def sender(concurrency: int) -> list[str]:
    """The worker that calls webhooks and pushes to mirrors; `concurrency` is Settings.webhook_senders.

    It does nothing but wait for other servers, so its runs are threads, and slow ones hold up no other work.
    """
    return [
        *_CELERY,
        "worker",
        "-Q",
        "webhooks,mirrors",
        "-P",
        "threads",
        "-c",
        str(concurrency),
        "-n",
        "webhooks@%h",
        *_WORKER,
    ]


def api_grace() -> float:
    """The seconds that the API needs between SIGTERM and SIGKILL: to answer, and to queue what it has accepted."""
    return API_GRACE + 5.0


def gateway_grace() -> float:
    """The seconds that a gateway needs between SIGTERM and SIGKILL: to send what it has begun to send."""
    return GATEWAY_GRACE + 5.0


def grace(settings: Settings) -> float:
    """The seconds that a worker needs between SIGTERM and SIGKILL: to finish or release its batch, and to end."""
    return settings.stop_grace + settings.redis_timeout + 5.0


def beat() -> list[str]:
    """Beat; its schedule is in memory. Two of them do no harm."""
    return [*_CELERY, "beat", "--pidfile="]


def flower(host: str, port: int, tasks: int = FLOWER_TASKS) -> list[str]:
    """Flower, which shows tasks and workers and can stop them: always behind its password."""
    return [*_CELERY, "flower", f"--address={host}", f"--port={port}", f"--max-tasks={tasks}", "--logging=none"]


def runnable(argv: list[str]) -> list[str]:
    """`argv` run by this Python interpreter, whether or not its scripts are on PATH."""
    return [sys.executable, "-m", *argv]
