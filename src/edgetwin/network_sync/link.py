"""What resource blocks carry: the rates (2), (3), which user gets which block, and what is lost when one goes to the cloud.

With the same fading in all blocks the signal-to-noise ratio is a product g_u·q_n of a user's and a block's number. log(1 + g·q) has
increasing differences in g and q, so the strongest user on the quietest block, the next on the next, and so on is the best
assignment (the Hungarian algorithm's optimum), and a block given up costs the less the noisier it is. With fading by user and block
neither holds, and the Hungarian algorithm decides.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from optax.assignment import hungarian_algorithm

from edgetwin.scenario.schema import NetworkSync


class Rates(NamedTuple):
    """A slot's sum rates over the users when no block goes to the cloud, and when block `cloud_rb` does; is there one that meets the deadline?"""

    serving: jax.Array
    syncing: jax.Array
    cloud_rb: jax.Array
    feasible: jax.Array


def distance_blocks(position_blocks, section: NetworkSync):
    """d = ‖l‖₂ from the base station, or its root as printed, at least `distance_min_blocks`.     network-sync, below (2)

    position_blocks: (..., 2) → (...).
    """
    length = jnp.sqrt(jnp.sum(position_blocks**2, axis=-1))
    return jnp.maximum(jnp.sqrt(length) if section.distance == "literal" else length, section.distance_min_blocks)


def rate(gain, interference_w, section: NetworkSync):
    """B·log2(1 + P·h / (I_n + B·N_0)).                              network-sync (2), (3)

    gain h = o·d⁻²; interference_w I_n; shapes broadcast. In units of B.
    """
    noise_w = interference_w + section.bandwidth_hz * section.noise_density_w_per_hz
    return section.bandwidth_hz * jnp.log1p(section.tx_power_w * gain / noise_w) / math.log(2.0)


def cloud_rb(cloud_rate, packet_bits, deadline_s):
    """R = argmax_n {T_n : T_n < γ}, T_n = D/c_n, the slowest block that meets the deadline, and whether there is one.

    network-sync III-C 7). cloud_rate: (rbs,) → (index, truth value).
    """
    delay_s = packet_bits / cloud_rate
    in_time = delay_s < deadline_s
    return jnp.argmax(jnp.where(in_time, delay_s, -1.0)), jnp.any(in_time)


def packet_bits(section: NetworkSync, users: int) -> float:
    """The size of a sync packet: D for all users' states, or the share of it that `packet_users` of them need."""
    return section.data_bits * (1 if section.packet_users is None else section.packet_users / users)


def sorted_assignment(gain, noise, without):
    """The best sum of log2(1 + g·/n) over assignments, when SINRs are g_u/n_n, with all blocks and with block `without` given up.

    gain: (users,), noise: (rbs,) → two numbers.                     solves (14) and (16) for fading of rank one
    """
    pairs = min(len(gain), len(noise))
    strong = jnp.sort(gain, descending=True)[:pairs]
    order = jnp.argsort(noise)
    quiet = noise[order]
    place = jnp.argmax(order == without)
    all_blocks = jnp.log1p(strong / quiet[:pairs]).sum()
    left = jnp.where(jnp.arange(len(noise) - 1) < place, quiet[:-1], quiet[1:])
    fewer = min(len(gain), len(noise) - 1)
    return all_blocks / math.log(2.0), jnp.log1p(strong[:fewer] / left[:fewer]).sum() / math.log(2.0)


def hungarian_assignment(rates, without):
    """The best sum of rates over assignments, with all blocks and with block `without` given up. rates: (users, rbs) → two numbers.

    solves (14) and (16) for any fading; a block that carries nothing for anyone is as good as one that may not be used (16a)
    """

    def best(values):
        users, rbs = hungarian_algorithm(-values)
        return values[users, rbs].sum()

    return best(rates), best(jnp.where(jnp.arange(rates.shape[1]) == without, 0, rates))


def rates(position_blocks, interference_w, fading, cloud_fading, section: NetworkSync) -> Rates:
    """A slot's rates. position_blocks: (users, 2); interference_w: (rbs,); fading o_u: (users,), or (users, rbs); cloud_fading: () or (rbs,).

    The sorted assignment where fading has rank one, else the Hungarian algorithm.     network-sync (14), (16)
    """
    mean_gain = distance_blocks(position_blocks, section) ** -2
    cloud_gain = cloud_fading * distance_blocks(jnp.asarray(section.cloud_blocks), section) ** -2
    cloud_rate = rate(cloud_gain, interference_w, section)
    chosen, feasible = cloud_rb(cloud_rate, packet_bits(section, len(position_blocks)), section.deadline_s)
    if fading.ndim == 1:
        noise_w = interference_w + section.bandwidth_hz * section.noise_density_w_per_hz
        serving, syncing = sorted_assignment(section.tx_power_w * fading * mean_gain, noise_w, chosen)
        serving, syncing = section.bandwidth_hz * serving, section.bandwidth_hz * syncing
    else:
        serving, syncing = hungarian_assignment(rate(fading * mean_gain[:, None], interference_w, section), chosen)
    return Rates(serving, syncing, chosen, feasible)
