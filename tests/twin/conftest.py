"""A PostgreSQL for all tests of a test process, started when the first one asks for it, and left empty by each."""

from collections.abc import Iterator

import pytest

from twin.servers import PostgresServer, postgres_server


@pytest.fixture(scope="session")
def running_server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture
def server(running_server: PostgresServer) -> Iterator[PostgresServer]:
    yield running_server
    running_server.run("DROP SCHEMA IF EXISTS edgetwin CASCADE")
