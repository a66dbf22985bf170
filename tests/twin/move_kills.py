"""Processes killed under load at every numbered step of moves and in every part that hosts have in them."""

import asyncio
import signal
import time
from typing import NamedTuple

from edgetwin.twin.moves.failpoints import HOST_CALLS
from edgetwin.twin.moves.migration import STEPS as STEP_NAMES
from twin.deployments import CENTRE
from twin.move_load import asked, judged_under, settled, until

STEPS = tuple(f"{when}-{step}" for step in range(1, 8) for when in ("before", "after"))
PARTS = tuple(f"host-{call}{done}" for call in HOST_CALLS for done in ("", "-done"))
UNDONE = ("thaw", "discard")
"""What hosts are asked for only where a move is undone."""
COPIED = ("copy", "stage", "tail", "extend")
"""What hosts are asked for only where a twin is copied."""
REACHED_S = 90


LONGEST_S = HELD_S = 0.3
MOST_TIMES = 6
"""How often a failpoint is reached, at most, before it kills: up to then twins move."""


class Point(NamedTuple):
    """Where a member is killed: at a failpoint, or at a random moment where that is empty. also: failpoints of members meanwhile."""

    member: str
    failpoint: str
    also: tuple[tuple[str, str], ...] = ()


class Kill(NamedTuple):
    """A kill that happened: seconds until all was ready again, and what the directory said of the twin that was between two hosts, as far as
    there was one: `moving` or `handed over`."""

    member: str
    failpoint: str
    recovery_s: float
    found: tuple[str, ...] = ()


class Kills(NamedTuple):
    """Kills, and what was wrong in words: failpoints that were not reached, twins that were not where the directory had them."""

    done: list[Kill]
    wrong: list[str]


def points(deployment, host):
    """Every step at the centre and every part that a host has in moves, and a random moment for each: of the one process where there is one only."""
    shared, member = deployment.address is not None, host if host in deployment.members else CENTRE
    parts = [part for part in PARTS if not (shared and part.split("-")[1] in COPIED)]
    last = [part for part in parts if part.split("-")[1] in UNDONE]
    return [
        *(Point(CENTRE, step) for step in (*STEPS, "")),
        *(Point(member, part) for part in (*parts, "") if part not in last),
        *(Point(member, part, _undone(deployment, member, part)) for part in last),
    ]


def _undone(deployment, member, part):
    """What goes wrong so that moves are undone: where hosts are processes, those from the member, or those to it, and no others."""
    if member == CENTRE:
        return ((CENTRE, "before-5:error"),)
    trouble = "host-verify:error" if part.startswith("host-thaw") else "host-freeze:error"
    return tuple((other, trouble) for other in deployment.edge if other != member)


def killed_at(deployment, points, told=lambda done: None, **load):
    """Kills members of a deployment at points, one after the other, under load. Its outcome, with Kills as `faults`."""

    async def faults(load):
        killer = Killer(load)
        for done, (point, following) in enumerate(zip(points, [*points[1:], None], strict=True)):
            await killer.kill(point, following)
            told(done + 1)
        return killer.kills

    outcome = judged_under(deployment, faults, **load)
    outcome.verdict.violations.extend(outcome.faults.wrong)
    return outcome


def database_killed_at(deployment, server, steps, told=lambda done: None, **load):
    """Kills the database while a move is held at a step of the centre, one after the other, under load. Its outcome, with Kills as `faults`."""

    async def faults(load):
        killer = Killer(load)
        for done, step in enumerate(steps):
            await killer.kill_database(server, step)
            told(done + 1)
        await killer.arm(None)
        return killer.kills

    outcome = judged_under(deployment, faults, **load)
    outcome.verdict.violations.extend(outcome.faults.wrong)
    return outcome


class Killer:
    """Kills members one at a time. `_armed`: failpoints of each that has some; a member that is killed is started again armed for the next kill, so
    that it may end while it is still bringing to an end what the kill before left."""

    def __init__(self, load):
        self.kills = Kills([], [])
        self._load, self._deployment, self._armed, self._actions = load, load.deployment, {}, {}

    async def kill(self, point, following):
        """Waits until a member ends by its failpoint, starts it again, and looks whether twins are where they must be."""
        member = self._deployment.members[point.member]
        await self.arm(point)
        await asyncio.sleep(self._load.draw.uniform(0, 0.2))
        self._load.moving.set()
        if not point.failpoint:
            await asyncio.sleep(self._load.draw.uniform(0, LONGEST_S))
            member.kill()
        try:
            await until(lambda: _ended(member), REACHED_S)
        except TimeoutError:
            self.kills.wrong.append(f"{point} was not reached within {REACHED_S} s")
            member.kill()
        if member.process.returncode != -signal.SIGKILL:
            self.kills.wrong.append(f"{point}: ended with {member.process.returncode}: {member.log.read_text()[-500:]}")
        self._load.moving.clear()
        began = time.perf_counter()
        places = await asyncio.to_thread(_open_places, self._deployment) if member is self._deployment.centre else []
        self._armed[point.member] = "ended"
        await self.arm(following if following is not None and following.member == point.member else None)
        recovery_s = time.perf_counter() - began
        for place in places:
            self.kills.wrong.extend(await self._misplaced(place, point))
        self.kills.done.append(Kill(point.member, point.failpoint, recovery_s, tuple(map(_state, places))))

    async def kill_database(self, server, step):
        """Has moves wait at a step, kills the database when one does, and starts it again."""
        await self.arm(Point(CENTRE, "", ((CENTRE, f"{step}:sleep={HELD_S}"),)))
        self._load.moving.set()
        await until(lambda: self.held(step), REACHED_S)
        await asyncio.sleep(self._load.draw.uniform(0, HELD_S / 2))
        server.kill()
        await asyncio.sleep(self._load.draw.uniform(0, LONGEST_S))
        began = time.perf_counter()
        await asyncio.to_thread(server.start)
        self._load.moving.clear()
        await until(lambda: settled(self._deployment))
        self.kills.done.append(Kill("database", step, time.perf_counter() - began))

    async def held(self, step):
        """A move that is at the step of a failpoint, None where there is none."""
        _, found = await asked(self._deployment.centre, "GET", "/v1/moves?limit=10")
        name = STEP_NAMES[int(step[-1]) - 1]
        return next((move for move in found.get("moves", []) if move["step"] == name and move["outcome"] is None), None)

    async def arm(self, point):
        """Starts anew who is not armed as a point asks, and waits until all are there or somebody has ended by its failpoint."""
        wanted = {} if point is None else dict(point.also)
        if point is not None and point.failpoint:
            wanted[point.member] = ",".join(filter(None, [self._action(point), wanted.get(point.member)]))
        for name, member in self._deployment.members.items():
            if self._armed.get(name, "") != wanted.get(name, ""):
                await self._load.no_moves()
                if member.process.poll() is None:
                    await asyncio.to_thread(member.kill)
                await self._start(member, wanted.get(name, ""))
                self._armed[name] = wanted.get(name, "")
        await until(self._are_there)

    def _action(self, point):
        """Kills when the point is reached for the nth time. The same for the same point, since it is asked again."""
        return self._actions.setdefault(point, f"{point.failpoint}:kill={self._load.draw.randint(1, MOST_TIMES)}")

    async def _start(self, member, failpoint):
        try:
            await asyncio.to_thread(member.start, True, failpoint)
        except RuntimeError:
            if not failpoint or member.process.returncode != -signal.SIGKILL:
                raise

    async def _are_there(self):
        return self._has_ended() or await asyncio.to_thread(self._deployment.has_all)

    def _has_ended(self):
        return any(member.process.poll() is not None for member in self._deployment.members.values())

    async def _misplaced(self, place, point):
        """A twin that was moving is where it was, at its epoch; one that was handed over is where it was handed to. What is otherwise, in words."""
        said = None

        async def is_there():
            nonlocal said
            said = await asked(self._deployment.centre, "GET", f"/v1/twins/{place.twin}")
            return self._has_ended() or (said[1].get("host"), said[1].get("epoch")) == (place.host, place.epoch)

        try:
            await until(is_there, 10)
        except TimeoutError:
            return [f"killed at {point}: the directory had {place}, and now it is {said}"]
        return []


async def _ended(member):
    return member.process.poll() is not None


def _open_places(deployment):
    with deployment.directory() as directory:
        return [place for place in directory.places() if place.move is not None]


def _state(place):
    return "moving" if place.is_moving else "handed over"
