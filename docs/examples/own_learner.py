"""A learner of your own: hill climbing on a linear policy. Run it from the top of the repository: python docs/examples/own_learner.py"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import edgetwin as et
from edgetwin.learning import worlds
from edgetwin.learning.learner import Learner, only_choice


class Settings(NamedTuple):
    step: float
    episodes: int


class State(NamedTuple):
    key: Any
    weights: Any


def hill_climbing(task, *, step: float = 0.3, episodes: int = 32):
    """Tries a random change of a linear policy on the same episodes, and keeps it where it earns more."""
    agent, size, choices = only_choice(task, "hill-climbing")

    def act(weights, observation, key):
        return task.action(**{agent: jnp.argmax(getattr(observation, agent) @ weights, axis=-1)[:, None]})

    def mean_return(weights, key):
        def slot(side, _):
            actions = jax.vmap(lambda seen: act(weights, seen, None))(side.observations)
            side, moved = worlds.step(task, side, actions)
            return side, (jnp.sum(getattr(moved.returns, agent)), jnp.sum(moved.ended))

        begun = worlds.start(task, key, episodes)
        _, (returns, ended) = jax.lax.scan(slot, begun, None, length=task.spec.slots)
        return jnp.sum(returns) / jnp.sum(ended)

    def init(key):
        return State(key, jnp.zeros((size, choices)))

    def block(state):
        key, change, own = jax.random.split(state.key, 3)
        tried = state.weights + step * jax.random.normal(change, state.weights.shape)
        before, after = jax.vmap(mean_return, (0, None))(jnp.stack([state.weights, tried]), own)
        kept = jnp.where(after > before, tried, state.weights)
        return State(key, kept), {"return": jnp.maximum(before, after), "gain": jnp.maximum(after - before, 0.0)}

    return Learner(
        name="hill-climbing",
        task=task,
        settings=Settings(step, episodes),
        block_slots=2 * episodes * task.spec.slots,
        init=init,
        block=block,
        policy=lambda state: state.weights,
        act=act,
    )


def main():
    task = et.task("network-sync")
    run = et.train(task, hill_climbing(task, step=0.5), budget=200_000)
    for line in run.metrics:
        if "evaluation" in line:
            print(line["slots"], line["evaluation"]["cost"])


if __name__ == "__main__":
    main()
