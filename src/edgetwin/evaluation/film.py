"""One episode as it is seen from above: where users are, who serves them, where their twins live, in every slot."""

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.evaluation.rollout import POLICY_STREAM
from edgetwin.problem import Policy, Scene


def film(policy: Policy, key: jax.Array, slots: int) -> Scene | None:
    """The scenes of slots 0 … slots−1 of the episode `key`, NumPy, slots first; None for a host policy or a task that draws none.

    `sites_m` and `server_sites` do not move and come without the slot axis.
    """
    task = policy.task
    if policy.runs_on == "host":
        return None

    @jax.jit
    def run(key: jax.Array) -> Scene | None:
        own = jax.random.fold_in(key, POLICY_STREAM)
        trace = task.trace(key, slots) if policy.information == "trace" else None
        state = task.reset(key)

        def slot(loop, number):
            state, carry = loop
            carry, action = policy.act(carry, policy.view(task.observe(state), state, trace), jax.random.fold_in(own, number))
            after, outcome = task.step(state, action)
            return (after, carry), task.scene(state, after, outcome)

        carry = policy.init(own, policy.view(task.observe(state), state, trace))
        return jax.lax.scan(slot, (state, carry), jnp.arange(slots))[1]

    scenes = jax.tree.map(np.asarray, run(key))
    return scenes and scenes._replace(sites_m=scenes.sites_m[0], server_sites=scenes.server_sites[0])
