"""What a device has measured and not had acknowledged: a bounded queue of lines in order, in memory, or in a file that outlives the device.

A message keeps its (boot_id, seq) for ever, so that it is known again however often it is sent.
"""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from edgetwin.errors import InputError


class Message(NamedTuple):
    """A line with what names it. `line` is the bytes as they are sent."""

    boot_id: int
    seq: int
    line: bytes


class OutboxFull(Exception):
    """As many messages wait for an acknowledgement as the outbox holds. Nothing was dropped; report again later, or wait."""


class Outbox:
    """Messages in the order they were put in, at most `capacity`. With a `path` each is on disk before `put` returns (a few ms).

    `boot_id` is the highest that was used here, 0 at first. Raises InputError for a file that is not an outbox or is in use.
    """

    def __init__(self, capacity: int, path: Path | None = None):
        if capacity < 1:
            raise InputError(f"capacity = {capacity}: an outbox holds at least 1 message")
        self._capacity = capacity
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=0.5, check_same_thread=False)
            self._file.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = FULL")
            self._file.execute(
                "CREATE TABLE IF NOT EXISTS outbox (boot_id INTEGER, seq INTEGER, line BLOB NOT NULL, PRIMARY KEY (boot_id, seq)) WITHOUT ROWID"
            )
            self._file.execute("CREATE TABLE IF NOT EXISTS boot (boot_id INTEGER NOT NULL)")
            self.boot_id: int = self._file.execute("SELECT coalesce(max(boot_id), 0) FROM boot").fetchone()[0]
            found = [Message(*row) for row in self._file.execute("SELECT boot_id, seq, line FROM outbox ORDER BY boot_id, seq")]
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"{path}: cannot be used as an outbox ({error}); is another device using it?") from None
        self._messages = {(message.boot_id, message.seq): message for message in found}

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether `put` would raise OutboxFull."""
        return len(self._messages) >= self._capacity

    def begin(self, boot_id: int) -> None:
        """Notes that messages of this boot follow."""
        self._file.execute("INSERT INTO boot VALUES (?)", (boot_id,))
        self._file.execute("DELETE FROM boot WHERE boot_id < ?", (boot_id,))
        self.boot_id = boot_id

    def put(self, message: Message) -> None:
        """Keeps a message until it is settled. Raises OutboxFull."""
        if self.is_full:
            raise OutboxFull(f"{len(self._messages)} messages wait for an acknowledgement: the outbox holds no more")
        self._file.execute("INSERT INTO outbox VALUES (?, ?, ?)", message)
        self._messages[message.boot_id, message.seq] = message

    def first(self, count: int, size: int) -> list[Message]:
        """The oldest messages, up to `count`, and beyond the first up to `size` bytes in all."""
        chosen: list[Message] = []
        for message in self._messages.values():
            size -= len(message.line)
            if chosen and (len(chosen) == count or size < 0):
                break
            chosen.append(message)
        return chosen

    def settle(self, messages: list[Message]) -> None:
        """Forgets messages."""
        self._file.execute("BEGIN")
        try:
            self._file.executemany("DELETE FROM outbox WHERE boot_id = ? AND seq = ?", [message[:2] for message in messages])
            self._file.execute("COMMIT")
        except sqlite3.Error:
            self._file.execute("ROLLBACK")
            raise
        for message in messages:
            del self._messages[message.boot_id, message.seq]

    def close(self) -> None:
        """Closes the file; what is in it stays."""
        self._file.close()
