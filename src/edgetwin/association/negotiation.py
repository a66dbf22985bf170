"""The actor of `ddpg`: servers and users negotiate, and what comes of it are the scores of (23). One network for all servers, whatever their number.

In every round users lean to the servers where wire and price are least; servers see what that would bring them, and change their price.
First with doors half open, while servers find out which of them are worth their opening cost; then among those that open.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from edgetwin.association.placement import NEAR_S
from edgetwin.association.placement_sight import Seen
from edgetwin.learning.networks import MLP, mlp

MEMORY = 8
"""Numbers that a server carries from round to round"""
FACTS = 15
HIDDEN = (32,)
OPENING_ROUNDS, PRICE_ROUNDS = 4, 6
OPENING_SHARPNESS = 15.0
SHARPNESS = tuple(4.0 * 20.0 ** (turn / PRICE_ROUNDS) for turn in range(PRICE_ROUNDS + 1))
"""How strongly users lean, by round: from hesitant, where prices settle, to decided."""
SCORE_LIMIT = 3.0
SHUT = -1e6


class Actor(eqx.Module):
    """π: `doors` and `prices` answer for a server in a round of the first and of the second part, `worth` says whether it should open."""

    doors: MLP
    prices: MLP
    worth: MLP
    log_sharpness: jax.Array


class Talk(NamedTuple):
    """What servers carry from round to round. memory: (…, servers, `MEMORY`); price per √work, and price of entry: (…, servers)."""

    memory: jax.Array
    price: jax.Array
    entry: jax.Array


def actor(key: jax.Array) -> Actor:
    """A fresh one, random; its last layers small, so that prices begin near 0."""
    keys = jax.random.split(key, 3)
    size, answers = FACTS + MEMORY + 2, MEMORY + 3
    doors, prices, worth = (
        _small_last(mlp(own, size, HIDDEN, outputs)) for own, outputs in zip(keys, (answers, answers, 1), strict=True)
    )
    return Actor(doors, prices, worth, jnp.zeros(2))


def _small_last(network: MLP) -> MLP:
    return MLP((*network.weights[:-1], network.weights[-1] * 0.1), (*network.biases[:-1], network.biases[-1] * 0.1))


def each(network: MLP, inputs: jax.Array) -> jax.Array:
    """The network on the last axis, whatever the others are."""
    return network(inputs.reshape(-1, inputs.shape[-1])).reshape(*inputs.shape[:-1], -1)


class View(NamedTuple):
    """A round as it stands. liking: what users think of servers, in the unit of `Seen.wire`, the more the better, and lean: to whom they lean, each
    row sums to 1; (…, users, servers) both. known: what servers know, (…, servers, facts). stiffness: how much a server's computing changes
    with its price, (…, servers)."""

    liking: jax.Array
    lean: jax.Array
    known: jax.Array
    stiffness: jax.Array


def look(seen: Seen, opening: jax.Array, talk: Talk, sharpness: jax.Array) -> View:
    """Where users lean at these prices, and what servers make of it. opening: (…, servers), in [0, 1]."""
    servers, work = seen.cpu.shape[-1], seen.root_work[..., None]
    users = jnp.maximum(seen.present.sum(axis=-1, keepdims=True), 1)
    door = jnp.where(opening > 0, jnp.log(jnp.maximum(opening, 1e-6)), SHUT)[..., None, :]
    score = door - sharpness * (seen.wire + work * talk.price[..., None, :] + talk.entry[..., None, :])
    best = score.max(axis=-1, keepdims=True)
    lean = jnp.exp(score - best)
    lean = lean / lean.sum(axis=-1, keepdims=True) * seen.present[..., None]
    next_best = jnp.where(score >= best, -jnp.inf, score).max(axis=-1, keepdims=True)
    missed = (score - jnp.where(score >= best, next_best, best)).clip(0, 10 * sharpness) / sharpness
    load, count = (lean * work).sum(axis=-2), lean.sum(axis=-2)
    all_work = jnp.maximum(work.sum(axis=-2), 1e-6)
    share = servers / users
    wired, computing = (lean * seen.wire).sum(axis=-2) * share, load**2 / seen.cpu / NEAR_S * share
    of_server = (
        seen.cpu,
        1 / (3 * seen.cpu),
        load / all_work * servers,
        load / seen.cpu / all_work * servers / 2,
        load / seen.cpu / NEAR_S,
        computing,
        count * share,
        count / (seen.capacity * users),
        wired,
        (lean * missed).sum(axis=-2) * share,
        opening,
    )
    of_all = (opening.mean(-1), wired.mean(-1), computing.mean(-1), all_work[..., 0] / users[..., 0])
    facts = [*of_server, *(jnp.broadcast_to(fact[..., None], load.shape) for fact in of_all), talk.price, talk.entry]
    known = jnp.concatenate([jnp.stack(facts, axis=-1), talk.memory], axis=-1)
    return View(score / sharpness, lean, known, sharpness * (lean * (1 - lean) * work**2).sum(axis=-2) / seen.cpu / NEAR_S)


def answer(network: MLP, view: View, talk: Talk) -> Talk:
    """What servers say next: the stiffer, the smaller a step towards the prices that the network wants."""
    said = each(network, view.known)
    step = jax.nn.sigmoid(said[..., MEMORY + 2]) / (1 + 2 * view.stiffness)
    return Talk(
        jnp.tanh(said[..., :MEMORY]),
        talk.price + step * (said[..., MEMORY] - talk.price),
        talk.entry + step * (said[..., MEMORY + 1] - talk.entry),
    )


def opening_scores(actor: Actor, seen: Seen) -> jax.Array:
    """What opening is worth, (…, servers), above 0 for those that should; `limited` makes it a score."""
    sharpness = OPENING_SHARPNESS * jnp.exp(actor.log_sharpness[0])

    def turn(carry: tuple[jax.Array, Talk], _: None) -> tuple[tuple[jax.Array, Talk], None]:
        worth, talk = carry
        opening = jax.nn.sigmoid(limited(worth))
        talk = answer(actor.doors, look(seen, opening, talk, sharpness), talk)
        worth = worth + each(actor.worth, look(seen, opening, talk, sharpness).known)[..., 0]
        return (worth, talk), None

    (worth, _), _ = jax.lax.scan(turn, (jnp.zeros(seen.cpu.shape), silence(seen)), length=OPENING_ROUNDS)
    return worth


def silence(seen: Seen) -> Talk:
    return Talk(jnp.zeros((*seen.cpu.shape, MEMORY)), jnp.zeros(seen.cpu.shape), jnp.zeros(seen.cpu.shape))


def limited(worth: jax.Array) -> jax.Array:
    """The same from −`SCORE_LIMIT` to `SCORE_LIMIT`, so that noise may always open or shut a door."""
    return SCORE_LIMIT * jnp.tanh(worth / SCORE_LIMIT)


def preferences(actor: Actor, seen: Seen, is_open: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What users think of servers, and to whom they lean, (…, users, servers) both, among those in `is_open`, (…, servers)."""
    opening = is_open.astype(jnp.float32)
    sharpness = jnp.asarray(SHARPNESS) * jnp.exp(actor.log_sharpness[1])

    def turn(talk: Talk, sharpness: jax.Array) -> tuple[Talk, None]:
        return answer(actor.prices, look(seen, opening, talk, sharpness), talk), None

    talk, _ = jax.lax.scan(turn, silence(seen), sharpness[:-1])
    view = look(seen, opening, talk, sharpness[-1])
    return view.liking, view.lean


def scores(opening: jax.Array, preference: jax.Array) -> jax.Array:
    """The action of (23) from −1 to 1, (…, servers, 1 + users). Order and margins within a user are those of `preference`."""
    behind = preference.max(axis=-1, keepdims=True) - preference
    association = 1 - 2 * jnp.tanh(behind)
    return jnp.concatenate([(opening / SCORE_LIMIT)[..., None], association.swapaxes(-1, -2)], axis=-1)
