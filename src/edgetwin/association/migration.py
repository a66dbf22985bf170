"""Migration (P2) as a task: users move, and each slot decides which twins follow, (19)-(21). The servers that are open stay so.

An episode starts from the local search's placement. A twin moves at once and stays in service; its transfer costs utility, once. A user
who is away keeps its twin's place on the server, but computes and sends nothing, and counts in no mean.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.association import latency, projection, sharing
from edgetwin.association.instance import Instance, assignment
from edgetwin.association.local_search import local_search
from edgetwin.association.placement import NEAR_BITS, NEAR_BPS, NEAR_HZ, capacities, scene_of, trace
from edgetwin.association.world import Episode, Process, Streams, World, WorldModel, section_of
from edgetwin.problem import AgentClass, Categorical, Metric, Outcome, Ratio, Scene, Spec
from edgetwin.scenario import Scenario, network
from edgetwin.scenario.schema import Association, Migration


class Action(NamedTuple):
    """The server that each user's twin should be on: (users, 1)."""

    users: jax.Array


class Reward(NamedTuple):
    """Net utility of each user: (users,)."""

    users: jax.Array


class Observation(NamedTuple):
    """What each user's agent sees: (users, OF_USER + OF_PAIR·servers)."""

    users: jax.Array


class State(NamedTuple):
    """Everything a slot depends on. host: (users,), -1 before a user's first fix. is_open: (servers,). before_m: (users, 2), where users
    were in the slot before; where they are, for those who were not there."""

    slot: jax.Array
    streams: Streams
    episode: Episode
    process: Process
    world: World
    host: jax.Array
    is_open: jax.Array
    before_m: jax.Array


class Prospects(NamedTuple):
    """What a user's utility (20) is made of, wherever its twin is: T_ik = fixed_s + work_s·L_k/weight, L_k the sum of weights at k
    (N_k where compute is reserved). fixed_s, work_s, move_s: (users, servers); weight, limit_s, energy_j: (users,).

    move_s is the time of a transfer from the present host; a twin without a host has none to make.
    """

    fixed_s: jax.Array
    work_s: jax.Array
    move_s: jax.Array
    weight: jax.Array
    limit_s: jax.Array
    energy_j: jax.Array


class Slot(NamedTuple):
    """What a slot brought; sums over an episode make the metrics. All scalars."""

    utility: jax.Array
    transfer: jax.Array
    moves: jax.Array
    violations: jax.Array
    users: jax.Array


METRICS = {
    "utility": Metric("1", "higher", "utility (20), mean over users and slots"),
    "net_utility": Metric("1", "higher", "utility less what transfers cost, mean over users and slots"),
    "migrations_per_100_users": Metric("1", None, "twins moved per 100 users and slot"),
    "delay_violations": Metric("1", "lower", "share of users and slots whose interaction latency (11) exceeds the limit (21c)"),
}
REPORTED = 25
"""Points of a curve."""
OF_USER, OF_PAIR = 7, 7
"""What is observed of a user, and of a user and a server."""
NEAR_STEP = 0.01
"""Of the area's width: the unit of what a user moves in a slot"""


class MigrationTask:
    """Twins that follow their users on one network."""

    name = "migration"

    def __init__(self, scenario: Scenario):
        self.section: Association = section_of(scenario, self.name)
        assert scenario.migration is not None
        self.migration: Migration = scenario.migration
        self.scenario = scenario
        self.network = network(scenario)
        self.model = WorldModel(scenario, self.network, self.section)
        self.users, self.servers = self.model.users, self.model.servers
        self.capacity = capacities(self.network.capacity, self.section, self.users)
        slots, self._seen = self.migration.slots, OF_USER + OF_PAIR * self.servers
        self.spec = Spec(
            agents={"users": AgentClass(self.users, self._seen, Categorical(1, self.servers))},
            metrics=METRICS,
            slots=slots,
            comparison_slots=slots,
            report_slots=max(1, slots // REPORTED),
            slot_s=self.section.update_gap_s,
            frontier=("migrations_per_100_users", "net_utility"),
            curves=("net_utility", "migrations_per_100_users"),
            state_size=self.users * self._seen,
        )

    def reset(self, key: jax.Array) -> State:
        """Slot 0 of the episode that `key` names: twins where the local search for the least J (26) puts them."""
        streams = self.model.streams(key)
        episode = self.model.episode(streams)
        process, slot = self.model.begin(streams, episode), jnp.zeros((), jnp.int32)
        world = self.model.see(episode, process, slot)
        host, is_open = jax.pure_callback(
            self._first_placement,
            (jax.ShapeDtypeStruct((self.users,), jnp.int32), jax.ShapeDtypeStruct((self.servers,), bool)),
            world.wire_m,
            world.rate_bps,
            episode.data_bits,
            episode.update_bits,
            world.cpu_hz,
            world.present,
            vmap_method="sequential",
        )
        return State(slot, streams, episode, process, world, host, is_open, world.position_m)

    def _first_placement(self, wire_m: Any, rate_bps: Any, data_bits: Any, update_bits: Any, cpu_hz: Any, present: Any) -> Any:
        """Hosts of those who are there, and which servers stay open: theirs, and the roomiest others until all users would fit."""
        who = np.flatnonzero(np.asarray(present))
        wire, rate, data, update = (np.asarray(each, np.float64)[who] for each in (wire_m, rate_bps, data_bits, update_bits))
        host, is_open = np.full(self.users, -1, np.int32), np.zeros(self.servers, bool)
        if len(who):
            unlimited = np.full(len(who), np.inf)
            cpu = np.asarray(cpu_hz, np.float64)
            found = Instance(wire, wire, rate, data, update, unlimited, cpu, self.capacity, self.section)
            host[who] = local_search(assignment(found, limited=False))
            is_open[host[who]] = True
        for server in np.argsort(-self.capacity, kind="stable"):
            if self.capacity[is_open].sum() >= self.users:
                break
            is_open[server] = True
        return host, is_open

    def observe(self, state: State) -> Observation:
        """D, ΔD, rate, limit, presence of a user, and how it moved since the slot before; and per server wire's time, whether it hosts the
        twin, load, CPU, whether it is open, and where it stands as seen from the user."""
        world, episode, section = state.world, state.episode, self.section
        width_m = self.network.width_m
        moved = (world.position_m - state.before_m) / (NEAR_STEP * width_m)
        own = jnp.stack(
            [
                episode.data_bits / NEAR_BITS,
                episode.update_bits / (0.1 * NEAR_BITS),
                jnp.log1p(world.rate_bps / NEAR_BPS),
                self.model.limit_s(episode, world),
                jnp.ones(self.users),
                moved[:, 0],
                moved[:, 1],
            ],
            axis=1,
        )
        at = sharing.hosts(state.host, self.servers, world.present)
        wired_s = latency.wired_time(episode.update_bits[:, None], world.wire_m, section.wire_s_per_bit_m)
        load = jnp.sum(at, axis=0) / jnp.asarray(self.capacity)
        of_servers = jnp.stack([load, world.cpu_hz / NEAR_HZ, state.is_open.astype(jnp.float32)])
        each = jnp.broadcast_to(of_servers[:, None], (3, self.users, self.servers))
        away = (episode.sites_m[self.model.server_sites] - world.position_m[:, None]).transpose(2, 0, 1) / width_m
        pairs = jnp.concatenate([wired_s[None], at[None], each, away]).transpose(1, 0, 2).reshape(self.users, -1)
        seen = jnp.concatenate([own, pairs], axis=1)
        return Observation(jnp.clip(jnp.where(world.present[:, None], seen, 0), -10, 10))

    def global_state(self, state: State) -> jax.Array:
        return self.observe(state).users.ravel()

    def action(self, users: jax.Array) -> Action:
        return Action(users)

    def prospects(self, state: State) -> Prospects:
        """What utilities depend on in this slot, for every user and server.     association (11), (19), (20)"""
        section, world, episode = self.section, state.world, state.episode
        update = episode.update_bits
        weight = jnp.ones(self.users)
        if self.migration.compute_share == "square-root":
            weight = jnp.sqrt(section.cycles_per_bit * latency.system_bits(episode.data_bits, update, section))
        between_m = episode.hop_m[self.model.server_sites]
        source = sharing.hosts(state.host, self.servers, jnp.ones(self.users, bool))
        return Prospects(
            fixed_s=latency.transfer_time(update[:, None], world.rate_bps[:, None], world.wire_m, section.wire_s_per_bit_m),
            work_s=latency.compute_time(update[:, None], section.cycles_per_bit, world.cpu_hz[None]),
            move_s=latency.wired_time(episode.data_bits[:, None], source @ between_m, section.wire_s_per_bit_m),
            weight=weight,
            limit_s=self.model.limit_s(episode, world),
            energy_j=latency.energy(update, world.rate_bps, section.tx_power_w),
        )

    def load(self, prospects: Prospects, at: jax.Array) -> jax.Array:
        """L_k of every server. at: (users, servers), whose twins compute where."""
        return jnp.asarray(self.capacity, jnp.float32) if self.reserved else prospects.weight @ at

    @property
    def reserved(self) -> bool:
        return self.migration.compute_share == "reserved"

    def utilities(self, prospects: Prospects, load: jax.Array) -> jax.Array:
        """Utility of each user at each server, were the server's load `load`: (users, servers).     association (20)

        load: (servers,), or (users, servers) where it differs by who asks.
        """
        latency_s = prospects.fixed_s + prospects.work_s * load / prospects.weight[:, None]
        weight = self.migration.utility_weight
        return latency.utility(prospects.limit_s[:, None], latency_s, prospects.energy_j[:, None], weight)

    def transfer_cost(self, prospects: Prospects) -> jax.Array:
        """What a move from where a twin is costs in utility, once: (users, servers), 0 for staying."""
        return self.migration.utility_weight * prospects.move_s

    def target(self, state: State, action: Action) -> jax.Array:
        """Where twins are after this slot's moves: of those who are there, to open servers with room.     association (21a), (21b)"""
        wanted = action.users[:, 0]
        may = state.world.present & (state.host >= 0) & state.is_open[wanted]
        return projection.admitted(state.host, jnp.where(may, wanted, state.host), jnp.asarray(self.capacity))

    def step(self, state: State, action: Action) -> tuple[State, Outcome]:
        world, prospects = state.world, self.prospects(state)
        host = self.target(state, action)
        at = sharing.hosts(host, self.servers, world.present)
        load = self.load(prospects, at)
        utility = jnp.sum(at * self.utilities(prospects, load), axis=1)
        latency_s = jnp.sum(at * (prospects.fixed_s + prospects.work_s * load / prospects.weight[:, None]), axis=1)
        transfer = jnp.sum(at * self.transfer_cost(prospects), axis=1)
        outcome = Outcome(
            rewards=Reward(utility - transfer),
            terminated=jnp.zeros((), bool),
            truncated=state.slot + 1 >= self.spec.slots,
            metrics=Slot(
                utility=jnp.sum(utility),
                transfer=jnp.sum(transfer),
                moves=jnp.sum(host != state.host),
                violations=jnp.sum(world.present & (latency_s > prospects.limit_s)),
                users=jnp.sum(world.present),
            ),
        )
        slot = state.slot + 1
        process = self.model.move(state.streams, state.episode, state.process, slot)
        after = self.model.see(state.episode, process, slot)
        before_m = jnp.where(world.present[:, None], world.position_m, after.position_m)
        return self._arrived(state._replace(slot=slot, process=process, world=after, host=host, before_m=before_m)), outcome

    def _arrived(self, state: State) -> State:
        """Users who are there for the first time get a twin, greedily, in their order."""
        section, world, episode = self.section, state.world, state.episode
        new = world.present & (state.host < 0)
        if self.network.visits is None:
            return state
        bits = latency.system_bits(episode.data_bits, episode.update_bits, section)
        own = jnp.sqrt(section.cycles_per_bit * bits)
        path_s = latency.wired_time(bits[:, None], world.wire_m, section.wire_s_per_bit_m)
        capacity = jnp.asarray(self.capacity)
        placed = sharing.hosts(state.host, self.servers, jnp.ones(self.users, bool))
        computing = own @ (placed * world.present[:, None])

        def place(carry: Any) -> Any:
            host, waiting, free, load = carry
            user = jnp.argmax(waiting)
            price = path_s[user] + own[user] * (load + own[user]) / world.cpu_hz
            server = jnp.argmin(jnp.where(state.is_open & (free > 0), price, jnp.inf))
            return (
                host.at[user].set(server.astype(host.dtype)),
                waiting.at[user].set(False),
                free.at[server].add(-1),
                load.at[server].add(own[user]),
            )

        begun = (state.host, new, capacity - jnp.sum(placed, axis=0).astype(capacity.dtype), computing)
        host, *_ = jax.lax.while_loop(lambda carry: carry[1].any(), place, begun)
        return state._replace(host=host)

    def world(self, state: State) -> World:
        return state.world

    def trace(self, key: jax.Array, slots: int) -> World:
        """The worlds of slots 0 … slots−1 of an episode, slots first."""
        return trace(self.model, key, slots)

    def summary(self, totals: Slot) -> dict[str, Ratio]:
        users = np.maximum(totals.users, 1)
        return {
            "utility": Ratio(totals.utility, users),
            "net_utility": Ratio(totals.utility - totals.transfer, users),
            "migrations_per_100_users": Ratio(100 * totals.moves, users),
            "delay_violations": Ratio(totals.violations, users),
        }

    def bound(self, keys: jax.Array, slots: int) -> Callable[[Mapping[str, float]], dict[str, float]] | None:
        """The greatest net utility that any policy may reach, proven; None where that takes too long, or users come and go."""
        from edgetwin.association.migration_bound import bound

        return bound(self, keys, slots)

    def scene(self, state: State, after: State, outcome: Outcome) -> Scene:
        return scene_of(self, state, after.host)
