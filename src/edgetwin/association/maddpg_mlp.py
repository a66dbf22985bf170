"""The paper's learner of placement as printed, Algorithm 1: for each server an MLP that looks at the whole state (22), and a critic."""

from dataclasses import replace
from types import MappingProxyType

import jax
import jax.numpy as jnp

from edgetwin.association.placement import PlacementTask
from edgetwin.learning import maddpg
from edgetwin.learning.learner import Learner


def shared_state(observation: jax.Array) -> jax.Array:
    """What the servers see together, (22), once: what each sees of the users alone, (4, users), is the same for all.

    observation: (servers, 3 + 6·users). Returns (3·servers + 2·servers·users + 4·users,).
    """
    servers, per_user = observation[:, :3], observation[:, 3:].reshape(len(observation), 6, -1)
    return jnp.concatenate([servers.ravel(), per_user[:, :2].ravel(), per_user[0, 2:].ravel()])


def maddpg_mlp(task: PlacementTask, *, discount: float = 0.7, noise_std: float = 0.2) -> Learner:
    """Algorithm 1 with Table II. The paper trains for 5000 iterations; as episodes of 25 slots (Fig. 8) they are the larger budget."""
    settings = maddpg.Settings(discount=discount, noise_std=noise_std)
    learner = maddpg.maddpg("maddpg-mlp", task, settings, shared_state)
    return replace(learner, budgets=MappingProxyType({"quick": 10_000, "paper": 125_000}))
