"""Gates: who comes while one is closed waits, and nobody overtakes."""

import asyncio

from edgetwin.twin.moves.gates import Gates


def run(work, patience_s=5.0):
    async def main():
        gates, passed = Gates(patience_s), []

        async def comer(name, twin="car-1"):
            await gates.passed(twin)
            passed.append(name)

        def come(*names, twin="car-1"):
            return [asyncio.create_task(comer(name, twin)) for name in names]

        await asyncio.wait_for(work(gates, passed, come), 10)
        return passed

    return asyncio.run(main())


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


def test_an_open_gate_stops_nobody():
    async def work(gates, passed, come):
        gates.close("car-2")
        come(1)
        await turns()
        assert passed == [1] and not gates.is_closed("car-1") and gates.is_closed("car-2")

    run(work)


def test_those_who_wait_pass_in_their_order_and_nobody_overtakes_them():
    """Who comes after the gate was opened, while others are on their way through it, stands behind them."""

    async def work(gates, passed, come):
        gates.close("car-1")
        come(1, 2, 3)
        await turns()
        assert passed == []
        gates.open("car-1")
        come(4)
        await asyncio.sleep(0)
        assert passed == [1], "one after the other"
        come(5)
        await turns()
        assert not gates.is_closed("car-1")

    assert run(work) == [1, 2, 3, 4, 5]


def test_a_gate_closed_again_holds_those_who_have_not_passed():
    async def work(gates, passed, come):
        gates.close("car-1")
        come(1, 2)
        await turns()
        gates.open("car-1")
        gates.close("car-1")
        await turns()
        assert passed == [1], "who was let through goes; the next one waits"
        gates.open("car-1")
        await turns()

    assert run(work) == [1, 2]


def test_who_gives_up_waiting_holds_up_nobody():
    async def work(gates, passed, come):
        gates.close("car-1")
        first, second, _ = come(1, 2, 3)
        await turns()
        second.cancel()
        await turns()
        gates.open("car-1")
        first.cancel()
        await turns()
        assert not gates.is_closed("car-1")

    assert run(work) == [3]


def test_a_gate_that_nobody_opens_opens_by_itself():
    async def work(gates, passed, come):
        gates.close("car-1")
        gates.close("car-1")
        (waiting,) = come(1)
        await waiting

    assert run(work, patience_s=0.02) == [1]


def test_opening_what_is_open_changes_nothing():
    async def work(gates, passed, come):
        gates.open("car-1")
        gates.close("car-1")
        gates.open("car-1")
        assert not gates.is_closed("car-1")

    run(work)
