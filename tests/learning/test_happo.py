"""HAPPO: the decomposition (29) in theory and in its own losses, a game that needs turns, and small worlds whose values are known."""

from dataclasses import replace
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetwin.errors import InputError
from edgetwin.learning import happo, heads
from edgetwin.learning.critics import STATE, critics_of
from edgetwin.learning.networks import MLP
from edgetwin.learning.roles import plain_role
from learning import games, probes
from learning.test_probes import DISCOUNT, PROBES

GAME = happo.Settings(
    environments=1000,
    slots_per_update=50_000,
    epochs=1,
    learning_rate=0.3,
    entropy=0.0,
    critics="reward",
    normalised=True,
    m_before_step=False,
    log_m_limit=100.0,
    hidden=(8,),
)


class Trained:
    """A learner on a task with its functions compiled once; roles are the plain ones unless told."""

    def __init__(self, task, chosen, credit=None, start=None, **of_roles):
        self.task, self.settings = task, chosen
        self.roles = {name: plain_role(name, agents, **of_roles) for name, agents in task.spec.agents.items()}
        if start is not None:
            self.roles = {name: replace(role, init=start) for name, role in self.roles.items()}
        self.learner = happo.happo("happo", task, chosen, self.roles, credit)
        self.init, self.block = jax.jit(self.learner.init), jax.jit(self.learner.block)

    def after(self, blocks, seed=0):
        """The last state and its figures."""
        state, figures = self.init(jax.random.key(seed)), None
        for _ in range(blocks):
            state, figures = self.block(state)
        return state, figures

    def policies(self, state):
        """Of a table's players: probabilities, (choices,) each, float64."""
        params, found = self.learner.policy(state), []
        for name, role in self.roles.items():
            seen = jnp.ones((self.task.counts[name], 1, 1))
            said = role.outputs(params[name], seen) if role.shared else jax.vmap(role.outputs)(params[name], seen)
            found += list(np.asarray(jax.nn.softmax(said[:, 0, 0].astype(float))))
        return found


def tables(agents, choices, seed):
    """A random table of payoffs and random policies."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(choices,) * agents), list(rng.dirichlet(np.ones(choices), agents))


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 4), st.integers(2, 4), st.integers(0, 2**32 - 1), st.data())
def test_advantages_in_turn_add_up_to_the_joint_advantage_29(agents, choices, seed, data):
    """A(s, a) = Σ_j A_j(s, a_{1:j−1}, a_j) in every order, for every joint action; and A_j is 0 in the mean over the agent's policy."""
    payoff, policies = tables(agents, choices, seed)
    order = data.draw(st.permutations(range(agents)))
    total = np.zeros_like(payoff)
    for place, agent in enumerate(order):
        turn = games.group_advantage(payoff, policies, order[:place], [agent])
        assert np.tensordot(policies[agent], turn, axes=(0, agent)) == pytest.approx(0, abs=1e-12)
        total = total + turn
    np.testing.assert_allclose(total, payoff - games.expected(payoff, policies), atol=1e-12)


@pytest.fixture(scope="module")
def random_table():
    """Three players, two of a class. One update from far apart initial policies."""
    payoff, _ = tables(3, 3, seed=4)
    return Trained(games.Table(payoff, pair=2, single=1), GAME, hidden=(), discount=0.0, reward="payoff")


def in_turn(payoff, old, new, order):
    """What one update in this order should find, in the limit of many samples: by player what its loss is and how far that scatters
    from sample to sample, by position the effective sample size of M.

    (29), weighted with what they have become: the advantages of those before an agent add up to what the payoff has risen by since they
    learned. So the loss is minus that, in deviations of the payoff under the old policies.
    """
    advantage = payoff - games.expected(payoff, old)
    deviation = np.sqrt(games.expected(advantage**2, old))
    weight, now, losses, scatter, sizes = np.ones_like(payoff), list(old), {}, {}, []
    for player in order:
        losses[player] = -(games.expected(payoff, now) - games.expected(payoff, old)) / deviation
        scatter[player] = np.sqrt(games.expected((weight * advantage / deviation + losses[player]) ** 2, old))
        sizes.append(1 / games.expected(weight**2, old))
        shape = np.where(np.arange(payoff.ndim) == player, -1, 1)
        weight, now[player] = weight * (new[player] / old[player]).reshape(shape), new[player]
    return losses, scatter, np.array(sizes)


def test_losses_are_the_advantages_of_those_before_29(random_table):
    """M turns samples of the old policies into what those before an agent have become. Which order it was, sample sizes tell."""
    payoff, orders = random_table.task.payoff, set()
    for seed in range(8):
        begun = random_table.init(jax.random.key(seed))
        ended, figures = random_table.block(begun)
        old, new = random_table.policies(begun), random_table.policies(ended)
        sizes = np.asarray(figures["effective_sample_size"])
        assert sizes.shape == figures["clip_fraction"].shape == (3,)
        assert sizes[0] == pytest.approx(1, abs=1e-5), "nobody was before the first"
        fits = {order: np.abs(in_turn(payoff, old, new, order)[2] - sizes).max() for order in permutations(range(3))}
        order = min(fits, key=fits.get)
        assert fits[order] < 0.02
        losses, scatter, _ = in_turn(payoff, old, new, order)
        tolerance = {player: 4.5 * each / np.sqrt(GAME.slots_per_update) for player, each in scatter.items()}
        assert figures["single_loss"] == pytest.approx(losses[2], abs=tolerance[2])
        assert figures["pair_loss"] == pytest.approx((losses[0] + losses[1]) / 2, abs=(tolerance[0] + tolerance[1]) / 2)
        orders.add(order)
    assert len(orders) >= 3, "the order is drawn anew"


CONFLICT = np.array([[0.0, 2.0], [2.0, -1.0]])
"""Kuba et al. 2022, section 4: where both mostly choose 0, each alone does better with 1, and both together worst of all."""
AT_1 = 0.35


def in_conflict(**change):
    def start(key):
        return MLP((jnp.zeros((1, 2)),), (jnp.log(jnp.array([1 - AT_1, AT_1])),))

    chosen = GAME._replace(slots_per_update=5000, **change)
    return Trained(games.Table(CONFLICT, players=2), chosen, start=start, hidden=(), discount=0.0)


@pytest.fixture(scope="module", params=[True, False], ids=["in turn", "at once"])
def conflict(request):
    """Whether players learn in turn, and what the joint policy is worth after each of 12 updates, for 5 seeds. (seeds, updates + 1)."""
    players = in_conflict(sequential=request.param)
    worth = []
    for seed in range(5):
        state, values = players.init(jax.random.key(seed)), []
        for _ in range(13):
            values.append(games.expected(CONFLICT, players.policies(state)))
            state, _ = players.block(state)
        worth.append(values)
    return request.param, np.array(worth)


def test_players_in_turn_improve_and_players_at_once_do_not(conflict):
    """Both start at .7875, the same for all seeds. The first update moves logits by the learning rate, Adam's first step: in turn the
    second player sees the first's and steps aside, at once both go to 1. In turn every update improves, up to the best there is, 2. At
    once the first makes it worse, and they get no further than equal players can, .8, until chance parts them after five or more."""
    in_turn, worth = conflict

    def one(first, second):
        return games.expected(CONFLICT, [np.array([1 - first, first]), np.array([1 - second, second])])

    def moved(by):
        return 1 / (1 + (1 - AT_1) / AT_1 * np.exp(-by))

    step = 4 * GAME.learning_rate  # a weight and a bias of both logits
    assert worth[:, 0] == pytest.approx(one(AT_1, AT_1), abs=1e-5)
    if in_turn:
        assert worth[:, 1] == pytest.approx(one(moved(step), moved(-step)), abs=1e-3)
        assert (np.diff(worth) > -1e-3).all() and (np.diff(worth)[:, :5] > 0.02).all()
        assert (worth[:, -1] > 1.99).all()
    else:
        assert worth[:, 1] == pytest.approx(one(moved(step), moved(step)), abs=1e-3)
        assert (worth[:, 1] < worth[:, 0] - 0.25).all()
        assert (worth[:, 2:6] < 0.81).all()


AT_ONCE = {"at once": {"sequential": False}, "held": {"log_m_limit": 0.0}, "as printed": {"m_before_step": True}, "in turn": {}}


@pytest.mark.slow
def test_when_agents_in_turn_do_what_agents_at_once_do():
    """Where log M is held at 0; and in a single pass where agents enter M with what they were before their step, which is what they played."""
    found, sizes = {}, {}
    for name, change in AT_ONCE.items():
        players = in_conflict(**change)
        state, figures = players.after(3)
        found[name], sizes[name] = np.array(players.policies(state)), np.asarray(figures["effective_sample_size"])
    assert found["held"] == pytest.approx(found["at once"], abs=1e-4)
    assert found["as printed"] == pytest.approx(found["at once"], abs=1e-4)
    assert np.abs(found["in turn"] - found["at once"]).max() > 0.3
    assert sizes["at once"] == pytest.approx(1, abs=1e-5) and sizes["as printed"] == pytest.approx(1, abs=1e-5)
    assert sizes["held"][1] < 0.99 and sizes["in turn"][1] < 0.99, "sizes tell of M before it is held"


class Unheard(games.Table):
    """A table whose `single` player is asked too early: what it says never takes effect."""

    def __init__(self, payoff, **counts):
        super().__init__(payoff, **counts)
        agents = {**self.spec.agents, "single": replace(self.spec.agents["single"], first=1)}
        self.spec = replace(self.spec, agents=agents)


@pytest.mark.slow
@pytest.mark.parametrize("masked", [True, False])
def test_what_cannot_matter_is_left_out(masked):
    """The second of a pair learns nothing where its action is said not to matter, and does not enter M; nor does an action without effect."""
    task = Unheard(tables(3, 3, seed=4)[0], pair=2, single=1)

    def credit(state, action, outcome):
        rewards = {name: getattr(outcome.rewards, name)[:, None] for name in task.counts}
        return happo.Credit(rewards, {"pair": jnp.array([[True], [False]]), "single": jnp.ones((1, 1), bool)})

    players = Trained(task, GAME._replace(masked=masked), credit, hidden=(), discount=0.0, reward="payoff")
    changes, sizes = [], []
    for seed in range(12):
        begun = players.init(jax.random.key(seed))
        ended, figures = players.block(begun)
        changes.append(
            [np.abs(new - old).max() for old, new in zip(players.policies(begun), players.policies(ended), strict=True)]
        )
        sizes.append(figures["effective_sample_size"])
    changes, sizes = np.array(changes), np.array(sizes)
    assert (changes[:, [0, 2]] > 0.01).all()
    assert ((changes[:, 1] == 0) == masked).all()
    full = sizes > 1 - 1e-6
    if masked:
        assert set(full.sum(axis=1)) == {1, 2, 3}, (
            "smaller only after the first of the pair, whether it was first, second or last"
        )
    else:
        assert (full.sum(axis=1) == 1).all()


@pytest.mark.slow
def test_entropy_30_makes_policies_even():
    """Nothing is at stake, and the players began uneven."""

    def start(key):
        return MLP((jnp.zeros((1, 2)),), (jnp.array([0.0, 2.0]),))

    chosen = GAME._replace(slots_per_update=1000, entropy=0.01, learning_rate=0.03)
    players = Trained(games.Table(np.zeros((2, 2)), players=2), chosen, start=start, hidden=(), discount=0.0)
    state, figures = players.after(100)
    assert np.array(players.policies(state)) == pytest.approx(0.5, abs=0.02)
    assert figures["players_entropy"] == pytest.approx(np.log(2), abs=1e-3)


def settle(critics):
    """A chain of all probes side by side, learned from 80 updates, the learning rate falling to 0."""
    chain, parts = probes.together(*(make() for make, _ in PROBES.values()), slots=2)
    chosen = happo.Settings(
        environments=128,
        slots_per_update=2048,
        epochs=4,
        minibatches=4,
        learning_rate=3e-3,
        critic_learning_rate=3e-3,
        anneal_slots=80 * 2048,
        entropy=0.0,
        critics=critics,
        hidden=(32,),
    )
    walker = Trained(chain, chosen, hidden=(32,), discount=DISCOUNT)
    state, _ = walker.after(80)
    (critic,) = critics_of(walker.roles, {"agent": 1}, critics, chain.places, chosen.hidden)
    places = jnp.eye(chain.places)
    values = critic.values(state.learned.critics[0], {STATE: places, "agent": places[None]})["agent"][0, :, 0]
    params = walker.learner.policy(state)
    chosen = jax.vmap(lambda place: walker.learner.act(params, probes.Agents(place[None]), None).agent[0, 0])(places)
    assert int(state.slots) == 80 * 2048
    rested = walker.learner.policy(walker.block(state)[0])
    assert all((old == new).all() for old, new in zip(jax.tree.leaves(params), jax.tree.leaves(rested), strict=True))
    return {
        name: (np.asarray(values)[list(part)], np.asarray(chosen)[list(part)]) for name, part in zip(PROBES, parts, strict=True)
    }


@pytest.fixture(
    scope="module", params=["reward", pytest.param("agent", marks=pytest.mark.slow), pytest.param("own", marks=pytest.mark.slow)]
)
def settled(request):
    return settle(request.param)


@pytest.mark.parametrize("probe", PROBES)
def test_happo_finds_the_values_of_the_probes(settled, probe):
    """Truncation, which comes after two slots, bootstraps; termination does not. The policy chooses what is best."""
    known, (values, chosen) = np.array(PROBES[probe][1]), settled[probe]
    assert values[: len(known)] == pytest.approx(known.max(axis=1), abs=0.02)
    assert known[np.arange(len(known)), chosen[: len(known)]] == pytest.approx(known.max(axis=1))


HEADS = {"mode": (heads.beta_by_mode, 0.03), "softplus": (heads.beta_by_softplus, 0.06), "gaussian": (heads.gaussian, 0.03)}


@pytest.mark.parametrize(
    "head", ["mode", pytest.param("softplus", marks=pytest.mark.slow), pytest.param("gaussian", marks=pytest.mark.slow)]
)
def test_happo_hits_real_targets(head):
    """Unseen, seen, and in a corner of the bounds: within 1 % (2 % with softplus) of the range in the mean over what can be seen. An
    agent's critic learns its own payoff: what is left to explain is what exploration costs."""
    make, tolerance = HEADS[head]
    chosen = happo.Settings(
        environments=1024,
        slots_per_update=1024,
        epochs=4,
        learning_rate=1e-2,
        critic_learning_rate=1e-2,
        anneal_slots=150 * 1024,
        entropy=0.0,
        normalised=True,
        hidden=(32,),
    )
    task = games.Targets()
    aimers = Trained(task, chosen, hidden=(32,), discount=0.0, bounded=make())
    early, first = aimers.after(2)
    state, figures = aimers.after(150)

    def missed(drawn):
        aimed = aimers.learner.act(aimers.learner.policy(state), task.observe(games.Moment(False, drawn)), None).aimers
        return jnp.max(jnp.abs(aimed - task.targets(drawn)), axis=-1), aimed

    off, aimed = jax.jit(jax.vmap(missed))(jax.random.uniform(jax.random.key(9), (200, 2)))
    assert (off.mean(axis=0) < tolerance).all(), off.mean(axis=0)
    assert (aimed >= task.low).all() and (aimed <= task.high).all()
    assert figures["aimers_value_loss"] < 1e-3
    assert figures["aimers_reward"] > 10 * first["aimers_reward"]
    for shares in (first, figures):
        assert shares["effective_sample_size"].shape == shares["clip_fraction"].shape == (3,)
        assert ((shares["clip_fraction"] >= 0) & (shares["clip_fraction"] <= 1)).all()
    assert (first["clip_fraction"] > 0).any() and (figures["clip_fraction"] == 0).all(), "the learning rate has fallen to 0"


def test_surrogate_30():
    """ratio·MÂ where nothing is clipped; where the ratio is beyond 1 ± ϵ, the worse of both."""
    ratio, weighted = np.meshgrid([0.1, 0.79, 0.81, 1.0, 1.19, 1.21, 5.0], [-3.0, -0.5, 0.0, 2.0])
    by_hand = [
        [min(r * a, min(max(r, 0.8), 1.2) * a) for r, a in zip(*rows, strict=True)] for rows in zip(ratio, weighted, strict=True)
    ]
    assert happo.surrogate(jnp.array(ratio), jnp.array(weighted), 0.2) == pytest.approx(np.array(by_hand), rel=1e-6)
    slope = jax.grad(lambda r, a: happo.surrogate(r, a, 0.2))
    assert [float(slope(r, a)) for r, a in ((1.3, 2.0), (0.7, 2.0), (1.3, -2.0), (0.7, -2.0))] == [0, 2, -2, 0]


def test_effective_sample_size():
    size = happo.effective_sample_size
    assert float(size(jnp.full(10, 300.0))) == pytest.approx(1)
    assert float(size(jnp.array([500.0, -500, 0, 0]))) == pytest.approx(1 / 4)
    weights = np.random.default_rng(0).lognormal(size=1000)
    assert float(size(jnp.log(weights))) == pytest.approx(weights.sum() ** 2 / (1000 * (weights**2).sum()), rel=1e-4)


def test_normal_advantages_are_normal_where_they_count():
    rng = np.random.default_rng(0)
    advantage, counted = rng.normal(3, 2, (4, 50, 2)), rng.random((4, 50, 2)) < 0.3
    counted[..., 1] = counted[..., 0]
    found = np.asarray(happo.normal(jnp.array(np.where(counted, advantage, 1e6)), jnp.array(counted)))[counted]
    assert found.mean() == pytest.approx(0, abs=1e-4) and found.std() == pytest.approx(1, abs=1e-4)
    assert found == pytest.approx((advantage[counted] - advantage[counted].mean()) / advantage[counted].std(), abs=1e-3)
    assert np.isfinite(happo.normal(jnp.ones((2, 3, 1)), jnp.zeros((2, 3, 1), bool))).all()


SENSELESS = [
    ({"critics": "all"}, "critics = all: must be one of agent, reward, own"),
    (
        {"slots_per_update": 10, "minibatches": 3},
        "slots_per_update = 10 gives 10 slots to each of 1 environments: must be a multiple of minibatches = 3",
    ),
    ({"environments": 20, "slots_per_update": 10}, "slots_per_update = 10 gives 0 slots to each of 20 environments"),
    ({"clip": 0.0}, "clip = 0.0: must be above 0"),
    ({"entropy": -0.1}, "entropy = -0.1: must be at least 0"),
    ({"learning_rate": 0.0}, "learning_rate = 0.0: must be above 0"),
    ({"critic_learning_rate": -1.0}, "critic_learning_rate = -1.0: must be above 0"),
    ({"epochs": -1}, "epochs = -1: must be at least 0"),
    ({"minibatches": 0}, "minibatches = 0: must be at least 1"),
    ({"anneal_slots": -1}, "anneal_slots = -1: must be at least 0 (0: never)"),
    ({"hidden": (3, 0)}, "hidden = (3, 0): must be widths of at least 1"),
]


@pytest.mark.parametrize(("change", "said"), SENSELESS)
def test_settings_without_sense(change, said):
    with pytest.raises(InputError) as refused:
        happo.check("happo", happo.Settings(**change))
    assert str(refused.value).startswith(f"happo: {said}") and "\n" not in str(refused.value)
