"""What a compaction takes out of the view: history, and nothing of the present state."""

from __future__ import annotations

from storage.log.entry import decode
from storage.view.rows import Forgotten, effects
from tests.support.compaction import compaction
from tests.support.persisted import access


def test_the_policy_and_the_tokens_stay_when_their_entry_is_archived() -> None:
    made = decode(access()[1])
    rows = effects(compaction(made.seq), "hash", Forgotten(history=[(made, "hash")], keys=[(made, "hash")]))
    assert effects(made, "hash").strings.keys() == {"policy"}
    assert not rows.removed_strings and not rows.removed_fields and not rows.removed_members
