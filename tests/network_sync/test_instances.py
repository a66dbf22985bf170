"""Frozen episodes of an independent prototype: the task gives its rates, losses and costs again, and damaged files are refused."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.cli import main
from edgetwin.errors import InputError
from edgetwin.network_sync.instances import recorded_task
from edgetwin.registry import policy
from network_sync.walks import side_by_side

pytestmark = pytest.mark.usefixtures("quick_compilation")

FOLDER = Path(__file__).parent / "instances"
POLICIES = {
    "never": "cost_never",
    "always": "cost_always",
    "periodic[k=4]": "cost_periodic_k4",
    "periodic[k=5]": "cost_periodic_k5",
    "index": "cost_index",
    "offline-optimum": "cost_offline_optimum",
}


def keys_of(episodes):
    numbers = np.stack([np.zeros(episodes), np.arange(episodes)], axis=1).astype(np.uint32)
    return jax.random.wrap_key_data(jnp.asarray(numbers))


NAMES = ["a", pytest.param("b", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_costs_what_the_file_says(name):
    frozen = np.load(FOLDER / f"episodes-{name}.npz")
    with jax.enable_x64(True):
        task, episodes = recorded_task(FOLDER / f"episodes-{name}.npz")
        outcomes = side_by_side(task, [policy(task, each) for each in POLICIES], keys_of(episodes), batch=episodes)
    for costs, (named, field) in zip(outcomes.cost.sum(axis=-1), POLICIES.items(), strict=True):
        assert np.allclose(costs, frozen[field], rtol=0, atol=1e-6), named


@pytest.mark.parametrize("name", NAMES)
def test_rates_and_losses_are_the_file_s(name):
    frozen = np.load(FOLDER / f"episodes-{name}.npz")
    with jax.enable_x64(True):
        task, episodes = recorded_task(FOLDER / f"episodes-{name}.npz")
        trace = jax.jit(jax.vmap(lambda key: task.trace(key, task.section.slots)))(keys_of(episodes))
        loss = np.asarray(jax.jit(jax.vmap(jax.vmap(task.sync_loss)))(trace))
        reward = task.section.rate_weight * np.asarray(trace.rates.serving)
    assert np.allclose(reward, frozen["reward_without_sync"], rtol=0, atol=1e-9)
    assert (np.isfinite(loss) == frozen["sync_feasible"]).all()
    assert np.allclose(np.where(np.isfinite(loss), loss, np.nan), frozen["sync_loss"], rtol=0, atol=1e-9, equal_nan=True)


def solved(capsys, *arguments):
    status = main(["solve", "network-sync", *map(str, arguments)])
    out, error = capsys.readouterr()
    return status, out, error


def test_solve_prints_the_cost_and_the_least_of_every_episode(capsys):
    check_rows(capsys, FOLDER / "episodes-a.npz", "index", ["a"])


@pytest.mark.slow
@pytest.mark.parametrize("named", POLICIES)
def test_solve_reads_a_folder(capsys, named):
    check_rows(capsys, FOLDER, named, ["a", "b"])


def check_rows(capsys, path, named, files):
    status, out, _ = solved(capsys, path, "--policy", named, "--json")
    answer = json.loads(out)
    assert status == 0 and answer["policy"] == named
    rows = iter(answer["instances"])
    for name in files:
        frozen = np.load(FOLDER / f"episodes-{name}.npz")
        for number, (cost, least) in enumerate(zip(frozen[POLICIES[named]], frozen["cost_offline_optimum"], strict=True)):
            row = next(rows)
            assert row["name"] == f"episodes-{name}.npz#{number}"
            assert row["value"] == pytest.approx(cost, abs=1e-6)
            assert row["lower_bound"] == pytest.approx(least, abs=1e-6)
    assert next(rows, None) is None


def damaged(tmp_path, **changes):
    """A copy of a frozen file with arrays changed, or left out where None."""
    arrays = {**dict(np.load(FOLDER / "episodes-a.npz")), **changes}
    file = tmp_path / "episodes.npz"
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file


def test_an_array_that_is_missing_or_does_not_fit_is_named(tmp_path):
    frozen = np.load(FOLDER / "episodes-a.npz")
    with pytest.raises(InputError, match="interference missing or of the wrong shape"):
        recorded_task(damaged(tmp_path, interference=None))
    with pytest.raises(InputError, match="position missing or of the wrong shape or kind"):
        recorded_task(damaged(tmp_path, position=frozen["position"].astype(str)))
    with pytest.raises(InputError, match="do not fit together"):
        recorded_task(damaged(tmp_path, position=frozen["position"][:0], interference=frozen["interference"][:0]))
    with pytest.raises(InputError, match=r"do not fit together.*\(episodes, slots \+ 1, users, 2\)"):
        recorded_task(damaged(tmp_path, position=frozen["position"][:, :-1]))
    with pytest.raises(InputError, match="do not fit together"):
        recorded_task(damaged(tmp_path, move_probability=frozen["move_probability"][:-1]))
    with pytest.raises(InputError, match="do not fit together"):
        recorded_task(damaged(tmp_path, position=frozen["position"][..., :1]))


def test_numbers_that_make_no_sense_are_refused(tmp_path):
    frozen = np.load(FOLDER / "episodes-a.npz")
    position, interference = frozen["position"].copy(), frozen["interference"].copy()
    position[3, 4, 5, 0] = np.nan
    interference[7, 0, 2] = -1e-3
    with pytest.raises(InputError, match=r"position\[3, 4, 5, 0\] = nan: must be finite"):
        recorded_task(damaged(tmp_path, position=position))
    with pytest.raises(InputError, match=r"interference\[7, 0, 2\] = -0.001: must be finite, above 0"):
        recorded_task(damaged(tmp_path, interference=interference))
    with pytest.raises(InputError, match=r"sum to 0\.9: must sum to 1"):
        recorded_task(damaged(tmp_path, move_probability=0.9 * frozen["move_probability"]))


def test_a_foreign_file_gives_one_line(tmp_path, capsys):
    file = tmp_path / "slots.npz"
    file.write_text("nothing of the kind")
    status, out, error = solved(capsys, file, "--policy", "index")
    assert (status, out) == (2, "")
    assert error.count("\n") == 1 and "slots.npz" in error and "cannot be read as an .npz archive" in error
    file.write_bytes((FOLDER / "episodes-a.npz").read_bytes()[:100_000])
    status, _, error = solved(capsys, file, "--policy", "index")
    assert status == 2 and error.count("\n") == 1 and "cannot be read as an .npz archive" in error
    with file.open("wb") as opened:
        np.save(opened, np.ones(3))
    status, _, error = solved(capsys, file, "--policy", "index")
    assert status == 2 and error.count("\n") == 1 and "cannot be read as an .npz archive" in error
    np.savez(file, gain=np.ones((2, 3)))
    status, _, error = solved(capsys, file, "--policy", "index")
    assert status == 2 and error.count("\n") == 1 and "is no file of network-sync episodes" in error
    status, _, error = solved(capsys, tmp_path / "nowhere.npz", "--policy", "index")
    assert status == 2 and error.count("\n") == 1 and "nowhere.npz" in error


def test_an_empty_folder_and_an_unknown_policy_give_one_line(tmp_path, capsys):
    status, _, error = solved(capsys, tmp_path, "--policy", "index")
    assert status == 2 and error.count("\n") == 1 and "no .npz file" in error
    status, _, error = solved(capsys, FOLDER / "episodes-a.npz", "--policy", "indx")
    assert status == 2 and error.count("\n") == 1 and "did you mean index" in error
