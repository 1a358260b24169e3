"""A small HTTP client over one kept connection, and the import of a workload. It shares no code with the server."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from queue import SimpleQueue
from typing import Any, TypeVar

from benchmarks.figures import Disproved
from benchmarks.workload import Workload

BULK_SLICES = 200  # slices in a request; they may have 50 paths each
# The server gives its head only on request.
ASK_EVERY = 0.02
T = TypeVar("T")
_JSON = {"Content-Type": "application/json"}


class Refused(Exception):
    """The server refused a request of a benchmark, which sends none that it may refuse."""


@dataclass(frozen=True)
class Import:
    """How the files of a workload are imported."""

    puts: int = 500  # files in a changeset
    changesets: int = 2  # in a request
    connections: int = 1


class Client:
    """One connection to the API."""

    def __init__(self, host: str, port: int, token: str | None = None) -> None:
        self._address = (host, port, token)
        self._sent = {"Authorization": f"Bearer {token}"} if token else {}
        self._connection = http.client.HTTPConnection(host, port, timeout=120)
        self.waited = 0  # answers 429 and 503

    def another(self) -> Client:
        """Return a client of the same API, with a connection of its own."""
        return Client(*self._address)

    def send(self, path: str, body: bytes) -> bytes:
        """POST a body made beforehand and return the answer's; 429 and 503 are obeyed. Raises Refused."""
        while True:
            self._connection.request("POST", path, body, {**_JSON, **self._sent})
            answer = self._connection.getresponse()
            data = answer.read()
            if answer.status < 300:
                return data
            if answer.status not in {429, 503}:
                raise Refused(f"POST {path}: {answer.status} {data[:500]!r}")
            self.waited += 1
            time.sleep(float(answer.headers["Retry-After"]))

    def post(self, path: str, value: Any) -> Any:
        """POST a value as JSON and return the answer's."""
        return json.loads(self.send(path, json.dumps(value).encode()))

    def get(self, path: str) -> Any:
        """GET a value; 503 is obeyed, and counted like the others. Raises Refused."""
        while True:
            status, retry_after, data = self._get(path)
            if status == 200:
                return json.loads(data)
            if status != 503:
                raise Refused(f"GET {path}: {status} {data[:500]!r}")
            self.waited += 1
            time.sleep(retry_after)

    def _get(self, path: str) -> tuple[int, float, bytes]:
        try:
            self._connection.request("GET", path, headers=self._sent)
            answer = self._connection.getresponse()
        except ConnectionError:
            # Servers close connections that were idle for a while; asking again changes nothing.
            self._connection.close()
            self._connection.request("GET", path, headers=self._sent)
            answer = self._connection.getresponse()
        return answer.status, float(answer.headers.get("Retry-After", 0)), answer.read()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def await_tree(self, expected: str, seconds: float) -> Any:
        """Return the head as soon as the global head has this tree. Raises Disproved after so many seconds."""
        deadline = time.monotonic() + seconds
        while (head := self.get("/v1/head"))["main"]["tree"] != expected:
            if time.monotonic() > deadline:
                raise Disproved(f"the tree must become {expected}; after {seconds} s the head is {head}")
            time.sleep(ASK_EVERY)
        return head

    def landed_since(self, seq: int) -> int:
        """Return how many changesets the global commits after log entry `seq` merged."""
        count, cursor = 0, ""
        while True:
            page = self.get(f"/v1/commits?limit=1000{cursor}")
            newer = [item["changesets"] for item in page["items"] if item["seq"] > seq]
            count += sum(newer)
            if len(newer) < len(page["items"]) or not page["next"]:
                return count
            cursor = f"&cursor={page['next']}"


def set_up(
    client: Client,
    workload: Workload,
    expected: str,
    how: Import = Import(),
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Define the workload's slices and import its files, through a slice of everything; not timed."""
    client.post("/v1/slices", {"name": "everything", "paths": ["/"]})
    define(client, workload)
    changesets = ({"slice": "everything", "message": "Import", "changes": puts} for puts in _puts(workload, how.puts))
    more = [client.another() for _ in range(how.connections - 1)]
    free = SimpleQueue[Client]()
    for each in (client, *more):
        free.put(each)
    sent = 0

    def send(connection: Client, some: list[dict[str, Any]]) -> None:
        try:
            accepted(connection.post("/v1/changesets", {"changesets": some}))
        finally:
            free.put(connection)

    with ThreadPoolExecutor(how.connections) as pool:
        sending: list[Future[None]] = []
        for some in chunks(changesets, how.changesets):
            # Not before a connection is free, so that few of the bodies are in memory.
            connection = free.get()
            if any(future.done() and future.exception() for future in sending):
                break
            sending.append(pool.submit(send, connection, some))
            sent += sum(len(one["changes"]) for one in some)
            progress(sent)
    for future in sending:
        future.result()
    for connection in more:
        connection.close()
    client.await_tree(expected, 1200)


def define(client: Client, workload: Workload) -> None:
    """Define the slices of a workload."""
    define_all(client, workload.slices())


def define_all(client: Client, slices: Mapping[str, Sequence[str]]) -> None:
    """Define slices, given by name, many by each request. Raises Refused where one was there or is refused."""
    items = ({"name": name, "paths": paths} for name, paths in slices.items())
    for some in chunks(items, BULK_SLICES):
        outcomes = client.post("/v1/slices", {"slices": some})["outcomes"]
        if refused := [outcome for outcome in outcomes if outcome["status"] != 201]:
            raise Refused(str(refused[0])[:500])


def _puts(workload: Workload, each: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the files of a workload as the changes of whole changesets; none was there before."""
    puts = ({"op": "put", "path": path, "content": data.decode(), "base": None} for path, data in workload.tree())
    return chunks(puts, each)


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of at most `size`."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def accepted(answer: Any) -> list[dict[str, Any]]:
    """Return a bulk answer's changesets. Raises Refused unless all were accepted."""
    for outcome in answer["outcomes"]:
        if outcome["status"] != 202:
            raise Refused(str(outcome)[:500])
    return [outcome["changeset"] for outcome in answer["outcomes"]]
