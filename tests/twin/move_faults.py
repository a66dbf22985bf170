"""Hosts that stand still longer than their lease while twins move, and networks that drop what centre and hosts send to each other, for a while."""

import asyncio
import signal
from itertools import combinations
from typing import NamedTuple

from twin.deployments import CENTRE
from twin.move_kills import Killer, Point
from twin.move_load import judged_under, until

LEASE_S = 1.0
HELD_S = 0.3
REACHED_S = 90


class Fault(NamedTuple):
    """What happened to a host: `stopped`, or which ways were cut; at which step of a move that it had a part in, and which; for how long."""

    host: str
    what: str
    step: str
    part: str
    seconds: float


def stopped_at(deployment, steps, parts=("source", "destination"), **load):
    """Has a host that is source or destination of a move stand still for longer than the lease when the move is at a step of the centre, and go on
    after that; and at a random moment for each empty step. The outcome, with a list of Fault as `faults`."""

    async def stand_still(load, host, seconds):
        process = load.deployment.members[host].process
        process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            process.send_signal(signal.SIGCONT)
        return "stopped"

    return judged_under(deployment, _each(stand_still, steps, parts, (1.2 * LEASE_S, 2.5 * LEASE_S)), **load)


def parted_at(deployment, network, steps, parts=("source", "destination"), **load):
    """Cuts a host from the centre, or where there is one from the database, or these two from each other, one way or both, when a move that the host
    has a part in is at a step, and at a random moment for each empty step; heals after a while, shorter or longer than the lease. The outcome, with a
    list of Fault as `faults`."""

    async def cut(load, host, seconds):
        others = [name for name in network.address if name not in deployment.edge]
        one, other = load.draw.choice([*((host, name) for name in others), *combinations(others, 2)])
        ways = load.draw.choice([((one, other),), ((other, one),), ((one, other), (other, one))])
        for sender, receiver in ways:
            await asyncio.to_thread(network.cut, sender, receiver)
        try:
            await asyncio.sleep(seconds)
        finally:
            await asyncio.to_thread(network.heal)
        return ", ".join(f"{sender} to {receiver}" for sender, receiver in ways)

    return judged_under(deployment, _each(cut, steps, parts, (0.1, 2.5 * LEASE_S)), **load)


def _each(fault, steps, parts, seconds):
    """Faults of a load: one for each step and part of a host in a move."""

    async def faults(load):
        killer, done = Killer(load), []
        for step in steps:
            await killer.arm(Point(CENTRE, "", ((CENTRE, f"{step}:sleep={HELD_S}"),)) if step else None)
            load.moving.set()
            for part in parts:
                if step:
                    move = await until(lambda step=step: killer.held(step), REACHED_S)
                    host = move[part]
                else:
                    await asyncio.sleep(load.draw.uniform(0, HELD_S))
                    host = load.draw.choice(load.deployment.edge)
                lasting_s = load.draw.uniform(*seconds)
                done.append(Fault(host, await fault(load, host, lasting_s), step, part if step else "", lasting_s))
                await until(lambda: asyncio.to_thread(load.deployment.has_all))
        await killer.arm(None)
        return done

    return faults
