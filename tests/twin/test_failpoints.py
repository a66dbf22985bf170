"""Failpoints: what may be asked of them, and what they then do."""

import asyncio
import signal
import subprocess
import sys
import time

import pytest

from edgetwin.errors import InputError
from edgetwin.twin.moves import failpoints
from edgetwin.twin.moves.failpoints import Action, Failed


@pytest.fixture(autouse=True)
def _none_armed():
    yield
    failpoints.arm("")


def test_actions_are_read_by_the_name_of_their_failpoint():
    assert failpoints.read("before-5:kill, after-2:sleep=0.5,host-freeze-done:error") == {
        "before-5": Action("kill"),
        "after-2": Action("sleep", 0.5),
        "host-freeze-done": Action("error"),
    }
    assert failpoints.read("") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("befor-5:kill", "no failpoint 'befor-5' (did you mean before-5?)"),
        ("before-8:kill", "no failpoint 'before-8'"),
        ("before-5:explode", "kill, kill=TIMES, error, or sleep=SECONDS"),
        ("before-5", "kill, kill=TIMES, error, or sleep=SECONDS"),
        ("before-5:sleep", "kill, kill=TIMES, error, or sleep=SECONDS"),
        ("before-5:sleep=-1", "kill, kill=TIMES, error, or sleep=SECONDS"),
        ("before-5:sleep=nan", "kill, kill=TIMES, error, or sleep=SECONDS"),
        ("before-5:kill=0", "kill, kill=TIMES, error, or sleep=SECONDS"),
        ("before-5:error=3", "kill, kill=TIMES, error, or sleep=SECONDS"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(text, said):
    with pytest.raises(InputError) as refused:
        failpoints.read(text)
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_the_environment_arms_them_once_asked(monkeypatch):
    monkeypatch.setenv("EDGETWIN_FAILPOINT", "host-stage:error")
    asyncio.run(failpoints.reached("host-stage"))
    failpoints.arm()
    asyncio.run(failpoints.reached("host-stage-done"))
    with pytest.raises(Failed, match="failpoint host-stage"):
        asyncio.run(failpoints.reached("host-stage"))
    monkeypatch.setenv("EDGETWIN_FAILPOINT", "host-stage:errors")
    with pytest.raises(InputError):
        failpoints.arm()


def test_sleep_waits_and_lets_the_loop_run_meanwhile():
    failpoints.arm("before-1:sleep=0.05")

    async def main():
        ticks, began = 0, time.perf_counter()
        waiting = asyncio.create_task(failpoints.reached("before-1"))
        while not waiting.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return ticks, time.perf_counter() - began

    ticks, seconds = asyncio.run(main())
    assert ticks > 5 and seconds >= 0.05


@pytest.mark.parametrize(("action", "lived_through"), [("kill", 0), ("kill=3", 2)])
def test_kill_ends_the_process_at_once(action, lived_through):
    script = """
import asyncio
from edgetwin.twin.moves import failpoints
failpoints.arm()
for _ in range(5):
    asyncio.run(failpoints.reached("before-5"))
    print("alive", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"EDGETWIN_FAILPOINT": f"before-5:{action}", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
    )
    assert done.returncode == -signal.SIGKILL and done.stdout.count(b"alive\n") == lived_through
