"""Hosts and centres that stand still longer than the lease while twins move, and networks that drop what machines send to each other, for a while."""

import asyncio
import signal
from itertools import combinations
from typing import Any, NamedTuple

from twin.deployments import CENTRE
from twin.machines import DATABASE
from twin.move_kills import Killer, Point
from twin.move_load import asked, judged_under, until

LEASE_S = 1.0
HELD_S = 0.3
REACHED_S = 90
HOST = "host"
SOURCE, DESTINATION = "source", "destination"


class Planned(NamedTuple):
    """A fault to come: at which step of a move, or at a random moment where that is empty; to which host that has a part in the move, or the centre;
    and how."""

    step: str
    part: str
    how: Any = None


class Fault(NamedTuple):
    """What happened: to whom, `stopped` or which ways were cut, at which step, which part it had in the move, for how long."""

    member: str
    what: str
    step: str
    part: str
    seconds: float


class Faults(NamedTuple):
    """Faults, and what they led to: links of hosts that the centre gave up or lost, twins of hosts that were away which others took up, and writes
    that the store refused to hosts that had lost their twins."""

    done: list[Fault]
    links_lost: int
    taken_over: int
    refused_writes: int


def ways(shared):
    """Every two machines that can be cut off from each other, in each direction and in both; HOST stands for the one of the move."""
    others = [CENTRE, *([DATABASE] if shared else [])]
    pairs = [*((HOST, name) for name in others), *combinations(others, 2)]
    return [way for one, other in pairs for way in (((one, other),), ((other, one),), ((one, other), (other, one)))]


def stopped_at(deployment, planned, **load):
    """Has who is planned stand still for longer than the lease, and go on after that. The outcome, with Faults as `faults`."""

    async def stand_still(load, member, seconds, how):
        process = load.deployment.members[member].process
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            process.send_signal(signal.SIGCONT)
        return "stopped"

    return judged_under(deployment, _each(stand_still, planned, (1.2 * LEASE_S, 2.5 * LEASE_S)), **load)


def parted_at(deployment, network, planned, **load):
    """Cuts the ways that are planned, one of `ways` each time; heals after a while, shorter or longer than the lease. The outcome, with Faults as
    `faults`."""

    async def cut(load, member, seconds, how):
        named = [tuple(member if end == HOST else end for end in way) for way in how]
        for sender, receiver in named:
            await asyncio.to_thread(network.cut, sender, receiver)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(network.heal)
        return ", ".join(f"{sender} to {receiver}" for sender, receiver in how)

    return judged_under(deployment, _each(cut, planned, (0.1, 2.5 * LEASE_S)), **load)


def _each(fault, planned, seconds):
    """Faults of a load, one after the other."""

    async def faults(load):
        killer, done, armed = Killer(load), [], ""
        for step, part, how in planned:
            if step != armed:
                await killer.arm(Point(CENTRE, "", ((CENTRE, f"{step}:sleep={HELD_S}"),)) if step else None)
                armed = step
            load.moving.set()
            move = await until(lambda step=step: killer.held(step), REACHED_S) if step else {}
            if not step:
                await asyncio.sleep(load.draw.uniform(0, HELD_S))
            member = CENTRE if part == CENTRE else move.get(part) or load.draw.choice(load.deployment.edge)
            lasting_s = load.draw.uniform(*seconds)
            done.append(Fault(member, await fault(load, member, lasting_s, how), step, part, lasting_s))
            await until(lambda: asyncio.to_thread(load.deployment.has_all))
        await killer.arm(None)
        return Faults(done, *await _led_to(load.deployment))

    return faults


async def _led_to(deployment):
    logged = deployment.centre.logged()
    lost = sum(one["event"] == "a host is away" for one in logged)
    taken_over = sum(one["twins"] for one in logged if one["event"] == "twins of a host that is away are served by others")
    _, listed = await asked(deployment.centre, "GET", "/v1/hosts")
    return lost, taken_over, sum(host["fenced_writes"] for host in listed["hosts"])
