"""How Beta-HAPPO is fitted to the problem: what users, stations and the centre look at, how their outputs become actions, what they learn from.

`beta-happo-paper` is Table I to the letter. `beta-happo` and `beta-happo-shared` are what it takes to learn the problem: every difference
is a field of `Fitting`, told in docs/beta-happo.md with what it brought.
"""

import math
from collections import namedtuple
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from edgetwin.errors import InputError
from edgetwin.learning import happo as algorithm
from edgetwin.learning import heads
from edgetwin.learning.happo import Credit
from edgetwin.learning.learner import Learner
from edgetwin.learning.networks import mlp
from edgetwin.learning.roles import Role, plain_role
from edgetwin.problem import Categorical, Outcome
from edgetwin.scenario import replace as replaced
from edgetwin.two_timescale import credit
from edgetwin.two_timescale.observation import Observation
from edgetwin.two_timescale.task import Action, State, TwoTimescale

PAPER_REWARD_SCALE = 100.0
"""ν of section V-A."""

POWER_DECADES = 4.0
SCORE_DECADES = 1.0
SMALL = (32,)
"""Hidden widths of the networks that look at users one by one."""


class Fitting(NamedTuple):
    """What is decided about the problem's side of learning.

    distribution: of bounded actions. power: how a number in (0, 1) becomes a power. features: the observation as it is, or with what can be
    computed from it. per_user: stations and centre look at users one by one with one small network, instead of at all at once. rewards:
    (28) and (26) as printed, one cost of the whole network, or each action's own difference. failure_price_mj: of a failed request, in
    place of ηY. discount: of users and stations. centre_horizon_frames: for how many frames a move pays (0: (27) as printed).
    training_frames: after how many an episode of the training begins anew elsewhere (0: as the scenario has it). snr_range: the least and the
    largest target where `power` is "snr"; learning starts in its middle, and actors of their own end near where they start.
    """

    distribution: Literal["mode", "softplus", "gaussian"] = "mode"
    power: Literal["snr", "log", "linear"] = "snr"
    features: Literal["computed", "raw"] = "computed"
    per_user: bool = True
    rewards: Literal["difference", "global", "printed"] = "difference"
    failure_price_mj: float = 15.0
    discount: float = 0.0
    centre_horizon_frames: float = 12.0
    training_frames: int = 5
    shared: bool = False
    snr_range: tuple[float, float] = (0.015, 37.5)


PAPER = Fitting("softplus", "linear", "raw", False, "printed", 0.0, 0.9, 0.0, 0)


HEADS = {"mode": heads.beta_by_mode, "softplus": heads.beta_by_softplus, "gaussian": heads.gaussian}
LEARNING = algorithm.Settings(
    environments=128,
    slots_per_update=10_240,
    epochs=2,
    minibatches=10,
    learning_rate=3e-3,
    critic_learning_rate=1e-3,
    anneal_slots=750_000,
    entropy=0.0,
    critics="own",
    masked=True,
    normalised=True,
    log_m_limit=math.log(5.0),
    m_before_step=False,
)


def fitted(name: str, task: TwoTimescale, settings: algorithm.Settings, fitting: Fitting) -> Learner:
    """HAPPO on this task. Its settings are the algorithm's and the fitting's together. Raises InputError for what makes no sense."""
    _check(name, fitting)
    played = task
    if fitting.training_frames and fitting.training_frames < task.radio.frames:
        played = TwoTimescale(replaced(task.scenario, {"two_timescale.frames": fitting.training_frames}))
    roles = {
        "users": users_role(task, fitting),
        "stations": stations_role(task, fitting),
        "centre": centre_role(task, fitting),
    }
    learner = algorithm.happo(name, played, settings, roles, credit_of(task, fitting))
    return replace(learner, task=task, settings=_together(settings, fitting))


def _together(*parts: Any) -> Any:
    """Named tuples as one."""
    fields = {key: value for part in parts for key, value in part._asdict().items()}
    return namedtuple("Settings", fields)(**fields)


def users_role(task: TwoTimescale, fitting: Fitting) -> Role:
    """A power per user, and scores of the sites where association is learned."""
    plain = _plain(task, fitting, "users")
    observer, limits = task.observer, task.radio

    def sight(observation: jax.Array) -> tuple[Any, jax.Array]:
        seen = observer.read_users(Observation(observation, None, None))  # type: ignore[arg-type]
        return seen, task.nearest_site(seen.position_m)

    def features(observation: jax.Array) -> jax.Array:
        seen, serving = sight(observation)
        gains = jnp.stack([task.mean_gain(seen.position_m, jnp.full_like(serving, site)) for site in range(task.sites)], axis=1)
        own = task.mean_gain(seen.position_m, serving)
        decades = jnp.log10(jnp.concatenate([own[:, None], gains], axis=1) / limits.noise_power_w)
        return jnp.concatenate([observation, decades / 2 - 1.5], axis=1)

    def decode(drawn: jax.Array, observation: jax.Array) -> jax.Array:
        drawn = plain.head.bound(drawn)
        first = drawn[:, 0]
        if fitting.power == "log":
            share = 10 ** (POWER_DECADES * (first - 1))
        elif fitting.power == "snr":
            seen, serving = sight(observation)
            low, high = (math.log(end) for end in fitting.snr_range)
            snr = jnp.exp(low + (high - low) * first)
            share = jnp.minimum(snr * limits.noise_power_w / task.mean_gain(seen.position_m, serving) / limits.tx_power_max_w, 1)
        else:
            share = first
        return drawn.at[:, 0].set(share)

    if fitting.features == "raw":
        return replace(plain, decode=decode)
    inputs = observer.user_size + 1 + task.sites
    outputs = plain.components * plain.head.parameters
    return replace(
        plain,
        features=features,
        init=lambda key: mlp(key, inputs, algorithm.HIDDEN, outputs),
        value_init=lambda key: mlp(key, inputs, SMALL, 1),
        decode=decode,
    )


def stations_role(task: TwoTimescale, fitting: Fitting) -> Role:
    """A CPU and a link score for each user: with `per_user` on a scale of one decade, by one small network that looks at users one by one."""
    plain = _plain(task, fitting, "stations")
    if not fitting.per_user:
        return plain
    limits = task.radio
    places = seats_of(task)

    def features(observation: jax.Array) -> jax.Array:
        """(sites, seats, 11)."""
        per_user = observation[:, 1 + 2 * task.sites :].reshape(task.sites, task.users, -1)
        requesting, served, hosted = per_user[..., 0], per_user[..., 1], per_user[..., 2]
        serving = jnp.argmax(per_user[..., 3 : 3 + task.sites], axis=-1)
        position = (per_user[..., 3 + task.sites : 5 + task.sites] + 1) * (task.network.width_m / 2)
        decades = jnp.log10(jax.vmap(task.mean_gain)(position, serving) / limits.noise_power_w) / 2 - 1.5
        columns = jnp.stack([requesting, served, hosted, served * hosted, decades], axis=-1)
        table = jnp.concatenate([columns, per_user[..., 5 + task.sites :]], axis=-1)
        seat = _seat(observation)
        seated = jnp.swapaxes(seat, -2, -1) @ table
        load = (
            jnp.stack([jnp.sum(requesting * hosted, axis=1), jnp.sum(requesting * served * (1 - hosted), axis=1)], axis=-1) / 10
        )
        own = jnp.concatenate([load, observation[:, :1]], axis=1)
        return jnp.concatenate([seated, jnp.broadcast_to(own[:, None], (task.sites, places, 3))], axis=-1)

    def _seat(observation: jax.Array) -> jax.Array:
        per_user = observation[:, 1 + 2 * task.sites :].reshape(task.sites, task.users, -1)
        requesting, served, hosted = (per_user[..., column] > 0.5 for column in range(3))
        return seating(requesting & (served | hosted), places)

    def outputs(actor: Any, seen: jax.Array) -> jax.Array:
        """(…, seats, 11) → (…, 2·seats, parameters): all CPU scores, then all link scores."""
        said = actor(seen)
        said = said.reshape(*said.shape[:-1], 2, plain.head.parameters)
        return jnp.swapaxes(said, -3, -2).reshape(*said.shape[:-3], 2 * places, plain.head.parameters)

    def value(critic: Any, seen: jax.Array) -> jax.Array:
        said = jnp.swapaxes(critic(seen), -2, -1).reshape(*seen.shape[:-2], 2 * places)
        return said if each_its_own else jnp.mean(said, axis=-1, keepdims=True)

    def decode(drawn: jax.Array, observation: jax.Array) -> jax.Array:
        """Scores of those that have a seat, 1/√10 of the others."""
        decades = SCORE_DECADES * (plain.head.bound(drawn) - 0.5)
        seat = _seat(observation)
        told = jnp.einsum("mks,mrs->mrk", seat, decades.reshape(task.sites, 2, places))
        return 10 ** (told - SCORE_DECADES / 2).reshape(task.sites, 2 * task.users)

    each_its_own = fitting.rewards == "difference"
    inputs = 11
    return replace(
        plain,
        components=2 * places,
        features=features,
        init=lambda key: mlp(key, inputs, (16,), 2 * plain.head.parameters),
        outputs=outputs,
        decode=decode,
        value_init=lambda key: mlp(key, inputs, (16,), 2),
        value=value,
        credits=2 * places if each_its_own else 1,
    )


def seats_of(task: TwoTimescale) -> int:
    """How many active users a station that looks at them one by one has an eye for; more are given the middle score."""
    return min(task.users, max(8, math.ceil(0.4 * task.users)))


def seating(concerned: jax.Array, seats: int) -> jax.Array:
    """Which user sits where: the first `seats` of those concerned, in the users' order. concerned: (…, users). Returns (…, users, seats), 0 or 1."""
    place = jnp.cumsum(concerned, axis=-1) - 1
    return ((place[..., None] == jnp.arange(seats)) & concerned[..., None]).astype(jnp.float32)


def centre_role(task: TwoTimescale, fitting: Fitting) -> Role:
    """A server for each user's twin: with `per_user` by one small network that looks at each user and server."""
    plain = replace(_plain(task, fitting, "centre"), reward="centre")
    if not fitting.per_user:
        return plain
    observer, servers_m = task.observer, task.sites_m[task.server_sites]

    def features(observation: jax.Array) -> jax.Array:
        """(1, users, 5·servers + 2): per server is it the host's, is it at the serving site, how far, how many other twins, how many of
        them from elsewhere; the queue, and whether the twin is where it is served."""
        seen = observer.read_centre(Observation(None, None, observation))  # type: ignore[arg-type]
        host = jax.nn.one_hot(seen.host, task.servers)
        served = (seen.serving[:, None] == task.server_sites[None, :]).astype(host.dtype)
        away_m = jnp.sqrt(jnp.sum((seen.position_m[:, None] - servers_m[None]) ** 2, axis=-1))
        strangers = host * (1 - served)
        others = [(jnp.sum(each, axis=0)[None, :] - each) / 10 for each in (host, strangers)]
        at_home = jnp.sum(host * served, axis=1)
        own = jnp.stack([jnp.log1p(seen.queue_frame) / 5, at_home], axis=1)
        return jnp.concatenate([host, served, away_m / task.network.width_m, *others, own], axis=1)[None]

    def value(critic: Any, seen: jax.Array) -> jax.Array:
        said = critic(seen)
        return said[..., 0] if each_its_own else jnp.mean(said, axis=-2)

    each_its_own = fitting.rewards == "difference"
    inputs = 5 * task.servers + 2
    return replace(
        plain,
        features=features,
        init=lambda key: mlp(key, inputs, SMALL, task.servers),
        outputs=lambda actor, seen: actor(seen),
        value_init=lambda key: mlp(key, inputs, SMALL, 1),
        value=value,
        credits=plain.components if each_its_own else 1,
    )


def credit_of(task: TwoTimescale, fitting: Fitting) -> Callable[[State, Action, Outcome], Credit]:
    """What the agents learn from, and which parts of their actions mattered: of users that send, of scores that were weighed against others,
    of twins whose users request."""
    price_j = fitting.failure_price_mj / 1e3

    def seated(state: State, of_users: jax.Array) -> jax.Array:
        """(sites, 2·users) as (sites, 2·seats)."""
        stations = jnp.arange(task.sites)[:, None]
        here = (state.serving[None] == stations) | (task.server_sites[state.host][None] == stations)
        seat = seating(state.world.requesting[None] & here, seats_of(task))
        return jnp.einsum("mks,mrk->mrs", seat, of_users.reshape(task.sites, 2, task.users)).reshape(task.sites, -1)

    def paid(state: State, action: Action, outcome: Outcome) -> Credit:
        done = task.synchronise(state, action)
        averted, mattered = credit.share_difference(task, state, action, done)
        if fitting.per_user:
            averted, mattered = seated(state, averted), seated(state, mattered.astype(jnp.float32)) > 0
        counted = {
            "users": jnp.broadcast_to(done.sending[:, None], action.users.shape),
            "stations": mattered,
            "centre": state.world.requesting[None],
        }
        horizon = fitting.centre_horizon_frames
        if fitting.rewards == "difference" and horizon:
            centre = credit.deployment_difference(task, state, action, done, horizon)[None]
            counted["centre"] = done.sending[None]
        elif horizon:
            delay = credit.move_aware_delay(task, state, action, done, horizon)
            centre = jnp.mean(jnp.where(state.world.requesting, -delay / task.radio.slot_s, 0))[None, None]
        else:
            centre = outcome.rewards.centre[:, None] / task.radio.slot_s
        if fitting.rewards == "printed":
            users, stations = (PAPER_REWARD_SCALE * each[:, None] for each in outcome.rewards[:2])
            centre = centre if horizon else PAPER_REWARD_SCALE * outcome.rewards.centre[:, None]
        elif fitting.rewards == "global":
            cost = jnp.sum(credit.slot_cost(done, price_j))
            users, stations = jnp.broadcast_to(-cost, (task.users, 1)), jnp.broadcast_to(-cost, (task.sites, 1))
        else:
            users, stations = credit.power_difference(task, state, done, price_j)[:, None], averted
        rewards = {"users": users, "stations": stations, "centre": centre}
        return Credit(rewards, counted)

    return paid


def _plain(task: TwoTimescale, fitting: Fitting, name: str) -> Role:
    shared = fitting.shared and task.spec.agents[name].count > 1
    bounded = None if isinstance(task.spec.agents[name].action, Categorical) else HEADS[fitting.distribution]()
    return plain_role(name, task.spec.agents[name], bounded=bounded, reward="global", shared=shared, discount=fitting.discount)


def beta_happo(
    task: TwoTimescale,
    *,
    failure_price_mj: float = Fitting().failure_price_mj,
    anneal_slots: int = LEARNING.anneal_slots,
    distribution: str = "mode",
    power: str = "snr",
    features: str = "computed",
    per_user: bool = True,
    rewards: str = "difference",
    discount: float = 0.0,
    centre_horizon_frames: float = 12.0,
    sequential: bool = True,
    masked: bool = True,
) -> Learner:
    """Beta-HAPPO as it learns this problem, an actor for each agent. The knobs are those of `Fitting`, and some of the algorithm's."""
    fitting = Fitting(distribution, power, features, per_user, rewards, failure_price_mj, discount, centre_horizon_frames)  # type: ignore[arg-type]
    settings = LEARNING._replace(anneal_slots=anneal_slots, sequential=sequential, masked=masked)
    return fitted("beta-happo", task, settings, fitting)


def beta_happo_shared(
    task: TwoTimescale,
    *,
    failure_price_mj: float = Fitting().failure_price_mj,
    anneal_slots: int = LEARNING.anneal_slots,
) -> Learner:
    """The same with one actor for all users and one for all stations; M then runs between classes."""
    settings = LEARNING._replace(anneal_slots=anneal_slots, slots_per_update=5120, epochs=1)
    return fitted(
        "beta-happo-shared", task, settings, Fitting(failure_price_mj=failure_price_mj, shared=True, snr_range=(0.02, 50.0))
    )


def beta_happo_paper(task: TwoTimescale, *, critics: str = "agent") -> Learner:
    """Algorithm 1 with Table I; `critics=reward` shares one for each reward."""
    return fitted("beta-happo-paper", task, algorithm.Settings(critics=critics), PAPER)  # type: ignore[arg-type]


def _check(name: str, fitting: Fitting) -> None:
    choices = {
        "distribution": tuple(HEADS),
        "power": ("snr", "log", "linear"),
        "features": ("computed", "raw"),
        "rewards": ("difference", "global", "printed"),
    }
    for key, allowed in choices.items():
        if getattr(fitting, key) not in allowed:
            raise InputError(f"{name}: {key} = {getattr(fitting, key)}: must be one of {', '.join(allowed)}")
    if fitting.rewards != "printed" and not fitting.failure_price_mj > 0:
        raise InputError(f"{name}: failure_price_mj = {fitting.failure_price_mj:g}: must be above 0")
    if not 0 <= fitting.discount < 1:
        raise InputError(f"{name}: discount = {fitting.discount:g}: must be at least 0 and below 1")
    if fitting.centre_horizon_frames < 0:
        raise InputError(f"{name}: centre_horizon_frames = {fitting.centre_horizon_frames:g}: must be at least 0")
    if fitting.rewards == "difference" and not fitting.per_user:
        raise InputError(
            f"{name}: rewards = difference: is for stations and a centre that look at users one by one: per_user=true"
        )


LEARNERS = {"beta-happo": beta_happo, "beta-happo-shared": beta_happo_shared, "beta-happo-paper": beta_happo_paper}
