"""A connection to PostgreSQL that lasts: what it lost is made anew by the next transaction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg

from edgetwin.twin.stores.postgres_schema import connected, opening_error, place_of, said
from edgetwin.twin.stores.store import StoreRefused, StoreUnavailable


class Session:
    """Transactions at an address, one after the other. `prepare` is called with each connection before it is used; it may raise StoreRefused."""

    def __init__(self, address: str, prepare: Callable[[psycopg.Connection], object]):
        self.place = place_of(address)
        self._address, self._prepare = address, prepare
        self._connection: psycopg.Connection | None = None

    def open(self) -> None:
        """Connects. Raises StoreRefused, StoreUnavailable."""
        connection = connected(self._address)
        try:
            self._prepare(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, psycopg.Error):
                raise opening_error(self.place, error) from None
            raise
        self._connection = connection

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        """A connection in one transaction, which is committed where the block ends well. Raises StoreUnavailable, the connection dropped."""
        try:
            if self._connection is None:
                self._open_again()
            assert self._connection is not None
            with self._connection.transaction():
                yield self._connection
        except psycopg.Error as error:
            with suppress(psycopg.Error):
                self.close()
            raise StoreUnavailable(f"{self.place}: {said(error)}") from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open_again(self) -> None:
        try:
            self.open()
        except StoreRefused as error:
            raise StoreUnavailable(str(error)) from None
