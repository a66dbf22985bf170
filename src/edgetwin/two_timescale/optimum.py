"""What no policy can beat: lower bounds on the energy of given episodes, at any failure ratio.

A request alone in the network (noise only), served by the fastest server with nobody beside it and without a wired link, may send for
t = τ − D·C/f_max seconds; using all of them is cheapest, since t·(2^{D/(Bt)} − 1) falls with t. Interference, sharing and links only make
it dearer. What would need more than P_max fails whatever is done. Where most requests are served, `interference_bound` is tighter; the larger of
the two holds.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.physical import radio
from edgetwin.two_timescale import interference_bound

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


def in_batches(function, slots, count):
    """`function` of each of `count` slots, BATCH at a time by one program: the last batch is filled up with slots it has had."""
    filled = np.arange(-(-count // BATCH) * BATCH) % count
    found = jax.lax.map(function, jax.tree.map(lambda leaf: leaf[filled], slots), batch_size=BATCH)
    return found[:count]


def energy_bound(task: "TwoTimescale", keys: jax.Array, slots: int) -> Callable[[Mapping[str, float]], dict[str, float]]:
    """Bounds on the energy metrics for these very episodes, given a policy's `failure_per_request`."""
    limits, network = task.radio, task.network
    cpu_max_hz = float(np.max(network.cpu_hz))
    unit = interference_bound.price_unit(
        limits.reference_gain / (network.width_m / 4) ** limits.path_loss_exponent,
        np.mean(limits.data_bits),
        bandwidth_hz=limits.bandwidth_hz,
        noise_power_w=limits.noise_power_w,
        latency_limit_s=limits.latency_limit_s,
    )
    prices = interference_bound.PRICES * unit
    constants = {
        "bandwidth_hz": limits.bandwidth_hz,
        "noise_power_w": limits.noise_power_w,
        "tx_power_max_w": limits.tx_power_max_w,
        "latency_limit_s": limits.latency_limit_s,
        "cpu_max_hz": cpu_max_hz,
    }

    def together(world, serving, own):
        """What a slot's requests cost at least together, for each price of a failure."""
        cycles = world.data_bits * world.cycles_per_bit
        time = limits.latency_limit_s - cycles / cpu_max_hz
        nats = world.data_bits * (math.log(2) / limits.bandwidth_hz)
        alone = jnp.expm1(nats / jnp.where(time > 0, time, 1)) * limits.noise_power_w / own
        served = world.requesting & (time > 0) & (alone <= limits.tx_power_max_w * (1 - interference_bound.POWER_KEPT))
        gain = world.gain
        if limits.interference == "literal":
            gain = jnp.broadcast_to(own[:, None], gain.shape)
        time, pooled_s = jnp.where(served, time, limits.latency_limit_s), cycles / float(np.sum(network.cpu_hz))
        noise_w, limit_s = limits.noise_power_w, limits.latency_limit_s
        return interference_bound.slot_bound(gain, serving, nats, time, pooled_s, served, noise_w, limit_s, jnp.asarray(prices))

    @jax.jit
    @jax.vmap
    def requests_of(key):
        world = task.trace(key, slots)
        if task.learned_association:
            gain, values = jnp.max(world.gain, axis=2), jnp.zeros((slots, len(prices)))
        else:
            serving = jax.vmap(task.nearest_site)(world.position_m)
            gain = jax.vmap(radio.at_serving)(world.gain, serving)
            values = in_batches(lambda slot: together(*slot), (world, serving, gain), slots)
        return gain, world.data_bits, world.data_bits * world.cycles_per_bit, world.requesting, values

    energies, values_j = [], np.zeros(len(prices))
    for start in range(0, len(keys), BATCH):
        gain, data, cycles, requesting, values = (np.asarray(array) for array in requests_of(keys[start : start + BATCH]))
        energies.append(request_energy_bound(gain[requesting], data[requesting], cycles[requesting], **constants))
        values_j += np.sum(values, axis=(0, 1), dtype=np.float64)
    pooled = np.concatenate(energies)
    hopeless = int(np.sum(~np.isfinite(pooled)))
    user_slots = len(keys) * slots * task.users

    def bound(metrics: Mapping[str, float]) -> dict[str, float]:
        failures = round(metrics["failure_per_request"] * len(pooled))
        by_interference = interference_bound.at_failures(values_j, prices, max(failures - hopeless, 0))
        energy_mj = 1e3 * max(cheapest(pooled, failures), by_interference)
        return {"energy_mj_per_slot": energy_mj / user_slots, "energy_mj_per_request": energy_mj / max(len(pooled), 1)}

    return bound
