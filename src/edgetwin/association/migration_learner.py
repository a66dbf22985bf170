"""How the network of `migration_actor` learns: stretches of slots are played by its own decisions, and what followed from every server
is what it should have expected there. Each stretch is learned from once, then thrown away.

Values are learned in units of what the user's transfer over `FAR_M` costs, and up to a constant of the user and slot, since only
differences between servers decide: nobody can lose more by being at the wrong one than the way to the right one costs.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from edgetwin.association.migration import MigrationTask
from edgetwin.association.migration_actor import FEATURES, decide, unit_of
from edgetwin.association.migration_returns import Played, later
from edgetwin.association.migration_sight import look, price
from edgetwin.errors import InputError
from edgetwin.learning import worlds as side_by_side
from edgetwin.learning.learner import Learner, check_settings
from edgetwin.learning.networks import MLP, mlp

BUDGETS = {"quick": 40_000, "paper": 80_000}


class Settings(NamedTuple):
    """Hyperparameters. An update learns from `slots_per_update` slots of all environments, each user and slot once, in `minibatches`; errors
    beyond `error_limit`, in the units of values, count linearly. The learning rate falls to 0 over `anneal_slots` slots (0: never)."""

    discount: float = 0.99
    trace_decay: float = 0.95
    learning_rate: float = 3e-3
    anneal_slots: int = 80_000
    error_limit: float = 0.3
    hidden: tuple[int, ...] = (128, 64)
    environments: int = 16
    slots_per_update: int = 800
    minibatches: int = 40


class State(NamedTuple):
    """Everything that changes: random key, environments, the network, its optimiser."""

    key: jax.Array
    worlds: side_by_side.Worlds
    network: MLP
    optimiser: Any


class Lessons(NamedTuple):
    """Users and slots, (rows, servers, …): features of pairs, what the network should expect of them, and which servers count."""

    features: jax.Array
    target: jax.Array
    counts: jax.Array


def centred(values: jax.Array, counts: jax.Array) -> jax.Array:
    """Values less their mean over the servers that count, (rows, servers)."""
    return values - jnp.sum(values * counts, axis=-1, keepdims=True) / jnp.maximum(jnp.sum(counts, axis=-1, keepdims=True), 1)


def afterstate_td(
    task: MigrationTask,
    *,
    discount: float = Settings().discount,
    trace_decay: float = Settings().trace_decay,
    anneal_slots: int = Settings().anneal_slots,
) -> Learner:
    """TD(λ) over afterstates with difference rewards, one network for all pairs of users and servers."""
    return fitted("afterstate-td", task, Settings(discount=discount, trace_decay=trace_decay, anneal_slots=anneal_slots))


def fitted(name: str, task: MigrationTask, settings: Settings) -> Learner:
    """The learner with all its settings. Raises InputError for settings without sense."""
    _check(name, settings)
    environments, slots = settings.environments, settings.slots_per_update // settings.environments
    block_slots = environments * slots
    rows = (slots - 1) * environments * task.users
    size = rows // settings.minibatches
    if not size:
        raise InputError(f"{name}: minibatches = {settings.minibatches}: an update has only {rows} users and slots to learn from")
    rate: Any = settings.learning_rate
    if settings.anneal_slots:
        updates = settings.minibatches * -(-settings.anneal_slots // block_slots)
        rate = optax.linear_schedule(settings.learning_rate, 0.0, updates)
    adam = optax.flatten(optax.adam(rate))

    def init(key: jax.Array) -> State:
        key, worlds, drawn = jax.random.split(key, 3)
        network = mlp(drawn, FEATURES, settings.hidden, 1)
        return State(key, side_by_side.start(task, worlds, environments), network, adam.init(network))

    def play(network: MLP, worlds: side_by_side.Worlds) -> tuple[side_by_side.Worlds, Any]:
        """A slot of every environment: what users saw, computed and did, and which episodes ended with what return."""

        def one(observation: jax.Array) -> Any:
            seen = look(task, observation)
            return seen, decide(task, network, settings.discount, seen), price(task, seen)

        seen, turns, of_metre = jax.vmap(one)(worlds.observations.users)
        worlds, moved = side_by_side.step(task, worlds, task.action(turns.host[..., None]))
        value = unit_of(of_metre)[..., None] * network(turns.features.reshape(-1, FEATURES)).reshape(turns.worth.shape)
        played = Played(turns.worth, value, turns.may, of_metre, seen.between_m, seen.present, moved.ended)
        return worlds, (played, turns.features, seen.is_open, moved.returns.users)

    def lessons(played: Played, features: jax.Array, is_open: jax.Array) -> Lessons:
        target = later(played, settings.discount, settings.trace_decay)
        target = target / unit_of(played.price)[:-1, ..., None]
        learnt = played.present[:-1] & ~played.ended[:-1, :, None]
        counts = (learnt[..., None] & is_open[:-1, :, None]).astype(jnp.float32).reshape(rows, task.servers)
        pairs = features[:-1].reshape(rows, task.servers, FEATURES)
        return Lessons(pairs, centred(target.reshape(rows, task.servers), counts), counts)

    def learn(carry: tuple[MLP, Any], batch: Lessons) -> tuple[tuple[MLP, Any], tuple[jax.Array, jax.Array]]:
        network, optimiser = carry
        counted = jnp.maximum(jnp.sum(batch.counts), 1)

        def loss(network: MLP) -> tuple[jax.Array, jax.Array]:
            value = network(batch.features.reshape(-1, FEATURES)).reshape(batch.target.shape)
            error = batch.counts * (centred(value, batch.counts) - batch.target)
            return jnp.sum(optax.losses.huber_loss(error, delta=settings.error_limit)) / counted, jnp.sum(error**2) / counted

        (value_loss, squared), gradient = jax.value_and_grad(loss, has_aux=True)(network)
        change, optimiser = adam.update(gradient, optimiser)
        return (optax.apply_updates(network, change), optimiser), (value_loss, squared)

    def block(state: State) -> tuple[State, dict[str, jax.Array]]:
        key, shuffled = jax.random.split(state.key)
        worlds, (played, features, is_open, returns) = jax.lax.scan(
            lambda worlds, _: play(state.network, worlds), state.worlds, None, length=slots
        )
        found = lessons(played, features, is_open)
        order = jax.random.permutation(shuffled, rows)[: size * settings.minibatches].reshape(settings.minibatches, size)
        (network, optimiser), (loss, squared) = jax.lax.scan(
            lambda carry, these: learn(carry, jax.tree.map(lambda leaf: leaf[these], found)),
            (state.network, state.optimiser),
            order,
        )
        power = jnp.sum(found.counts * found.target**2) / jnp.maximum(jnp.sum(found.counts), 1)
        figures = {
            "return": jnp.sum(returns) / jnp.sum(played.ended),
            "value_loss": jnp.mean(loss),
            "unexplained": jnp.mean(squared) / jnp.maximum(power, 1e-9),
        }
        return State(key, worlds, network, optimiser), figures

    def act(params: MLP, observation: Any, key: jax.Array) -> Any:
        return task.action(decide(task, params, settings.discount, look(task, observation.users)).host[:, None])

    return Learner(
        name=name,
        task=task,
        settings=settings,
        block_slots=block_slots,
        init=init,
        block=block,
        policy=lambda state: state.network,
        act=act,
        budgets=BUDGETS,
    )


def _check(name: str, settings: Settings) -> None:
    check_settings(name, settings)
    if settings.slots_per_update < 2 * settings.environments:
        raise InputError(
            f"{name}: slots_per_update = {settings.slots_per_update}: must be at least 2 of each of {settings.environments} environments"
        )
