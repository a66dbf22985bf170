"""Who of the host processes is here, on a store that they share: who is given up, who is waited for, and that nobody is forgotten."""

import asyncio
from types import SimpleNamespace

import pytest

from edgetwin.twin.link import attendance
from edgetwin.twin.link.attendance import Attendance


class Centre:
    """A centre that knows a host `a`, which has twins and is not here. decides: whether it can read the directory."""

    def __init__(self):
        self.own = SimpleNamespace(endpoint=SimpleNamespace(place="postgresql://db:5432/x"))
        self.hosts, self.kinds, self.decides = {"centre": self.own}, {}, True

    def known_hosts(self):
        return {"centre": 3, "a": 2}

    async def can_decide(self):
        return self.decides


@pytest.fixture
def failed_over(monkeypatch):
    """Names of hosts whose twins were given to others, in order; leases and waits are short."""
    names = []

    async def fail_over(centre, name):
        names.append(name)
        return True

    monkeypatch.setattr(attendance, "fail_over", fail_over)
    for name, seconds in {"LEASE_S": 0.04, "COMING_S": 0.04, "AGAIN_S": 0.02, "UNABLE_S": 0.2}.items():
        monkeypatch.setattr(attendance, name, seconds)
    return names


def test_twins_that_were_given_to_a_host_after_it_was_given_up_are_given_on(failed_over):
    """A commit that a database held up for long may name a host that nobody expects any more."""

    async def main():
        there = Attendance(Centre(), lambda name: lambda twins: None)
        there.start()
        async with asyncio.timeout(10):
            while len(failed_over) < 3:
                await asyncio.sleep(0.01)
        await there.close()

    asyncio.run(main())
    assert set(failed_over) == {"a"}


def test_a_host_without_the_database_is_given_up_only_where_the_centre_has_it_all_the_time(failed_over):
    async def main():
        centre = Centre()
        there = Attendance(centre, lambda name: lambda twins: None)
        remote = SimpleNamespace(name="a", can_write=False, unwanted=asyncio.Event())
        there.door._there["a"] = remote
        there.start()
        centre.decides = False
        await asyncio.sleep(0.4)
        assert not remote.unwanted.is_set()
        centre.decides = True
        await asyncio.sleep(0.1)
        remote.can_write = True
        await asyncio.sleep(0.3)
        assert not remote.unwanted.is_set()
        remote.can_write = False
        async with asyncio.timeout(10):
            await remote.unwanted.wait()
        await there.close()

    asyncio.run(main())
    assert failed_over == []
