"""What a twin costs in time and energy: data through the air, over wires and through a CPU, once to build the twin and again for every update.

Section III of the association paper, read as its decisions have it: cycles per bit in (6), wired time once in (10), η as a horizon in
seconds in (13). Plain arithmetic on arrays, so NumPy's float64 and JAX go through the same lines. Times in s, data in bits.
"""

import jax.numpy as jnp

from edgetwin.physical import radio


def path_gain(distance_m, shadowing_db, section):
    """Power gain 10^−(PL + shadowing)/10 with PL = 128.1 + 37.6·log10(d/km) dB. Any shape; `section`: [association] of a scenario."""
    loss_db = section.path_loss_1km_db + section.path_loss_decade_db * jnp.log10(distance_m / 1e3)
    return 10 ** (-(loss_db + shadowing_db) / 10)


def uplink_rate(gain, bandwidth_hz, tx_power_w, noise_density_w_per_hz):
    """r = W·log2(1 + p·h/(N_0·W)), bit/s; each user has the bandwidth to itself.     association (3)"""
    return radio.rate(tx_power_w * gain / (noise_density_w_per_hz * bandwidth_hz), bandwidth_hz)


def air_time(data_bits, rate_bps):
    """D/r: data from a user to its base station.     association (4)"""
    return data_bits / rate_bps


def wired_time(data_bits, distance_m, wire_s_per_bit_m):
    """φ·D·d: data between base stations.     association (5), (7)"""
    return wire_s_per_bit_m * data_bits * distance_m


def compute_time(data_bits, cycles_per_bit, cpu_hz):
    """c·D/f: data through the CPU share f of a twin.     association (6), (9)"""
    return data_bits * cycles_per_bit / cpu_hz


def transfer_time(data_bits, rate_bps, distance_m, wire_s_per_bit_m):
    """D/r + φ·D·d: to the twin's server.     association (8)"""
    return air_time(data_bits, rate_bps) + wired_time(data_bits, distance_m, wire_s_per_bit_m)


def construction_time(data_bits, rate_bps, distance_m, cpu_hz, section):
    """The time to build a twin of `data_bits`, the wire counted once.     association (10)"""
    return transfer_time(data_bits, rate_bps, distance_m, section.wire_s_per_bit_m) + compute_time(
        data_bits, section.cycles_per_bit, cpu_hz
    )


def update_time(update_bits, rate_bps, distance_m, cpu_hz, section):
    """The time of one update, which is the interaction latency.     association (11), also (15), (18d), (20)"""
    return construction_time(update_bits, rate_bps, distance_m, cpu_hz, section)


def system_bits(data_bits, update_bits, section):
    """B = D + (η/Δt)·ΔD: with it (13) is one construction of B bits, since (10) and (11) are linear in the data.     association (12), (13)"""
    return data_bits + section.horizon_s / section.update_gap_s * update_bits


def system_latency(data_bits, update_bits, rate_bps, distance_m, cpu_hz, section):
    """T^ini + η·T^syn of each user; its mean is T_sys.     association (13), (17)

    cpu_hz: the share that its twin has.
    """
    return construction_time(system_bits(data_bits, update_bits, section), rate_bps, distance_m, cpu_hz, section)


def energy(data_bits, rate_bps, tx_power_w):
    """p·T^com with T^com the time on air: of D where a twin is placed, of ΔD where it is kept, J.     association (19)"""
    return tx_power_w * air_time(data_bits, rate_bps)


def utility(latency_limit_s, latency_s, energy_j, weight):
    """β·e^{τ − T} − (1 − β)·E.     association (20)"""
    return weight * jnp.exp(latency_limit_s - latency_s) - (1 - weight) * energy_j


def total_cost(latency_s, energy_j, open_servers, section):
    """J = α·T + β·(ϕ·m + E), the negative of (26); m counts servers that host a twin.     association (24)-(26)"""
    return section.latency_weight * latency_s + section.cost_weight * (section.open_cost_s * open_servers + energy_j)
