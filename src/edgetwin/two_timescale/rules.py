"""Hand rules: what an engineer would try first. Powers here, deployments below; a policy's name joins one of each.

All rules share a server's CPU equally among the active twins it hosts and a link equally among its users. They know what the
observations of the paper tell, and ḡ = ρ0/d^φ, the mean gain to the serving site, from the distance alone; `fading-rule` also its own
fading, which the extended observation tells.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from edgetwin.errors import InputError
from edgetwin.problem import Param, Policy, View
from edgetwin.scenario import replace
from edgetwin.two_timescale import optimal, tuning
from edgetwin.two_timescale.planned import planned
from edgetwin.two_timescale.task import TwoTimescale

RESOURCES = ("users", "stations")
DEPLOYMENT = ("centre",)
TUNED_FAILURE = 0.05


def _power_rule(task: TwoTimescale, share_of: Any, params: dict[str, Param] | None = None, fading: bool = False) -> Policy:
    """A policy for users and stations: `share_of(sight, gain) → (users,)` power over P_max, equal CPU and link scores. The gain is ḡ, or
    with `fading` g = ḡ·|h|²/ḡ."""
    equal = jnp.ones((task.sites, 2 * task.users))

    def act(carry, view: View, key):
        sight = task.observer.read_users(view.observation)
        serving = task.nearest_site(sight.position_m)
        gain = task.mean_gain(sight.position_m, serving)
        if fading:
            gain = gain * task.observer.read_fading(view.observation)
        share = jnp.clip(share_of(sight, gain), 0, 1)[:, None]
        if task.learned_association:
            share = jnp.concatenate([share, jax.nn.one_hot(serving, task.sites)], axis=1)
        return carry, {"users": share, "stations": equal}

    return Policy(name="", task=task, act=act, controls=RESOURCES, params=params or {})


def full_power(task: TwoTimescale) -> Policy:
    """p = P_max."""
    return _power_rule(task, lambda sight, mean_gain: jnp.ones(task.users))


def inversion(task: TwoTimescale, *, snr: float = 5.0) -> Policy:
    """p = min(P_max, x·σ²/ḡ): the same mean signal-to-noise ratio x (linear) for every user, whatever its distance."""
    _positive("inversion", snr=snr)
    wanted_w = snr * task.radio.noise_power_w
    return _power_rule(task, lambda sight, mean_gain: wanted_w / mean_gain / task.radio.tx_power_max_w)


def distance_rule(
    task: TwoTimescale, *, a: float = math.nan, t0: float = math.nan, x: float = math.nan, failure: float = TUNED_FAILURE
) -> Policy:
    """p = min(P_max, Γ·x·(σ²/g_e)·(g_e/ḡ)^a), Γ = 2^{D/(B·t0)} − 1, g_e = ρ0/400^φ: by data and distance.

    a: how far power makes up for distance; t0: transmission time aimed at, s; x: rise of noise by interference. Either all three are
    given, or none: then they are tuned on other episodes for the least energy at no more than `failure` failed requests.
    """
    return _tuned_rule(task, "distance-rule", {"a": a, "t0": t0, "x": x}, failure, fading=False)


def fading_rule(
    task: TwoTimescale, *, a: float = math.nan, t0: float = math.nan, x: float = math.nan, failure: float = TUNED_FAILURE
) -> Policy:
    """`distance-rule` with the true gain g to the serving site in place of ḡ: what a user does that sees its own fading."""
    if task.radio.observation != "extended":
        raise InputError(
            f"policy 'fading-rule': two_timescale.observation = {task.radio.observation}: must be extended, where users see their fading"
        )
    return _tuned_rule(task, "fading-rule", {"a": a, "t0": t0, "x": x}, failure, fading=True)


def _tuned_rule(task: TwoTimescale, rule: str, given: dict[str, float], failure: float, fading: bool) -> Policy:
    if all(math.isnan(value) for value in given.values()):
        if not 0 < failure < 1:
            raise InputError(f"policy {rule!r}: failure = {failure:g}: must lie between 0 and 1")
        given = tuning.tuned(task, failure, fading)
        params = {key: Param(value, tuned=True) for key, value in given.items()} | {"failure": Param(failure)}
    else:
        missing = [key for key, value in given.items() if math.isnan(value)]
        if missing:
            raise InputError(f"policy {rule!r}: give {', '.join(missing)} too, or none of a, t0 and x: then they are tuned")
        _positive(rule, **given)
        if failure != TUNED_FAILURE:
            raise InputError(f"policy {rule!r}: failure = {failure:g}: is for tuning; leave it out, or leave out a, t0 and x")
        params = {key: Param(value) for key, value in given.items()}
    share = tuning.distance_power(task, given["a"], given["t0"], given["x"])
    return _power_rule(task, lambda sight, gain: share(sight.data_bits, gain), params, fading)


def equal_shares(task: TwoTimescale) -> Policy:
    """The rules' CPU and link scores alone, the same for every user: what the stations of a trained policy are compared with."""
    equal = jnp.ones((task.sites, 2 * task.users))
    return Policy(
        name="equal-shares", task=task, act=lambda carry, view, key: (carry, {"stations": equal}), controls=("stations",)
    )


def _deployment(task: TwoTimescale, act: Any, init: Any) -> Policy:
    return Policy(name="", task=task, act=act, init=init, controls=DEPLOYMENT)


def _nearest_server(task: TwoTimescale, view: View) -> jax.Array:
    return task.nearest_server(task.observer.read_centre(view.observation).position_m)


def nearest(task: TwoTimescale) -> Policy:
    """Each twin at the server nearest to its user, at every slot qT."""

    def act(carry, view: View, key):
        return carry, {"centre": _nearest_server(task, view)[None]}

    return _deployment(task, act, lambda key, view: ())


def static(task: TwoTimescale) -> Policy:
    """Each twin at the server nearest in slot 0, for ever."""

    def act(carry, view: View, key):
        return carry, {"centre": carry[None]}

    return _deployment(task, act, lambda key, view: _nearest_server(task, view))


def genie(task: TwoTimescale) -> Policy:
    """Each twin always at the serving site's server, and moving costs nothing: `nearest` on a copy of the task with T = 1 and G = 0."""
    return nearest(task)


genie.relax = lambda task: TwoTimescale(  # type: ignore[attr-defined]
    replace(
        task.scenario,
        {
            "two_timescale.frame_slots": 1,
            "two_timescale.migration_slots": 0,
            "two_timescale.frames": task.spec.slots,
        },
    )
)


def sticky(task: TwoTimescale, *, move: float = 0.8, horizon: int = 4) -> Policy:
    """Load-aware, and loath to move. Users choose one after another the server with the least of

    λ·(twins already there) + share of the next `horizon` frames not served there + `move` if it means moving,

    predicted every 5 slots along the velocity seen between the last two slots.
    """
    if move < 0 or horizon < 1:
        raise InputError(f"policy 'sticky': move = {move:g}, horizon = {horizon}: must be at least 0 and 1")
    frame, slot_s = task.radio.frame_slots, task.radio.slot_s
    ahead_s = jnp.arange(0, horizon * frame, min(5, frame)) * slot_s
    load_price = task.radio.request_probability

    def choose(sight, velocity):
        future = sight.position_m[None] + ahead_s[:, None, None] * velocity[None]
        served = jax.vmap(task.nearest_site)(jnp.clip(future, 0, task.network.width_m))
        away = jnp.mean(served[:, :, None] != task.server_sites[None, None, :], axis=0)
        moving = jnp.arange(task.servers)[None, :] != sight.host[:, None]

        def one(twins, costs):
            server = jnp.argmin(load_price * twins + costs)
            return twins.at[server].add(1), server

        return jax.lax.scan(one, jnp.zeros(task.servers), away + move * moving)[1]

    def act(carry, view: View, key):
        before, slot = carry
        sight = task.observer.read_centre(view.observation)
        velocity = (sight.position_m - before) / slot_s
        chosen = jax.lax.cond((slot % frame == 0) & (slot > 0), lambda: choose(sight, velocity), lambda: sight.host)
        return (sight.position_m, slot + 1), {"centre": chosen[None]}

    def init(key, view: View):
        return task.observer.read_centre(view.observation).position_m, jnp.zeros((), jnp.int32)

    return _deployment(task, act, init)


def _positive(policy: str, **knobs: float) -> None:
    for key, value in knobs.items():
        if not value > 0:
            raise InputError(f"policy {policy!r}: {key} = {value:g}: must be above 0")


POLICIES = {
    "full-power": full_power,
    "inversion": inversion,
    "distance-rule": distance_rule,
    "fading-rule": fading_rule,
    "nearest": nearest,
    "static": static,
    "sticky": sticky,
    "planned": planned,
    "genie": genie,
    "min-energy": optimal.min_energy,
    "drift-plus-penalty": optimal.drift_plus_penalty,
}
