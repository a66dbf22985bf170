"""The two-timescale network (Liu et al., sections II and III) in plain PyTorch, many environments side by side: `happo_torch.py`'s world.

It stands alone and needs nothing but PyTorch; `tests/thirdparty/test_torch_happo.py` holds it against edgetwin's own task. What nobody's
decisions change (movement, channels, requests) is worked out for a block of slots ahead; what they do change is stepped slot by slot.
Shapes: S slots, E environments, K users, M sites, each with a server. Physical interference, active users only, nearest association.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

PHYSICAL = {
    "width_m": 1000.0,
    "sites_m": [[778.18, 221.82], [221.82, 221.82], [778.18, 778.18], [495.71, 504.29], [218.71, 781.29]],
    "users": 30,
    "mean_speed_mps": (2.0, 10.0),
    "speed_memory": 0.9,
    "direction_memory": 0.9,
    "speed_noise_mps": 1.0,
    "direction_noise_rad": 0.3,
    "cpu_hz": 10e9,
    "link_rate_bps": 10e6,
    "bandwidth_hz": 10e6,
    "noise_power_w": 1e-9,
    "tx_power_max_w": 0.5,
    "reference_gain": 1e-3,
    "path_loss_exponent": 2,
    "rician_factor": 10.0,
    "distance_min_m": 1.0,
    "request_probability": 0.5,
    "data_bits": (15e3, 25e3),
    "cycles_per_bit": (550.0, 700.0),
    "latency_limit_s": 0.030,
    "slot_s": 0.05,
    "frame_slots": 100,
    "frames": 50,
    "migration_slots": 10,
    "failure_ratio_max": 0.02,
    "energy_scale_j": 1e-3,
    "control_factor": 1.0,
}
"""Table I and V-A of the paper, and edgetwin's scenario two-timescale/physical where it is silent."""


class Start(NamedTuple):
    """Where users begin, and their means. (E, K, 2), (E, K), (E, K)."""

    position_m: Tensor
    mean_speed_mps: Tensor
    mean_direction_rad: Tensor


class Noise(NamedTuple):
    """The draws of S slots. Standard normal: speed, direction (S, E, K), fading (S, E, 2, K, M); uniform: request, data, cycles (S, E, K)."""

    speed: Tensor
    direction: Tensor
    fading: Tensor
    request: Tensor
    data: Tensor
    cycles: Tensor


class Movement(NamedTuple):
    """Users under Gauss-Markov movement. (E, K, 2), then (E, K)."""

    position_m: Tensor
    speed_mps: Tensor
    direction_rad: Tensor
    mean_speed_mps: Tensor
    mean_direction_rad: Tensor


class Scenes(NamedTuple):
    """What is so in each slot, whoever decides. (S, E, K, …): the gain to every site, and that to the serving one."""

    position_m: Tensor
    gain: Tensor
    serving_gain: Tensor
    serving: Tensor
    requesting: Tensor
    data_bits: Tensor
    cycles_per_bit: Tensor


class Twins(NamedTuple):
    """What decisions change, (E, K): twins' servers, the slot from which each is back from migrating, Y[n], and Y[qT]."""

    host: Tensor
    back_at: Tensor
    queue: Tensor
    queue_frame: Tensor


class Slot(NamedTuple):
    """What a slot brought. energy_j, failed: (E, K). rewards: (E, 2), r_g of users and stations and r_c of the centre."""

    energy_j: Tensor
    failed: Tensor
    rewards: Tensor


class Observation(NamedTuple):
    """What agents and critics see, agents first: users (K, S, E, 18), stations (M, S, E, 401), centre (1, S, E, 400), state (S, E, 511)."""

    users: Tensor
    stations: Tensor
    centre: Tensor
    state: Tensor


class Sizes(NamedTuple):
    """How many numbers an agent of each class and a critic see."""

    users: int
    stations: int
    centre: int
    state: int


class World:
    """The network as functions of its numbers: `ahead` and `blank` for a block of slots, then `see` and `step` in each."""

    def __init__(self, numbers=PHYSICAL):
        self.constants = dict(numbers)
        self.sites_m = torch.tensor(numbers["sites_m"])
        self.users, self.sites = numbers["users"], len(self.sites_m)
        self.frame_slots = numbers["frame_slots"]
        self.slots = numbers["frames"] * self.frame_slots
        self.one_hot = torch.eye(self.sites)
        self.sizes = Sizes(
            users=8 + 2 * self.sites,
            stations=1 + 2 * self.sites + self.users * (8 + self.sites),
            centre=2 * self.sites + self.users * (3 + 2 * self.sites),
            state=self.users * (7 + 2 * self.sites) + 1,
        )

    # -- what happens whatever is decided

    def draw_start(self, environments):
        """Users uniform in the square, mean speeds and directions uniform."""
        slow, fast = self.constants["mean_speed_mps"]
        shape = (environments, self.users)
        position = torch.rand(*shape, 2) * self.constants["width_m"]
        return Start(position, slow + (fast - slow) * torch.rand(shape), 2 * math.pi * torch.rand(shape))

    def draw_noise(self, slots, environments):
        """A block's draws, in two calls."""
        shape = (slots, environments, self.users)
        normal = torch.randn(slots, environments, 2 + 2 * self.sites, self.users)
        fading = normal[:, :, 2:].unflatten(2, (2, self.sites)).transpose(3, 4)
        return Noise(normal[:, :, 0], normal[:, :, 1], fading, *torch.rand(3, *shape))

    def begin(self, start):
        """Slot 0: everybody at the mean speed and direction."""
        return Movement(start.position_m, *start[1:], *start[1:])

    def move(self, movement, speed_noise, direction_noise):
        """Positions, speeds and directions one slot later, reflected at the walls (1)-(4). Noise in m/s and rad, times √(1−μ²)."""
        c, width = self.constants, self.constants["width_m"]
        position, speed, direction, mean_speed, mean_direction = movement
        heading = torch.stack([direction.cos(), direction.sin()], dim=-1)
        position = position + (speed * c["slot_s"])[..., None] * heading
        speed = (c["speed_memory"] * speed + (1 - c["speed_memory"]) * mean_speed + speed_noise).clamp(min=0)
        direction = c["direction_memory"] * direction + (1 - c["direction_memory"]) * mean_direction + direction_noise
        inside = position.clamp(0, width)
        if not torch.equal(inside, position):
            outside = inside != position
            position = 2 * inside - position
            angles = torch.stack([direction, mean_direction])
            angles = torch.where(outside[..., 0], math.pi - angles, angles)
            direction, mean_direction = torch.where(outside[..., 1], -angles, angles)
        return Movement(position, speed, direction, mean_speed, mean_direction)

    def ahead(self, movement, noise):
        """The slot that `movement` stands for and those that follow, one per slot of noise. Returns the last slot's movement and the scenes."""
        c = self.constants
        speed_noise = noise.speed * (c["speed_noise_mps"] * math.sqrt(1 - c["speed_memory"] ** 2))
        direction_noise = noise.direction * (c["direction_noise_rad"] * math.sqrt(1 - c["direction_memory"] ** 2))
        positions = [movement.position_m]
        for drawn in zip(speed_noise[1:].unbind(), direction_noise[1:].unbind(), strict=True):
            movement = self.move(movement, *drawn)
            positions.append(movement.position_m)
        return movement, self.scenes(torch.stack(positions), noise)

    def scenes(self, position, noise):
        """Channels (5), the nearest sites, and requests Ω of slots whose positions are known."""
        c = self.constants
        distance = self.distance(position)
        sight = math.sqrt(c["rician_factor"] / (c["rician_factor"] + 1))
        scatter = math.sqrt(0.5 / (c["rician_factor"] + 1))
        fading = (sight + scatter * noise.fading[:, :, 0]).square() + (scatter * noise.fading[:, :, 1]).square()
        gain = c["reference_gain"] / distance ** c["path_loss_exponent"] * fading
        serving = distance.argmin(dim=-1)

        def between(limits, uniform):
            return limits[0] + (limits[1] - limits[0]) * uniform

        return Scenes(
            position,
            gain,
            gain.gather(-1, serving[..., None])[..., 0],
            serving,
            noise.request < c["request_probability"],
            between(c["data_bits"], noise.data),
            between(c["cycles_per_bit"], noise.cycles),
        )

    def distance(self, position):
        """To every site, m. position: (…, 2) → (…, M)."""
        offset = position[..., None, :] - self.sites_m
        return offset.square().sum(dim=-1).sqrt().clamp(min=self.constants["distance_min_m"])

    # -- what decisions change

    def deploy(self, position):
        """The twins of slot 0: each at the server nearest to its user, all queues empty. position: (E, K, 2)."""
        host = self.distance(position).argmin(dim=-1)
        nothing = torch.zeros(host.shape)
        return Twins(host, torch.zeros_like(host), nothing, nothing)

    def step(self, slot, scene, twins, power_share, scores, choice):
        """One slot. Returns (Twins, Slot).

        slot: the number of this slot in its episode. scene: its part of `Scenes`. power_share: (E, K), of P_max. scores: (E, M, 2K), CPU
        scores and then link scores of every station. choice: (E, K), the centre's servers, which count where a frame starts (25).
        """
        c = self.constants
        host, back_at, queue, queue_frame = twins
        if slot % self.frame_slots == 0 and slot > 0:
            back_at = torch.where(choice != host, slot + c["migration_slots"], back_at)
            host = choice
        migrating = back_at > slot
        sending = scene.requesting & ~migrating

        power = torch.where(sending, power_share * c["tx_power_max_w"], 0.0)
        heard = torch.bmm(power[:, None], scene.gain)[:, 0].gather(1, scene.serving)
        wanted = power * scene.serving_gain
        sinr = wanted / ((heard - wanted).clamp(min=0) + c["noise_power_w"])  # (7)
        uplink_s = scene.data_bits / (c["bandwidth_hz"] / math.log(2) * sinr.log1p())  # (8)

        cpu_scores, link_scores = scores.split(self.users, dim=2)
        cpu_own = cpu_scores.gather(1, host[:, None])[:, 0]
        link_own = link_scores.gather(1, scene.serving[:, None])[:, 0]
        link, wired = scene.serving * self.sites + host, scene.serving != host
        cpu_total = self._totals(cpu_own, host, sending, self.sites)
        link_total = self._totals(link_own, link, sending & wired, self.sites**2)
        cycles = scene.data_bits * scene.cycles_per_bit
        computing_s = cycles * cpu_total.gather(1, host) / (cpu_own * c["cpu_hz"])
        wired_s = torch.where(wired, scene.data_bits * link_total.gather(1, link) / (link_own * c["link_rate_bps"]), 0.0)
        late = uplink_s + wired_s + computing_s > c["latency_limit_s"]  # (9)
        failed = scene.requesting & (migrating | late)  # (12)
        energy = torch.where(power > 0, power * uplink_s.clamp(max=c["latency_limit_s"]), 0.0)  # (13)

        excess = torch.where(failed, 1 - c["failure_ratio_max"], -c["failure_ratio_max"])
        reward = -(energy / c["energy_scale_j"] + c["control_factor"] * queue_frame * excess).mean(dim=1)  # (28) of (19)

        def alone(own, total, here, work, rate):
            """(27): the time if this twin alone stood elsewhere, its own score added where it does not count already."""
            shared = total + torch.where(here & sending, 0.0, own)
            return (work * shared / (own * rate)).clamp(max=c["slot_s"])

        there = choice == host
        cpu_there = cpu_scores.gather(1, choice[:, None])[:, 0]
        delay = alone(cpu_there, cpu_total.gather(1, choice), there, cycles, c["cpu_hz"])
        total = link_total.gather(1, scene.serving * self.sites + choice)
        crossing = alone(link_own, total, there, scene.data_bits, c["link_rate_bps"])
        delay = delay + torch.where(choice != scene.serving, crossing, 0.0)
        reward_centre = -torch.where(scene.requesting, delay, 0.0).mean(dim=1)  # (26)

        queue = (queue + excess).clamp(min=0)  # (15)
        if (slot + 1) % self.frame_slots == 0:
            queue_frame = queue
        rewards = torch.stack([reward, reward_centre], dim=1)
        return Twins(host, back_at, queue, queue_frame), Slot(energy, failed, rewards)

    def _totals(self, score, resource, competing, resources):
        """The sum of the competing scores on each resource. (E, resources)."""
        none = torch.zeros(len(score), resources)
        return none.scatter_add_(1, resource, torch.where(competing, score, 0.0))

    # -- what agents see

    def blank(self, scenes, slot):
        """The observations (20), (22), (24) and the critics' state of a block that begins at `slot`, but for what decisions change."""
        slots, environments = scenes.serving.shape[:2]
        users, sites = self.users, self.sites
        c, shape = self.constants, (slots, environments, users)
        place = 2 * scenes.position_m / c["width_m"] - 1
        served = self.one_hot[scenes.serving]
        asked = [scenes.data_bits / c["data_bits"][1], scenes.cycles_per_bit / c["cycles_per_bit"][1]]
        asked += [torch.full(shape, c["latency_limit_s"] / c["slot_s"]), torch.ones(shape)]
        request = torch.where(scenes.requesting[..., None], torch.stack(asked, dim=-1), 0.0)
        flag, request = request[..., 3:], request[..., :3]
        known = (2 * self.sites_m / c["width_m"] - 1).flatten()
        where = known.expand(slots, environments, 2 * sites)
        later = torch.zeros(*shape, 1)

        def with_index(agents, *parts):
            index = (torch.arange(agents) + 1) / agents
            return torch.cat([index[:, None, None, None].expand(agents, slots, environments, 1), *parts], dim=-1)

        per_user = [place, where[:, :, None].expand(*shape, 2 * sites), request, flag, later]
        seen_by_users = with_index(users, torch.cat(per_user, dim=-1).permute(2, 0, 1, 3))

        served_here = served.permute(3, 0, 1, 2)[..., None]
        shared = torch.cat([served, place, request], dim=-1).expand(sites, *shape, sites + 5)
        per_user = torch.cat([flag.expand(sites, *shape, 1), served_here, later.expand(sites, *shape, 1), shared], dim=-1)
        seen_by_stations = with_index(sites, where.expand(sites, slots, environments, 2 * sites), per_user.flatten(3))

        hosted = torch.zeros(*shape, sites)
        seen_by_centre = torch.cat([where, torch.cat([served, hosted, place, later], dim=-1).flatten(2)], dim=-1)
        state = torch.cat([place, flag, request[..., :2], later, later, served, hosted], dim=-1).flatten(2)
        frame = (slot + torch.arange(slots)) % self.frame_slots / self.frame_slots
        state = torch.cat([state, frame[:, None, None].expand(slots, environments, 1)], dim=-1)
        return Observation(seen_by_users, seen_by_stations, seen_by_centre[None], state)

    def see(self, observation, index, slot, twins):
        """Puts what decisions have made of the twins into slot `slot`, the block's `index`-th."""
        sites, backlog, hosted = self.sites, twins.queue_frame.log1p() / 5, self.one_hot[twins.host]
        observation.users[:, index, :, -1] = backlog.T
        stations = observation.stations[:, index, :, 1 + 2 * sites :].unflatten(-1, (self.users, 8 + sites))
        stations[..., 2] = hosted.permute(2, 0, 1)
        centre = observation.centre[0, index, :, 2 * sites :].unflatten(-1, (self.users, 3 + 2 * sites))
        centre[..., sites : 2 * sites] = hosted
        centre[..., -1] = backlog
        state = observation.state[index, :, :-1].unflatten(-1, (self.users, 7 + 2 * sites))
        state[..., 5] = backlog
        state[..., 6] = twins.back_at > slot
        state[..., -sites:] = hosted
