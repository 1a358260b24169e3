"""An acknowledgement that Redis never heard of must not make a node deaf."""

from __future__ import annotations

import pytest
import redis
from kombu import Connection
from kombu.transport import redis as transport

from tasks import broker


def test_a_lost_acknowledgement_gives_its_place_free(redis_url: str, repository: str, monkeypatch) -> None:
    monkeypatch.setattr(transport.Channel, "QoS", transport.Channel.QoS)
    broker.install()
    with Connection(redis_url, transport_options={"global_keyprefix": repository}) as connection:
        queue = connection.SimpleQueue("hints")
        queue.consumer.qos(prefetch_count=1)
        queue.put({"hint": 1})
        message = queue.get(timeout=5)
        counting = queue.channel.qos
        assert not counting.can_consume()

        def broken(*args: object) -> None:
            raise redis.ConnectionError

        monkeypatch.setattr(counting, "_remove_from_indices", broken)
        with pytest.raises(redis.ConnectionError):
            message.ack()
        assert counting.can_consume()
        queue.close()
