"""A PostgreSQL for all tests of a test process, started when the first one asks for it."""

from collections.abc import Iterator

import pytest

from twin.servers import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running
