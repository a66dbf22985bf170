"""What the base station sees, and that compact observations tell rules all they need."""

import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.network_sync.observation import OBSERVATION_LIMIT, Observer, Sight
from edgetwin.scenario import scenario

USERS, WIDTH = 3, 100.0


def observer(**changes):
    return Observer(scenario("network-sync/a").network_sync.model_copy(update=changes), USERS, WIDTH)


def sight(loss=0.04, ages=(2, 2, 2), left=7, errors=((1.0, -2.0), (0.0, 0.5), (3.0, 0.0))):
    positions = jnp.array([[50.0, 0.0], [-25.0, 10.0], [80.0, -50.0]])
    return Sight(positions, jnp.array(errors), jnp.array(ages), jnp.asarray(loss), jnp.asarray(left))


def test_the_paper_s_state_is_positions_in_half_widths():
    paper = observer(observation="paper")
    assert np.allclose(paper.observe(sight()), [1, 0, -0.5, 0.2, 1.6, -1]) and paper.size == 6


def test_errors_keep_their_signs():
    seen = np.asarray(observer(observation="error", reward_scale=30.0).observe(sight()))
    assert np.allclose(seen[:6], [1, 0, -0.5, 0.2, 1.6, -1])
    assert np.allclose(seen[6:12], np.sign([1, -2, 0, 0.5, 3, 0]) * np.log1p([1, 2, 0, 0.5, 3, 0]))
    assert np.allclose(seen[12:], [np.log1p(30 * 0.04), 1])


@pytest.mark.parametrize("loss", [0.0, 0.04, 3.0, np.inf])
@pytest.mark.parametrize("scale", [0.4, 30.0])
def test_compact_observations_can_be_read_back(loss, scale):
    compact = observer(observation="compact", reward_scale=scale)
    seen = compact.observe(sight(loss))
    known = compact.read(seen)
    assert seen.shape == (compact.size,) == (5,)
    assert np.isfinite(seen).all() and (np.abs(seen) <= OBSERVATION_LIMIT).all()
    assert np.allclose(known.squared_error, (5 + 0.25 + 9) / 3, rtol=1e-4)
    assert np.allclose(known.sync_loss, loss, rtol=1e-4, atol=1e-7)
    assert known.age.tolist() == [2, 2, 2] and int(known.slots_left) == 7


def test_compact_observations_of_partial_packets_tell_users_apart():
    compact = observer(observation="compact", refresh="partial", packet_users=2)
    known = compact.read(compact.observe(sight(ages=(1, 30, 4), left=30)))
    assert compact.observe(sight()).shape == (compact.size,) == (2 * USERS + 3,)
    assert np.allclose(known.squared_error, [5, 0.25, 9], rtol=1e-3)
    assert known.age.tolist() == [1, 30, 4] and int(known.slots_left) == 30


@pytest.mark.parametrize("kind", ["paper", "error", "compact"])
def test_observations_stay_within_their_limit_however_far_users_go(kind):
    far = sight(errors=((4e7, -4e7),) * 3, loss=1e3)._replace(position_blocks=jnp.full((3, 2), 4e7))
    seen = np.asarray(observer(observation=kind).observe(far))
    assert np.isfinite(seen).all() and (np.abs(seen) <= OBSERVATION_LIMIT).all()
