"""What every bucket promises, on each kind of S3 server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from minio.deleteobjects import DeleteError, DeleteObject

from storage.backends.bucket import Bucket, BucketError, BucketUnsafe, Created, Missing, OutOfRange, probe
from storage.base.ids import Seq
from storage.base.settings import Settings
from storage.log.entry import FORMATS, NO_HASH, CorruptEntry, Slices, digest, encode
from storage.log.log import Log, follow


@pytest.fixture
def bucket(s3_settings: Settings) -> Bucket:
    # A PUT that is not answered for an eighth of it is sent again, and then has lost to itself.
    made = Bucket(replace(s3_settings, s3_timeout=160.0))
    made.ensure()
    return made


def test_a_name_is_given_once_and_keeps_its_bytes(bucket: Bucket) -> None:
    assert bucket.create("a/b", b"first").stored is True
    assert bucket.create("a/b", b"second").stored is False
    assert bucket.get("a/b") == b"first"


def test_of_sixteen_racing_creates_one_wins_and_its_bytes_stay(bucket: Bucket) -> None:
    barrier = threading.Barrier(16)

    def race(i: int) -> bool:
        barrier.wait()
        return bucket.create("race", b"%d" % i).stored

    with ThreadPoolExecutor(16) as pool:
        wins = list(pool.map(race, range(16)))
    assert wins.count(True) == 1
    assert bucket.get("race") == b"%d" % wins.index(True)


@pytest.fixture
def cut_off(s3_settings: Settings) -> Iterator[str]:
    """An endpoint that passes the head of each request on to the store and then closes: who sent it has died."""
    host, port = s3_settings.endpoints[0].removeprefix("http://").split(":")

    def cut(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head and (piece := client.recv(1 << 16)):
            head += piece
        with socket.create_connection((host, int(port)), timeout=60) as store:
            store.sendall(head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
            store.shutdown(socket.SHUT_WR)
            while store.recv(1 << 16):
                pass

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # closed, at the test's end
            with client, contextlib.suppress(OSError):
                cut(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        server.join()


@pytest.mark.parametrize("size", [1, 3_000, 300_000])
def test_of_a_create_that_is_cut_off_nothing_is_stored(
    s3_settings: Settings, bucket: Bucket, cut_off: str, size: int
) -> None:
    data = b"x" * size
    with pytest.raises(BucketError):
        Bucket(s3_settings, cut_off).create("torn", data)
    assert list(bucket.list_keys("torn")) == []
    assert bucket.create("torn", data).stored is True
    assert bucket.get("torn") == data


def test_what_is_damaged_on_its_way_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    send = bucket.s3.http.request

    def damage(method: str, url: str, *, body: bytes, **more: Any) -> Any:
        return send(method, url, body=b"y" + body[1:], **more)

    with monkeypatch.context() as on_its_way:
        on_its_way.setattr(bucket.s3.http, "request", damage)
        with pytest.raises(BucketError, match="status 400"):
            bucket.create("x", b"xxx")
    assert list(bucket.list_keys("x")) == []


def test_any_name_can_be_given(bucket: Bucket) -> None:
    names = ["a/my file.txt", "a#b?c", "a+b%20c", "ä"]
    for name in names:
        assert bucket.create(name, name.encode()).stored is True
    assert bucket.get_many(names) == [name.encode() for name in names]


def test_what_is_kept_is_what_was_sent_or_an_error(bucket: Bucket) -> None:
    first = bucket.put_verified("mine", b"1")
    assert bucket.put_verified("mine", b"1") >= first  # its first answer was lost
    with pytest.raises(BucketError, match="not what was sent"):
        bucket.put_verified("mine", b"2")
    assert bucket.get("mine") == b"1"


def test_ranges_are_exact_and_what_is_missing_says_so(bucket: Bucket) -> None:
    bucket.create("x", bytes(range(200)))
    assert bucket.get_range("x", 10, 5) == bytes(range(10, 15))
    assert bucket.get_range("x", 190, 50) == bytes(range(190, 200))
    bucket.create("empty", b"")
    assert bucket.get("empty") == b""
    for name, offset in (("x", 200), ("empty", 0)):
        with pytest.raises(OutOfRange):
            bucket.get_range(name, offset, 5)
    assert bucket.get_many(["x", "nothing"]) == [bytes(range(200)), None]
    with pytest.raises(Missing):
        bucket.get("nothing")


def test_names_come_in_order_behind_a_name_and_bounded(bucket: Bucket) -> None:
    for i in range(25):
        bucket.create(f"log/{i:012d}.json", b"")
    bucket.create("logs", b"")
    names = list(bucket.list_keys("log/"))
    assert names == [f"log/{i:012d}.json" for i in range(25)]
    assert list(bucket.list_keys("log/", after=names[9], limit=3)) == names[10:13]


def test_what_is_deleted_is_gone_and_nothing_else(bucket: Bucket) -> None:
    # Names of more than one request, some of them twice or never there.
    names = [f"packs/{i:03d}.pack" for i in range(300)]
    bucket.map_concurrently(lambda name: bucket.create(name, b"x"), names)
    bucket.delete(*names[:299], *names[:2], "packs/never.idx", "packs")
    bucket.delete()
    assert list(bucket.list_keys("packs/")) == names[299:]
    assert bucket.create(names[0], b"again").stored is True
    bucket.delete(names[0])
    assert list(bucket.list_keys("packs/")) == names[299:]


def test_what_a_store_refuses_to_delete_is_told_and_the_rest_is_deleted(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"packs/{i:03d}.pack" for i in range(250)]
    bucket.map_concurrently(lambda name: bucket.create(name, b"x"), names)
    remove = bucket.s3.minio.remove_objects

    def refuse(name: str, asked: list[DeleteObject]) -> Iterator[DeleteError]:
        held = [each for each in asked if each.name.endswith("7.pack")]
        yield from remove(name, [each for each in asked if each not in held])
        yield from (DeleteError("AccessDenied", "It is held.", each.name, None) for each in held)
        yield DeleteError("NoSuchKey", "There is none.", bucket._prefix + "packs/never.pack", None)

    monkeypatch.setattr(bucket.s3.minio, "remove_objects", refuse)
    held = [name for name in names if name.endswith("7.pack")]
    assert bucket.delete(*names) == held
    assert list(bucket.list_keys("packs/")) == held


def test_an_answer_to_a_deletion_that_is_no_xml_is_an_error(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = SimpleNamespace(data=b"<DeleteResult><Deleted>")
    monkeypatch.setattr(bucket.s3.minio, "_execute", lambda *_, **__: answer)
    with pytest.raises(BucketError, match="deleting x and 1 others"):
        bucket.delete("x", "y")


def test_the_bucket_may_be_made_by_several_at_once(s3_settings: Settings) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Bucket(s3_settings).ensure(), range(4)))


def test_the_probe_passes_only_on_a_store_that_keeps_its_promises(s3_settings: Settings, bucket: Bucket) -> None:
    probe([bucket])

    class Careless(Bucket):
        def create(self, name: str, data: bytes) -> Created:
            return replace(super().create(name, data), stored=True)  # as a store behind a proxy that drops the header

    careless = Careless(s3_settings)
    with pytest.raises(BucketUnsafe, match="racing creates won"):
        probe([careless])


def test_a_probe_whose_winner_lost_its_answer_is_made_again(
    s3_settings: Settings, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.backends.bucket.PROBE_RACERS", 2)  # SeaweedFS takes seconds for a round of many

    class Late(Bucket):
        lost = 1

        def create(self, name: str, data: bytes) -> Created:
            created = super().create(name, data)
            if not created.stored:
                return created
            Late.lost -= 1
            return replace(created, stored=Late.lost < 0)  # else the answer came too late, and it asked again

    probe([Late(s3_settings)])
    Late.lost = 1_000
    with pytest.raises(BucketError, match="late or lost"):
        probe([Late(s3_settings)])


@pytest.mark.long
def test_a_store_that_is_away_is_an_error_and_nothing_is_known() -> None:
    away = Bucket(Settings(s3_endpoints="http://127.0.0.1:9", s3_access_key="k", s3_secret_key="s", s3_timeout=1.0))
    calls: list[Callable[[], object]] = [
        lambda: away.create("x", b""),
        lambda: away.get("x"),
        lambda: away.delete("x"),
        lambda: list(away.list_keys("x")),
        away.ensure,
    ]
    for call in calls:
        with pytest.raises(BucketError):
            call()


def entry(seq: int, previous: str, **more: object) -> bytes:
    return encode(Slices(format=FORMATS[0], seq=Seq(seq), previous=previous, define=(), **more))


def test_the_log_is_dense_and_an_entry_never_changes(bucket: Bucket) -> None:
    log = Log(bucket)
    first = entry(1, NO_HASH)
    assert log.append(1, first)
    assert log.append(1, first), "the same bytes are ours, after a time-out too"
    assert not log.append(1, entry(1, NO_HASH, by="other"))
    assert log.append(2, entry(2, digest(first)))
    assert [e.seq for e, _ in follow(log.read_from(1))] == [1, 2]
    assert log.read(3) is None


def test_an_entry_that_does_not_follow_the_one_before_it_is_refused(bucket: Bucket) -> None:
    log = Log(bucket)
    log.append(1, entry(1, NO_HASH))
    log.append(2, entry(2, "f" * 64))
    with pytest.raises(CorruptEntry):
        list(follow(log.read_from(1)))


def test_a_long_log_is_read_to_its_end(bucket: Bucket) -> None:
    log, previous = Log(bucket), NO_HASH
    for seq in range(1, 101):
        data = entry(seq, previous)
        log.append(seq, data)
        previous = digest(data)
    assert [seq for seq, _ in log.read_from(3)] == list(range(3, 101))


def test_the_stores_clock_is_told_by_what_it_answers(bucket: Bucket) -> None:
    before = time.time()
    assert before - 2 <= bucket.now() <= time.time() + 1
    at = bucket.create("dated", b"").at
    assert before - 2 <= at <= time.time() + 1
    [(name, stored)] = bucket.listing("dated")
    assert name == "dated" and before - 2 <= stored <= at + 1


def test_the_stores_clock_is_known_without_asking_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert abs(bucket.estimated_now() - time.time()) < 60
    bucket.create("x", b"1")
    monkeypatch.setattr(bucket, "now", lambda: pytest.fail("it asks"))
    assert abs(bucket.estimated_now() - time.time()) < 60


def test_a_store_that_does_not_say_when_is_an_error(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    request = bucket.s3.http.request

    def without_date(*args: Any, **more: Any) -> Any:
        answer = request(*args, **more)
        answer.headers.discard("Date")
        return answer

    monkeypatch.setattr(bucket.s3.http, "request", without_date)
    with pytest.raises(BucketError, match="does not say when"):
        bucket.now()
