"""Processes killed at every numbered step of moves and in every part that hosts have in them, under load; what each was killed at, and the verdict."""

import asyncio
import signal
import time
from typing import NamedTuple

from edgetwin.twin.moves.failpoints import HOST_CALLS
from twin.deployments import CENTRE
from twin.move_load import asked, judged_under, until

STEPS = tuple(f"{when}-{step}" for step in range(1, 8) for when in ("before", "after"))
PARTS = tuple(f"host-{call}{done}" for call in HOST_CALLS for done in ("", "-done"))
UNDONE = ("thaw", "discard")
"""What hosts are asked for only where a move is undone."""
COPIED = ("copy", "stage", "tail", "extend")
"""What hosts are asked for only where a twin is copied."""
TO_BE_UNDONE = "before-5:error"
REACHED_S = 20


class Point(NamedTuple):
    """Where a member is killed: at a failpoint, or at a random moment where that is empty. centre: failpoints of the centre meanwhile."""

    member: str
    failpoint: str
    centre: str = ""


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


def points_in_one_process():
    """Every failpoint there is, in a service of one process."""
    parts = [Point(CENTRE, part, TO_BE_UNDONE if part.split("-")[1] in UNDONE else "") for part in PARTS]
    return [*(Point(CENTRE, step) for step in STEPS), *parts]


def points_in_processes(host, shared):
    """Every step at the centre, and every part of a host, in a service of several processes."""
    parts = [part for part in PARTS if not (shared and part.split("-")[1] in COPIED)]
    plain = [Point(host, part) for part in parts if part.split("-")[1] not in UNDONE]
    return [
        *(Point(CENTRE, step) for step in STEPS),
        *plain,
        *(Point(host, part, TO_BE_UNDONE) for part in parts if part.split("-")[1] in UNDONE),
    ]


def killed_at(deployment, points, told=lambda done: None, **load):
    """Kills members of a deployment at points, one after the other, under load. Its outcome, with Kills as `faults`."""

    async def faults(load):
        kills = Kills([], [])
        for done, point in enumerate(points):
            await _kill(load, point, kills)
            told(done + 1)
        return kills

    outcome = judged_under(deployment, faults, **load)
    outcome.verdict.violations.extend(outcome.faults.wrong)
    return outcome


async def _kill(load, point, kills):
    """Starts the member anew with its failpoint armed, waits until that ends it, starts it again, and looks whether twins are where they must be."""
    deployment = load.deployment
    member = deployment.members[point.member]
    await load.no_moves()
    failpoint = ",".join(filter(None, [f"{point.failpoint}:kill", point.centre if member is deployment.centre else ""]))
    if member is not deployment.centre and point.centre:
        await _restart(deployment, deployment.centre, point.centre)
    ended = await _restart(deployment, member, failpoint)
    if not ended:
        await asyncio.sleep(load.draw.uniform(0, 0.2))
        load.moving.set()
        try:
            await asyncio.wait_for(asyncio.to_thread(member.process.wait), REACHED_S)
        except TimeoutError:
            kills.wrong.append(f"{point.member} did not reach {point.failpoint} within {REACHED_S} s")
            member.kill()
    if member.process.returncode != -signal.SIGKILL:
        kills.wrong.append(f"{point}: ended with {member.process.returncode}: {member.log.read_text()[-500:]}")
    load.moving.clear()
    began = time.perf_counter()
    places = await asyncio.to_thread(_open_places, deployment) if member is deployment.centre else []
    await _restart(deployment, member, "")
    if member is not deployment.centre and point.centre:
        await _restart(deployment, deployment.centre, "")
    await asyncio.to_thread(deployment.await_hosts)
    kills.done.append(Kill(point.member, point.failpoint, time.perf_counter() - began, tuple(map(_state, places))))
    for place in places:
        kills.wrong += await _not_where_it_must_be(deployment, place, point)


async def _restart(deployment, member, failpoint):
    """Kills a process if it runs and starts it anew; whether it ended by its failpoint before it was ready."""
    if member.process.poll() is None:
        await asyncio.to_thread(member.kill)
    try:
        await asyncio.to_thread(member.start, True, failpoint)
    except RuntimeError:
        if not failpoint or member.process.returncode != -signal.SIGKILL:
            raise
        return True
    if member is not deployment.centre:
        await asyncio.to_thread(deployment.await_hosts)
    return False


def _open_places(deployment):
    with deployment.directory() as directory:
        return [place for place in directory.places() if place.move is not None]


def _state(place):
    return "moving" if place.is_moving else "handed over"


async def _not_where_it_must_be(deployment, place, point):
    """A twin that was moving is where it was, at its epoch; one that was handed over is where it was handed to. What is otherwise, in words."""

    async def view():
        status, twin = await asked(deployment.centre, "GET", f"/v1/twins/{place.twin}")
        return status == 200 and (twin["host"], twin["epoch"]) == (place.host, place.epoch)

    try:
        await until(view, 10)
    except TimeoutError:
        said = await asked(deployment.centre, "GET", f"/v1/twins/{place.twin}")
        return [f"killed at {point}: the directory had {place}, and now it is {said}"]
    return []
