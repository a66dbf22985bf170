"""The Beta distribution against SciPy in double precision: densities, entropies, their gradients, and the law of samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from edgetwin.learning import beta

SHAPES = np.array([1, 1.0001, 1.3, 2, 3.7, 10, 30, 99, 300, 1000, 3000, 10_000], np.float32)
QUANTILES = np.array([1e-4, 0.02, 0.2, 0.5, 0.8, 0.98, 1 - 1e-4])
PAIRS = [(1, 1), (1, 50), (1.5, 3), (20, 1), (300, 900), (10_000, 10_000)]
DRAWS = 200_000

log_prob = jax.jit(beta.log_prob)
log_prob_slopes = jax.jit(jax.grad(lambda *values: jnp.sum(beta.log_prob(*values)), argnums=(0, 1, 2)))
entropy = jax.jit(beta.entropy)
entropy_slopes = jax.jit(jax.grad(lambda *values: jnp.sum(beta.entropy(*values)), argnums=(0, 1)))
draw = jax.jit(beta.draw)


def typical(shapes=SHAPES):
    """x, a and b in single precision: quantiles of every pair of shapes."""
    a, b, quantile = (part.ravel() for part in np.meshgrid(shapes, shapes, QUANTILES))
    x = stats.beta.ppf(quantile, a, b).clip(beta.CLOSEST, 1 - beta.CLOSEST).astype(np.float32)
    return x, a.astype(np.float32), b.astype(np.float32)


def extreme():
    """x, a and b in single precision: every pair of shapes at either end of what a sample may be."""
    a, b, x = (part.ravel() for part in np.meshgrid(SHAPES, SHAPES, np.float32([beta.CLOSEST, 1 - beta.CLOSEST])))
    return x, a, b


def wide(*arrays):
    return tuple(np.asarray(array, np.float64) for array in arrays)


def difference(function, at):
    """The slope of a function in double precision, by a central difference of fourth order."""
    step = 1e-3 * at
    return (8 * (function(at + step) - function(at - step)) - function(at + 2 * step) + function(at - 2 * step)) / (12 * step)


def samples(words, a, b):
    return np.asarray(draw(words, jnp.full(words.shape, float(a)), jnp.full(words.shape, float(b))))


def test_log_prob_of_typical_values_is_scipys():
    x, a, b = typical()
    error = np.abs(log_prob(x, a, b) - stats.beta.logpdf(*wide(x, a, b)))
    assert error[(a < 100) & (b < 100)].max() < 1e-5
    assert error.max() < 1e-4


def test_log_prob_of_extreme_values_is_scipys():
    np.testing.assert_allclose(log_prob(*extreme()), stats.beta.logpdf(*wide(*extreme())), rtol=3e-7, atol=1e-5)


@pytest.mark.parametrize("where", [typical, extreme])
def test_slopes_of_log_prob_are_those_of_the_formula(where):
    of_x, of_a, of_b = log_prob_slopes(*where())
    x, a, b = wide(*where())
    np.testing.assert_allclose(of_a, np.log(x) + special.digamma(a + b) - special.digamma(a), rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(of_b, np.log1p(-x) + special.digamma(a + b) - special.digamma(b), rtol=1e-6, atol=2e-6)
    left, right = (a - 1) / x, (b - 1) / (1 - x)
    assert np.all(np.abs(of_x - (left - right)) <= 3e-7 * (left + right))


def test_slopes_of_log_prob_are_differences_of_scipys():
    _, of_a, of_b = log_prob_slopes(*typical())
    x, a, b = wide(*typical())
    np.testing.assert_allclose(of_a, difference(lambda a: stats.beta.logpdf(x, a, b), a), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(of_b, difference(lambda b: stats.beta.logpdf(x, a, b), b), rtol=1e-5, atol=1e-5)


def test_entropy_and_its_slopes_are_scipys():
    _, a, b = typical()
    a64, b64 = wide(a, b)
    np.testing.assert_allclose(entropy(a, b), stats.beta.entropy(a64, b64), rtol=1e-6, atol=2e-6)
    of_a, of_b = entropy_slopes(a, b)
    np.testing.assert_allclose(of_a, difference(lambda a: stats.beta.entropy(a, b64), a64), rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(of_b, difference(lambda b: stats.beta.entropy(a64, b), b64), rtol=1e-5, atol=2e-6)


@settings(deadline=None, max_examples=50)
@given(st.floats(1, 10_000, width=32), st.floats(1, 10_000, width=32), st.integers(2, 2**20 - 2))
def test_mirrored_parameters_mirror_the_density(a, b, place):
    """At multiples of 2⁻²⁰, for which 1 − x is exact."""
    a, b, x = np.float32(a), np.float32(b), np.float32(place / 2**20)
    assert np.isfinite(log_prob(x, a, b))
    np.testing.assert_allclose(log_prob(x, a, b), log_prob(1 - x, b, a), rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(entropy(a, b), entropy(b, a), atol=2e-6)
    assert entropy(a, b) <= 2e-6


@settings(deadline=None, max_examples=50)
@given(st.floats(1, 10_000, width=32), st.floats(1, 10_000, width=32), st.integers(0, 2**32 - 1))
def test_every_sample_has_a_finite_density_and_slope(a, b, word):
    a, b = np.float32(a), np.float32(b)
    x = draw(np.uint32(word), a, b)
    assert beta.CLOSEST * 0.999 <= float(x) <= 1 - beta.CLOSEST * 0.9
    assert np.isfinite(log_prob(x, a, b)) and np.isfinite(log_prob_slopes(x, a, b)).all()


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_samples_follow_the_law(a, b):
    """Kolmogorov and Smirnov's test, and the first two moments within 4 standard errors: a chance of some 1e-4 each."""
    x, law = samples(jax.random.bits(jax.random.key(0), (DRAWS,)), a, b), stats.beta(a, b)
    assert stats.kstest(x, law.cdf).pvalue > 1e-3
    deviations = (x.astype(np.float64) - law.mean()) / law.std()
    assert abs(deviations.mean()) < 4 / np.sqrt(DRAWS)
    assert abs((deviations**2).mean() - 1) < 4 * np.sqrt(float(law.stats("k")) + 2) / np.sqrt(DRAWS)


def test_words_that_follow_each_other_give_unrelated_samples():
    """Consecutive words, the worst seeds there are: ranks of neighbours 1 to 4 apart fill the square evenly."""
    rank = stats.beta(2, 5).cdf(samples(jnp.arange(DRAWS, dtype=jnp.uint32), 2, 5))
    for apart in range(1, 5):
        counts, _, _ = np.histogram2d(rank[:-apart], rank[apart:], bins=20, range=[(0, 1), (0, 1)])
        assert stats.chisquare(counts.ravel()).pvalue > 1e-3


def test_a_sample_depends_on_its_own_word_and_parameters_only():
    words, a, b = (
        jax.random.bits(jax.random.key(0), (3, 40)),
        jnp.linspace(1, 30, 120).reshape(3, 40),
        jnp.linspace(60, 1, 120).reshape(3, 40),
    )
    together = draw(words, a, b)
    assert together.shape == (3, 40) and len(np.unique(together)) == 120
    np.testing.assert_allclose(draw(words[1, 5:9], a[1, 5:9], b[1, 5:9]), together[1, 5:9], rtol=1e-6)


def test_mean_and_mode():
    _, a, b = typical(SHAPES[2:])
    np.testing.assert_allclose(beta.mean(a, b), stats.beta.mean(*wide(a, b)), rtol=1e-6)
    best = beta.mode(a, b)
    for aside in (-0.01, 0.01):
        assert np.all(log_prob(best, a, b) > log_prob(np.clip(best + aside * np.minimum(best, 1 - best), 1e-6, 1 - 1e-6), a, b))
    np.testing.assert_array_equal(beta.mode(jnp.array([1.0, 1, 3]), jnp.array([1.0, 2, 1])), [0.5, 0, 1])
