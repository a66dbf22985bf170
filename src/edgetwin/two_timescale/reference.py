"""The two-timescale environment (Liu et al., sections II and III) in plain NumPy, written to be read beside the paper.

It is the oracle of the tests: a second, independent reading of equations (1)-(28), with loops over users k and sites m where the
paper has sums, and no randomness of its own. First one short function per equation, then the Lyapunov part, then the environment
that calls them. Users, sites and servers are counted from 0. Where the paper is silent or contradicts itself, the docstring says
what holds.
"""

from math import cos, floor, inf, isfinite, log2, pi, sin, sqrt
from typing import Any, NamedTuple

import numpy as np

# ------------------------------------------------------------------------------------------------------------------- records


class Start(NamedTuple):
    """Where Gauss-Markov users begin. position_m: (users, 2); mean_speed_mps, mean_direction_rad: (users,)."""

    position_m: Any
    mean_speed_mps: Any
    mean_direction_rad: Any


class TrackStart(NamedTuple):
    """How tracks are laid over the area. track: (users,) index; place_m: (users, 2); rotation_rad, phase_s: (users,)."""

    track: Any
    place_m: Any
    rotation_rad: Any
    phase_s: Any


class Noise(NamedTuple):
    """The draws of one slot: standard normals (speed, direction, fading) and uniforms in [0, 1) (request, data, cycles).

    fading: (users, sites, 2), real and imaginary part of ĥ before the 1/√2; all others (users,).
    """

    speed: Any
    direction: Any
    fading: Any
    request: Any
    data: Any
    cycles: Any


class Action(NamedTuple):
    """What everybody does.

    users: (users, 1), a fraction of the greatest power; (users, 1 + sites) with association scores where association is learned.
    stations: (sites, 2·users), a CPU score for every user, then a link score for every user. centre: (1, users), server indices.
    """

    users: Any
    stations: Any
    centre: Any


class Observation(NamedTuple):
    """users: (users, ·) after (20); stations: (sites, ·) after (22); centre: (1, ·) after (24)."""

    users: np.ndarray
    stations: np.ndarray
    centre: np.ndarray


class Record(NamedTuple):
    """All that happened in a slot. (users,) where no shape is given.

    position_m: (users, 2). gain: (users, sites), |h|². active: a_k. data_bits, cycles_per_bit: the draws, even where idle.
    serving: site index. host: server index. migrating: no transmission in this slot. migrated: the move began in this slot.
    power_w: radiated, 0 where silent. cpu_hz: 0 where not transmitting. link_bps: inf where the serving site hosts the twin, else
    0 where not transmitting. delay_s: 0 where idle, inf where a rate or share is 0 or the twin migrates. failed: X_k.
    queue_after: Y_k[n+1]. reward_global, reward_centre: scalars, (28) and (26).
    """

    position_m: np.ndarray
    gain: np.ndarray
    active: np.ndarray
    data_bits: np.ndarray
    cycles_per_bit: np.ndarray
    serving: np.ndarray
    host: np.ndarray
    migrating: np.ndarray
    power_w: np.ndarray
    sinr: np.ndarray
    rate_bps: np.ndarray
    cpu_hz: np.ndarray
    link_bps: np.ndarray
    delay_s: np.ndarray
    failed: np.ndarray
    energy_j: np.ndarray
    queue_after: np.ndarray
    reward_global: float
    reward_centre: float
    migrated: np.ndarray


# ------------------------------------------------------------------------------------------------------------------ movement


def next_speed(speed, mean_speed, memory, noise_mps, normal):
    """v[n] = μ₁ v[n−1] + (1−μ₁) s̄ + √(1−μ₁²) Φ, Φ = noise_mps · normal, not below 0 (1)"""
    return max(0.0, memory * speed + (1 - memory) * mean_speed + sqrt(1 - memory**2) * noise_mps * normal)


def next_direction(direction, mean_direction, memory, noise_rad, normal):
    """θ[n] = μ₂ θ[n−1] + (1−μ₂) θ̄ + √(1−μ₂²) Ψ, Ψ = noise_rad · normal: the root is over 1−μ₂² alone (2)"""
    return memory * direction + (1 - memory) * mean_direction + sqrt(1 - memory**2) * noise_rad * normal


def next_position(x, y, speed, direction, slot_s):
    """x[n] = x[n−1] + v[n−1] cos(θ[n−1]) δt (3) and y[n] = y[n−1] + v[n−1] sin(θ[n−1]) δt (4)"""
    return x + speed * cos(direction) * slot_s, y + speed * sin(direction) * slot_s


def reflect(x, y, direction, mean_direction, width):
    """A user that left the square comes back as from a mirror, and its direction and mean direction turn with it."""
    if x < 0 or x > width:
        x = -x if x < 0 else 2 * width - x
        direction, mean_direction = pi - direction, pi - mean_direction
    if y < 0 or y > width:
        y = -y if y < 0 else 2 * width - y
        direction, mean_direction = -direction, -mean_direction
    return x, y, direction, mean_direction


def fold(value, limit):
    """Back and forth between 0 and `limit`: the triangle wave that is `value` itself there and has period 2·limit."""
    value -= 2 * limit * floor(value / (2 * limit))
    return value if value <= limit else 2 * limit - value


def track_position(time_s, fix_time_s, fix_xy_m, duration_s, place_m, rotation_rad, width):
    """Where a user is that walks its track to and fro, in a straight line from fix to fix.

    The track is turned counter-clockwise about its centre, moved to its place, and mirrored at the walls.
    """
    along = fold(time_s, duration_s)
    fixes = [i for i in range(len(fix_time_s)) if isfinite(fix_time_s[i])]
    x = np.interp(along, fix_time_s[fixes], fix_xy_m[fixes, 0])
    y = np.interp(along, fix_time_s[fixes], fix_xy_m[fixes, 1])
    turned_x = x * cos(rotation_rad) - y * sin(rotation_rad)
    turned_y = x * sin(rotation_rad) + y * cos(rotation_rad)
    return fold(place_m[0] + turned_x, width), fold(place_m[1] + turned_y, width)


# --------------------------------------------------------------------------------------------------------------------- radio


def distance(a, b):
    """‖a − b‖₂ in the plane"""
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def nearest(position, sites):
    """Index of the nearest site, the lowest where several are: α_{k,m} = 1."""
    distances = [distance(position, site) for site in sites]
    return distances.index(min(distances))


def mean_gain(distance_m, reference_gain, exponent, distance_min_m):
    """ḡ = ρ₀ / d^φ, the first factor of |h|² in (5); d is at least `distance_min_m`."""
    return reference_gain / max(distance_m, distance_min_m) ** exponent


def channel_gain(mean, rician_factor, real, imaginary):
    """|h|² with h = √ḡ (√(κ/(κ+1)) h̄ + √(1/(κ+1)) ĥ), h̄ = 1, ĥ = (real + j·imaginary)/√2 (5)"""
    scattered = complex(real, imaginary) / sqrt(2)
    h = sqrt(mean) * (sqrt(rician_factor / (rician_factor + 1)) + sqrt(1 / (rician_factor + 1)) * scattered)
    return abs(h) ** 2


def sinr(k, power_w, gain, serving, noise_power_w, interference):
    """γ_k = p_k |h_{k,m}|² / (Σ_{i≠k} p_i |h_i|² + σ²) at m, the site that serves k (7)

    "physical": user i is heard at m, |h_{i,m}|². "literal", as printed: with its gain to its own serving site.
    power_w: (users,), 0 where silent. gain: (users, sites). serving: (users,).
    """
    m = serving[k]
    heard = 0.0
    for i in range(len(power_w)):
        if i != k:
            heard += power_w[i] * (gain[i, m] if interference == "physical" else gain[i, serving[i]])
    return power_w[k] * gain[k, m] / (heard + noise_power_w)


def rate(bandwidth_hz, sinr):
    """R_k = B log₂(1 + γ_k) in bit/s (8)"""
    return bandwidth_hz * log2(1 + sinr)


# ------------------------------------------------------------------------------------------------- shares, delay, failure, energy


def share(k, sharers, scores):
    """x_k / Σ_{i ∈ sharers} x_i, of a server's CPU so that (10), (11), (14g), (14h) hold, of a link so that (14e), (14f) hold.

    0 for who is not among the sharers, and for all when every score is 0.
    """
    total = sum(scores[i] for i in sharers)
    return scores[k] / total if k in sharers and total > 0 else 0.0


def seconds(amount, per_second):
    """amount / per_second, infinite at rate 0"""
    return inf if per_second == 0 else amount / per_second


def delay(data_bits, cycles_per_bit, rate_bps, link_bps, cpu_hz):
    """t_k = D/R + D/w + D C/f, without D/w where the serving site hosts the twin, that is link_bps = inf (9)"""
    return seconds(data_bits, rate_bps) + seconds(data_bits, link_bps) + seconds(data_bits * cycles_per_bit, cpu_hz)


def fails(active, migrating, delay_s, latency_limit_s):
    """X_k: a request fails while the twin migrates, otherwise when t_k > τ (12)"""
    return bool(active and (migrating or delay_s > latency_limit_s))


def energy(power_w, data_bits, rate_bps, latency_limit_s):
    """E_k = p_k · min(D/R, τ) in J, 0 for p_k = 0: a user stops sending at its deadline, where (13) has p_k D/R (13)"""
    return 0.0 if power_w == 0 else power_w * min(seconds(data_bits, rate_bps), latency_limit_s)


# ------------------------------------------------------------------------------------------------------------------- rewards


def drift_plus_penalty(energy_j, frame_queue, failed, users, energy_scale_j, control_factor, failure_ratio_max):
    """Ξ_k[n] = (1/K) (E_k/E₀ + η Y_k[qT] (X_k − ε)) (19)

    The paper divides the energy by QKT and the queue term by nothing; 1/K on both and an explicit E₀ stand for that.
    """
    return (energy_j / energy_scale_j + control_factor * frame_queue * (failed - failure_ratio_max)) / users


def reward_global(penalties):
    """r_g = −Σ_k Ξ_k (28)"""
    return -sum(penalties)


def virtual_time(data_bits, cycles_per_bit, link_bps, cpu_hz, slot_s):
    """r_{c,k} = D C/f̃ + D/w̃, each capped at a slot; no D/w̃ where the serving site has the virtual server, link_bps = inf (27)"""
    return min(seconds(data_bits * cycles_per_bit, cpu_hz), slot_s) + min(seconds(data_bits, link_bps), slot_s)


def reward_centre(times, active):
    """r_c = −(1/K) Σ_k a_k r_{c,k} (26)"""
    return -sum(t for t, a in zip(times, active, strict=True) if a) / len(times)


# ------------------------------------------------------------------------------------------------------------------ Lyapunov


def next_queue(queue, failed, failure_ratio_max):
    """Y_k[n+1] = max(Y_k[n] + X_k[n] − ε, 0) (15)"""
    return max(queue + failed - failure_ratio_max, 0.0)


def drift(queue_before, queue_after):
    """ΔL_k = ½ Y_k[n+T]² − ½ Y_k[n]², the realised drift of one frame"""
    return 0.5 * queue_after**2 - 0.5 * queue_before**2


def lemma_1_constant(request_rate, failure_ratio_max):
    """B_{k,1} = ½ (λ_k + ε²), per slot"""
    return 0.5 * (request_rate + failure_ratio_max**2)


def lemma_1(queue, failed, request_rate, failure_ratio_max):
    """B_{k,1} T + Σ_{n∈T_q} Y_k[n] (X_k[n] − ε), the right side of Lemma 1 (16)

    queue, failed: (T,), Y_k and X_k in each slot of the frame. request_rate: λ_k, and then the bound holds in expectation; or the
    frame's realised Σ a_k / T, and then it holds on every path.
    """
    products = sum(y * (x - failure_ratio_max) for y, x in zip(queue, failed, strict=True))
    return lemma_1_constant(request_rate, failure_ratio_max) * len(queue) + products


def lemma_2_constant(request_rate, failure_ratio_max, frame_slots):
    """B_{k,2} = B_{k,1} + (T−1) [(1−ε) λ_k + ε²] / 2, per slot"""
    grown = (frame_slots - 1) * ((1 - failure_ratio_max) * request_rate + failure_ratio_max**2) / 2
    return lemma_1_constant(request_rate, failure_ratio_max) + grown


def lemma_2(frame_queue, failed, request_rate, failure_ratio_max):
    """B_{k,2} T + Y_k[qT] Σ_{n∈T_q} (X_k[n] − ε), the right side of Lemma 2 (17)

    frame_queue: Y_k[qT]. failed: (T,). With request_rate = Σ a_k / T it too holds on every path: the queue has grown by at most
    1−ε per failure so far, so m failures give Σ_n X_k[n] (Y_k[n] − Y_k[qT]) ≤ (1−ε) m (m−1)/2 ≤ (1−ε) (T−1)/2 Σ a_k. (The paper's
    proof lets it grow by 1−ε per slot, (38), and that step holds only in the mean.)
    """
    backlog = frame_queue * sum(x - failure_ratio_max for x in failed)
    return lemma_2_constant(request_rate, failure_ratio_max, len(failed)) * len(failed) + backlog


# --------------------------------------------------------------------------------------------------------------- environment


class Reference:
    """The environment: `reset`, then in each slot `observe` (and `global_state`), then `step` with everybody's action.

    scenario: read by attribute, `scenario.two_timescale.*`, `scenario.users.*`, `scenario.backhaul.link_rate_bps`.
    network: width_m, sites_xy_m (sites, 2), server_sites (servers,), cpu_hz (servers,), and tracks: None, or a record of
    time_s (tracks, fixes) padded with inf, xy_m (tracks, fixes, 2), duration_s (tracks,).
    """

    def __init__(self, scenario, network):
        self.constants = scenario.two_timescale
        self.movement = scenario.users
        self.link_rate_bps = float(scenario.backhaul.link_rate_bps)
        self.width = float(network.width_m)
        self.sites = np.asarray(network.sites_xy_m, dtype=float)
        self.server_sites = [int(m) for m in np.asarray(network.server_sites)]
        self.server_hz = np.asarray(network.cpu_hz, dtype=float)
        self.tracks = network.tracks
        self.K, self.M, self.S = int(scenario.users.count), len(self.sites), len(self.server_sites)

    # -- time

    def reset(self, start, noise):
        """Slot 0: users where `start` puts them, each twin on the server nearest to its user, all queues empty."""
        self.slot = 0
        self.start = start
        if self.tracks is None:
            self.position = np.array(start.position_m, dtype=float)
            self.speed = np.array(start.mean_speed_mps, dtype=float)
            self.mean_speed = self.speed.copy()
            self.direction = np.array(start.mean_direction_rad, dtype=float)
            self.mean_direction = self.direction.copy()
        else:
            self._place_on_tracks()
        self.host = np.array([nearest(u, self.sites[self.server_sites]) for u in self.position])
        self.seen_serving = self._nearest_sites()
        self.migration_left = np.zeros(self.K, dtype=int)
        self.queue = np.zeros(self.K)
        self.frame_queue = self.queue.copy()
        self._draw(noise)

    def step(self, action, next_noise):
        """Slot n: who serves and hosts whom, what everybody gets, what fails and costs; then on to slot n+1."""
        c = self.constants
        migrated = self._deploy(np.asarray(action.centre, dtype=int)[0])
        migrating = self.migration_left > 0
        serving = self._associate(np.asarray(action.users, dtype=float))
        host_site = np.array([self.server_sites[s] for s in self.host])
        transmitting = self.active & ~migrating
        cpu_scores, link_scores = np.split(np.asarray(action.stations, dtype=float), 2, axis=1)

        radiating = ~migrating if c.transmitters == "all" else transmitting
        power = np.where(radiating, np.asarray(action.users, dtype=float)[:, 0] * c.tx_power_max_w, 0.0)
        ratio = np.array([sinr(k, power, self.gain, serving, c.noise_power_w, c.interference) for k in range(self.K)])
        rates = np.array([rate(c.bandwidth_hz, ratio[k]) for k in range(self.K)])

        cpu, link, times = np.zeros(self.K), np.zeros(self.K), np.zeros(self.K)
        failed, energies, penalties = np.zeros(self.K, dtype=bool), np.zeros(self.K), np.zeros(self.K)
        for k in range(self.K):
            hosted = [i for i in range(self.K) if transmitting[i] and self.host[i] == self.host[k]]
            cpu[k] = share(k, hosted, cpu_scores[host_site[k]]) * self.server_hz[self.host[k]]
            on_link = self._users_on_link(serving[k], host_site[k], serving, host_site, transmitting)
            link[k] = inf if serving[k] == host_site[k] else share(k, on_link, link_scores[serving[k]]) * self.link_rate_bps
            if self.active[k]:
                times[k] = inf if migrating[k] else delay(self.data[k], self.cycles[k], rates[k], link[k], cpu[k])
            failed[k] = fails(self.active[k], migrating[k], times[k], c.latency_limit_s)
            if transmitting[k]:
                energies[k] = energy(power[k], self.data[k], rates[k], c.latency_limit_s)
            penalties[k] = drift_plus_penalty(
                energies[k], self.frame_queue[k], failed[k], self.K, c.energy_scale_j, c.control_factor, c.failure_ratio_max
            )

        virtual = np.asarray(action.centre, dtype=int)[0]
        virtual_times = [
            self._virtual_time(k, virtual[k], serving, host_site, transmitting, cpu_scores, link_scores) for k in range(self.K)
        ]
        record = Record(
            position_m=self.position.copy(),
            gain=self.gain.copy(),
            active=self.active.copy(),
            data_bits=self.data.copy(),
            cycles_per_bit=self.cycles.copy(),
            serving=serving,
            host=self.host.copy(),
            migrating=migrating,
            power_w=power,
            sinr=ratio,
            rate_bps=rates,
            cpu_hz=cpu,
            link_bps=link,
            delay_s=times,
            failed=failed,
            energy_j=energies,
            queue_after=np.array([next_queue(self.queue[k], failed[k], c.failure_ratio_max) for k in range(self.K)]),
            reward_global=float(reward_global(penalties)),
            reward_centre=float(reward_centre(virtual_times, self.active)),
            migrated=migrated,
        )
        self._advance(record, next_noise)
        return record

    def _advance(self, record, noise):
        self.slot += 1
        self.queue = record.queue_after.copy()
        if self.slot % self.constants.frame_slots == 0:
            self.frame_queue = self.queue.copy()
        self.migration_left = np.maximum(self.migration_left - 1, 0)
        if self.tracks is None:
            self._move(noise)
        else:
            self._place_on_tracks()
        self.seen_serving = record.serving if self.constants.association == "learned" else self._nearest_sites()
        self._draw(noise)

    # -- what a slot draws

    def _draw(self, noise):
        """The channels (5) and the requests Ω_k = (D_k, C_k, τ_k) of this slot."""
        c = self.constants
        fading = np.asarray(noise.fading, dtype=float)
        self.gain = np.zeros((self.K, self.M))
        for k in range(self.K):
            for m in range(self.M):
                self.gain[k, m] = channel_gain(self._mean_gain(k, m), c.rician_factor, *fading[k, m])
        self.active = np.asarray(noise.request, dtype=float) < c.request_probability
        (data_min, data_max), (cycles_min, cycles_max) = c.data_bits, c.cycles_per_bit
        self.data = data_min + (data_max - data_min) * np.asarray(noise.data, dtype=float)
        self.cycles = cycles_min + (cycles_max - cycles_min) * np.asarray(noise.cycles, dtype=float)

    def _mean_gain(self, k, m):
        c = self.constants
        return mean_gain(distance(self.position[k], self.sites[m]), c.reference_gain, c.path_loss_exponent, c.distance_min_m)

    def _move(self, noise):
        """(1)-(4): the position by the last slot's speed and direction, then this slot's speed and direction, then the walls."""
        u, speed_normal, direction_normal = self.movement, np.asarray(noise.speed, float), np.asarray(noise.direction, float)
        for k in range(self.K):
            x, y = next_position(
                self.position[k][0], self.position[k][1], self.speed[k], self.direction[k], self.constants.slot_s
            )
            self.speed[k] = next_speed(self.speed[k], self.mean_speed[k], u.speed_memory, u.speed_noise_mps, speed_normal[k])
            direction = next_direction(
                self.direction[k], self.mean_direction[k], u.direction_memory, u.direction_noise_rad, direction_normal[k]
            )
            x, y, self.direction[k], self.mean_direction[k] = reflect(x, y, direction, self.mean_direction[k], self.width)
            self.position[k] = x, y

    def _place_on_tracks(self):
        self.position = np.zeros((self.K, 2))
        for k in range(self.K):
            track = int(self.start.track[k])
            self.position[k] = track_position(
                float(self.start.phase_s[k]) + self.slot * self.constants.slot_s,
                np.asarray(self.tracks.time_s, dtype=float)[track],
                np.asarray(self.tracks.xy_m, dtype=float)[track],
                float(self.tracks.duration_s[track]),
                np.asarray(self.start.place_m, dtype=float)[k],
                float(self.start.rotation_rad[k]),
                self.width,
            )

    # -- what actions decide

    def _deploy(self, wanted):
        """β_k(q), (25): taken at slot qT, q ≥ 1; a twin that moves is away for G slots from this one on. Returns who moves."""
        if self.slot == 0 or self.slot % self.constants.frame_slots != 0:
            return np.zeros(self.K, dtype=bool)
        moves = wanted != self.host
        self.host = wanted.copy()
        self.migration_left = np.where(moves, self.constants.migration_slots, 0)
        return moves

    def _associate(self, users):
        """α_{k,m}: the nearest site, or the best score where users learn it (21)."""
        if self.constants.association == "nearest":
            return self._nearest_sites()
        return np.array([int(np.argmax(users[k, 1:])) for k in range(self.K)])

    def _nearest_sites(self):
        return np.array([nearest(u, self.sites) for u in self.position])

    def _users_on_link(self, source, target, serving, host_site, transmitting):
        """ζ_{k,i,j} = 1: the users that send from site i = source to site j = target."""
        return [i for i in range(self.K) if transmitting[i] and serving[i] == source and host_site[i] == target]

    def _virtual_time(self, k, server, serving, host_site, transmitting, cpu_scores, link_scores):
        """(27) for user k when it alone had its twin on `server`, all others where they really are."""
        site = self.server_sites[server]
        hosted = [i for i in range(self.K) if i != k and transmitting[i] and self.host[i] == server]
        cpu = share(k, [*hosted, k], cpu_scores[site]) * self.server_hz[server]
        others = [i for i in self._users_on_link(serving[k], site, serving, host_site, transmitting) if i != k]
        link = inf if serving[k] == site else share(k, [*others, k], link_scores[serving[k]]) * self.link_rate_bps
        return virtual_time(self.data[k], self.cycles[k], link, cpu, self.constants.slot_s)

    # -- what agents see

    def observe(self):
        """What every agent sees before it acts in this slot, each number scaled to about [−1, 1]."""
        return Observation(
            users=np.array([self._user_observation(k) for k in range(self.K)]),
            stations=np.array([self._station_observation(m) for m in range(self.M)]),
            centre=np.array([self._centre_observation()]),
        )

    def global_state(self):
        """s[n], for the critics: all users, and how far the frame is."""
        numbers = []
        for k in range(self.K):
            data, cycles, _, flag = self._request(k)
            numbers += [*self._place(k), flag, data, cycles, self._backlog(k), float(self.migration_left[k] > 0)]
            numbers += one_hot(self.seen_serving[k], self.M) + one_hot(self.host[k], self.S)
        return np.array([*numbers, self.slot % self.constants.frame_slots / self.constants.frame_slots])

    def _user_observation(self, k):
        """o_k = {k, u_k, q_m, Ω_k} and Y_k[qT]; "extended": also its own fading, and how many are active (20)"""
        numbers = [(k + 1) / self.K, *self._place(k), *self._site_places(), *self._request(k), self._backlog(k)]
        if self.constants.observation == "extended":
            m = self.seen_serving[k]
            here = [i for i in range(self.K) if self.active[i] and self.seen_serving[i] == m]
            numbers += [self.gain[k, m] / self._mean_gain(k, m), sum(self.active) / self.K, len(here) / self.K]
        return numbers

    def _station_observation(self, m):
        """o_{K+m} = {m, q, and for every user a_k, α_{k,m}, whether its twin is here, α_k, u_k, Ω_k} (22)"""
        numbers = [(m + 1) / self.M, *self._site_places()]
        for k in range(self.K):
            data, cycles, limit, flag = self._request(k)
            serving, host_site = self.seen_serving[k], self.server_sites[self.host[k]]
            numbers += [flag, float(serving == m), float(host_site == m), *one_hot(serving, self.M)]
            numbers += [*self._place(k), data, cycles, limit]
        return numbers

    def _centre_observation(self):
        """o_{K+M+1} = {α_k, β_k, q_m, u_k} and Y_k[qT] (24)"""
        numbers = self._site_places()
        for k in range(self.K):
            numbers += [*one_hot(self.seen_serving[k], self.M), *one_hot(self.host[k], self.S), *self._place(k), self._backlog(k)]
        return numbers

    def _place(self, k):
        return [2 * x / self.width - 1 for x in self.position[k]]

    def _site_places(self):
        return [2 * x / self.width - 1 for site in self.sites for x in site]

    def _request(self, k):
        """D, C, τ and the request flag, all 0 when idle."""
        c = self.constants
        if not self.active[k]:
            return [0.0, 0.0, 0.0, 0.0]
        return [self.data[k] / c.data_bits[1], self.cycles[k] / c.cycles_per_bit[1], c.latency_limit_s / c.slot_s, 1.0]

    def _backlog(self, k):
        return np.log1p(self.frame_queue[k]) / 5


def one_hot(index, size):
    """[0, …, 1, …, 0] of `size` numbers with the 1 at `index`"""
    return [1.0 if i == index else 0.0 for i in range(size)]
