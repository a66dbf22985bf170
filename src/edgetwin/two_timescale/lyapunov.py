"""Reliability as a virtual queue: how many failures above the allowance a user has behind it, and what the queue's drift is bounded by.

X is 1 where a request failed and ε the allowed failures per slot. Both lemmas hold in expectation over the requests, and on each path
when the realised number of requests stands in place of λT.
"""

import jax.numpy as jnp


def queue_step(queue, failed, failure_ratio_max):
    """Y[n+1] = max(Y[n] + X[n] − ε, 0).     two-timescale (15). Any shape."""
    return jnp.maximum(queue + failed - failure_ratio_max, 0)


def frame_drift(queue_start, queue_end):
    """½·(Y[(q+1)T]² − Y[qT]²), a frame's Lyapunov drift, one sample of ΔL_k.     two-timescale, before Lemma 1"""
    return 0.5 * (queue_end**2 - queue_start**2)


def lemma_1_constant(request_probability, failure_ratio_max):
    """B_{k,1} = (λ + ε²)/2, per slot.     two-timescale, Lemma 1"""
    return 0.5 * (request_probability + failure_ratio_max**2)


def lemma_2_constant(request_probability, failure_ratio_max, frame_slots):
    """B_{k,2} = B_{k,1} + (T−1)·[(1−ε)λ + ε²]/2, per slot.     two-timescale, Lemma 2"""
    spread = (1 - failure_ratio_max) * request_probability + failure_ratio_max**2
    return lemma_1_constant(request_probability, failure_ratio_max) + 0.5 * (frame_slots - 1) * spread


def lemma_1_bound(queue, failed, request_probability, failure_ratio_max):
    """B_{k,1}·T + Σ_n Y[n]·(X[n] − ε), a sample of the right side.     two-timescale (16)

    queue, failed: (slots, …), Y and X over one frame. Returns (…).
    """
    slots = queue.shape[0]
    return lemma_1_constant(request_probability, failure_ratio_max) * slots + jnp.sum(
        queue * (failed - failure_ratio_max), axis=0
    )


def lemma_2_bound(queue_start, failed, request_probability, failure_ratio_max):
    """B_{k,2}·T + Y[qT]·Σ_n (X[n] − ε), a sample of the right side.     two-timescale (17)

    queue_start: (…), Y at the frame's start; failed: (slots, …). Returns (…). The proof's (39) and (40) have Y and signs
    misprinted; the bound itself holds.
    """
    slots = failed.shape[0]
    constant = lemma_2_constant(request_probability, failure_ratio_max, slots)
    return constant * slots + queue_start * jnp.sum(failed - failure_ratio_max, axis=0)


def drift_plus_penalty(energy_j, queue_frame, failed, *, energy_scale_j, control_factor, failure_ratio_max, users):
    """Ξ_k = (E_k/E0 + η·Y_k[qT]·(X_k − ε)) / K.     two-timescale (19)

    E0 makes joules and queue lengths comparable, and both terms carry 1/K (decision 10). All (users,).
    """
    return (energy_j / energy_scale_j + control_factor * queue_frame * (failed - failure_ratio_max)) / users


def drift_plus_penalty_bound(
    energy_j, queue_start, failed, *, energy_scale_j, control_factor, request_probability, failure_ratio_max
):
    """A frame's η·ΔL + mean energy is at most this, in expectation: Lemma 2 in (18).     two-timescale (18)

    energy_j, failed: (slots, users); queue_start: (users,). Both sides per user: divided by K, energy per slot and in units of E0.
    """
    lyapunov = control_factor * jnp.mean(lemma_2_bound(queue_start, failed, request_probability, failure_ratio_max))
    return lyapunov + jnp.mean(energy_j) / energy_scale_j
