"""Facts about the readable environment that can be worked out by hand, so that it may serve as the oracle of the fast one.

Two sites, 500 m apart, in a square of 1 km. Without a line of sight (κ = 0) and with ĥ = 1 a user 100 m from a site has the gain
10⁻³/100² = 10⁻⁷, so with σ² = 10⁻⁹ W each watt of its power is worth an SNR of 100. A request is 20 kbit at 1000 cycles per bit:
20 ms on a whole CPU of 1 GHz, 2 ms on a whole link of 10 Mbit/s, 10 ms at an SINR of 3 in 1 MHz.
"""

from math import inf, log1p, log2, pi, sqrt
from types import SimpleNamespace

import numpy as np
import pytest

from edgetwin.two_timescale import reference
from edgetwin.two_timescale.reference import Action, Noise, Reference, Start, TrackStart

NEAR_LEFT, NEAR_RIGHT = (250.0, 600.0), (750.0, 600.0)
SNR_3 = 0.03


def environment(users, server_sites=(0, 1), tracks=None, **changes):
    constants = {
        "bandwidth_hz": 1e6,
        "noise_power_w": 1e-9,
        "tx_power_max_w": 1.0,
        "reference_gain": 1e-3,
        "path_loss_exponent": 2.0,
        "rician_factor": 0.0,
        "distance_min_m": 1.0,
        "request_probability": 0.5,
        "data_bits": (1e4, 3e4),
        "cycles_per_bit": (500.0, 1500.0),
        "latency_limit_s": 0.05,
        "slot_s": 0.1,
        "frame_slots": 2,
        "migration_slots": 1,
        "failure_ratio_max": 0.02,
        "energy_scale_j": 1e-3,
        "control_factor": 2.0,
        "interference": "physical",
        "transmitters": "active",
        "observation": "paper",
        "association": "nearest",
    }
    movement = {"speed_memory": 0.9, "direction_memory": 0.9, "speed_noise_mps": 1.0, "direction_noise_rad": 0.3}
    scenario = SimpleNamespace(
        two_timescale=SimpleNamespace(**{**constants, **changes}),
        users=SimpleNamespace(count=users, **movement),
        backhaul=SimpleNamespace(link_rate_bps=1e7),
    )
    network = SimpleNamespace(
        width_m=1000.0,
        sites_xy_m=np.array([[250.0, 500.0], [750.0, 500.0]]),
        server_sites=np.array(server_sites),
        cpu_hz=np.full(len(server_sites), 1e9),
        tracks=tracks,
    )
    return Reference(scenario, network)


def noise(users, requests=True):
    still = np.zeros(users)
    middle = np.full(users, 0.5)
    wanted = np.where(np.broadcast_to(requests, users), 0.0, 0.9)
    return Noise(still, still, np.broadcast_to((sqrt(2), 0.0), (users, 2, 2)), wanted, middle, middle)


def standing(*positions):
    users = len(positions)
    return Start(np.array(positions), np.zeros(users), np.zeros(users))


def action(power, centre, cpu=None, link=None):
    users = len(power)
    equal = np.ones((2, users))
    stations = np.concatenate([equal if cpu is None else np.array(cpu), equal if link is None else np.array(link)], axis=1)
    return Action(np.array(power, dtype=float).reshape(users, -1), stations, np.array([centre]))


def begin(*positions, requests=True, **changes):
    env = environment(len(positions), **changes)
    env.reset(standing(*positions), noise(len(positions), requests))
    return env


def test_one_user_alone():
    record = begin(NEAR_LEFT).step(action([SNR_3], [0]), noise(1))
    assert record.gain[0] == pytest.approx([1e-7, 1e-3 / (500**2 + 100**2)])
    assert record.sinr[0] == pytest.approx(3)
    assert record.rate_bps[0] == pytest.approx(2e6)
    assert record.link_bps[0] == inf
    assert record.delay_s[0] == pytest.approx(0.010 + 0.020)
    assert record.energy_j[0] == pytest.approx(0.03 * 0.010)
    assert not record.failed[0]
    assert record.reward_global == pytest.approx(-0.3)


def test_rician_gain():
    # κ = 3, ĥ = (1 − j)/√2: |√¾ + ½ (1 − j)/√2|² = ¾ + ¼ + 2 √¾ ½ /√2 = 1 + √⅜
    assert reference.channel_gain(1.0, 3.0, 1.0, -1.0) == pytest.approx(1 + sqrt(3 / 8))


def test_two_users_at_two_sites():
    across = 1e-3 / (500**2 + 100**2)
    physical = begin(NEAR_LEFT, NEAR_RIGHT).step(action([0.5, 0.2], [0, 1]), noise(2))
    assert physical.serving.tolist() == [0, 1]
    assert physical.sinr[0] == pytest.approx(0.5e-7 / (0.2 * across + 1e-9))
    literal = begin(NEAR_LEFT, NEAR_RIGHT, interference="literal").step(action([0.5, 0.2], [0, 1]), noise(2))
    assert literal.sinr[0] == pytest.approx(0.5e-7 / (0.2e-7 + 1e-9))


def test_idle_user():
    env = begin(NEAR_LEFT, NEAR_LEFT, requests=[True, False])
    record = env.step(action([SNR_3, 1.0], [0, 0]), noise(2))
    assert (record.power_w[1], record.delay_s[1], record.energy_j[1], record.cpu_hz[1]) == (0, 0, 0, 0)
    assert not record.failed[1]
    assert record.sinr[0] == pytest.approx(3)
    assert record.cpu_hz[0] == pytest.approx(1e9)
    heard = begin(NEAR_LEFT, NEAR_LEFT, requests=[True, False], transmitters="all").step(action([SNR_3, 1.0], [0, 0]), noise(2))
    assert heard.sinr[0] == pytest.approx(SNR_3 * 1e-7 / (1e-7 + 1e-9))
    assert heard.energy_j[1] == 0


def test_cpu_shares():
    env = begin(NEAR_LEFT, NEAR_LEFT)
    assert env.step(action([1, 1], [0, 0]), noise(2)).cpu_hz == pytest.approx([5e8, 5e8])
    assert env.step(action([1, 1], [0, 0], cpu=[[0.1, 0.3], [1, 0]]), noise(2)).cpu_hz == pytest.approx([2.5e8, 7.5e8])
    none = env.step(action([1, 1], [0, 0], cpu=[[0, 0], [1, 1]]), noise(2))
    assert none.cpu_hz.tolist() == [0, 0]
    assert none.delay_s.tolist() == [inf, inf]
    assert none.failed.all()


def test_link_to_the_only_server():
    """The server stands at the right site: users served on the left share the link, users on the right need none."""
    env = begin(NEAR_LEFT, NEAR_LEFT, NEAR_RIGHT, server_sites=(1,))
    record = env.step(action([0.5, 0.5, 0.5], [0, 0, 0], cpu=[[0, 0, 0], [1, 1, 2]], link=[[1, 4, 7], [0, 0, 0]]), noise(3))
    assert record.host.tolist() == [0, 0, 0]
    assert record.link_bps == pytest.approx([2e6, 8e6, inf])
    assert record.cpu_hz == pytest.approx([2.5e8, 2.5e8, 5e8])
    rate = 1e6 * log2(1 + record.sinr[1])
    assert record.delay_s[1] == pytest.approx(2e4 / rate + 2e4 / 8e6 + 2e7 / 2.5e8)


def test_migration_fails_requests_and_waits_for_the_frame():
    env = begin(NEAR_LEFT)
    there = action([SNR_3], [1])
    records = [env.step(there, noise(1)) for _ in range(4)]
    assert [int(r.host[0]) for r in records] == [0, 0, 1, 1]
    assert [bool(r.migrated[0]) for r in records] == [False, False, True, False]
    assert [bool(r.migrating[0]) for r in records] == [False, False, True, False]
    assert [bool(r.failed[0]) for r in records] == [False, False, True, False]
    assert (records[2].power_w[0], records[2].energy_j[0], records[2].delay_s[0]) == (0, 0, inf)
    assert records[3].delay_s[0] == pytest.approx(0.010 + 0.002 + 0.020)


def test_energy_stops_at_the_deadline():
    env = begin(NEAR_LEFT)
    weak = env.step(action([1e-6], [0]), noise(1))
    assert weak.failed[0]
    assert weak.energy_j[0] == pytest.approx(1e-6 * 0.05)
    silent = env.step(action([0.0], [0]), noise(1))
    assert silent.failed[0]
    assert silent.energy_j[0] == 0


def test_reward_uses_the_queue_at_the_start_of_the_frame():
    env = begin(NEAR_LEFT)
    rewards = [env.step(action([0.0], [0]), noise(1)).reward_global for _ in range(3)]
    assert env.queue[0] == pytest.approx(3 * 0.98)
    assert rewards == pytest.approx([0, 0, -2.0 * (2 * 0.98) * 0.98])
    assert env.observe().users[0, -1] == pytest.approx(log1p(2 * 0.98) / 5)


def test_reward_of_the_centre():
    """User 0 tries server 1, where user 1 holds ¾ of the scores: 80 ms, and 2 ms on an empty link. User 1 stays: 20 ms."""
    cpu = [[1, 1], [0.25, 0.75]]
    record = begin(NEAR_LEFT, NEAR_RIGHT).step(action([1, 1], [1, 1], cpu=cpu), noise(2))
    assert record.host.tolist() == [0, 1]
    assert record.reward_centre == pytest.approx(-(0.082 + 0.020) / 2)
    unserved = begin(NEAR_LEFT, NEAR_RIGHT).step(action([1, 1], [1, 1], cpu=[[1, 1], [0, 1]]), noise(2))
    assert unserved.reward_centre == pytest.approx(-(0.102 + 0.020) / 2)
    idle = begin(NEAR_LEFT, NEAR_RIGHT, requests=[False, True]).step(action([1, 1], [1, 1], cpu=cpu), noise(2))
    assert idle.reward_centre == pytest.approx(-0.020 / 2)


def test_reflection_at_a_wall():
    env = environment(1)
    env.reset(Start(np.array([[0.2, 500.0]]), np.array([5.0]), np.array([pi])), noise(1))
    positions = [env.step(action([1.0], [0]), noise(1)).position_m[0] for _ in range(3)]
    assert np.allclose(positions, [[0.2, 500], [0.3, 500], [0.8, 500]])
    assert (env.direction[0], env.mean_direction[0]) == (0, 0)


def test_speed_and_direction_remember():
    assert reference.next_speed(4.0, 9.0, 0.6, 2.0, 0.5) == pytest.approx(0.6 * 4 + 0.4 * 9 + 0.8 * 2 * 0.5)
    assert reference.next_speed(1.0, 1.0, 0.6, 2.0, -5.0) == 0
    assert reference.next_direction(1.0, 2.0, 0.6, 0.3, -1.0) == pytest.approx(0.6 + 0.8 - 0.8 * 0.3)


@pytest.mark.parametrize(
    ("phase", "place", "expected"),
    [(5, (500, 500), (500, 550)), (17, (500, 500), (500, 530)), (25, (500, 500), (500, 550)), (5, (500, 980), (500, 970))],
)
def test_a_track_goes_to_and_fro(phase, place, expected):
    """A track of 100 m east in 10 s, turned north by a quarter."""
    tracks = SimpleNamespace(
        time_s=np.array([[0.0, 10.0, inf]]), xy_m=np.array([[[0.0, 0.0], [100.0, 0.0], [0.0, 0.0]]]), duration_s=np.array([10.0])
    )
    env = environment(1, tracks=tracks)
    env.reset(TrackStart(np.array([0]), np.array([place], float), np.array([pi / 2]), np.array([float(phase)])), noise(1))
    assert np.allclose(env.position[0], expected)
    env.step(action([1.0], [0]), noise(1))
    step = -1 if phase == 17 or place[1] == 980 else 1
    assert np.allclose(env.position[0], (expected[0], expected[1] + step))


def test_learned_association_is_seen_a_slot_later():
    env = begin(NEAR_LEFT, association="learned")
    far = Action(np.array([[1.0, 0.2, 0.7]]), np.ones((2, 2)), np.array([[0]]))
    assert env.seen_serving.tolist() == [0]
    record = env.step(far, noise(1))
    assert record.serving.tolist() == [1]
    assert record.sinr[0] == pytest.approx(1e-3 / (500**2 + 100**2) / 1e-9)
    assert record.link_bps.tolist() == [1e7]
    assert env.seen_serving.tolist() == [1]


def test_observations():
    env = begin(NEAR_LEFT, NEAR_RIGHT, requests=[True, False], observation="extended")
    seen = env.observe()
    sites = [-0.5, 0.0, 0.5, 0.0]
    assert seen.users[0] == pytest.approx([0.5, -0.5, 0.2, *sites, 2 / 3, 2 / 3, 0.5, 1, 0, 1, 0.5, 0.5])
    assert seen.users[1] == pytest.approx([1.0, 0.5, 0.2, *sites, 0, 0, 0, 0, 0, 1, 0.5, 0])
    first, second = [1, 1, 1, 1, 0, -0.5, 0.2, 2 / 3, 2 / 3, 0.5], [0, 0, 0, 0, 1, 0.5, 0.2, 0, 0, 0]
    assert seen.stations[0] == pytest.approx([0.5, *sites, *first, *second])
    assert seen.centre[0] == pytest.approx([*sites, 1, 0, 1, 0, -0.5, 0.2, 0, 0, 1, 0, 1, 0.5, 0.2, 0])
    state = [-0.5, 0.2, 1, 2 / 3, 2 / 3, 0, 0, 1, 0, 1, 0, 0.5, 0.2, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0]
    assert env.global_state() == pytest.approx(state)
    env.step(action([1, 1], [0, 1]), noise(2))
    assert env.global_state()[-1] == 0.5


def test_lemmas_by_hand():
    """T = 3, ε = 0.2, failures in the first and last slot, requests in both: Y = 0, 0.8, 0.6, then 1.4."""
    queue = [0.0]
    for failed in (1, 0, 1):
        queue.append(reference.next_queue(queue[-1], failed, 0.2))
    assert queue == pytest.approx([0, 0.8, 0.6, 1.4])
    assert reference.drift(queue[0], queue[-1]) == pytest.approx(0.98)
    assert reference.lemma_1(queue[:3], (1, 0, 1), 2 / 3, 0.2) == pytest.approx(0.5 * (2 + 3 * 0.04) + 0.8 * -0.2 + 0.6 * 0.8)
    assert reference.lemma_2(queue[0], (1, 0, 1), 2 / 3, 0.2) == pytest.approx(1.06 + 0.8 * 2 + 3 * 0.04)


def test_lemmas_hold_on_every_path():
    """With the realised Σ a_k / T in place of λ, in an environment that fails often, and for bursts of failures."""
    rng = np.random.default_rng(0)
    slots, ratio = 10, 0.2

    def draw():
        normal, uniform = rng.standard_normal, rng.random
        return Noise(normal(3), normal(3), normal((3, 2, 2)), uniform(3), uniform(3), uniform(3))

    env = environment(3, frame_slots=slots, migration_slots=3, failure_ratio_max=ratio)
    env.reset(Start(rng.random((3, 2)) * 1000, np.full(3, 5.0), rng.random(3) * 6), draw())
    for _ in range(30):
        before = []
        records = []
        for _ in range(slots):
            before.append(env.queue.copy())
            choice = Action(rng.random((3, 1)) ** 4, rng.random((2, 6)), rng.integers(0, 2, (1, 3)))
            records.append(env.step(choice, draw()))
        for k in range(3):
            _lemmas_hold([y[k] for y in before], [r.failed[k] for r in records], sum(r.active[k] for r in records) / slots, ratio)
    for burst in range(slots + 1):
        for failed in ([0] * (slots - burst) + [1] * burst, [1] * burst + [0] * (slots - burst)):
            queue = [0.0]
            for x in failed[:-1]:
                queue.append(reference.next_queue(queue[-1], x, ratio))
            _lemmas_hold(queue, failed, burst / slots, ratio)


def _lemmas_hold(queue, failed, request_rate, ratio):
    realised = reference.drift(queue[0], reference.next_queue(queue[-1], failed[-1], ratio))
    assert realised <= reference.lemma_1(queue, failed, request_rate, ratio) + 1e-12
    assert realised <= reference.lemma_2(queue[0], failed, request_rate, ratio) + 1e-12
