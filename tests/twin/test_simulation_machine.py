"""The simulated world with trouble chosen by hypothesis, so that what goes wrong is made small."""

from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from edgetwin.twin.moves import failpoints
from twin.simulation.broken import BROKEN
from twin.simulation.trouble import TRAPS
from twin.simulation.verdict import violations
from twin.simulation.world import WHOLE, World

HOSTS = st.integers(0, 2)
PAUSES = st.sampled_from([0.005, 0.02, 0.1, 0.5, 1.2])
RATES = st.sampled_from([0.0, 0.1, 0.5])


def machine(parts=WHOLE):
    """A state machine over a world of these parts."""

    class Machine(RuleBasedStateMachine):
        @initialize(seed=st.integers(0, 2**16), shared=st.booleans())
        def begin(self, seed, shared):
            self.world = World(seed, parts, ("chosen",), shared)
            self.patch = mock.patch.object(failpoints, "reached", self.world.reached)
            self.patch.start()
            self.run(self.world.begin())

        def run(self, work):
            self.world.loop.run_until_complete(work)

        def host(self, number):
            return list(self.world.hosts)[number % len(self.world.hosts)]

        @rule(twin=HOSTS, host=HOSTS, pause_s=PAUSES)
        def migrate(self, twin, host, pause_s):
            self.world.migrate(self.world.twins[twin % len(self.world.twins)], self.host(host))
            self.wait(pause_s)

        @rule(pause_s=PAUSES)
        def wait(self, pause_s):
            self.run(self.world.pause(pause_s))

        @rule(host=HOSTS, away_s=PAUSES)
        def crash_host(self, host, away_s):
            self.world.crash(self.host(host), away_s)

        @rule(away_s=PAUSES)
        def crash_centre(self, away_s):
            self.world.crash("centre", away_s)

        @rule(point=st.sampled_from(TRAPS), victim=st.none() | HOSTS)
        def trap(self, point, victim):
            self.world.traps[point] = "centre" if victim is None else self.host(victim)

        @rule(host=HOSTS, away_s=PAUSES, ways=st.sampled_from([{0}, {1}, {0, 1}]))
        def cut(self, host, away_s, ways):
            pairs = [(self.host(host), "centre"), ("centre", self.host(host))]
            self.world.cut({pairs[way] for way in ways}, away_s)

        @rule(what=st.sampled_from(["directory_away", "disks_away", "corrupted"]), rate=RATES)
        def disturb_world(self, what, rate):
            setattr(self.world, what, rate)

        @rule(what=st.sampled_from(["lost", "doubled", "reordered", "slow"]), rate=RATES)
        def disturb_network(self, what, rate):
            setattr(self.world.network, what, rate)

        def teardown(self):
            if not hasattr(self, "world"):
                return
            try:
                self.run(self.world.finish())
                assert violations(self.world) == []
            finally:
                self.patch.stop()
                self.world.loop.close()

    return Machine


def examples(count, **others):
    checks = list(HealthCheck)
    return settings(max_examples=count, stateful_step_count=25, deadline=None, suppress_health_check=checks, **others)


def test_no_few_steps_leave_anything_wrong():
    run_state_machine_as_test(machine(), settings=examples(40))


@pytest.mark.slow
def test_no_steps_leave_anything_wrong():
    run_state_machine_as_test(machine(), settings=examples(250))


@pytest.mark.slow
def test_a_source_that_deletes_too_early_is_found():
    found_not_shrunk = examples(3000, derandomize=True, database=None, phases=(Phase.generate,))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            machine(BROKEN["the source deletes before the destination confirmed"]), settings=found_not_shrunk
        )
