"""What no policy can beat: a closed-form lower bound on the energy of every request, at any failure ratio.

A request alone in the network (noise only), served by the fastest server with nobody beside it and without a wired link, may send for
t = τ − D·C/f_max seconds; using all of them is cheapest, since t·(2^{D/(Bt)} − 1) falls with t. Interference, sharing and links only make
it dearer. What would need more than P_max fails whatever is done.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.physical import radio

if TYPE_CHECKING:
    from edgetwin.two_timescale.task import TwoTimescale

BATCH = 16


def request_energy_bound(gain, data_bits, cycles, *, bandwidth_hz, noise_power_w, tx_power_max_w, latency_limit_s, cpu_max_hz):
    """Least energy that can serve a request, J: t·σ²/g·(2^{D/(Bt)} − 1), t = τ − cycles/f_max; inf beyond P_max or without time.

    gain: to the serving site (with a learned association: the largest over sites); data_bits, cycles (= D·C): same shape.
    NumPy, float64.
    """
    gain, data_bits, cycles = (np.asarray(array, np.float64) for array in (gain, data_bits, cycles))
    time = latency_limit_s - cycles / cpu_max_hz
    feasible = time > 0
    time = np.where(feasible, time, latency_limit_s)
    with np.errstate(over="ignore"):
        power = np.expm1(np.log(2.0) * data_bits / (bandwidth_hz * time)) * noise_power_w / gain
    return np.where(feasible & (power <= tx_power_max_w), time * power, np.inf)


def cheapest(energies, failures):
    """Least energy of all but `failures` of the requests: the dearest are dropped, those that cannot be served first.

    energies: (requests,) with inf where a request cannot be served. Returns joules.
    """
    served = max(len(energies) - failures, 0)
    affordable = energies[np.isfinite(energies)]
    return float(np.sort(affordable)[:served].sum())


def energy_bound(task: "TwoTimescale", keys: jax.Array, slots: int) -> Callable[[Mapping[str, float]], dict[str, float]]:
    """Bounds on the energy metrics for these very episodes, given a policy's `failure_per_request`."""
    limits = task.radio

    @jax.jit
    @jax.vmap
    def requests_of(key):
        world = task.trace(key, slots)
        if task.learned_association:
            gain = jnp.max(world.gain, axis=2)
        else:
            serving = jax.vmap(task.nearest_site)(world.position_m)
            gain = jax.vmap(radio.at_serving)(world.gain, serving)
        return gain, world.data_bits, world.data_bits * world.cycles_per_bit, world.requesting

    energies = []
    for start in range(0, len(keys), BATCH):
        gain, data, cycles, requesting = (np.asarray(array) for array in requests_of(keys[start : start + BATCH]))
        energies.append(
            request_energy_bound(
                gain[requesting],
                data[requesting],
                cycles[requesting],
                bandwidth_hz=limits.bandwidth_hz,
                noise_power_w=limits.noise_power_w,
                tx_power_max_w=limits.tx_power_max_w,
                latency_limit_s=limits.latency_limit_s,
                cpu_max_hz=float(np.max(task.network.cpu_hz)),
            )
        )
    pooled = np.concatenate(energies)
    user_slots = len(keys) * slots * task.users

    def bound(metrics: Mapping[str, float]) -> dict[str, float]:
        failures = round(metrics["failure_per_request"] * len(pooled))
        energy_mj = 1e3 * cheapest(pooled, failures)
        return {"energy_mj_per_slot": energy_mj / user_slots, "energy_mj_per_request": energy_mj / max(len(pooled), 1)}

    return bound
