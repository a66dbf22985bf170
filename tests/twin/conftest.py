"""What tests of a module or of a whole process share: a PostgreSQL, left empty by each test, and a centre with a host process linked to it."""

from collections.abc import Iterator

import pytest

from twin.servers import PostgresServer, postgres_server
from twin.service import HostProcess, ServiceProcess


@pytest.fixture(scope="session")
def running_server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        yield running


@pytest.fixture
def server(running_server: PostgresServer) -> Iterator[PostgresServer]:
    yield running_server
    running_server.run("DROP SCHEMA IF EXISTS edgetwin CASCADE")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServiceProcess, HostProcess]]:
    """A centre without edge hosts of its own, to which none but `edge` is linked."""
    folder = tmp_path_factory.mktemp("linked")
    with ServiceProcess(folder / "centre", "--no-hosts") as service, HostProcess("edge", service, folder / "edge") as host:
        yield service, host
