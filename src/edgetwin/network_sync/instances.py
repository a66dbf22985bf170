"""Frozen episodes: recorded movement and interference in a file, solved in float64 through the very task that policies train in."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.errors import InputError
from edgetwin.evaluation.rollout import rollout
from edgetwin.files import read_arrays
from edgetwin.network_sync import link, optimum
from edgetwin.network_sync.task import NetworkSyncTask
from edgetwin.network_sync.world import World, WorldModel
from edgetwin.registry import policy as policy_of
from edgetwin.scenario import scenario

FIELDS = {"position": 4, "interference": 3, "move_probability": 2, "step_blocks": 0}


class RecordedModel(WorldModel):
    """Movement and interference from a file. An episode's key holds its number; nothing is drawn."""

    def __init__(self, base: Any, on: Any, position: np.ndarray, interference: np.ndarray):
        super().__init__(base, on)
        self.position, self.interference = jnp.asarray(position), jnp.asarray(interference)

    def streams(self, key: jax.Array) -> Any:
        return jax.random.key_data(key)[-1].astype(jnp.int32)

    def start(self, streams):
        start = self.position[streams, 0]
        return (), jnp.broadcast_to(start, (self.section.history_slots, *start.shape))

    def advance(self, movement, history_blocks, streams, slot):
        position = self.position[streams, jnp.minimum(slot + 1, self.position.shape[1] - 1)]
        interference_w = self.interference[streams, jnp.minimum(slot, self.interference.shape[1] - 1)]
        found = link.rates(position, interference_w, jnp.ones(self.users), jnp.ones(()), self.section)
        return movement, World(jnp.concatenate([history_blocks[1:], position[None]]), interference_w, found)


def solve(files: Sequence[Path], policy: str) -> list[dict[str, Any]]:
    """A row per episode of every file: the cost of `policy`, and the least that any can have.

    Raises InputError for a file or policy that will not do.
    """
    rows = []
    for file in files:
        with jax.enable_x64(True):
            rows += _solved(file, policy)
    return rows


def _solved(file: Path, policy: str) -> list[dict[str, Any]]:
    task, episodes = recorded_task(file)
    start = time.perf_counter()
    numbers = np.stack([np.zeros(episodes), np.arange(episodes)], axis=1).astype(np.uint32)
    keys = jax.random.wrap_key_data(jnp.asarray(numbers))
    cost = rollout(policy_of(task, policy), keys, task.section.slots, task.section.slots).metrics.cost[:, 0]
    seconds = time.perf_counter() - start
    least = jax.jit(
        jax.vmap(
            lambda key: (
                optimum.offline_plan(task, task.model.start(task.model.streams(key))[1], task.trace(key, task.section.slots)).cost
            )
        )
    )(keys)
    return [
        {
            "name": f"{file.name}#{number}",
            "value": float(cost[number]),
            "lower_bound": float(least[number]),
            "seconds": seconds / episodes,
        }
        for number in range(episodes)
    ]


def recorded_task(file: Path) -> tuple[NetworkSyncTask, int]:
    """The task whose episodes are those of a file, with the constants of preset A, and how many there are."""
    data = _read(file)
    position, interference, probability = data["position"], data["interference"], data["move_probability"]
    base = scenario(
        "network-sync/a",
        {
            "users.count": position.shape[2],
            "users.step_m": float(data["step_blocks"]),
            "users.move_probability": probability.tolist(),
            "network_sync.slots": interference.shape[1],
            "network_sync.rb_count": interference.shape[2],
            "network_sync.interference_w": [float(interference.min()), float(interference.max())],
        },
    )
    plain = NetworkSyncTask(base)
    return NetworkSyncTask(base, RecordedModel(base, plain.network, position, interference), plain), len(position)


def _read(file: Path) -> dict[str, np.ndarray]:
    data = {name: values for name, values in read_arrays(file).items() if name in FIELDS}
    missing = [
        name
        for name, dimensions in FIELDS.items()
        if name not in data or data[name].ndim != dimensions or data[name].dtype.kind not in "fiu"
    ]
    if missing:
        raise InputError(
            f"{file}: is no file of network-sync episodes: {', '.join(missing)} missing or of the wrong shape or kind"
        )
    position, interference = data["position"].shape, data["interference"].shape
    fits = position == (interference[0], interference[1] + 1, position[2], 2) and data["move_probability"].shape == (
        position[2],
        5,
    )
    if not fits or 0 in (*position, *interference):
        raise InputError(
            f"{file}: position {position}, interference {interference} and move_probability {data['move_probability'].shape} "
            "do not fit together: (episodes, slots + 1, users, 2), (episodes, slots, rbs), (users, 5)"
        )
    for name, allowed in (("position", np.isfinite), ("interference", lambda values: np.isfinite(values) & (values > 0))):
        wrong = np.argwhere(~allowed(data[name]))
        if len(wrong):
            where = ", ".join(map(str, wrong[0]))
            raise InputError(
                f"{file}: {name}[{where}] = {data[name][tuple(wrong[0])]:g}: must be finite{', above 0' * (name == 'interference')}"
            )
    return data
