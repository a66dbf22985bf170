"""How a fleet of devices moves: as the users of any scenario do, asked at any time.

The scenario's own slots decide where devices are; between two slots they go straight. Nothing else of a scenario is needed, so its sites and
servers may be what they are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from edgetwin.physical.movement import Movement
from edgetwin.scenario import Scenario, network, replace, taxis

SLOT_S = 1.0
"""For a scenario that has no problem with slots of its own."""


class Motion(NamedTuple):
    """Where devices are and how they go. position_m: (devices, 2); speed_mps, heading_rad: (devices,), heading from x towards y, in [-π, π].
    present: (devices,), False where a recording knows nothing of a device."""

    position_m: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    heading_rad: NDArray[np.float64]
    present: NDArray[np.bool_]


class Fleet:
    """`devices` that move as the users of a scenario. Raises InputError where the scenario has no movement for so many."""

    def __init__(self, scenario: Scenario, devices: int, seed: int):
        self._scenario = replace(scenario, {"users.count": devices})
        self._network = network(self._scenario)
        self.slot_s = slot_s(self._scenario)
        self._model, self._towers = Movement(self._scenario, self._network, self.slot_s), _towers(self._network.sites_xy_m)
        start, self._moving = jax.random.split(jax.random.key(seed))
        self._step, self._slot = jax.jit(self._stepped), 0
        self._movement, *seen = jax.jit(self._started)(start, self._moving)
        self._before = self._now = _arrays(*seen)
        self._advance()

    def at(self, elapsed_s: float) -> Motion:
        """The motion so long after the start; to be asked for times that never go back."""
        while elapsed_s >= self._slot * self.slot_s:
            self._advance()
        (before, here), (after, there) = self._before, self._now
        share = elapsed_s / self.slot_s - (self._slot - 1)
        way = after - before
        position = before + share * way
        return Motion(position, np.hypot(*way.T) / self.slot_s, np.arctan2(way[:, 1], way[:, 0]), here & there)

    def _advance(self) -> None:
        self._slot += 1
        self._before = self._now
        self._movement, *seen = self._step(self._moving, self._movement, self._slot)
        self._now = _arrays(*seen)

    def _started(self, key, moving):
        movement = self._model.start(key, moving, *self._towers)
        return movement, *self._model.place(movement, jnp.zeros((), jnp.int32))

    def _stepped(self, moving, movement, slot):
        if self._network.visits is not None:
            slot = slot % len(self._network.visits)
        moved = self._model.move(moving, movement, slot, *self._towers)
        return moved, *self._model.place(moved, slot)


def _arrays(position_m, present) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.asarray(position_m, np.float64), np.asarray(present)


def _towers(sites_m: NDArray[np.float64]) -> tuple[jax.Array, jax.Array]:
    """Where towers are, (sites, 2), and how far from its tower a taxi may be: half the way to the next, (sites,)."""
    apart_m = np.linalg.norm(sites_m[:, None] - sites_m[None], axis=-1)
    np.fill_diagonal(apart_m, np.inf)
    return jnp.asarray(sites_m, jnp.float32), jnp.asarray(apart_m.min(axis=1) / 2, jnp.float32)


def slot_s(scenario: Scenario) -> float:
    """How long a slot of the scenario's users is: that of the problem it is for."""
    if scenario.users.mobility == "sf-taxis":
        return taxis.SLOT_S
    if scenario.two_timescale is not None:
        return scenario.two_timescale.slot_s
    if scenario.network_sync is not None:
        return scenario.network_sync.slot_s
    return SLOT_S if scenario.association is None else scenario.association.update_gap_s
