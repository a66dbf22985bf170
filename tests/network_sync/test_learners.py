"""The learners on the problem: they are built with the paper's numbers, refuse what they cannot learn, and find when to sync."""

import pytest

import edgetwin
from edgetwin.cli import main
from edgetwin.errors import InputError
from edgetwin.registry import learner, learner_factories
from network_sync.walks import make

SMALL = {"slots": 6, "users__count": 4, "rb_count": 3}


def test_every_algorithm_is_built_with_what_it_is_told():
    task = make("paper", forecaster="drift", **SMALL)
    assert set(learner_factories(task)) == {"sac", "dqn", "sac-paper", "dqn-paper"}
    settings = {name: learner(task, name).settings for name in ("sac", "dqn", "sac-paper", "dqn-paper", "sac[discount=0.5]")}
    assert [each.discount for each in settings.values()] == [0.95, 0.95, 0.8, 0.8, 0.5]
    paper = settings["sac-paper"]
    assert (paper.temperature, paper.learning_rate, paper.policy_learning_rate) == (0.05, 1e-3, 1e-4)
    assert settings["dqn-paper"].learning_rate == 1e-3


def test_algorithms_for_one_choice_refuse_partial_packets(capsys):
    task = make(refresh="partial", packet_users=2, **SMALL)
    for name in ("sac", "dqn"):
        with pytest.raises(InputError, match="one choice|one head|single") as caught:
            learner(task, name)
        assert "\n" not in str(caught.value)
    partial = ["--set", "network_sync.refresh=partial", "network_sync.packet_users=3"]
    assert main(["train", "network-sync", "--algo", "sac", "--budget", "100", *partial]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_sac_learns_when_to_sync(tmp_path):
    """In 20 000 slots it passes `always` (.97) and comes near the period that is best (.48)."""
    assert main(["train", "network-sync", "--algo", "sac", "--budget", "20000", "--out", str(tmp_path / "run")]) == 0
    table = edgetwin.compare(edgetwin.task("network-sync"), [str(tmp_path / "run"), "never", "always"], episodes=256)
    trained, never, always = (row.metrics["cost"].mean for row in table.rows.values())
    assert trained < always < never
    assert trained < 0.6
