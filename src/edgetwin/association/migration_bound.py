"""What no policy can exceed in migration's net utility, whatever it knows: users and servers part, and pay each other.

A server pays λ_ik(t) to host user i in slot t. For any payments, the sum of net utilities of any feasible hosts is at most

    Σ_i max over i's hosts k(·) of Σ_t (λ_ik(t) − what moving costs)  +  Σ_tk max over sets S of Σ_{i∈S} (U_ik(t; L_S) − λ_ik(t)) − energy

where L_S = Σ_{i∈S} w_i. The first is a shortest path for each user, from its given first host. For the second, (0, N_k] is cut into ranges
of loads; in a range [l, h], U(L_S) ≤ U(l) and L_S ≤ h leave a knapsack, which for any price θ ≥ 0 of load holds at most
θ·h + Σ_i max(0, U_ik(l) − λ_ik − θ·w_i). Ranges are halved where the greatest such bound is. With equal shares loads are whole numbers and
ranges end as single ones; reserved compute has one range, its capacity; square-root shares, whose capacity becomes the load of the N_k
heaviest users, stop at a fraction of a user. Payments that make the sum small are found by subgradient steps, from those that the loads
of `priced` suggest. All in double precision.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from edgetwin.association.clairvoyant import priced_hosts
from edgetwin.association.foresight import Foresight, foresee, too_much

if TYPE_CHECKING:
    from edgetwin.association.migration import MigrationTask

STAGES, STEPS = 4, 15
"""After each stage the bound is proven, and the ranges that decided it join those which the steps look at"""
STEP = 0.07
"""Of the first step, in units of the mean utility"""
MOMENTUM = 0.8
MARGINAL = 0.8
"""Of what a user takes from the others at its server, what it is paid less at first"""
FINEST = 1 / 16
"""Of a mean user's load: the least range with square-root shares"""
SPLITS = 48
"""Most ranges of a server in a slot"""
NEVER = 1e9
"""What going to a closed server costs"""
HALVINGS, QUICK_HALVINGS = 20, 12
"""Of the interval of θ"""


class Parted(NamedTuple):
    """An episode for the bound, its open servers alone, users last. scale, decay: (slots, servers, users); move: (servers, servers,
    users); weight, start: (users,); least, most: (servers,), loads of a server that hosts somebody; finest: the least range; grain: 1 where loads
    are whole numbers, else 0."""

    scale: Any
    decay: Any
    move: Any
    weight: Any
    start: Any
    least: Any
    most: Any
    finest: Any
    grain: Any

    def left(self, pay: Any, load: Any) -> Any:
        """U − λ, (slots, servers, users), at loads (slots, servers, users or 1)."""
        return self.scale * jnp.exp(-self.decay * load) - pay


class Filled(NamedTuple):
    """A knapsack's bound, and the prices of load between which its own lies: too low, so that too many come, and high enough."""

    value: Any
    low: Any
    high: Any


def bound(task: "MigrationTask", keys: jax.Array, slots: int) -> Callable[[Mapping[str, float]], dict[str, float]] | None:
    """The greatest net utility that any policy may reach on these episodes, mean over users and slots. None where users come and go, or
    there are too many to tell in seconds (`foresight.MOST`)."""
    if too_much(task, slots):
        return None
    value = float(net_utility_bounds(task, keys, slots).mean()) / (slots * task.users)
    return lambda metrics: {"net_utility": value}


def net_utility_bounds(task: "MigrationTask", keys: jax.Array, slots: int) -> NDArray[np.float64]:
    """The bound on each episode's sum of net utilities over users and slots, (episodes,)."""

    @jax.jit
    def episode(key: jax.Array) -> tuple[Foresight, jax.Array]:
        state, worlds = task.reset(key), task.trace(key, slots)
        return foresee(task, state, worlds), priced_hosts(task, state, worlds)

    seen = [jax.tree.map(np.asarray, episode(key)) for key in keys]
    most_open = max(int(known.is_open.sum()) for known, _ in seen)
    return np.array([episode_bound(known, hosts, most_open) for known, hosts in seen])


def episode_bound(known: Foresight, hosts: NDArray, servers: int) -> float:
    """The greatest sum of net utilities of an episode. NumPy; hosts: (slots, users), feasible; servers: how many of them to keep, at least
    those that are open."""
    kept = np.argsort(~known.is_open, kind="stable")[:servers]
    place = np.zeros(len(known.is_open), int)
    place[kept] = np.arange(servers)
    parted = parted_of(known, kept, place)
    with jax.enable_x64(True):
        pay, ranges, unit = first_payments(parted, place[hosts])
        momentum = np.zeros_like(pay)
        best, deciding = proven(parted, pay)
        for stage in range(STAGES):
            ranges[3 + stage] = deciding
            pay, momentum = descend(parted, pay, momentum, ranges, STEP * unit, float(stage * STEPS))
            value, deciding = proven(parted, pay)
            best = min(best, value)
    return float(best) - float(known.energy.sum(dtype=float))


def parted_of(known: Foresight, kept: NDArray, place: NDArray) -> Parted:
    """The servers `kept` of an episode; place: (servers,), where each is among them. A closed one among them is never gone to."""
    weight = known.weight.astype(float)
    whole = bool((weight == 1).all())
    heaviest = np.concatenate([[0], np.cumsum(np.sort(weight)[::-1])])
    most = heaviest[np.minimum(known.capacity[kept], len(weight))]
    scale, decay = (each[:, :, kept].transpose(0, 2, 1).astype(float) for each in (known.scale, known.decay))
    move = known.move[:, kept][:, :, kept].transpose(1, 2, 0).astype(float)
    move[:, ~known.is_open[kept]] = NEVER
    return Parted(
        scale=np.where(known.is_open[kept][:, None], scale, 0),
        decay=decay,
        move=move,
        weight=weight,
        start=place[known.start],
        least=np.full(len(kept), weight.min()) if decay.any() else most,
        most=most,
        finest=0.0 if whole else FINEST * weight.mean(),
        grain=float(whole),
    )


def first_payments(parted: Parted, hosts: NDArray) -> tuple[NDArray, NDArray, float]:
    """Payments as the loads of hosts, (slots, users), suggest: each user's utility less most of what it takes from others; with them, the
    ranges to look at, (ranges, 2, slots, servers), and the mean utility. Empty ranges, of load 0, wait for what `proven` finds."""
    at = (hosts[:, None] == np.arange(len(parted.most))[:, None]).astype(float)
    load = at @ parted.weight
    now = parted.scale * np.exp(-parted.decay * load[..., None])
    taken = (at * now * parted.decay).sum(axis=-1, keepdims=True) * parted.weight
    pay = parted.left(0, load[..., None] + (1 - at) * parted.weight)
    around = load + np.arange(-1, 2)[:, None, None] * parted.weight.mean()
    loads = np.concatenate([np.clip(around, parted.least, parted.most), np.zeros((STAGES, *load.shape))])
    return pay - MARGINAL * taken, np.stack([loads, loads], axis=1), float((at * now).sum() / hosts.size)


@jax.jit
def descend(parted: Parted, pay: Any, momentum: Any, ranges: Any, step: Any, done: Any) -> tuple[jax.Array, jax.Array]:
    """STEPS subgradient steps of the payments, (slots, servers, users), and their momentum; steps shrink to 0 as STAGES·STEPS are done.
    Servers look at `ranges` of loads alone."""

    def once(number: jax.Array, loop: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        pay, momentum = loop
        hosts = ways(parted, pay)[1]
        chosen = (hosts[:, None] == jnp.arange(len(parted.most))[:, None]) - guests(parted, pay, ranges)
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * chosen
        return pay - step * 0.5 * (1 + jnp.cos(jnp.pi * (done + number) / (STAGES * STEPS))) * momentum, momentum

    return jax.lax.fori_loop(0, STEPS, once, (pay, momentum))


@jax.jit
def proven(parted: Parted, pay: Any) -> tuple[jax.Array, jax.Array]:
    """The bound at these payments before energy; and the ranges that decided it, (2, slots, servers)."""
    shape = pay.shape[:2]
    slots = jnp.arange(SPLITS + 1)[:, None, None]
    empty = jnp.zeros((SPLITS + 1, *shape))
    low, high = jnp.where(slots == 0, parted.least, empty), jnp.where(slots == 0, parted.most, empty)

    def worth(low: jax.Array, high: jax.Array) -> jax.Array:
        return fill(parted.left(pay, low[..., None]), parted.weight, high, HALVINGS).value

    def split(loop: Any) -> Any:
        number, (low, high, value), _ = loop
        best = value.argmax(axis=0)
        least, most, whole = (_at(each, best) for each in (low, high, value))
        wide = (most - least > parted.finest) & (whole > 0)
        middle = (least + most) / 2
        middle = jnp.where(parted.grain > 0, jnp.floor(middle), middle)
        below = jnp.minimum(worth(least, middle), whole)
        above = jnp.where(wide, jnp.minimum(worth(middle + parted.grain, most), whole), 0)
        here = (slots == best) & wide
        return (
            number + 1,
            (
                low.at[number].set(middle + parted.grain),
                jnp.where(here, middle, high).at[number].set(most),
                jnp.where(here, below, value).at[number].set(above),
            ),
            wide.any(),
        )

    begun = (1, (low, high, empty.at[0].set(worth(low[0], high[0]))), jnp.array(True))
    _, (low, high, value), _ = jax.lax.while_loop(lambda loop: (loop[0] <= SPLITS) & loop[2], split, begun)
    best = value.argmax(axis=0)
    return ways(parted, pay)[0] + value.max(axis=0).sum(), jnp.stack([_at(low, best), _at(high, best)])


def _at(ranges: jax.Array, number: jax.Array) -> jax.Array:
    return jnp.take_along_axis(ranges, number[None], axis=0)[0]


def ways(parted: Parted, pay: Any) -> tuple[jax.Array, jax.Array]:
    """The sum over users of the greatest payments less moves, and the hosts that earn them, (slots, users)."""

    def forwards(value: jax.Array, now: jax.Array) -> tuple[jax.Array, jax.Array]:
        via = value[:, None] - parted.move
        return via.max(axis=0) + now, via.argmax(axis=0).astype(jnp.int8)

    begun = jnp.where(jnp.arange(len(parted.most))[:, None] == parted.start, 0, -NEVER)
    value, came = jax.lax.scan(forwards, begun, pay)

    def backwards(host: jax.Array, before: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.take_along_axis(before, host[None], axis=0)[0].astype(host.dtype), host

    return value.max(axis=0).sum(), jax.lax.scan(backwards, value.argmax(axis=0), came, reverse=True)[1]


def fill(value: jax.Array, weight: jax.Array, room: jax.Array, halvings: int) -> Filled:
    """At least what users in a knapsack are worth, by the best price of load as halvings find it. value: (…, users); room: (…)."""
    each = value / weight

    def halve(_: Any, between: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = between
        middle = (low + high) / 2
        full = jnp.sum(jnp.where(each > middle[..., None], weight, 0), axis=-1) > room
        return jnp.where(full, middle, low), jnp.where(full, high, middle)

    zero = jnp.zeros(value.shape[:-1])
    low, high = jax.lax.fori_loop(0, halvings, halve, (zero, jnp.maximum(each.max(axis=-1), 0)))
    return Filled(high * room + jnp.maximum(value - high[..., None] * weight, 0).sum(axis=-1), low, high)


def guests(parted: Parted, pay: jax.Array, ranges: jax.Array) -> jax.Array:
    """Whom servers host in the best of their ranges, (slots, servers, users); who is between the prices of load comes in part."""
    zero = jnp.zeros(pay.shape[:2])

    def better(best: Any, between: jax.Array) -> tuple[Any, None]:
        found = fill(parted.left(pay, between[0][..., None]), parted.weight, between[1], QUICK_HALVINGS)
        wins = found.value > best[0].value
        return jax.tree.map(lambda new, old: jnp.where(wins, new, old), (found, between[0], between[1]), best), None

    nobody = (Filled(zero, zero, jnp.full_like(zero, jnp.inf)), zero, zero)
    (found, load, room), _ = jax.lax.scan(better, nobody, ranges)
    each = parted.left(pay, load[..., None]) / parted.weight
    sure, may = each > found.high[..., None], each > found.low[..., None]
    taken = jnp.sum(jnp.where(sure, parted.weight, 0), axis=-1)
    waiting = jnp.sum(jnp.where(may & ~sure, parted.weight, 0), axis=-1)
    part = jnp.clip((room - taken) / jnp.where(waiting > 0, waiting, 1), 0, 1)
    return jnp.where(sure, 1, jnp.where(may, part[..., None], 0))
