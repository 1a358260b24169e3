"""Logs written by hand, with something false in them."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.admin.deep import deep
from app.admin.deep.verification import Deep
from storage.backends.bucket import Bucket
from storage.base.ids import ObjectId
from storage.git.objects import Commit, Kind, object_id
from storage.log.entry import NO_HASH, digest
from storage.log.log import Log
from storage.log.store_pack import pack_of, store_pack
from tests.support.world import World

Json = dict[str, Any]


@dataclass
class Forger:
    """Writes a log by hand: another's, with something false in it, and all hashes as they should be."""

    world: World
    entry: Callable[[Json], None] = lambda entry: None
    record: Callable[[Json], None] = lambda record: None
    commit: Callable[[str, Commit], Commit] = lambda changeset, commit: commit
    merge: Callable[[Commit], Commit] = lambda commit: commit

    def deep(self) -> Deep:
        """Write it into a repository of its own, and look."""
        old = self.world.repo
        settings = dataclasses.replace(old.settings, repository=f"f{uuid.uuid4().hex}")
        bucket = Bucket(settings)
        for name in old.bucket.list_keys(""):
            if name.startswith(("packs/", "inbox/")):
                bucket.create(name, old.bucket.get(name))
        new: dict[str, str] = {}
        previous, tip = NO_HASH, ""
        for _, stored in old.log.read_from(1):
            entry = json.loads(stored)
            made: dict[ObjectId, tuple[Kind, bytes]] = {}

            def write(oid: str, commit: Commit, made: dict[ObjectId, tuple[Kind, bytes]] = made) -> None:
                data = commit.encode()
                new[oid] = object_id(Kind.COMMIT, data).hex()
                made[ObjectId(bytes.fromhex(new[oid]))] = (Kind.COMMIT, data)

            match entry["kind"]:
                case "genesis":
                    tip = new[entry["commit"]] = entry["commit"]
                case "commits":
                    for record in entry["decided"]:
                        self.record(record)
                        if "commit" in record:
                            oid = record["commit"]
                            commit = self._moved(oid, [tip])
                            write(oid, self.commit(record["id"], commit))
                            entry["root"] = self.commit(record["id"], commit).tree.hex()
                            tip = record["commit"] = new[oid]
                    entry["tip"] = tip
                case "merge":
                    commit = old.objects.commit(ObjectId(bytes.fromhex(entry["commit"])))
                    commit = self._moved(
                        entry["commit"], [new.get(parent.hex(), parent.hex()) for parent in commit.parents]
                    )
                    write(entry["commit"], self.merge(commit))
                    entry |= {"commit": new[entry["commit"]], "tree": self.merge(commit).tree.hex()}
                    entry["parents"] = [new.get(parent, parent) for parent in entry["parents"]]
            if made:
                entry["packs"] = [*entry.get("packs", []), list(store_pack(bucket, pack_of(made)))]
            self.entry(entry)
            entry["previous"] = previous
            data = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
            previous = digest(data)
            assert Log(bucket).append(entry["seq"], data)
        return deep(settings)

    def _moved(self, oid: str, parents: list[str]) -> Commit:
        commit = self.world.repo.objects.commit(ObjectId(bytes.fromhex(oid)))
        return dataclasses.replace(commit, parents=tuple(ObjectId(bytes.fromhex(parent)) for parent in parents))
