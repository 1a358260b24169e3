"""What is changed of kombu: a message whose acknowledgement is lost gives its place free all the same.

Kombu tells Redis first and counts afterwards. Where the connection breaks in between, the message is counted as under
way for ever, and a node that may have one or two under way consumes no other: it is alive, and deaf to every queue.
Redis gives such a message out again after the visibility time-out, which a hint may be.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import redis, virtual


class PatientQoS(redis.QoS):
    """Counts a message as acknowledged whether or not Redis could be told."""

    def ack(self, delivery_tag: Any) -> None:
        """Acknowledge; raises what the connection raised."""
        try:
            super().ack(delivery_tag)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: Any, requeue: bool = False) -> None:
        """Reject; raises what the connection raised."""
        try:
            super().reject(delivery_tag, requeue)
        except BaseException:
            virtual.QoS.ack(self, delivery_tag)
            raise


def install() -> None:
    """Have every channel of this process count so."""
    redis.Channel.QoS = PatientQoS
