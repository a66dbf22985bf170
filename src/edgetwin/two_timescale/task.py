"""The two-timescale problem as a task: twins synchronise every slot and migrate between frames (sections II and III of the paper).

In slot n: the world is drawn, agents observe, act; where n = qT the centre's deployment takes effect and twins that move are out
for `migration_slots` slots; requests are sent, computed, and fail or not; the queue moves; the next world is drawn.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.physical import channel, mobility, radio, sharing
from edgetwin.problem import AgentClass, Categorical, Continuous, Metric, Outcome, Ratio, Scene, Spec
from edgetwin.scenario import Scenario, network
from edgetwin.two_timescale import lyapunov, optimum, rewards, sync
from edgetwin.two_timescale.observation import Observation, Observer, Sight
from edgetwin.two_timescale.world import Streams, World, WorldModel, radio_of

FADING_MAX = 40.0
"""|h|²/ḡ is above this once in 10¹⁷ draws even without a line of sight."""


class Action(NamedTuple):
    """Users' powers as a share of P_max, (users, 1), followed by association scores (users, sites) where association is learned (21);
    stations' CPU and link scores, (sites, 2·users) (23); the centre's server for each user, (1, users) (25)."""

    users: jax.Array
    stations: jax.Array
    centre: jax.Array


class Reward(NamedTuple):
    """r_g for every user and station, r_c for the centre. (users,), (sites,), (1,)."""

    users: jax.Array
    stations: jax.Array
    centre: jax.Array


class State(NamedTuple):
    """Everything a slot depends on. `migration_left` counts the slots a twin is still out; `queue_frame` is Y[qT]. (users,)."""

    slot: jax.Array
    streams: Streams
    movement: mobility.GaussMarkov | mobility.TrackReplay
    world: World
    serving: jax.Array
    host: jax.Array
    migration_left: jax.Array
    queue: jax.Array
    queue_frame: jax.Array


class Slot(NamedTuple):
    """What happened in a slot, user by user; summed over an episode these make the metrics. (users,), rewards and slots scalar."""

    energy_j: jax.Array
    requests: jax.Array
    failures: jax.Array
    migrations: jax.Array
    reward: jax.Array
    centre_reward: jax.Array
    slots: jax.Array


class Synchronised(NamedTuple):
    """A slot's synchronisation, user by user: who serves and hosts, what was sent with which resources, and how it ended. (users,)."""

    serving: jax.Array
    host: jax.Array
    migration_left: jax.Array
    moved: jax.Array
    sending: jax.Array
    power_w: jax.Array
    rate_bps: jax.Array
    cpu_hz: jax.Array
    link_bps: jax.Array
    failed: jax.Array
    energy_j: jax.Array


METRICS = {
    "energy_mj_per_slot": Metric("mJ", "lower", "transmission energy, mean over users and slots (14a)"),
    "energy_mj_per_request": Metric("mJ", "lower", "transmission energy per request"),
    "failure_per_request": Metric("1", "lower", "failed requests over requests"),
    "failure_per_slot": Metric("1", "lower", "failed requests per user and slot (14b)"),
    "failure_worst_user": Metric("1", "lower", "failures per slot of a network's worst user, mean over networks"),
    "users_over_epsilon": Metric("users", "lower", "users whose failures per slot exceed the limit of (14b), mean over networks"),
    "migrations_per_frame": Metric("1", None, "twins moved per user and frame"),
    "reward": Metric("1", "higher", "the global reward (28), per slot, without the paper's factor of 100"),
}


class TwoTimescale:
    """Synchronisation every slot, migration every frame, on one network."""

    name = "two-timescale"

    def __init__(self, scenario: Scenario):
        self.radio = radio_of(scenario)
        assert scenario.backhaul is not None
        self.link_rate_bps = scenario.backhaul.link_rate_bps
        self.scenario = scenario
        self.network = network(scenario)
        self.model = WorldModel(scenario, self.network)
        self.observer = Observer(scenario, self.network)
        self.users, self.sites, self.servers = self.observer.users, self.observer.sites, self.observer.servers
        self.sites_m = jnp.asarray(self.network.sites_xy_m)
        self.server_sites = jnp.asarray(self.network.server_sites)
        self.cpu_hz = jnp.asarray(self.network.cpu_hz)
        self.learned_association = self.radio.association == "learned"
        self.spec = Spec(
            agents={
                "users": AgentClass(
                    self.users,
                    self.observer.user_size,
                    Continuous(1 + (self.sites if self.learned_association else 0)),
                    observation_limit=FADING_MAX if self.radio.observation == "extended" else 10.0,
                ),
                "stations": AgentClass(self.sites, self.observer.station_size, Continuous(2 * self.users)),
                "centre": AgentClass(
                    1,
                    self.observer.centre_size,
                    Categorical(self.users, self.servers),
                    every=self.radio.frame_slots,
                    first=self.radio.frame_slots,
                ),
            },
            metrics=METRICS,
            slots=self.radio.frames * self.radio.frame_slots,
            comparison_slots=min(10, self.radio.frames) * self.radio.frame_slots,
            report_slots=self.radio.frame_slots,
            slot_s=self.radio.slot_s,
            frontier=("failure_per_request", "energy_mj_per_slot"),
            curves=("energy_mj_per_slot", "failure_per_request", "reward"),
            state_size=self.observer.state_size,
        )

    def reset(self, key: jax.Array) -> State:
        """Slot 0 of the episode that `key` names: every twin at the server nearest to its user."""
        streams = self.model.streams(key)
        movement = self.model.begin(self.model.start(streams))
        slot = jnp.zeros((), jnp.int32)
        world = self.model.see(movement, self.model.noise(streams, slot), slot)
        nothing = jnp.zeros(self.users)
        return State(
            slot=slot,
            streams=streams,
            movement=movement,
            world=world,
            serving=self.nearest_site(world.position_m),
            host=self.nearest_server(world.position_m),
            migration_left=jnp.zeros(self.users, jnp.int32),
            queue=nothing,
            queue_frame=nothing,
        )

    def nearest_site(self, position_m: jax.Array) -> jax.Array:
        """The nearest site of each user, the lowest index on ties. (users,)"""
        return jnp.argmin(channel.distance(position_m, self.sites_m, self.radio.distance_min_m), axis=1)

    def nearest_server(self, position_m: jax.Array) -> jax.Array:
        """The server whose site is nearest to each user. (users,)"""
        return jnp.argmin(channel.distance(position_m, self.sites_m[self.server_sites], self.radio.distance_min_m), axis=1)

    def mean_gain(self, position_m: jax.Array, site: jax.Array) -> jax.Array:
        """Power gain to a site by distance alone, ρ0/d^φ. (users,)"""
        distance = channel.distance(position_m, self.sites_m, self.radio.distance_min_m)
        return radio.at_serving(channel.mean_gain(distance, self.radio.reference_gain, self.radio.path_loss_exponent), site)

    def observe(self, state: State) -> Observation:
        return self.observer.observation(self._sight(state))

    def global_state(self, state: State) -> jax.Array:
        return self.observer.global_state(self._sight(state), state.slot % self.radio.frame_slots)

    def _sight(self, state: State) -> Sight:
        fading = radio.at_serving(state.world.gain, state.serving) / self.mean_gain(state.world.position_m, state.serving)
        return Sight(
            position_m=state.world.position_m,
            fading=fading,
            requesting=state.world.requesting,
            data_bits=state.world.data_bits,
            cycles_per_bit=state.world.cycles_per_bit,
            serving=state.serving,
            host=state.host,
            migrating=state.migration_left > 0,
            queue_frame=state.queue_frame,
        )

    def action(self, users: jax.Array, stations: jax.Array, centre: jax.Array) -> Action:
        return Action(users, stations, centre)

    def synchronise(self, state: State, action: Action) -> Synchronised:
        """The slot as these actions make it: deployment at frame starts, then powers, rates, shares and delays."""
        world, limits = state.world, self.radio
        serving = jnp.argmax(action.users[:, 1:], axis=1) if self.learned_association else state.serving
        host, migration_left, moved = self._deploy(state, action.centre[0])
        migrating = migration_left > 0
        sending = world.requesting & ~migrating

        power = self._power(action.users[:, 0], sending, migrating)
        rate = radio.rate(self._sinr(world.gain, power, serving), limits.bandwidth_hz)
        cpu_score, link_score = action.stations[:, : self.users], action.stations[:, self.users :]
        everyone = jnp.arange(self.users)
        host_site = self.server_sites[host]
        cpu = sharing.cpu_frequency(cpu_score[host_site, everyone], host, sending, self.cpu_hz)
        link_bps = self.link_rate_bps
        link = sharing.link_rate(link_score[serving, everyone], serving, host_site, sending, link_bps, self.sites)
        delay = sync.sync_delay(world.data_bits, rate, link, world.cycles_per_bit, cpu)
        return Synchronised(
            serving=serving,
            host=host,
            migration_left=migration_left,
            moved=moved,
            sending=sending,
            power_w=power,
            rate_bps=rate,
            cpu_hz=cpu,
            link_bps=link,
            failed=sync.sync_failure(world.requesting, migrating, delay, limits.latency_limit_s),
            energy_j=jnp.where(sending, sync.sync_energy(power, world.data_bits, rate, limits.latency_limit_s), 0),
        )

    def step(self, state: State, action: Action) -> tuple[State, Outcome]:
        """One slot: what was decided happens, rewards, queue, and the next slot's world."""
        world, limits = state.world, self.radio
        done = self.synchronise(state, action)
        failed, energy = done.failed, done.energy_j

        penalty = lyapunov.drift_plus_penalty(
            energy,
            state.queue_frame,
            failed,
            energy_scale_j=limits.energy_scale_j,
            control_factor=limits.control_factor,
            failure_ratio_max=limits.failure_ratio_max,
            users=self.users,
        )
        centre_delay = rewards.centre_delay(
            action.centre[0],
            serving=done.serving,
            host=done.host,
            server_sites=self.server_sites,
            competing=done.sending,
            cpu_score=action.stations[:, : self.users],
            link_score=action.stations[:, self.users :],
            data_bits=world.data_bits,
            cycles_per_bit=world.cycles_per_bit,
            cpu_hz=self.cpu_hz,
            link_rate_bps=self.link_rate_bps,
            slot_s=limits.slot_s,
        )
        shared, own = rewards.global_reward(penalty), rewards.centre_reward(centre_delay, world.requesting)
        outcome = Outcome(
            rewards=Reward(jnp.broadcast_to(shared, (self.users,)), jnp.broadcast_to(shared, (self.sites,)), own[None]),
            terminated=jnp.zeros((), bool),
            truncated=state.slot + 1 >= self.spec.slots,
            metrics=Slot(
                energy_j=energy,
                requests=world.requesting.astype(jnp.int32),
                failures=failed.astype(jnp.int32),
                migrations=done.moved.astype(jnp.int32),
                reward=shared,
                centre_reward=own,
                slots=jnp.ones((), jnp.int32),
            ),
        )
        queue = lyapunov.queue_step(state.queue, failed, limits.failure_ratio_max)
        return self._next(state, done.serving, done.host, done.migration_left, queue), outcome

    def _deploy(self, state: State, chosen: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """β_k(q) at slot qT, q ≥ 1, and the slots that twins which move are out.     two-timescale II-D"""
        frame_starts = (state.slot % self.radio.frame_slots == 0) & (state.slot > 0)
        moved = frame_starts & (chosen != state.host)
        return jnp.where(moved, chosen, state.host), jnp.where(moved, self.radio.migration_slots, state.migration_left), moved

    def _power(self, share: jax.Array, sending: jax.Array, migrating: jax.Array) -> jax.Array:
        """Transmit powers (14d): of users that send or, in the printed form of (7), of all whose twin does not migrate."""
        radiating = sending if self.radio.transmitters == "active" else ~migrating
        return jnp.where(radiating, share * self.radio.tx_power_max_w, 0)

    def _sinr(self, gain: jax.Array, power: jax.Array, serving: jax.Array) -> jax.Array:
        reading = radio.uplink_sinr if self.radio.interference == "physical" else radio.uplink_sinr_literal
        return reading(gain, power, serving, self.radio.noise_power_w)

    def _next(self, state: State, serving: jax.Array, host: jax.Array, migration_left: jax.Array, queue: jax.Array) -> State:
        slot = state.slot + 1
        noise = self.model.noise(state.streams, slot)
        movement = self.model.move(state.movement, noise)
        world = self.model.see(movement, noise, slot)
        return State(
            slot=slot,
            streams=state.streams,
            movement=movement,
            world=world,
            serving=serving if self.learned_association else self.nearest_site(world.position_m),
            host=host,
            migration_left=jnp.maximum(migration_left - 1, 0),
            queue=queue,
            queue_frame=jnp.where(slot % self.radio.frame_slots == 0, queue, state.queue_frame),
        )

    def world(self, state: State) -> World:
        return state.world

    def trace(self, key: jax.Array, slots: int) -> World:
        """The worlds of slots 0 … slots−1 of an episode, slots first."""
        streams = self.model.streams(key)
        movement = self.model.begin(self.model.start(streams))

        def next_world(movement, slot):
            noise = self.model.noise(streams, slot)
            movement = jax.tree.map(
                lambda moved, held: jnp.where(slot > 0, moved, held), self.model.move(movement, noise), movement
            )
            return movement, self.model.see(movement, noise, slot)

        return jax.lax.scan(next_world, movement, jnp.arange(slots))[1]

    def summary(self, totals: Slot) -> dict[str, Ratio]:
        """An episode's share in each metric. totals: sums over its slots, NumPy."""
        requests, failures, energy_mj = totals.requests.sum(), totals.failures.sum(), 1e3 * totals.energy_j.sum()
        user_slots = totals.slots * self.users
        per_slot = totals.failures / totals.slots
        return {
            "energy_mj_per_slot": Ratio(energy_mj, user_slots),
            "energy_mj_per_request": Ratio(energy_mj, requests),
            "failure_per_request": Ratio(failures, requests),
            "failure_per_slot": Ratio(failures, user_slots),
            "failure_worst_user": Ratio(per_slot.max(), 1),
            "users_over_epsilon": Ratio((per_slot > self.radio.failure_ratio_max).sum(), 1),
            "migrations_per_frame": Ratio(totals.migrations.sum(), user_slots / self.radio.frame_slots),
            "reward": Ratio(totals.reward, totals.slots),
        }

    def bound(self, keys: jax.Array, slots: int) -> Callable[[Mapping[str, float]], dict[str, float]]:
        """The closed-form lower bound on energy for these episodes, as a function of the failures a policy accepts."""
        return optimum.energy_bound(self, keys, slots)

    def scene(self, state: State, after: State, outcome: Outcome) -> Scene:
        return Scene(
            sites_m=self.sites_m,
            server_sites=self.server_sites,
            users_m=state.world.position_m,
            serving_site=after.serving if self.learned_association else state.serving,
            host_site=self.server_sites[after.host],
            requesting=state.world.requesting,
            failed=outcome.metrics.failures > 0,
            migrating=(state.migration_left > 0) | (outcome.metrics.migrations > 0),
        )
