"""Placement (P1) as a task: which servers open, and which of them hosts each user's twin, (14)-(18), (22)-(27); anew in each slot.

Agents are the servers. Each scores itself and every user; the scores are projected to a placement that meets (18a), (18b) and (18c).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.association import latency, projection, sharing
from edgetwin.association.instance import Instance
from edgetwin.association.world import Episode, Process, Streams, World, WorldModel, section_of
from edgetwin.problem import AgentClass, Continuous, Metric, Outcome, Ratio, Scene, Spec
from edgetwin.scenario import Scenario, network
from edgetwin.scenario.schema import Association


class Action(NamedTuple):
    """A placement score and an association score for each user, from each server: (servers, 1 + users).     association (23)"""

    servers: jax.Array


class Reward(NamedTuple):
    """−J for every server. (servers,)     association (26)"""

    servers: jax.Array


class Observation(NamedTuple):
    """What each server sees: (servers, 3 + 6·users).     association (22)"""

    servers: jax.Array


class State(NamedTuple):
    """Everything a slot depends on. host: (users,), the placement of the slot before, -1 for none."""

    slot: jax.Array
    streams: Streams
    episode: Episode
    process: Process
    world: World
    host: jax.Array


class Slot(NamedTuple):
    """What a placement brought; sums over an episode make the metrics. All scalars."""

    cost: jax.Array
    latency_s: jax.Array
    energy_j: jax.Array
    open_servers: jax.Array
    violations: jax.Array
    users: jax.Array
    slots: jax.Array


METRICS = {
    "cost": Metric("s", "lower", "J = αT + β(ϕm + E), (26); a joule counts as a second"),
    "latency_s": Metric("s", "lower", "T of (17), mean over users"),
    "energy_j": Metric("J", "lower", "E of (19), mean over users"),
    "open_servers": Metric("servers", None, "servers that host a twin"),
    "delay_violations": Metric("1", "lower", "share of users whose interaction latency (11) exceeds their limit (18d)"),
}

NEAR_S, NEAR_BITS, NEAR_HZ, NEAR_BPS = 10.0, 40e6, 24e9, 200e6
"""What counts as 1 in observations."""


class PlacementTask:
    """Twins placed on one network, in each slot anew."""

    name = "placement"

    def __init__(self, scenario: Scenario):
        self.section: Association = section_of(scenario, self.name)
        assert scenario.placement is not None
        self.scenario = scenario
        self.network = network(scenario)
        self.model = WorldModel(scenario, self.network, self.section)
        self.users, self.servers = self.model.users, self.model.servers
        self.capacity = capacities(self.network.capacity, self.section, self.users)
        slots = scenario.placement.slots
        self.spec = Spec(
            agents={"servers": AgentClass(self.servers, 3 + 6 * self.users, Continuous(1 + self.users, -1.0, 1.0))},
            metrics=METRICS,
            slots=slots,
            comparison_slots=slots,
            report_slots=1,
            slot_s=self.section.update_gap_s,
            frontier=("open_servers", "latency_s"),
            curves=("cost",),
            state_size=2 * self.users * self.servers + 5 * self.users + 3 * self.servers,
        )

    def reset(self, key: jax.Array) -> State:
        """Slot 0 of the episode that `key` names, nothing placed yet."""
        streams = self.model.streams(key)
        episode = self.model.episode(streams)
        process, slot = self.model.begin(streams, episode), jnp.zeros((), jnp.int32)
        world = self.model.see(episode, process, slot)
        return State(slot, streams, episode, process, world, jnp.full(self.users, -1, jnp.int32))

    def observe(self, state: State) -> Observation:
        users, servers = self._columns(state)
        to_server, hosted = self._pairs(state)
        columns = jnp.concatenate([to_server[None], hosted[None], jnp.broadcast_to(users[:, :, None], (4, *hosted.shape))])
        return Observation(jnp.concatenate([servers.T, columns.transpose(2, 0, 1).reshape(self.servers, -1)], axis=1))

    def global_state(self, state: State) -> jax.Array:
        users, servers = self._columns(state)
        present = state.world.present.astype(jnp.float32)
        return jnp.concatenate([users.ravel(), present, servers.ravel(), *(pair.ravel() for pair in self._pairs(state))])

    def _columns(self, state: State) -> tuple[jax.Array, jax.Array]:
        """D, ΔD, r, τ of users, (4, users); F, N_k and whether it is open, of servers, (3, servers); all about 1."""
        world, episode = state.world, state.episode
        rate = jnp.log1p(world.rate_bps / NEAR_BPS)
        users = jnp.stack(
            [episode.data_bits / NEAR_BITS, episode.update_bits / (0.1 * NEAR_BITS), rate, self.model.limit_s(episode, world)]
        )
        users = jnp.where(world.present, users, 0)
        is_open = self.at(state).any(axis=0).astype(jnp.float32)
        servers = jnp.stack([world.cpu_hz / NEAR_HZ, jnp.asarray(self.capacity / self.users, jnp.float32), is_open])
        return jnp.clip(users, -10, 10), jnp.clip(servers, -10, 10)

    def _pairs(self, state: State) -> tuple[jax.Array, jax.Array]:
        """φ·B·d of each user and server, and who hosts whom, (users, servers)."""
        bits = latency.system_bits(state.episode.data_bits, state.episode.update_bits, self.section)
        wired = latency.wired_time(bits[:, None], state.world.wire_m, self.section.wire_s_per_bit_m)
        return jnp.clip(wired / NEAR_S, 0, 10), self.at(state)

    def at(self, state: State) -> jax.Array:
        return sharing.hosts(state.host, self.servers, state.world.present)

    def action(self, servers: jax.Array) -> Action:
        return Action(servers)

    def action_of(self, host: jax.Array) -> Action:
        """The action that places twins at `host`, (users,), -1 for who is absent. It must respect the capacities."""
        return Action(projection.scores_of(host, self.servers))

    def host_of(self, state: State, action: Action) -> jax.Array:
        """The placement that an action stands for, (users,).     association (23), (18a), (18b)"""
        capacity, present = jnp.asarray(self.capacity), state.world.present
        is_open = projection.opened(action.servers[:, 0], capacity, present.sum())
        return projection.associated(action.servers[:, 1:].T, is_open, capacity, present)

    def step(self, state: State, action: Action) -> tuple[State, Outcome]:
        section, world, episode = self.section, state.world, state.episode
        host = self.host_of(state, action)
        at = sharing.hosts(host, self.servers, world.present)
        wire_m = jnp.sum(at * world.wire_m, axis=1)
        work = section.cycles_per_bit * latency.system_bits(episode.data_bits, episode.update_bits, section)
        cpu_hz = sharing.share(section.compute_share, work, at, world.cpu_hz, jnp.asarray(self.capacity))
        users = jnp.maximum(world.present.sum(), 1)

        def mean(values: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(world.present, values, 0)) / users

        latency_s = mean(latency.system_latency(episode.data_bits, episode.update_bits, world.rate_bps, wire_m, cpu_hz, section))
        interaction_s = latency.update_time(episode.update_bits, world.rate_bps, wire_m, cpu_hz, section)
        energy_j = mean(latency.energy(episode.data_bits, world.rate_bps, section.tx_power_w))
        late = mean(interaction_s > self.model.limit_s(episode, world))
        opened = jnp.sum(at.any(axis=0))
        cost = latency.total_cost(latency_s, energy_j, opened, section)
        if section.delay_limits == "soft":
            cost = cost + section.violation_price_s * late
        last = state.slot + 1 >= self.spec.slots
        outcome = Outcome(
            rewards=Reward(jnp.broadcast_to(-cost, (self.servers,))),
            terminated=last & (self.spec.slots == 1),
            truncated=last & (self.spec.slots > 1),
            metrics=Slot(
                cost, latency_s, energy_j, opened, late * world.present.sum(), world.present.sum(), jnp.ones((), jnp.int32)
            ),
        )
        slot = state.slot + 1
        process = self.model.move(state.streams, episode, state.process, slot)
        after = self.model.see(episode, process, slot)
        return state._replace(slot=slot, process=process, world=after, host=host), outcome

    def world(self, state: State) -> World:
        return state.world

    def trace(self, key: jax.Array, slots: int) -> World:
        """The worlds of slots 0 … slots−1 of an episode, slots first."""
        return trace(self.model, key, slots)

    def summary(self, totals: Slot) -> dict[str, Ratio]:
        per_slot = {
            name: Ratio(getattr(totals, name), totals.slots) for name in ("cost", "latency_s", "energy_j", "open_servers")
        }
        return {**per_slot, "delay_violations": Ratio(totals.violations, totals.users)}

    def bound(self, keys: jax.Array, slots: int) -> Callable[[Mapping[str, float]], dict[str, float]]:
        """A proven lower bound on the mean cost of these episodes, whatever is decided."""
        from edgetwin.association.placement_bound import placement_bound

        least = placement_bound(self, keys, slots)
        return lambda metrics: {"cost": least}

    def instance(self, state: Any) -> tuple[Instance, np.ndarray]:
        """The slot as plain numbers, of users who are there; and which they are. state: NumPy leaves."""
        world, episode = state.world, state.episode
        who = np.flatnonzero(world.present)
        exact = {name: np.asarray(getattr(episode, name), np.float64)[who] for name in ("data_bits", "update_bits")}
        between = (
            np.asarray(world.position_m, np.float64)[who, None]
            - np.asarray(episode.sites_m, np.float64)[self.network.server_sites]
        )
        made = Instance(
            distance_m=np.sqrt((between**2).sum(axis=-1)),
            wire_m=np.asarray(world.wire_m, np.float64)[who],
            rate_bps=np.asarray(world.rate_bps, np.float64)[who],
            **exact,
            limit_s=np.asarray(self.model.limit_s(episode, world), np.float64)[who],
            cpu_hz=np.asarray(world.cpu_hz, np.float64),
            capacity=self.capacity,
            section=self.section,
        )
        return made, who

    def scene(self, state: State, after: State, outcome: Outcome) -> Scene:
        return scene_of(self, state, after.host)


def scene_of(task: Any, state: Any, host: jax.Array) -> Scene:
    """A picture of a slot of either task: users who are there, their home site, and where their twins are."""
    world = state.world
    sites = jnp.asarray(task.network.server_sites)
    nobody = jnp.zeros(task.users, bool)
    hosted = jnp.where(host < 0, world.home, sites[host.clip(0)])
    moves = (state.host >= 0) & (host != state.host)
    return Scene(state.episode.sites_m, sites, world.position_m, world.home, hosted, world.present, nobody, moves)


def trace(model: WorldModel, key: jax.Array, slots: int) -> World:
    """The worlds of an episode's first slots, slots first."""
    streams = model.streams(key)
    episode = model.episode(streams)

    def advance(process: Process, slot: jax.Array) -> tuple[Process, World]:
        moved = model.move(streams, episode, process, slot)
        process = jax.tree.map(lambda new, held: jnp.where(slot > 0, new, held), moved, process)
        return process, model.see(episode, process, slot)

    return jax.lax.scan(advance, model.begin(streams, episode), jnp.arange(slots))[1]


def capacities(given: np.ndarray, section: Association, users: int) -> np.ndarray:
    """How many twins each server holds, (servers,): as its file says, else as the section says. Raises InputError where all do not hold `users`."""
    from edgetwin.errors import InputError

    capacity = np.where(np.isnan(given), section.capacity, given).astype(np.int64)
    if capacity.sum() < users:
        raise InputError(
            f"association.capacity = {section.capacity}: {len(capacity)} servers hold {capacity.sum()} twins: "
            f"users.count = {users} need more capacity, more servers, or fewer users"
        )
    return capacity
