"""Choosing the three numbers of `distance-rule` and `fading-rule` for a network: on episodes of their own, apart from those any
comparison uses."""

import itertools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.physical.radio import at_serving
from edgetwin.problem import episode_keys
from edgetwin.scenario import digest, replace

if TYPE_CHECKING:
    from edgetwin.two_timescale.task import TwoTimescale
    from edgetwin.two_timescale.world import World

EPISODES, SLOTS, EVERY = 24, 800, 40
SEED = 2**32 - 1
EDGE_DISTANCE_M = 400.0


def distance_power(task: "TwoTimescale", a, t0, x):
    """p/P_max = Γ·x·(σ²/g_e)·(g_e/g)^a / P_max, Γ = 2^{D/(B·t0)} − 1, as a function of (data_bits, g), both (users,)."""
    limits = task.radio
    edge_gain = limits.reference_gain / EDGE_DISTANCE_M**limits.path_loss_exponent
    edge_w = x * limits.noise_power_w / edge_gain

    def share(data_bits, gain):
        target = jnp.expm1(jnp.log(2.0) * data_bits / (limits.bandwidth_hz * t0))
        return target * edge_w * (edge_gain / gain) ** a / limits.tx_power_max_w

    return share


def snapshots(task: "TwoTimescale") -> "World":
    """Slots of episodes under a seed of their own, far apart in time. (slots, …)"""

    @jax.jit
    def drawn():
        keys = episode_keys(SEED, EPISODES)
        world = jax.vmap(lambda key: jax.tree.map(lambda array: array[::EVERY], task.trace(key, SLOTS)))(keys)
        return jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), world)

    return drawn()


_TUNED: dict[tuple[str, float, bool], dict[str, float]] = {}


def timeless(task: "TwoTimescale") -> str:
    """What is found on `snapshots` is found for all scenarios of this digest: frames and migration do not enter."""
    return digest(
        replace(task.scenario, {"two_timescale.frames": 1, "two_timescale.frame_slots": 1, "two_timescale.migration_slots": 0})
    )


def tuned(task: "TwoTimescale", failure: float, fading: bool = False) -> dict[str, float]:
    """`tune` once for a network and a failure ratio; relaxed copies share the answer."""
    key = timeless(task), failure, fading
    if key not in _TUNED:
        _TUNED[key] = tune(task, failure, fading)
    return _TUNED[key]


def tune(task: "TwoTimescale", failure: float, fading: bool = False) -> dict[str, float]:
    """{a, t0, x} with the least energy among those that fail at most `failure` of the requests, twins at the nearest server. The gain that
    users reckon with is the mean by distance, or with `fading` the true one.

    A grid over a ∈ [.7, 1], t0 ∈ [.3, .7]·τ, x ∈ [.3, 64], then finer grids around the best, over snapshots of episodes under a seed
    of their own. Where nothing reaches `failure`, the one that fails least.
    """
    limit_s = task.radio.latency_limit_s
    lowest, highest = np.array([0.7, 0.3 * limit_s, np.log(0.3)]), np.array([1.0, 0.7 * limit_s, np.log(64.0)])
    equal = jnp.ones((task.sites, 2 * task.users))

    @jax.jit
    def outcome(worlds, candidates):
        start = task.reset(jax.random.key(0))

        def one(candidate, world):
            serving, host = task.nearest_site(world.position_m), task.nearest_server(world.position_m)
            share = distance_power(task, candidate[0], candidate[1], jnp.exp(candidate[2]))
            gain = at_serving(world.gain, serving) if fading else task.mean_gain(world.position_m, serving)
            power = jnp.clip(share(world.data_bits, gain), 0, 1)[:, None]
            if task.learned_association:
                power = jnp.concatenate([power, jax.nn.one_hot(serving, task.sites)], axis=1)
            state = start._replace(world=world, serving=serving, host=host)
            metrics = task.step(state, task.action(power, equal, host[None]))[1].metrics
            return metrics.energy_j.sum(), metrics.failures.sum(), metrics.requests.sum()

        def total(candidate):
            energy, failures, requests = jax.vmap(one, in_axes=(None, 0))(candidate, worlds)
            return energy.sum(), failures.sum() / jnp.maximum(requests.sum(), 1)

        return jax.lax.map(total, candidates, batch_size=8)

    worlds = snapshots(task)
    centre, spread = (lowest + highest) / 2, (highest - lowest) / 2
    for _ in range(4):
        steps = np.array(list(itertools.product(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5), np.linspace(-1, 1, 9))))
        candidates = np.clip(centre + steps * spread, lowest, highest)
        energy, failed = (np.asarray(array) for array in outcome(worlds, candidates))
        allowed = failed <= max(failure, failed.min())
        centre = candidates[np.argmin(np.where(allowed, energy, np.inf))]
        spread = spread / 3
    return {"a": float(centre[0]), "t0": float(centre[1]), "x": float(np.exp(centre[2]))}
