"""Many policies through one compiled world, since compiling a world costs far more than running it; and tasks by name."""

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.evaluation.rollout import POLICY_STREAM
from edgetwin.network_sync.task import NetworkSyncTask, State
from edgetwin.scenario import scenario

APART = State(slot=None, streams=None, movement=None, world=None, twin=0)
"""What policies share in an episode, which is all but the twin: compiling fails where the world depends on what was decided."""


def make(name="a", **changes):
    """The task on network-sync/`name`; `slots=8` means network_sync.slots, `users__count=3` users.count."""
    dotted = {key.replace("__", ".") if "__" in key else f"network_sync.{key}": value for key, value in changes.items()}
    return NetworkSyncTask(scenario(f"network-sync/{name}", dotted))


def side_by_side(task, policies, keys, batch=64):
    """Every policy's outcomes, slot by slot, on the episodes of `keys`: the fields of a slot's metrics, each (policies, episodes, slots), NumPy."""

    def episode(key):
        own = jax.random.fold_in(key, POLICY_STREAM)
        trace = task.trace(key, task.section.slots)
        begun = task.reset(key)
        carries = tuple(each.init(own, each.view(task.observe(begun), begun, trace)) for each in policies)
        twins = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(policies), *leaf.shape)), begun.twin)

        def slot(loop, number):
            states, carries = loop
            decided = []
            for index, each in enumerate(policies):
                state = states._replace(twin=jax.tree.map(lambda leaf, index=index: leaf[index], states.twin))
                view = each.view(task.observe(state), state, trace)
                decided.append(each.act(carries[index], view, jax.random.fold_in(own, number)))
            actions = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(action for _, action in decided))
            states, outcome = jax.vmap(task.step, (APART, 0), (APART, 0))(states, actions)
            return (states, tuple(carry for carry, _ in decided)), outcome.metrics

        return jax.tree.map(
            lambda leaf: leaf.T, jax.lax.scan(slot, (begun._replace(twin=twins), carries), jnp.arange(task.section.slots))[1]
        )

    run = jax.jit(jax.vmap(episode))
    batch = min(batch, len(keys))
    assert len(keys) % batch == 0
    done = [jax.tree.map(np.asarray, run(keys[start : start + batch])) for start in range(0, len(keys), batch)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves).swapaxes(0, 1).astype(float), *done)
