"""The failure queue and the bounds on its drift: by hand, on every path with the realised requests, and in the mean over requests."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.two_timescale import lyapunov

SAMPLES = 4000
FRAMES = st.sampled_from([1, 2, 7, 20])
shares = st.floats(0, 1)


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def queues_of(queue, failed, ratio):
    """Y over a frame and after it, by (15). queue: (…), failed: (slots, …) → (slots + 1, …)."""
    path = [queue]
    for fails in failed:
        path.append(np.maximum(path[-1] + fails - ratio, 0))
    return np.array(path)


def never(requests, queue, slot, rng):
    return np.zeros_like(requests)


def always(requests, queue, slot, rng):
    return requests


def at_random(requests, queue, slot, rng):
    return requests * (rng.random(requests.shape) < 0.4)


def in_bursts(requests, queue, slot, rng):
    return requests * (slot % 8 < 4)


def while_the_queue_is_short(requests, queue, slot, rng):
    return requests * (queue < 2)


def while_the_queue_is_long(requests, queue, slot, rng):
    return requests * (queue > 2)


POLICIES = [never, always, at_random, in_bursts, while_the_queue_is_short, while_the_queue_is_long]


def frames(policy, request_probability, ratio, slots, start, seed):
    """`SAMPLES` frames with independent requests, each from a queue of up to `start`: queues (slots + 1, …), failures (slots, …)."""
    rng = np.random.default_rng(seed)
    path, failures = [start * rng.random(SAMPLES)], []
    for slot in range(slots):
        requests = (rng.random(SAMPLES) < request_probability).astype(float)
        failures.append(policy(requests, path[-1], slot, rng))
        path.append(np.maximum(path[-1] + failures[-1] - ratio, 0))
    return np.array(path), np.array(failures)


def holds_in_the_mean(left, right):
    """E[left] ≤ E[right], of independent pairs, up to five standard errors of the difference."""
    spare = np.asarray(right, float) - np.asarray(left, float)
    return spare.mean() >= -5 * spare.std() / np.sqrt(len(spare)) - 1e-9


def test_queue_by_hand():
    queue = np.array([0.0, 0.0, 0.5, 0.1, 3.0])
    failed = np.array([False, True, True, False, False])
    assert lyapunov.queue_step(queue, failed, 0.2) == pytest.approx([0, 0.8, 1.3, 0, 2.8])


def test_drift_by_hand():
    """T = 3, ε = 0.2, failures in the first and last slot, requests in both: Y = 0, 0.8, 0.6, then 1.4."""
    failed = np.array([1.0, 0, 1])
    path = queues_of(0.0, failed, 0.2)
    assert path == pytest.approx([0, 0.8, 0.6, 1.4])
    assert lyapunov.frame_drift(path[0], path[-1]) == pytest.approx(0.98)
    assert lyapunov.lemma_1_bound(path[:-1], failed, 2 / 3, 0.2) == pytest.approx(0.5 * (2 + 3 * 0.04) + 0.8 * -0.2 + 0.6 * 0.8)
    assert lyapunov.lemma_2_bound(path[0], failed, 2 / 3, 0.2) == pytest.approx(1.06 + 0.8 * 2 + 3 * 0.04)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), slots=FRAMES, ratio=shares, start=st.floats(0, 30))
def test_both_lemmas_hold_on_every_path(data, slots, ratio, start):
    """With the realised Σ a_k / T in place of λ, whatever was requested and whatever of it failed."""
    flags = st.lists(st.booleans(), min_size=slots, max_size=slots)
    requests = np.array(data.draw(flags), float)
    failed = requests * np.array(data.draw(flags), float)
    path = queues_of(start, failed, ratio)
    drift = lyapunov.frame_drift(path[0], path[-1])
    assert drift <= lyapunov.lemma_1_bound(path[:-1], failed, requests.mean(), ratio) + 1e-9
    assert drift <= lyapunov.lemma_2_bound(path[0], failed, requests.mean(), ratio) + 1e-9


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=12, deadline=None)
@given(rate=shares, ratio=shares, slots=FRAMES, start=st.sampled_from([0.0, 1.0, 20.0]), seed=st.integers(0, 2**32 - 1))
def test_both_lemmas_and_18_hold_in_the_mean(policy, rate, ratio, slots, start, seed):
    """With λ itself, over frames with independent requests; and (18), which adds the energy to both sides of Lemma 2."""
    path, failed = frames(policy, rate, ratio, slots, start, seed)
    drift = lyapunov.frame_drift(path[0], path[-1])
    assert holds_in_the_mean(drift, lyapunov.lemma_1_bound(path[:-1], failed, rate, ratio))
    assert holds_in_the_mean(drift, lyapunov.lemma_2_bound(path[0], failed, rate, ratio))

    users, energy = 4, 1e-3 * (failed + 0.3)
    by_network = path.reshape(slots + 1, -1, users), failed.reshape(slots, -1, users), energy.reshape(slots, -1, users)
    left = 1.7 * np.asarray(drift).reshape(-1, users).mean(axis=1) + by_network[2].mean(axis=(0, 2)) / 2e-3
    bound = jax.vmap(bound_18, in_axes=(1, 0, 1, None, None))
    assert holds_in_the_mean(left, bound(by_network[2], by_network[0][0], by_network[1], rate, ratio))


def bound_18(energy, queue, failed, rate, ratio):
    return lyapunov.drift_plus_penalty_bound(
        energy, queue, failed, energy_scale_j=2e-3, control_factor=1.7, request_probability=rate, failure_ratio_max=ratio
    )


@pytest.mark.parametrize("start", [0.0, 3.0])
@pytest.mark.parametrize("slots", [1, 7])
def test_the_lemmas_leave_nothing_where_they_are_exact(start, slots):
    """No smaller constants would do: every request fails at ε = 0, and none comes at ε = 1 on a queue that stays above 0."""
    failed = np.ones(slots)
    path = queues_of(start, failed, 0.0)
    drift = lyapunov.frame_drift(path[0], path[-1])
    assert lyapunov.lemma_1_bound(path[:-1], failed, 1.0, 0.0) == pytest.approx(drift)
    assert lyapunov.lemma_2_bound(path[0], failed, 1.0, 0.0) == pytest.approx(drift)
    path = queues_of(start + slots, np.zeros(slots), 1.0)
    drift = lyapunov.frame_drift(path[0], path[-1])
    assert lyapunov.lemma_1_bound(path[:-1], np.zeros(slots), 0.0, 1.0) == pytest.approx(drift)
    assert lyapunov.lemma_2_bound(path[0], np.zeros(slots), 0.0, 1.0) == pytest.approx(drift)


def test_drift_plus_penalty_by_hand():
    penalty = lyapunov.drift_plus_penalty(
        np.array([2e-3, 0.0, 1e-3, 0.0]),
        np.array([0.5, 0.5, 0.0, 4.0]),
        np.array([True, False, True, True]),
        energy_scale_j=1e-3,
        control_factor=3.0,
        failure_ratio_max=0.2,
        users=4,
    )
    assert penalty == pytest.approx([(2 + 3 * 0.5 * 0.8) / 4, -3 * 0.5 * 0.2 / 4, 1 / 4, 3 * 4 * 0.8 / 4])


def test_18_by_hand():
    """Two users, two slots, λ = ½, ε = 0.2: B₂ = (½ + 0.04)/2 + (0.8·½ + 0.04)/2 = 0.49."""
    energy = np.array([[2e-3, 0.0], [0.0, 4e-3]])
    failed = np.array([[0.0, 1.0], [0.0, 0.0]])
    bound = bound_18(energy, np.array([1.0, 3.0]), failed, 0.5, 0.2)
    assert bound == pytest.approx(1.7 * (0.49 * 2 + (1.0 * -0.4 + 3.0 * 0.6) / 2) + 1.5e-3 / 2e-3)
