"""The product's gateway for a rig: the same, but it can be stopped at every step, as other nodes can by stoppable.py.

Imported by gunicorn alone: `tests.harness.stoppable_gateway:create_app()`.
"""

from app.gateway.application import create_app
from app.gateway.receive.small import in_memory
from tests.harness import stoppable

__all__ = ["create_app", "stoppable"]

# Pushes of a rig are all small: so that some are received by Git, too, a small one has fewer bytes here.
in_memory.MOST_BYTES = 1500
