"""Fixes of kombu, so that a node survives failures of its broker and consumes again by itself.

*A message whose acknowledgement is lost no longer counts as unacknowledged.* Kombu writes to Redis first and counts
afterwards. If the connection breaks in between, the message counts as unacknowledged for ever, and a node that may
have one or two of these consumes no other: it is alive, and receives nothing. Redis delivers such a message again
after the visibility time-out, which is harmless for a hint.

*A message that Redis has no room to record is processed nevertheless.* Kombu records it in Redis after it has popped it
from its list. Redis may be full then: the message would be lost, and the node would restart.

*A replica is left.* A connection to a server that was demoted is closed by its first refusal
(storage/backends/primary.py), which counts as a broken connection: the node or the sender connects again, by the same
address.
"""

from typing import Any

import structlog
from kombu.transport import redis, virtual
from redis.exceptions import ResponseError

from storage.backends.primary import Departure, FollowsPrimary, LeavesReplicas

log = structlog.get_logger()

# Of all connections of this process to the broker.
_DEPARTURE = Departure()


class PatientQoS(redis.QoS):
    """Counts unacknowledged messages, whether or not Redis could be reached."""

    def append(self, message: Any, delivery_tag: Any) -> None:
        """Count a message that was taken; raises what a broken connection raises."""
        try:
            super().append(message, delivery_tag)
        except ResponseError as error:
            log.warning("message_not_remembered", reason=str(error))
            virtual.QoS.append(self, message, delivery_tag)

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

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Deliver again what was not acknowledged in time; if Redis accepts no writes now, at the next call."""
        try:
            super().restore_visible(*args, **options)
        except ResponseError as error:
            log.info("messages_not_restored", reason=str(error))


class _Sender(FollowsPrimary):
    """A connection that mostly publishes, which a replica does not refuse: so it asks for the server's role."""

    def send_packed_command(self: Any, command: Any, check_health: bool = True) -> None:
        self.ask_role()
        super().send_packed_command(command, check_health)


class FollowingChannel(redis.Channel):
    """A channel whose connections leave a server that is a replica."""

    QoS = PatientQoS

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        params: dict[str, Any] = super()._connparams(asynchronous=asynchronous)
        # One that the loop polls must not be made anew behind its back: it closes with its node's consumer.
        kind = LeavesReplicas if asynchronous else _Sender
        params["connection_class"] = type("Connection", (kind, params["connection_class"]), {"departure": _DEPARTURE})
        return params


def install() -> None:
    """Make every transport of this process use such channels."""
    redis.Transport.Channel = FollowingChannel
