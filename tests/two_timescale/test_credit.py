"""Shares in a slot's cost by brute force: every action replaced, the slot synchronised anew, and its cost taken again."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgetwin.problem import Outcome, episode_keys, random_action
from edgetwin.scenario import scenario
from edgetwin.two_timescale import agents, credit, rewards
from edgetwin.two_timescale.task import TwoTimescale

pytestmark = pytest.mark.usefixtures("quick_compilation")

USERS, SITES, FRAME, MIGRATION = 12, 3, 8, 3
PRICE_J, SLOTS = 2e-5, 80
READINGS = {
    "physical": {},
    "literal": {"interference": "literal", "transmitters": "all"},
    "physical, all transmit": {"transmitters": "all"},
    "learned association": {"association": "learned", "observation": "extended"},
}


def make(**changes):
    """A crowd on slow servers and links, so that powers and shares both decide who fails."""
    own = {
        "frames": 3,
        "frame_slots": FRAME,
        "migration_slots": MIGRATION,
        "noise_power_w": 1e-10,
        "request_probability": 0.7,
        "latency_limit_s": 0.05,
        **changes,
    }
    crowd = {"users.count": USERS, "sites.count": SITES, "servers.cpu_hz": 1.6e9, "backhaul.link_rate_bps": 1.5e6}
    return TwoTimescale(
        scenario("two-timescale/physical", {**crowd, **{f"two_timescale.{key}": value for key, value in own.items()}})
    )


OFTEN = [reading if reading == "physical" else pytest.param(reading, marks=pytest.mark.slow) for reading in READINGS]


@pytest.fixture(scope="module", params=OFTEN)
def slots(request):
    """Slots of many networks at any time of an episode, with twins anywhere, some of them out: states, random actions, what they come to
    and their outcomes, (slots, …)."""
    task, rng = make(**READINGS[request.param]), np.random.default_rng(0)

    def slot(key, number, host, left):
        state = task.reset(key)._replace(slot=number, host=host, migration_left=left)
        action = random_action(task, jax.random.fold_in(key, 1))
        action = action._replace(users=action.users**4)
        return state, action, task.synchronise(state, action), task.step(state, action)[1]

    number, host = rng.integers(0, 3 * FRAME, SLOTS), rng.integers(0, SITES, (SLOTS, USERS))
    left = np.where(rng.random((SLOTS, USERS)) < 0.1, rng.integers(1, MIGRATION, (SLOTS, USERS)), 0)
    found = jax.jit(jax.vmap(slot))(episode_keys(1, SLOTS), jnp.array(number), jnp.array(host), jnp.array(left))
    return SimpleNamespace(task=task, **dict(zip(("states", "actions", "done", "outcomes"), found, strict=True)))


def costs(task, states, actions):
    """Each user's energy in units of the price, and its failure, anew for actions that are a batch in each slot: (slots, batch, users)."""
    again = jax.jit(jax.vmap(jax.vmap(task.synchronise, (None, 0))))(states, actions)
    return np.asarray(again.energy_j, float) / PRICE_J, np.asarray(again.failed, float)


def test_the_slots_are_worth_looking_at(slots):
    """Some requests fail, some do not; twins move, share and cross links."""
    done = slots.done
    assert 0.05 < (done.failed & done.sending).mean() / done.sending.mean() < 0.95
    assert done.moved.any() and (slots.states.migration_left > 0).any()
    assert jnp.isfinite(done.link_bps).any() and jnp.isinf(done.link_bps).any()


def test_a_power_is_worth_what_the_slot_would_cost_without_it(slots):
    """Silent, a user that requests fails, which costs 1: the difference is told against a silence that costs nothing. CPU and link shares
    are the same, since who is to send shares whatever its power."""
    task, silent = slots.task, jnp.ones((USERS, USERS)) - jnp.eye(USERS)
    quiet = slots.actions.users[:, None] * silent[None, :, :, None].repeat(slots.actions.users.shape[-1], axis=-1)
    if task.learned_association:
        quiet = quiet.at[..., 1:].set(slots.actions.users[:, None, :, 1:])
    spread = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:, None], (len(leaf), USERS, *leaf.shape[1:])), slots.actions)
    energy, failed = costs(task, slots.states, spread._replace(users=quiet))
    usual = np.asarray(slots.done.energy_j, float) / PRICE_J + np.asarray(slots.done.failed, float)
    by_hand = (energy + failed).sum(axis=-1) - usual.sum(axis=-1, keepdims=True) - np.asarray(slots.states.world.requesting)
    found = jax.jit(jax.vmap(lambda state, done: credit.power_difference(task, state, done, PRICE_J)))(slots.states, slots.done)
    assert np.asarray(found) == pytest.approx(by_hand, rel=1e-3, abs=2e-3)
    assert (by_hand < -1.5).any(), "some do more harm than their own failure would"


def test_costs_are_energy_in_prices_and_failures(slots):
    cost = credit.slot_cost(slots.done, PRICE_J)
    metrics = slots.outcomes.metrics
    assert np.asarray(cost) == pytest.approx(np.asarray(metrics.energy_j / PRICE_J + metrics.failures), rel=1e-6)


def equal_shares(slots):
    """For each slot the actions in which one score gives its user an equal share, (slots, sites·2·users, sites, 2·users), and whether
    there was anything to share, (slots, sites·2·users)."""
    scores, done = np.asarray(slots.actions.stations), jax.tree.map(np.asarray, slots.done)
    sites = np.asarray(slots.task.server_sites)[done.host]
    instead, shared = np.repeat(scores[:, None], SITES * 2 * USERS, axis=1), np.zeros((len(scores), SITES * 2 * USERS), bool)
    for slot in range(len(scores)):
        for user in np.flatnonzero(done.sending[slot]):
            cpu = [k for k in range(USERS) if done.sending[slot, k] and done.host[slot, k] == done.host[slot, user]]
            link = [
                k
                for k in range(USERS)
                if done.sending[slot, k]
                and done.serving[slot, k] == done.serving[slot, user] != sites[slot, k] == sites[slot, user]
            ]
            for station, column, sharing, offset in (
                (sites[slot, user], user, cpu, 0),
                (done.serving[slot, user], USERS + user, link, USERS),
            ):
                if user in sharing and len(sharing) > 1:
                    others = sum(scores[slot, station, offset + k] for k in sharing if k != user)
                    entry = station * 2 * USERS + column
                    instead[slot, entry, station, column] = others / (len(sharing) - 1)
                    shared[slot, entry] = True
    return instead, shared


def test_a_score_is_worth_the_failures_it_averts_against_an_equal_share(slots):
    task = slots.task
    instead, shared = equal_shares(slots)
    spread = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:, None], (len(leaf), SITES * 2 * USERS, *leaf.shape[1:])), slots.actions
    )
    _, failed = costs(task, slots.states, spread._replace(stations=jnp.array(instead)))
    by_hand = failed.sum(axis=-1) - np.asarray(slots.done.failed).sum(axis=-1, keepdims=True)
    averted, mattered = jax.jit(jax.vmap(lambda *slot: credit.share_difference(task, *slot)))(
        slots.states, slots.actions, slots.done
    )
    assert (np.asarray(mattered).reshape(shared.shape) == shared).all()
    assert (np.asarray(averted).reshape(shared.shape) == by_hand).all()
    cpu, link = (by_hand.reshape(-1, SITES, 2, USERS)[:, :, kind] for kind in (0, 1))
    assert (cpu != 0).any() and (link != 0).any()
    assert (by_hand > 0).any() and (by_hand < 0).any(), "some scores avert failures, others bring them about"


def delay_27(slots, centre):
    task, world, done = slots.task, slots.states.world, slots.done

    def one(world, action, done, centre):
        return rewards.centre_delay(
            centre,
            serving=done.serving,
            host=done.host,
            server_sites=task.server_sites,
            competing=done.sending,
            cpu_score=action.stations[:, :USERS],
            link_score=action.stations[:, USERS:],
            data_bits=world.data_bits,
            cycles_per_bit=world.cycles_per_bit,
            cpu_hz=task.cpu_hz,
            link_rate_bps=task.link_rate_bps,
            slot_s=task.radio.slot_s,
        )

    return np.asarray(jax.jit(jax.vmap(one))(world, slots.actions, done, centre))


def move_aware(slots, centre, frames):
    actions = slots.actions._replace(centre=centre[:, None])
    found = jax.jit(jax.vmap(lambda *slot: credit.move_aware_delay(slots.task, *slot, frames)))(slots.states, actions, slots.done)
    return np.asarray(found)


def test_a_move_costs_the_slots_in_which_the_twin_is_out(slots):
    """Of the slots of the frames it pays for, G of T·frames at δt each; nothing where nobody moves, or where it pays for ever: (27)."""
    stay, chosen = slots.done.host, slots.actions.centre[:, 0]
    assert move_aware(slots, stay, 2.0) == pytest.approx(delay_27(slots, stay), rel=1e-6)
    assert move_aware(slots, chosen, 1e9) == pytest.approx(delay_27(slots, chosen), rel=1e-5)
    moving, out = np.asarray(chosen != stay), MIGRATION / (2 * FRAME)
    assert 0.3 < moving.mean() < 0.95
    by_hand = np.where(moving, (1 - out) * delay_27(slots, chosen) + out * slots.task.radio.slot_s, delay_27(slots, chosen))
    assert move_aware(slots, chosen, 2.0) == pytest.approx(by_hand, rel=1e-5)


def together(slots, hosts):
    """Failures in every slot were its twins at these hosts, each slot a batch of deployments: who sends is the same. (slots, batch)"""
    task, done = slots.task, slots.done

    def failures(state, action, done, host):
        there = state._replace(slot=jnp.ones((), jnp.int32), host=host, migration_left=done.migration_left)
        return jnp.sum(task.synchronise(there, action._replace(centre=host[None])).failed)

    found = jax.jit(jax.vmap(jax.vmap(failures, (None, None, None, 0))))(slots.states, slots.actions, done, hosts)
    return np.asarray(found, float)


def deployment(slots, frames):
    found = jax.jit(jax.vmap(lambda *slot: credit.deployment_difference(slots.task, *slot, frames)))
    return np.asarray(found(slots.states, slots.actions, slots.done))


def test_a_move_is_worth_the_failures_it_averts_when_all_others_move_too(slots):
    """Against the same twin staying behind, for as long as it is not out; where it is out its requests fail."""
    chosen, stay = slots.actions.centre[:, 0], slots.done.host
    behind = jnp.where(jnp.eye(USERS, dtype=bool), stay[:, None], chosen[:, None])
    all_gone = together(slots, chosen[:, None])
    by_hand = together(slots, behind) - all_gone
    moving = np.asarray((chosen != stay) & slots.done.sending)
    assert deployment(slots, 1e9) == pytest.approx(np.where(moving, by_hand, 0), abs=1e-5)
    assert (by_hand[moving] > 1).any() and (by_hand[moving] < -1).any(), "others gain and lose by it too"

    out, priced = MIGRATION / (2 * FRAME), deployment(slots, 2.0)
    served_behind = 1 - (priced - (1 - out) * by_hand) / -out
    failed = served_behind[moving]
    assert failed == pytest.approx(np.round(failed), abs=1e-3) and 0.05 < failed.mean() < 0.95
    assert (priced[~moving] == 0).all()


def credits(slots, **fitting):
    """What the agents learn from in every slot, with a price of a failure."""
    pay = agents.credit_of(slots.task, agents.Fitting(failure_price_mj=1e3 * PRICE_J, **fitting))
    rewards_of = slots.outcomes.rewards
    metrics, flag = slots.outcomes.metrics, slots.outcomes.terminated
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(pay))(slots.states, slots.actions, Outcome(rewards_of, flag, flag, metrics)))


def test_everybody_is_paid_by_its_own_difference(slots):
    found = credits(slots, centre_horizon_frames=2.0)
    power = jax.jit(jax.vmap(lambda state, done: credit.power_difference(slots.task, state, done, PRICE_J)))(
        slots.states, slots.done
    )
    assert found.rewards["users"][..., 0] == pytest.approx(np.asarray(power), rel=1e-4, abs=1e-3)
    assert found.rewards["centre"][:, 0] == pytest.approx(deployment(slots, 2.0), abs=1e-6)
    assert (found.counted["centre"][:, 0] == np.asarray(slots.done.sending)).all()
    assert (found.counted["users"] == np.asarray(slots.done.sending)[..., None]).all()


def test_stations_are_paid_seat_by_seat(slots):
    """The seats of a station are the first of the users with a request that it serves or hosts when the slot begins, in their order."""
    found = credits(slots)
    seats = agents.seats_of(slots.task)
    averted, mattered = jax.jit(jax.vmap(lambda *slot: credit.share_difference(slots.task, *slot)))(
        slots.states, slots.actions, slots.done
    )
    averted, mattered = (np.asarray(each).reshape(-1, SITES, 2, USERS) for each in (averted, mattered))
    states = jax.tree.map(np.asarray, slots.states._replace(streams=(), movement=()))
    host_site = np.asarray(slots.task.server_sites)[states.host]
    paid, counted = np.zeros((len(averted), SITES, 2, seats)), np.zeros((len(averted), SITES, 2, seats), bool)
    left_out = 0
    for slot in range(len(averted)):
        for station in range(SITES):
            concerned = [
                k
                for k in range(USERS)
                if states.world.requesting[slot, k] and station in (states.serving[slot, k], host_site[slot, k])
            ]
            left_out += len(concerned) > seats
            for seat, user in enumerate(concerned[:seats]):
                paid[slot, station, :, seat] = averted[slot, station, :, user]
                counted[slot, station, :, seat] = mattered[slot, station, :, user]
    assert (found.rewards["stations"].reshape(paid.shape) == paid).all()
    assert (found.counted["stations"].reshape(paid.shape) == counted).all()
    assert left_out and (paid != 0).any()


def test_one_cost_for_all_or_the_printed_rewards(slots):
    cost = np.asarray(credit.slot_cost(slots.done, PRICE_J)).sum(axis=1)
    shared = credits(slots, rewards="global", centre_horizon_frames=0.0).rewards
    for name in ("users", "stations"):
        assert shared[name][..., 0] == pytest.approx(-cost[:, None].repeat(shared[name].shape[1], axis=1), rel=1e-5)
    printed = credits(slots, rewards="printed", per_user=False, centre_horizon_frames=0.0).rewards
    for name in ("users", "stations", "centre"):
        own = np.asarray(getattr(slots.outcomes.rewards, name))
        assert printed[name][..., 0] == pytest.approx(agents.PAPER_REWARD_SCALE * own, rel=1e-5)
    assert shared["centre"][..., 0] == pytest.approx(
        np.asarray(slots.outcomes.rewards.centre) / slots.task.radio.slot_s, rel=1e-5
    )
    delay, asked = move_aware(slots, slots.actions.centre[:, 0], 3.0), np.asarray(slots.states.world.requesting)
    moves = credits(slots, rewards="global", centre_horizon_frames=3.0).rewards["centre"]
    assert moves[:, 0, 0] == pytest.approx(np.where(asked, -delay / slots.task.radio.slot_s, 0).mean(axis=1), rel=1e-5)
