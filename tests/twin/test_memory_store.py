"""The store in memory, which the simulated world rests on, does what stores do: the same state machine drives it as the real ones."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from twin.simulation.store import Disk, MemoryStore
from twin.store_model import machine


def test_a_store_in_memory_is_a_store():
    disks = []

    def fresh():
        disks.append(Disk())
        return MemoryStore(disks[-1])

    run_state_machine_as_test(
        machine(lambda: MemoryStore(disks[-1]), fresh),
        settings=settings(max_examples=60, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)),
    )
