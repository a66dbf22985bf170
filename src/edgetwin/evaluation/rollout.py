"""Running a policy on many networks at once: device policies compiled into the world's own loop, host policies one decision at a time.

Every policy meets the same episodes: an episode's world depends on its key alone. A policy's own randomness has a stream beside it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.problem import Policy

POLICY_STREAM = 0x0D71
BATCH = 64
"""Networks at once: more gain little and take memory."""


class Totals(NamedTuple):
    """Sums of the outcomes' metrics, NumPy, (episodes, chunks, …), and whether an episode had ended before (terminated)."""

    metrics: Any
    terminated: np.ndarray


def rollout(policy: Policy, keys: jax.Array, slots: int, chunk: int) -> Totals:
    """Runs `policy` in its task for `slots` slots of each episode of `keys`, metrics summed over every `chunk` slots.

    keys: (episodes,). slots is cut into whole chunks; the last one may be shorter. An episode that terminates counts no more.
    Device policies run in batches of at most BATCH networks, all with one program: the last batch is filled up with networks it has had.
    """
    if policy.runs_on == "host":
        return _on_host(policy, keys, slots, chunk)
    run, batch = compiled_rollout(policy, slots, chunk), min(len(keys), BATCH)
    filled = keys[np.arange(-(-len(keys) // batch) * batch) % len(keys)]
    done = [run(filled[start : start + batch]) for start in range(0, len(filled), batch)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(keys)], *done)


def compiled_rollout(policy: Policy, slots: int, chunk: int) -> Callable[[jax.Array], Totals]:
    """A device policy's rollout as one program."""
    compiled = jax.jit(device_rollout(policy, slots, chunk))

    def run(keys):
        metrics, terminated = compiled(keys)
        return Totals(jax.tree.map(np.asarray, metrics), np.asarray(terminated))

    return run


def device_rollout(policy: Policy, slots: int, chunk: int) -> Callable[[jax.Array], tuple[Any, jax.Array]]:
    """A device policy's rollout as a function to compile: the fields of `Totals` of episode keys. Slots are scanned inside, networks
    mapped outside, so that what all networks share (the slot) stays shared."""
    task = policy.task
    whole, rest = divmod(slots, chunk)

    def episode(key):
        own = jax.random.fold_in(key, POLICY_STREAM)
        trace = task.trace(key, slots) if policy.information == "trace" else None
        state = task.reset(key)
        carry = policy.init(own, policy.view(task.observe(state), state, trace))

        def slot(loop, number):
            state, carry, ended = loop
            view = policy.view(task.observe(state), state, trace)
            carry, action = policy.act(carry, view, jax.random.fold_in(own, number))
            state, outcome = task.step(state, action)
            counted = jax.tree.map(lambda leaf: jnp.where(ended, jnp.zeros_like(leaf), leaf), outcome.metrics)
            return (state, carry, ended | outcome.terminated), counted

        def block(loop, numbers):
            zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(slot, loop, numbers[0])[1])

            def add(inner, number):
                loop, total = inner
                loop, counted = slot(loop, number)
                return (loop, jax.tree.map(jnp.add, total, counted)), None

            (loop, total), _ = jax.lax.scan(add, (loop, zero), numbers)
            return loop, total

        loop = (state, carry, jnp.zeros((), bool))
        totals = []
        if whole:
            loop, total = jax.lax.scan(block, loop, jnp.arange(whole * chunk).reshape(whole, chunk))
            totals.append(total)
        if rest:
            loop, total = block(loop, whole * chunk + jnp.arange(rest))
            totals.append(jax.tree.map(lambda leaf: leaf[None], total))
        joined = totals[0] if len(totals) == 1 else jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *totals)
        return joined, loop[2]

    return jax.vmap(episode)


def _on_host(policy: Policy, keys: jax.Array, slots: int, chunk: int) -> Totals:
    """One network and one decision at a time; the world's steps are compiled, the policy is called as it is."""
    task = policy.task
    observe, step = jax.jit(task.observe), jax.jit(task.step)
    reset = jax.jit(task.reset)
    episodes, ends = [], []
    for key in keys:
        own = jax.random.fold_in(key, POLICY_STREAM)
        trace = jax.tree.map(np.asarray, task.trace(key, slots)) if policy.information == "trace" else None
        state = reset(key)
        carry = policy.init(own, _seen(policy, observe(state), state, trace))
        chunks: list[Any] = []
        terminated = False
        for number in range(slots):
            carry, action = policy.act(carry, _seen(policy, observe(state), state, trace), jax.random.fold_in(own, number))
            state, outcome = step(state, action)
            counted = jax.tree.map(lambda leaf: np.asarray(leaf) * (not terminated), outcome.metrics)  # noqa: B023
            chunks = [*chunks, counted] if number % chunk == 0 else [*chunks[:-1], jax.tree.map(np.add, chunks[-1], counted)]
            terminated = terminated or bool(outcome.terminated)
        episodes.append(jax.tree.map(lambda *leaves: np.stack(leaves), *chunks))
        ends.append(terminated)
    return Totals(jax.tree.map(lambda *leaves: np.stack(leaves), *episodes), np.array(ends))


def _seen(policy: Policy, observation: Any, state: Any, trace: Any) -> Any:
    """The view as NumPy arrays (random keys stay as they are), since a host policy is plain NumPy."""

    def plain(leaf):
        return leaf if jax.dtypes.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key) else np.asarray(leaf)

    return jax.tree.map(plain, policy.view(observation, state, trace))
