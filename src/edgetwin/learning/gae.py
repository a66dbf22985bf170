"""Generalised advantage estimation: two-timescale (31), how much better an action was than what the critic expected.

The paper writes γ for `discount`, ϱ for `trace`. With a trace of 0 it is the one-step error of (32).
"""

import jax
import jax.numpy as jnp


def gae(
    rewards: jax.Array,
    values: jax.Array,
    following: jax.Array,
    terminated: jax.Array,
    ended: jax.Array,
    discount: float,
    trace: float,
) -> tuple[jax.Array, jax.Array]:
    """Advantages and the returns the critic is fitted to.                                          (31)

    δ_n = r_n + γ V′_n − V_n,    A_n = δ_n + γϱ A_{n+1},    return_n = A_n + V_n

    Nothing follows a termination, so V′_n counts as 0 there; a truncated episode goes on unseen, so its last slot still counts
    V′_n. Neither hands anything back across its end: there A_n = δ_n.

    rewards, values, following: (slots, environments, …), V_n of what was seen before slot n and V′_n of what was seen after it,
    before any restart. terminated, ended: (slots, environments), bool; ended where the episode was terminated or truncated.
    Returns two arrays (slots, environments, …).
    """
    if isinstance(discount, (int, float)) and discount == 0:
        return rewards - values, rewards
    extra = (1,) * (rewards.ndim - terminated.ndim)
    after = jnp.where(terminated.reshape(terminated.shape + extra), 0.0, following)
    carried = discount * trace * (1.0 - ended.astype(rewards.dtype)).reshape(ended.shape + extra)
    errors = rewards + discount * after - values

    def back(advantage: jax.Array, slot: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        error, share = slot
        advantage = error + share * advantage
        return advantage, advantage

    _, advantages = jax.lax.scan(back, jnp.zeros_like(errors[0]), (errors, carried), reverse=True)
    return advantages, advantages + values
