"""From a valid request to a durable changeset: it is admitted, stored, and then queued.

Begin with intake.py, where a 202 becomes durable. Imports app.protocol, storage and tasks.
"""

from app.intake.admission import Admitted, Duplicate, admit, admit_to_check
from app.intake.checks import check_capacity
from app.intake.intake import Accepted, Intake, NotQueued, TookTooLong
from app.intake.packing import Item
from app.intake.refusals import ContentsTooLarge, Contradiction, FieldRefused, KeyReused
from app.intake.successors import Successor, fingerprint_of, key_of, paths_of, read_changeset, rebasable

__all__ = [
    "Accepted", "Admitted", "ContentsTooLarge", "Contradiction", "Duplicate", "FieldRefused", "Intake", "Item",
    "KeyReused", "NotQueued", "Successor", "TookTooLong", "admit", "admit_to_check", "check_capacity",
    "fingerprint_of", "key_of", "paths_of", "read_changeset", "rebasable",
]  # fmt: skip
