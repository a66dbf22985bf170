"""Heads against SciPy: what outputs mean, log-probabilities, entropies, the law of what is drawn, and what is decided."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from edgetwin.learning import heads

DRAWS = 40_000
OUTPUTS = np.array([[-3.0, 2.0], [0.0, 0.0], [1.5, -1.0], [4.0, 5.5], [-1.0, -9.0], [-2.0, 9.0], [0.3, 3.0]])


def softplus_law(outputs):
    return stats.beta(*(1 + np.log1p(np.exp(outputs))).T)


def mode_law(outputs):
    mode, concentration = special.expit(outputs[..., 0]), (10 * np.exp(outputs[..., 1])).clip(2, 2000)
    return stats.beta(1 + concentration * mode, 1 + concentration * (1 - mode))


def gaussian_law(outputs):
    return stats.norm(special.expit(outputs[..., 0]), np.exp(outputs[..., 1] - 1.5).clip(0.01, 0.5))


REAL = {
    "softplus": (heads.beta_by_softplus(), softplus_law),
    "mode": (heads.beta_by_mode(), mode_law),
    "gaussian": (heads.gaussian(), gaussian_law),
}


@pytest.fixture(params=REAL)
def real(request):
    return REAL[request.param]


def drawn(head, outputs, draws=DRAWS, seed=0):
    """What is drawn in many slots from the same outputs (components, parameters): (slots, components)."""
    noise = head.noise(jax.random.key(seed), draws, outputs.shape[:1])
    return np.asarray(jax.jit(jax.vmap(lambda own: head.draw(jnp.array(outputs), own)))(noise))


def test_log_probability_and_entropy_are_scipys(real):
    head, law = real
    action = law(OUTPUTS).ppf(np.array([0.01, 0.3, 0.5, 0.9, 0.999])[:, None]).astype(np.float32)
    found = head.log_prob(jnp.array(OUTPUTS), jnp.array(action))
    np.testing.assert_allclose(found, law(OUTPUTS).logpdf(action.astype(float)), atol=2e-3)
    np.testing.assert_allclose(head.entropy(jnp.array(OUTPUTS)), law(OUTPUTS).entropy(), atol=1e-4)


def test_draws_follow_the_law(real):
    """Kolmogorov and Smirnov's test for each component, a chance of 1e-3; components and slots are independent."""
    head, law = real
    action = drawn(head, OUTPUTS)
    for component, outputs in enumerate(OUTPUTS):
        assert stats.kstest(action[:, component], law(outputs).cdf).pvalue > 1e-3, outputs
    together = np.corrcoef(np.concatenate([action[:-1], action[1:]], axis=1).T) - np.eye(2 * len(OUTPUTS))
    assert np.abs(together).max() < 4.5 / np.sqrt(DRAWS)


def test_what_is_decided():
    """The mean of the printed Beta, the mode of the other; of a Gaussian both."""
    decided = {name: np.asarray(head.best(jnp.array(OUTPUTS))) for name, (head, _) in REAL.items()}
    assert decided["softplus"] == pytest.approx(softplus_law(OUTPUTS).mean(), abs=1e-6)
    assert decided["gaussian"] == pytest.approx(gaussian_law(OUTPUTS).mean(), abs=1e-6)
    head, law = REAL["mode"]
    beside = np.clip(decided["mode"] + np.array([[-1e-3], [1e-3]]), 1e-6, 1 - 1e-6)
    assert (law(OUTPUTS).logpdf(decided["mode"]) > law(OUTPUTS).logpdf(beside)).all()


def test_concentration_has_ends():
    """A deviation of at most about .22 and at least .011 in the middle, whatever the network says."""
    for output, deviation in ((-50.0, 0.2236), (50.0, 0.0112)):
        first, second = (float(shape) for shape in heads.mode_shape(jnp.array([0.0, output])))
        assert stats.beta(first, second).std() == pytest.approx(deviation, abs=1e-4)
        assert min(first, second) > 1
    slope = jax.grad(lambda outputs: heads.beta_by_mode().log_prob(outputs, jnp.array(0.4)))(jnp.array([0.2, 1.0]))
    step = 1e-3
    by_hand = [
        (mode_law(np.array([0.2, 1.0]) + step * axis).logpdf(0.4) - mode_law(np.array([0.2, 1.0]) - step * axis).logpdf(0.4))
        / (2 * step)
        for axis in np.eye(2)
    ]
    assert slope == pytest.approx(np.array(by_hand), abs=1e-3)


def test_only_the_gaussian_leaves_the_bounds_and_is_clipped_there():
    outputs = np.array([[5.0, 0.0], [-5.0, 0.0]])
    for name, (head, _) in REAL.items():
        action = drawn(head, outputs, 2000)
        inside = (action > 0) & (action < 1)
        assert inside.all() == (name != "gaussian")
        bounded = np.asarray(head.bound(jnp.array(action)))
        assert ((bounded >= 0) & (bounded <= 1)).all() and (bounded[inside] == action[inside]).all()


LOGITS = np.array([[0.0, 1.0, -1.0, 2.0], [3.0, 3.0, 3.0, 3.0], [-20.0, 5.0, 5.1, -20.0]])


def test_choices_come_as_often_as_the_softmax_says():
    head, expected = heads.categorical(4), special.softmax(LOGITS, axis=1)
    chosen = drawn(head, LOGITS)
    assert chosen.min() == 0 and chosen.max() == 3
    for component, share in enumerate(expected):
        counts, likely = np.bincount(chosen[:, component], minlength=4), share * DRAWS > 1
        assert counts[~likely].sum() <= 1
        assert stats.chisquare(counts[likely], share[likely] / share[likely].sum() * counts[likely].sum()).pvalue > 1e-3
    table = np.histogram2d(chosen[:, 0], chosen[:, 1], bins=4)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-3, "components are independent"


def test_choices_probabilities_entropies_and_the_best():
    head, outputs = heads.categorical(4), jnp.array(LOGITS)
    logs = np.stack([head.log_prob(outputs, jnp.full(3, choice)) for choice in range(4)], axis=1)
    np.testing.assert_allclose(logs, special.log_softmax(LOGITS, axis=1), atol=1e-5)
    assert np.exp(logs.astype(float)).sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert head.entropy(outputs) == pytest.approx(stats.entropy(special.softmax(LOGITS, axis=1), axis=1), abs=1e-6)
    assert np.asarray(head.best(outputs)).tolist() == [3, 0, 2]
    assert np.asarray(head.draw(outputs, jnp.full(3, 1 - 2**-24))).tolist() == [3, 3, 2], (
        "rounding leads to no choice that there is not"
    )


def test_noise_of_other_slots_and_keys_is_other_noise():
    for head in (*(head for head, _ in REAL.values()), heads.categorical(3)):
        one, other = (np.asarray(head.noise(jax.random.key(seed), 50, (3, 2))) for seed in (0, 1))
        assert one.shape == (50, 3, 2)
        assert len(np.unique(np.concatenate([one.ravel(), other.ravel()]))) == 600
