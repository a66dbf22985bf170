"""Frozen slots of an independent prototype: the same least energies for the same users, no fewer served, and damaged files are refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgetwin import api
from edgetwin.cli import main
from edgetwin.errors import InputError
from edgetwin.two_timescale.instances import read

pytestmark = pytest.mark.usefixtures("quick_compilation")

FOLDER = Path(__file__).parent / "instances"
USERS = (10, 30, 58)


def frozen(users):
    return dict(np.load(FOLDER / f"slots-k{users}.npz"))


def column(rows, name):
    return np.array([row[name] for row in rows])


def test_the_files_users_cost_what_the_files_say():
    """Three files, 360 slots: energies to 1e-9, optimality conditions to 1e-6."""
    rows = iter(api.solve("two-timescale", FOLDER, "min-energy[served=file]"))
    for users in sorted(USERS):
        data = frozen(users)
        mine = [next(rows) for _ in data["gain"]]
        assert [row["name"] for row in mine] == [f"slots-k{users}.npz#{number}" for number in range(len(mine))]
        assert np.allclose(column(mine, "value"), data["energy_j"], rtol=1e-9, atol=0)
        assert (column(mine, "lower_bound") == column(mine, "value")).all()
        assert (column(mine, "served") == data["served"].sum(axis=1)).all()
        assert column(mine, "residual").max() < 1e-6
    assert next(rows, None) is None


@pytest.mark.parametrize("users", [10, 30, pytest.param(58, marks=pytest.mark.slow)])
def test_own_admission_serves_no_fewer_and_spends_no_more_for_as_many(users):
    data = frozen(users)
    rows = api.solve("two-timescale", FOLDER / f"slots-k{users}.npz", "min-energy")
    served, theirs = column(rows, "served"), data["served"].sum(axis=1)
    assert (served >= theirs).all()
    equal = served == theirs
    assert (column(rows, "value")[equal] <= data["energy_j"][equal] * (1 + 1e-9)).all()
    assert column(rows, "residual").max() < 1e-6
    if users == 58:
        assert served.sum() >= theirs.sum() + 3


def test_the_command_prints_a_row_a_slot(capsys):
    assert main(["solve", "two-timescale", str(FOLDER / "slots-k10.npz"), "--policy", "min-energy", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    data = frozen(10)
    assert [row["served"] for row in answer["instances"]] == data["served"].sum(axis=1).tolist()
    assert [row["value"] for row in answer["instances"]] == pytest.approx(data["energy_j"].tolist(), rel=1e-9)
    assert all(row["seconds"] > 0 for row in answer["instances"])


def damaged(tmp_path, **changes):
    """A copy of a frozen file with arrays changed, or left out where None."""
    file = tmp_path / "slots.npz"
    arrays = {**frozen(10), **changes}
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file


def changed(name, where, value):
    array = frozen(10)[name].copy()
    array[where] = value
    return {name: array}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"serving": None}, "serving missing or of the wrong shape or kind"),
        ({"cycles": np.ones(3)}, "cycles missing or of the wrong shape or kind"),
        ({"active": np.ones((120, 10))}, "active missing or of the wrong shape or kind"),
        ({"host": np.zeros((120, 9), int)}, r"gain \(120, 10, 5\) and host \(120, 9\) do not fit together"),
        ({"noise_power_w": np.array(0.0)}, r"noise_power_w = 0\.0: must be finite, above 0"),
        (changed("serving", (3, 4), 5), r"serving\[3, 4\] = 5: must be a site from 0 to 4"),
        (changed("gain", (0, 1, 2), np.nan), r"gain\[0, 1, 2\] = nan: must be finite, above 0"),
        (changed("active", slice(None), False), r"served\[0, \d\] = True: must be among the active users"),
        (
            {name: frozen(10)[name][:0] for name in ("gain", "serving", "host", "active", "data_bits", "cycles", "served")},
            "one slot",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        read(damaged(tmp_path, **changes))


def test_a_set_that_cannot_be_served_is_refused(tmp_path):
    file = damaged(tmp_path, tx_power_max_w=np.array(1e-3))
    with pytest.raises(InputError, match="the users served in slot 0 cannot all be served"):
        api.solve("two-timescale", file, "min-energy[served=file]")


def test_policies_and_files_that_will_not_do_give_one_line(tmp_path, capsys):
    file = str(FOLDER / "slots-k10.npz")
    (tmp_path / "text.npz").write_text("nothing of the kind")
    for arguments, said in [
        ([file, "--policy", "full-power+nearest"], "choose among min-energy"),
        ([file, "--policy", "min-energy[served=all]"], "served = all: must be own or file"),
        ([str(tmp_path / "text.npz"), "--policy", "min-energy"], "cannot be read as an .npz archive"),
        ([str(tmp_path / "none.npz"), "--policy", "min-energy"], "none.npz"),
    ]:
        assert main(["solve", "two-timescale", *arguments]) == 2
        out, error = capsys.readouterr()
        assert out == "" and error.count("\n") == 1 and said in error
