"""A lower bound that keeps the interference: what a slot's requests cost together, without wired links and with easier computing.

Let all requests of a slot be served, each sending for t = τ − D·C/f_max. The least powers p = (I − κΓF)⁻¹Γu are a power series in the
targets Γ with positive coefficients, so the energy E = Σ p·t is convex along every ray on which the targets of some requests fall to 0.
Leaving out the requests R then saves at most Σ_R π_k, the slope at the start, π_k = ∂E/∂ln Γ_k: no policy that fails R spends less
than E − Σ_R π_k. Interference may be counted in part, κ ≤ 1, which only makes it cheaper, where all of it could not be borne. With a
price μ on failures, E − Σ_k max(π_k − μ, 0) − μ·|R| is a bound for every R, which sums over slots; the best κ of each slot and the best
μ are taken. κ = 0 is the closed form of `optimum`.

Where nobody is left out, there is a tighter one: all servers are one, which the requests share at its best (`min_energy.least_energy`).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.two_timescale.min_energy import Limits, Slot, gain_and_site, inverse_of, least_energy, site_coupling, spectral_bound

INTERFERENCE_KEPT = (1.0, 0.9, 0.75, 0.5, 0.25, 0.0)
PRICES = np.concatenate([[0.0], np.logspace(-3, 4, 120)])
"""Prices of a failure that are tried, in units of `price_unit`."""
RESIDUAL_MAX = 1e-3
"""Where the iteration did not come that close, its energy is not used: it might be above the least."""
POWER_KEPT = 1e-4
"""Requests that alone need P_max to within this part are left out: rounding must not count one that certainly fails as one to be served."""
ROUNDING = 1e-5
"""What single precision may add, as a part of the energy that serves all: it is taken off the bound."""


def together(gain, serving, nats_s, time_s, served, noise_power_w, kept):
    """Least energy of requests that send for `time_s`, their interference counted `kept` times, and what leaving each out saves at most, J.

    gain: (users, sites); serving, nats_s (= D·ln 2/B), time_s, served (bool): (users,). Returns (scalar, (users,)); −inf and zeros where no
    powers suffice.
    """
    own, at = gain_and_site(gain, serving)
    target = jnp.where(served, jnp.expm1(nats_s / time_s), 0)
    share = target / (1 + kept * target)
    matrix = kept * site_coupling(share, gain / own[:, None], at)
    possible = spectral_bound(matrix) < 1
    solved = inverse_of(jnp.eye(gain.shape[1], dtype=gain.dtype) - jnp.where(possible, matrix, 0))
    power = share * (at @ (noise_power_w * jnp.sum(solved, axis=1))) / own
    adjoint = jnp.sum((time_s * share / own)[:, None] * at, axis=0) @ solved
    saved = power * (time_s + kept * (gain @ adjoint)) / (1 + kept * target)
    return jnp.where(possible, power @ time_s, -jnp.inf), jnp.where(possible, saved, 0)


def served_by_one(gain, serving, nats_s, cpu_s, served, noise_power_w, latency_limit_s):
    """Least energy when all servers are one and powers have no limit, J; −inf where no powers suffice. cpu_s: (users,), with all of it."""
    everyone, no_link = jnp.ones((len(cpu_s), len(cpu_s)), gain.dtype), jnp.zeros_like(cpu_s)
    slot = Slot(gain, serving, nats_s, cpu_s, no_link, everyone, jnp.zeros_like(everyone))
    found = least_energy(slot, served, Limits(math.nan, noise_power_w, math.inf, latency_limit_s))
    return jnp.where(found.feasible & (found.residual < RESIDUAL_MAX), jnp.sum(found.energy_j), -jnp.inf)


def slot_bound(gain, serving, nats_s, time_s, cpu_s, served, noise_power_w, latency_limit_s, prices_j):
    """What a slot's energy and failures cost at least, for every price μ of a failure. prices_j: (prices,). Returns (prices,), J.

    The smaller of two: nobody is left out, or somebody is, then max over κ of E − Σ_{k ∈ R} (π_k − μ) for the worst set R.
    """

    def of(kept):
        energy, saved = together(gain, serving, nats_s, time_s, served, noise_power_w, kept)
        worth = jnp.where(served, saved, -jnp.inf)[None, :] - prices_j[:, None]
        best = jnp.max(worth, axis=1)
        some = jnp.where(best > 0, jnp.sum(jnp.maximum(worth, 0), axis=1), best)
        return energy, energy - jnp.where(jnp.any(served), some, 0)

    none_left_out, somebody = jax.lax.map(of, jnp.array(INTERFERENCE_KEPT, gain.dtype))
    all_served = jnp.maximum(
        jnp.max(none_left_out), served_by_one(gain, serving, nats_s, cpu_s, served, noise_power_w, latency_limit_s)
    )
    return jnp.minimum(all_served, jnp.max(somebody, axis=0))


def price_unit(gain_mean, data_bits, *, bandwidth_hz, noise_power_w, latency_limit_s):
    """What a request of `data_bits` at that gain costs alone, J: the scale of the prices."""
    return latency_limit_s * noise_power_w / gain_mean * math.expm1(math.log(2) * data_bits / (bandwidth_hz * latency_limit_s))


def at_failures(values_j: np.ndarray, prices_j: np.ndarray, failures: int) -> float:
    """The bound on the energy of all slots when this many requests fail that could be served. values_j: Σ of `slot_bound` over slots. J."""
    return max(0.0, float(np.max(values_j - prices_j * failures)) - ROUNDING * float(np.max(values_j)))
