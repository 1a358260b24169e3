"""What a sample of a soak holds: the memory of every process, Redis, the queues, and now and then keys and objects."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psutil
import redis
from minio import Minio

from app.stack.stack import Stack
from benchmarks.soak import keys

Json = dict[str, Any]

# Processes that fork others which stay; other children (Git, Redis when it rewrites its file) come and go.
_FORKING = ("api", "worker", "merger")
_MEMORY = (
    "used_memory",
    "used_memory_dataset",
    "used_memory_rss",
    "used_memory_scripts",
    "mem_clients_normal",
    "mem_fragmentation_ratio",
)
_QUEUES = ("commits", "merges", "upkeep")


@dataclass(frozen=True)
class Sampler:
    """Looks at a stack from outside."""

    stack: Stack
    redis: redis.Redis
    s3: Minio

    @classmethod
    def of(cls, stack: Stack) -> Sampler:
        """Return a sampler with connections of its own."""
        settings = stack.settings
        url = urlsplit(settings.endpoints[0])
        s3 = Minio(
            endpoint=url.netloc,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            secure=url.scheme == "https",
            region=settings.s3_region,
        )
        return cls(stack, redis.Redis.from_url(settings.redis_url), s3)

    def quick(self) -> Json:
        """Return what costs little: processes, Redis's own figures, queues, and how much has landed."""
        memory, persistence = self.redis.info("memory"), self.redis.info("persistence")
        return {
            "processes": self.processes(),
            "redis": {
                **{name: memory[name] for name in _MEMORY if name in memory},
                "keys": self.redis.dbsize(),
                "clients": self.redis.info("clients")["connected_clients"],
                "aof_bytes": persistence.get("aof_current_size", 0),
            },
            "queues": self.queues(),
            **self.head(),
        }

    def processes(self) -> dict[str, Json]:
        """Return each process with those that it has forked, by name and number."""
        usage: dict[str, Json] = {}
        for name, process in self.stack.processes.items():
            if process.pid is None:
                continue
            for number, member in enumerate(self._family(name, process.pid)):
                seen = _look_at(member)
                if seen:
                    usage[f"{name}.{number}" if number else name] = seen
        return usage

    def _family(self, name: str, pid: int) -> Iterator[psutil.Process]:
        leader = psutil.Process(pid)
        yield leader
        if name in _FORKING:
            program = leader.exe()
            children = leader.children()
            yield from sorted((child for child in children if _exe(child) == program), key=lambda child: child.pid)

    def head(self) -> Json:
        """Return how far the log is, how many changesets were committed and landed, and the last compaction."""
        prefix = self._prefix
        epoch = self.redis.get(prefix + "epoch")
        names = ("applied", "committed", "merged", "compacted")
        values = self.redis.hmget(f"{prefix}v:{epoch.decode()}:head", names) if epoch else []
        # A view that knows no compactions has none.
        return dict.fromkeys(names, 0) | {name: int(value) for name, value in zip(names, values, strict=False) if value}

    def queues(self) -> dict[str, int]:
        """Return the lengths of all queues, Celery's too."""
        prefix, celery = self._prefix, f"{self.stack.settings.repository}:celery:"
        sets = ("queued", "ready", "held", "trying", "suspects", "messages:commit", "messages:merge")
        pipeline = self.redis.pipeline(transaction=False)
        for name in sets:
            pipeline.zcard(prefix + name)
        pipeline.hlen(celery + "unacked")
        for name in _QUEUES:
            pipeline.llen(celery + name)
        names = [*sets, "celery unacked", *(f"celery {name}" for name in _QUEUES)]
        return dict(zip(names, pipeline.execute(), strict=True))

    def keys(self, exact: bool = False) -> Json:
        """Return the kinds of keys; `exact` scans them all, else a sample is drawn."""
        count: Callable[[redis.Redis, str], keys.Kinds] = keys.counted if exact else keys.sampled
        return {"exact": exact, "kinds": count(self.redis, self.stack.settings.repository)}

    def bucket(self) -> Json:
        """Return how many objects there are in each folder, and their bytes, by listing all; which takes its time."""
        started, prefix = time.monotonic(), self.stack.settings.repository + "/"
        merged = self.head()["merged"]
        folders: dict[str, dict[str, int]] = {}
        for item in self.s3.list_objects(self.stack.settings.s3_bucket, prefix, recursive=True):
            name = (item.object_name or "").removeprefix(prefix)
            folder = folders.setdefault(name.split("/")[0] + "/", {"objects": 0, "bytes": 0})
            folder["objects"] += 1
            folder["bytes"] += item.size or 0
        return {"seconds": round(time.monotonic() - started, 2), "merged": merged, "folders": folders}

    @property
    def _prefix(self) -> str:
        return f"sluice:{{{self.stack.settings.repository}}}:"


def _look_at(process: psutil.Process) -> Json | None:
    """Return what a process uses, None where it has just gone."""
    try:
        memory = process.memory_full_info()
        return {
            "pid": process.pid,
            "rss": memory.rss,
            "uss": memory.uss,
            "pss": getattr(memory, "pss", memory.uss),  # on Linux alone
            "fds": process.num_fds(),
            "threads": process.num_threads(),
        }
    except psutil.NoSuchProcess:
        return None


def _exe(process: psutil.Process) -> str:
    try:
        return process.exe()
    except psutil.Error:  # gone, or not permitted
        return ""
