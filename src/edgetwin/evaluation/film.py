"""One episode as it is seen from above: where users are, who serves them, where their twins live, in every slot."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.evaluation.rollout import POLICY_STREAM
from edgetwin.problem import Policy, Scene


def film(policy: Policy, key: jax.Array, slots: int) -> Scene | None:
    """The scenes of slots 0 … slots−1 of the episode `key` under a device policy, NumPy, slots first; None where the task draws none.

    `sites_m` and `server_sites` do not move and come without the slot axis.
    """
    task = policy.task

    def run(key: jax.Array) -> Any:
        own = jax.random.fold_in(key, POLICY_STREAM)
        trace = task.trace(key, slots) if policy.information == "trace" else None
        state = task.reset(key)

        def slot(loop, number):
            state, carry = loop
            carry, action = policy.act(carry, policy.view(task.observe(state), state, trace), jax.random.fold_in(own, number))
            after, outcome = task.step(state, action)
            scene = task.scene(state, outcome)
            return (after, carry), scene and scene._replace(sites_m=None, server_sites=None)

        carry = policy.init(own, policy.view(task.observe(state), state, trace))
        return jax.lax.scan(slot, (state, carry), jnp.arange(slots))[1]

    still = jax.eval_shape(lambda key: task.scene(*_first(policy, key)), key)
    if still is None or policy.runs_on == "host":
        return None
    moving = jax.tree.map(np.asarray, jax.jit(run)(key))
    first = task.scene(*_first(policy, key))
    assert first is not None
    return moving._replace(sites_m=np.asarray(first.sites_m), server_sites=np.asarray(first.server_sites))


def _first(policy: Policy, key: jax.Array) -> tuple[Any, Any]:
    state = policy.task.reset(key)
    view = policy.view(policy.task.observe(state), state, policy.task.trace(key, 1) if policy.information == "trace" else None)
    _, action = policy.act(policy.init(key, view), view, key)
    return state, policy.task.step(state, action)[1]
