"""The network-sync problem as a task: in every slot, refresh the network's twin or trust its forecast (sections II and III-C of the paper).

In slot t: users have moved, the twin has forecast; the base station decides; a sync takes one resource block from the users (17), without
one the twin's error counts (15); the next world is drawn. The episode ends after T slots.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.errors import InputError
from edgetwin.forecasting.forecaster import Forecaster
from edgetwin.network_sync import forecasts, link, optimum, twin
from edgetwin.network_sync.observation import OBSERVATION_LIMIT, Knowledge, Observer, Sight
from edgetwin.network_sync.world import Streams, World, WorldModel, section_of
from edgetwin.problem import AgentClass, Categorical, Metric, Outcome, Ratio, Spec
from edgetwin.scenario import Scenario, network


class Station(NamedTuple):
    """Observation (1, size), action (1, heads) or reward (1,) of the base station. Actions: 1 to sync, 0 not to; a head per user
    where packets are partial."""

    station: jax.Array


class State(NamedTuple):
    """Everything a slot depends on."""

    slot: jax.Array
    streams: Streams
    movement: object
    world: World
    twin: twin.Twin


class Slot(NamedTuple):
    """What a slot brought; scalars, summed over an episode. squared_error is S after the decision, blocks²."""

    cost: jax.Array
    reward: jax.Array
    sum_rate: jax.Array
    syncs: jax.Array
    refreshed_users: jax.Array
    squared_error: jax.Array
    slots: jax.Array


METRICS = {
    "cost": Metric(
        "1", "lower", "(1 − ε)·S in slots without a sync, the rate lost times ε in slots with one; summed over an episode"
    ),
    "reward": Metric("1", "higher", "(15), (17), summed over an episode"),
    "sum_rate": Metric("1", "higher", "users' sum rate per slot, in units of B"),
    "sync_rate": Metric("1", None, "slots with a sync, over slots"),
    "twin_mse": Metric("blocks²", "lower", "mean squared distance between twin and user, after the decision"),
}


class NetworkSyncTask:
    """When to spend a resource block on refreshing the network's twin."""

    name = "network-sync"

    def __init__(self, scenario: Scenario, model: WorldModel | None = None, drawn: "NetworkSyncTask | None" = None):
        """`model` replays recorded episodes; `drawn` is then the task that draws episodes like them, for all that is fitted."""
        self.section = section_of(scenario)
        self.scenario = scenario
        self.network = network(scenario)
        self.users = scenario.users.count
        self.model = WorldModel(scenario, self.network) if model is None else model
        self.partial = self.section.refresh == "partial"
        _check_deadline(scenario)
        self.drawn: NetworkSyncTask = self if drawn is None else drawn
        self.packet_users = self.section.packet_users or self.users
        self.forecaster: Forecaster
        self.step_error: np.ndarray
        self.forecaster, self.step_error = (
            forecasts.forecaster(scenario) if drawn is None else (drawn.forecaster, drawn.step_error)
        )
        self.observer = Observer(self.section, self.users, self.network.width_m / self.section.block_m)
        self.spec = Spec(
            agents={
                "station": AgentClass(
                    1,
                    self.observer.size,
                    Categorical(self.users if self.partial else 1, 2),
                    observation_limit=OBSERVATION_LIMIT,
                )
            },
            metrics=METRICS,
            slots=self.section.slots,
            comparison_slots=self.section.slots,
            report_slots=1,
            slot_s=self.section.slot_s,
            frontier=("sync_rate", "cost"),
            curves=("cost", "twin_mse", "sync_rate"),
            state_size=self.observer.size,
        )

    def reset(self, key: jax.Array) -> State:
        """Slot 0 of the episode that `key` names, one move after the synced start."""
        streams = self.model.streams(key)
        movement, history = self.model.start(streams)
        slot = jnp.zeros((), jnp.int32)
        movement, world = self.model.advance(movement, history, streams, slot)
        begun = twin.started(self.forecaster, history, apart=self.partial, keeps_history=self.section.packet == "state")
        return State(slot, streams, movement, world, begun)

    def sight(self, state: State) -> Sight:
        """What the base station knows in a slot."""
        return Sight(
            position_blocks=state.world.position_blocks,
            error_blocks=state.world.position_blocks - state.twin.forecast.mean,
            age=state.twin.age,
            sync_loss=self.sync_loss(state.world),
            slots_left=self.section.slots - state.slot,
        )

    def knowledge(self, state: State) -> Knowledge:
        """What rules decide by, from the full state: all of it is known to the base station, which runs a copy of the twin's forecaster."""
        sight = self.sight(state)
        return Knowledge(jnp.sum(sight.error_blocks**2, axis=-1), sight.age, sight.sync_loss, sight.slots_left)

    def sync_loss(self, world: World) -> jax.Array:
        """C_t = ε·(W0 − W), the reward that a sync takes from the users; infinite where none is feasible."""
        loss = self.section.rate_weight * (world.rates.serving - world.rates.syncing)
        return jnp.where(world.rates.feasible, loss, jnp.inf)

    def observe(self, state: State) -> Station:
        return Station(self.observer.observe(self.sight(state))[None])

    def global_state(self, state: State) -> jax.Array:
        return self.observe(state).station[0]

    def action(self, station: jax.Array) -> Station:
        return Station(station)

    def refreshed(self, state: State, action: Station) -> jax.Array:
        """Whose state is sent, (users,): all or none; or those asked for, at most `packet_users`, where the twin errs most first."""
        asked = (action.station[0] > 0) & state.world.rates.feasible
        if not self.partial:
            return jnp.broadcast_to(asked, (self.users,))
        error = twin.squared_error(state.twin, state.world.position_blocks)
        rank = jnp.argsort(jnp.argsort(jnp.where(asked, -error, jnp.inf)))
        return asked & (rank < self.packet_users)

    def step(self, state: State, action: Station) -> tuple[State, Outcome]:
        """One slot: a sync or not, its reward, the twin's next forecast, and the next slot's world.     network-sync (4), (15), (17)"""
        weight, rates = self.section.rate_weight, state.world.rates
        refreshed = self.refreshed(state, action)
        syncs = refreshed.any()
        error = jnp.where(refreshed, 0, twin.squared_error(state.twin, state.world.position_blocks)).mean()
        sum_rate = jnp.where(syncs, rates.syncing, rates.serving)
        reward = weight * sum_rate - (1 - weight) * error
        cost = jnp.where(syncs, weight * (rates.serving - rates.syncing), 0) + (1 - weight) * error
        slot = state.slot + 1
        movement, world = self.model.advance(state.movement, state.world.history_blocks, state.streams, slot)
        told = self.section.reward_scale * (reward if self.section.reward == "raw" else -cost)
        outcome = Outcome(
            rewards=Station(told[None]),
            terminated=slot >= self.section.slots,
            truncated=jnp.zeros((), bool),
            metrics=Slot(cost, reward, sum_rate, syncs * 1.0, refreshed.sum() * 1.0, error, jnp.ones((), jnp.int32)),
        )
        after = twin.advanced(state.twin, self.forecaster, state.world.history_blocks, refreshed)
        return State(slot, state.streams, movement, world, after), outcome

    def world(self, state: State) -> World:
        return state.world

    def trace(self, key: jax.Array, slots: int) -> World:
        """The worlds of slots 0 … slots−1 of an episode, slots first."""
        streams = self.model.streams(key)

        def next_world(carry, slot):
            movement, history = carry
            movement, world = self.model.advance(movement, history, streams, slot)
            return (movement, world.history_blocks), world

        return jax.lax.scan(next_world, self.model.start(streams), jnp.arange(slots))[1]

    def summary(self, totals: Slot) -> dict[str, Ratio]:
        """An episode's share in each metric. totals: sums over its slots, NumPy."""
        return {
            "cost": Ratio(totals.cost, 1),
            "reward": Ratio(totals.reward, 1),
            "sum_rate": Ratio(totals.sum_rate, totals.slots),
            "sync_rate": Ratio(totals.syncs, totals.slots),
            "twin_mse": Ratio(totals.squared_error, totals.slots),
        }

    def bound(self, keys: jax.Array, slots: int) -> Callable[[Mapping[str, float]], dict[str, float]] | None:
        """The least cost and the highest reward any policy can have on these episodes, from what an oracle of the future would do."""
        return optimum.bound(self, keys, slots)

    def scene(self, state: State, after: State, outcome: Outcome) -> None:
        return None


def _check_deadline(scenario: Scenario) -> None:
    """Without fading the fastest link to the cloud is known: an infeasible deadline is a mistake."""
    section = section_of(scenario)
    if section.fading != "none":
        return
    gain = link.distance_blocks(jnp.asarray(section.cloud_blocks), section) ** -2
    bits = link.packet_bits(section, scenario.users.count)
    fastest_s = float(bits / link.rate(gain, section.interference_w[0], section))
    if fastest_s >= section.deadline_s:
        raise InputError(
            f"network_sync.deadline_s = {section.deadline_s:g}: no resource block can meet it: with the least interference "
            f"the packet of {bits:g} bits takes {fastest_s:.3g} s; allow more, or lower network_sync.data_bits"
        )
