"""The S3 server of a stack as a yardstick: how long one PUT takes, and how many a changeset makes."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from minio import Minio

from app.stack.stack import Stack
from benchmarks.figures import Disproved

# Bytes of an object: about what a changeset's own objects have.
SIZE = 4096
_FOLDER = "benchmark-yardstick"


@dataclass(frozen=True)
class Store:
    """The bucket of a stack, seen from outside."""

    client: Minio
    bucket: str
    prefix: str
    address: str  # host:port

    @classmethod
    def of(cls, stack: Stack) -> Store:
        """Return the store behind a stack, without what may stand between the two."""
        settings = stack.settings
        address = urlsplit(settings.endpoints[0]).netloc
        client = Minio(
            endpoint=address,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            secure=False,
            region=settings.s3_region,
        )
        return cls(client, settings.s3_bucket, settings.repository + "/", address)

    def put_seconds(self, count: int) -> list[float]:
        """Return how long each of so many PUTs takes, one after the other on one connection; they are deleted again.

        Raises Disproved for one that fails.
        """
        names = [f"{_FOLDER}/{number}" for number in range(count)]
        urls = [urlsplit(self.client.presigned_put_object(self.bucket, name)) for name in names]
        connection = http.client.HTTPConnection(self.address, timeout=60)
        took = []
        for number, url in enumerate(urls):
            body = number.to_bytes(8, "big") * (SIZE // 8)
            started = time.perf_counter()
            connection.request("PUT", f"{url.path}?{url.query}", body)
            answer = connection.getresponse()
            answer.read()
            took.append(time.perf_counter() - started)
            if answer.status != 200:
                raise Disproved(f"a PUT to the store was answered with {answer.status}")
        connection.close()
        for name in names:
            self.client.remove_object(self.bucket, name)
        return took

    def objects(self) -> set[str]:
        """Return the names of all objects of the repository, without the repository's own."""
        listed = self.client.list_objects(self.bucket, self.prefix, recursive=True)
        return {(item.object_name or "").removeprefix(self.prefix) for item in listed}


def created(before: set[str], after: set[str], changesets: int) -> dict[str, float] | None:
    """Return the objects a changeset by folder and `all`, None where some were deleted meanwhile.

    Each object is written once, so this is the number of PUTs, but for those that lost a race.
    """
    if before - after:
        return None
    new = after - before
    counts: dict[str, float] = {}
    for name in sorted(new):
        folder = name.split("/")[0]
        counts[folder] = counts.get(folder, 0) + 1
    return {folder: round(count / changesets, 2) for folder, count in {**counts, "all": len(new)}.items()}
