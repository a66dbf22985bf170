"""A deployment whose centre, hosts and database each are on a machine of their own."""

from contextlib import contextmanager

from twin.deployments import CENTRE, EDGE, Deployment
from twin.namespaces import network
from twin.servers import postgres_server

DATABASE = "database"


@contextmanager
def apart(folder, shared):
    """A network with a deployment on it, which is to be used inside of the centre's machine. shared: over one database."""
    token = folder / "token"
    token.write_text("as-long-as-it-must-be")
    with network(CENTRE, *EDGE, *([DATABASE] if shared else [])) as wires:
        machines = {name: wires.machine(name, token) for name in (CENTRE, *EDGE)}
        if not shared:
            yield wires, Deployment(folder, processes=True, machines=machines)
            return
        serving = postgres_server(wires.address[DATABASE])
        server = wires.inside(DATABASE, serving.__enter__)
        try:
            yield wires, Deployment(folder, server.address, processes=True, machines=machines)
        finally:
            serving.__exit__(None, None, None)
