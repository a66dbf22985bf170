"""Named places in a move where tests make something go wrong: `EDGETWIN_FAILPOINT=before-5:kill`, several joined by commas.

`kill` ends this process at once, as `kill -9` does, `kill=N` when it comes there for the Nth time; `error` raises `Failed`; `sleep=S` waits S
seconds. The coordinator has `before-1` to `after-7`, one pair for each step of a move; a host has `host-X` as it begins the part X of a move, and
`host-X-done` when that is durable.
"""

import asyncio
import math
import os
import signal
from collections import Counter
from typing import NamedTuple

import structlog

from edgetwin.errors import InputError, did_you_mean

VARIABLE = "EDGETWIN_FAILPOINT"
HOST_CALLS = ("reserve", "copy", "stage", "tail", "extend", "freeze", "verify", "activate", "release", "thaw", "discard")
NAMES = (
    *(f"{when}-{step}" for step in range(1, 8) for when in ("before", "after")),
    *(f"host-{call}{done}" for call in HOST_CALLS for done in ("", "-done")),
)


class Failed(Exception):
    """What `error` raises."""


class Action(NamedTuple):
    """What happens at a failpoint. sleep_s: of `sleep`. times: how often it must be reached before it happens."""

    name: str
    sleep_s: float = 0.0
    times: int = 1


log = structlog.get_logger("edgetwin.twin.moves")

_armed: dict[str, Action] = {}
_reached: Counter[str] = Counter()


def read(text: str) -> dict[str, Action]:
    """Actions by the name of their failpoint, from `NAME:ACTION,NAME:ACTION`. Raises InputError."""
    return dict(_one(part.strip()) for part in text.split(",") if part.strip())


def arm(text: str | None = None) -> None:
    """Sets the failpoints of this process, in place of those before; without `text` as the environment says. Raises InputError."""
    actions = read(os.environ.get(VARIABLE, "") if text is None else text)
    _armed.clear()
    _reached.clear()
    _armed.update(actions)
    if actions:
        log.warning("this process fails on purpose", failpoints=sorted(actions), said_by=VARIABLE)


async def reached(name: str) -> None:
    """A failpoint in an event loop. Raises Failed."""
    if _armed and (action := _armed.get(name)) is not None:
        await asyncio.sleep(action.sleep_s)
        _act(action, name)


def _act(action: Action, name: str) -> None:
    _reached[name] += 1
    if _reached[name] < action.times:
        return
    if action.name == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action.name == "error":
        raise Failed(f"failpoint {name}")


def _one(text: str) -> tuple[str, Action]:
    name, _, action = text.partition(":")
    if name not in NAMES:
        raise InputError(f"{VARIABLE}: no failpoint {name!r}{did_you_mean(name, NAMES)}")
    what, _, number = action.partition("=")
    if action in ("kill", "error"):
        return name, Action(action)
    if what == "kill" and number.isdecimal() and int(number) > 0:
        return name, Action(what, times=int(number))
    try:
        sleep_s = float(number)
    except ValueError:
        sleep_s = math.nan
    if what != "sleep" or not 0 <= sleep_s < math.inf:
        raise InputError(f"{VARIABLE}: {name}:{action}: kill, kill=TIMES, error, or sleep=SECONDS")
    return name, Action("sleep", sleep_s)
