"""Which commit of a clone store is which of the chain, and up to where the store has followed the log.

A file of SQLite beside the repository: rows are only added, with the position up to which they are all, in one
transaction. So a process that dies between two writes leaves rows and position of one moment.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from storage.base.ids import ObjectId, Seq, oid_of
from storage.base.small_files import read_small
from storage.clones.connections import Connections
from storage.log.entry import NO_HASH, log_position

FORMAT = 2
"""Of the table and of everything beside it: a store of another one is made again."""

FIRST = -(1 << 62)
"""Before every position."""

_SCHEMA = f"""
CREATE TABLE ids (position INTEGER PRIMARY KEY, chain BLOB NOT NULL, own BLOB NOT NULL, defined INTEGER NOT NULL);
CREATE INDEX by_own ON ids (own);
CREATE INDEX by_chain ON ids (chain);
CREATE TABLE counts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counts VALUES ('packs', 0), ('checkpointed', 0), ('tags', 0);
CREATE TABLE tags (name TEXT PRIMARY KEY, id BLOB NOT NULL);
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), text BLOB NOT NULL);
PRAGMA user_version = {FORMAT};
"""
# Seconds that a reader waits for a writer's transaction, or the other way round.
_BUSY = 10.0
_NO_TAGS: Mapping[str, ObjectId | None] = {}


class Row(NamedTuple):
    """A commit of a store."""

    position: int  # in the log; of an imported commit below the tip one before that, parents first
    chain: ObjectId  # the commit of the chain, or the imported one, whose tree it has, as far as it is the slice's
    own: ObjectId
    defined: bool = False  # a changed definition made it, and not that commit of the chain


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a store has followed the log."""

    seq: Seq = Seq(0)  # everything up to this entry is in it
    hash: str = NO_HASH  # of that entry
    tip: str = ""  # the newest commit of the chain at `seq`
    main: str = ""  # of the whole: the newest global commit; no branch names it, but tags may name those before it
    version: int = 0  # of the slice's definition there
    paths: tuple[bytes, ...] = ()

    @property
    def end(self) -> int:
        """The first position behind it."""
        return log_position(self.seq + 1, 0)


class IdTable:
    """The table of one store. Safe for threads and processes; one of them writes at a time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._reached = file.with_name("reached")

    def create(self) -> None:
        """Make it, empty. Raises sqlite3.Error, here and everywhere."""
        with closing(sqlite3.connect(self._file)) as connection:
            connection.executescript(_SCHEMA)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(_open(self._file)) as connection, connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with _CONNECTIONS.reading(self._file) as connection:
            _check_format(connection)
            yield connection

    def copy(self, source: IdTable) -> None:
        """Become a copy of another store's table."""
        with source._opened() as old, closing(sqlite3.connect(self._file)) as new:
            old.backup(new)

    def reached(self) -> Seq:
        """Return up to which entry nothing is missing in the store but what has not landed, branch and tags included.

        0 where that is not known: the store is not there, new, or begun from another one's.
        """
        try:
            return Seq(int(read_small(self._reached)))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return Seq(0)

    def note_reached(self, seq: int) -> None:
        """Note that a catch-up has ended; 0: that nobody knows."""
        beside = self._reached.with_name(f"{self._reached.name}.{threading.get_ident()}")
        beside.write_text(str(seq))
        beside.rename(self._reached)

    def state(self) -> State:
        """Return how far the store has come."""
        with self._reading() as connection:
            found = connection.execute("SELECT text FROM state").fetchone()
        return msgspec.json.decode(found[0], type=State) if found else State()

    def add(
        self, rows: Iterable[Row], state: State, packs: int = 0, tags: Mapping[str, ObjectId | None] = _NO_TAGS
    ) -> None:
        """Add rows, move on to `state`, count packs that came, and have tags; None takes one away."""
        with self._opened() as connection:
            connection.executemany("INSERT INTO ids VALUES (?, ?, ?, ?)", rows)
            connection.execute("INSERT OR REPLACE INTO state VALUES (1, ?)", (msgspec.json.encode(state),))
            connection.execute("UPDATE counts SET value = value + ? WHERE name = 'packs'", (packs,))
            for name, oid in tags.items():
                connection.execute("DELETE FROM tags WHERE name = ?", (name,))
                if oid is not None:
                    connection.execute("INSERT INTO tags VALUES (?, ?)", (name, oid))
            if tags:
                connection.execute("UPDATE counts SET value = 1 WHERE name = 'tags'")

    def tags(self) -> dict[str, ObjectId]:
        """Return all tags by name."""
        with self._reading() as connection:
            return {name: ObjectId(bytes(oid)) for name, oid in connection.execute("SELECT * FROM tags")}

    def are_tags_due(self) -> bool:
        """Tell whether tags were changed that the repository may not have yet."""
        return self._count("tags") > 0

    def note_tags(self) -> None:
        """Note that the repository has all tags."""
        with self._opened() as connection:
            connection.execute("UPDATE counts SET value = 0 WHERE name = 'tags'")

    def packs(self) -> int:
        """Return how many packs came since packs were merged last."""
        return self._count("packs")

    def merged(self, packs: int) -> None:
        """Note that so many packs have been merged."""
        with self._opened() as connection:
            connection.execute("UPDATE counts SET value = max(0, value - ?) WHERE name = 'packs'", (packs,))

    def checkpointed(self) -> int:
        """Return how many commits the newest checkpoint has that is known of."""
        return self._count("checkpointed")

    def note_checkpoint(self, commits: int) -> None:
        """Note how many commits the newest checkpoint has."""
        with self._opened() as connection:
            connection.execute("UPDATE counts SET value = ? WHERE name = 'checkpointed'", (commits,))

    def _count(self, name: str) -> int:
        with self._reading() as connection:
            return int(connection.execute("SELECT value FROM counts WHERE name = ?", (name,)).fetchone()[0])

    def last(self) -> Row | None:
        """Return the newest row, None where the store has no commit."""
        return self._row("SELECT * FROM ids ORDER BY position DESC LIMIT 1")

    def at(self, position: int) -> Row | None:
        """Return the last row at or before a position of the log."""
        return self._row("SELECT * FROM ids WHERE position <= ? ORDER BY position DESC LIMIT 1", position)

    def of_own(self, own: ObjectId) -> Row | None:
        """Return the row of one of the store's commits."""
        return self._row("SELECT * FROM ids WHERE own = ? ORDER BY position LIMIT 1", own)

    def of_chain(self, chain: ObjectId) -> Row | None:
        """Return the row that a commit of the chain made, None where it made none."""
        return self._row("SELECT * FROM ids WHERE chain = ? AND NOT defined LIMIT 1", chain)

    def count(self) -> int:
        """Return how many rows there are."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM ids").fetchone()[0])

    def has_import(self) -> bool:
        """Tell whether there are commits from before the log."""
        return self._row("SELECT * FROM ids WHERE position < 0 LIMIT 1") is not None

    def rows(self, after: int, end: int, most: int) -> list[Row]:
        """Return the next rows behind one position (FIRST: from the beginning) and before another, in order."""
        query = "SELECT * FROM ids WHERE position > ? AND position < ? ORDER BY position LIMIT ?"
        with self._reading() as connection:
            return [_row(found) for found in connection.execute(query, (after, end, most))]

    def _row(self, query: str, *values: int | bytes) -> Row | None:
        with self._reading() as connection:
            found = connection.execute(query, values).fetchone()
        return _row(found) if found else None


def _open(file: Path) -> sqlite3.Connection:
    # `rw`: a store that was deleted is not begun again here. One thread at a time uses a connection, but any may.
    uri = f"{file.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY, check_same_thread=False)
    try:
        _check_format(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_format(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
        raise sqlite3.DatabaseError("a store of another format")


_CONNECTIONS = Connections(_open)


def _row(found: Sequence[int | bytes]) -> Row:
    position, chain, own, defined = found
    return Row(int(position), ObjectId(bytes(chain)), ObjectId(bytes(own)), bool(defined))


def tip_of(state: State) -> ObjectId | None:
    """Return the newest commit of the chain that a store knows."""
    return oid_of(state.tip) if state.tip else None
