"""The actor of `ddpg`: servers and users exchange messages, and what comes of it are the scores of (23). One network for all servers.

In every round users associate softly with the servers where wire and price are least; servers see what that would bring them, and change
their prices. First with all servers half open, to find out which of them should open at all; then among those that do.
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
"""Inverse temperatures by round: from hesitant, where prices settle, to decided."""
SCORE_LIMIT = 3.0
SHUT = -1e6


class Actor(eqx.Module):
    """π: `bidding` and `pricing` write a server's messages in rounds of the first and of the second part, `gate` says whether it should open."""

    bidding: MLP
    pricing: MLP
    gate: MLP
    log_sharpness: jax.Array


class Messages(NamedTuple):
    """What servers say, and carry, from round to round. memory: (…, servers, `MEMORY`); price per √work, and price of entry: (…, servers)."""

    memory: jax.Array
    price: jax.Array
    entry: jax.Array


def actor(key: jax.Array) -> Actor:
    """A fresh one, random; its last layers small, so that prices begin near 0."""
    keys = jax.random.split(key, 3)
    size, answers = FACTS + MEMORY + 2, MEMORY + 3
    bidding, pricing, gate = (
        _small_last(mlp(own, size, HIDDEN, outputs)) for own, outputs in zip(keys, (answers, answers, 1), strict=True)
    )
    return Actor(bidding, pricing, gate, jnp.zeros(2))


def _small_last(network: MLP) -> MLP:
    return MLP((*network.weights[:-1], network.weights[-1] * 0.1), (*network.biases[:-1], network.biases[-1] * 0.1))


class Response(NamedTuple):
    """What users answer to messages. preference: of users for servers, in the unit of `Seen.wire`, the more the better, and association: its
    softmax, each row sums to 1; (…, users, servers) both. features: what servers make of it, (…, servers, facts). sensitivity: how much a
    server's computing changes with its price, (…, servers)."""

    preference: jax.Array
    association: jax.Array
    features: jax.Array
    sensitivity: jax.Array


def respond(seen: Seen, openness: jax.Array, messages: Messages, sharpness: jax.Array) -> Response:
    """How users associate at these prices. openness: (…, servers), in [0, 1]; sharpness: the softmax's inverse temperature."""
    servers, work = seen.cpu.shape[-1], seen.root_work[..., None]
    users = jnp.maximum(seen.present.sum(axis=-1, keepdims=True), 1)
    closed = jnp.where(openness > 0, jnp.log(jnp.maximum(openness, 1e-6)), SHUT)[..., None, :]
    score = closed - sharpness * (seen.wire + work * messages.price[..., None, :] + messages.entry[..., None, :])
    best = score.max(axis=-1, keepdims=True)
    soft = jnp.exp(score - best)
    soft = soft / soft.sum(axis=-1, keepdims=True) * seen.present[..., None]
    next_best = jnp.where(score >= best, -jnp.inf, score).max(axis=-1, keepdims=True)
    missed = (score - jnp.where(score >= best, next_best, best)).clip(0, 10 * sharpness) / sharpness
    load, count = (soft * work).sum(axis=-2), soft.sum(axis=-2)
    all_work = jnp.maximum(work.sum(axis=-2), 1e-6)
    share = servers / users
    wired, computing = (soft * seen.wire).sum(axis=-2) * share, load**2 / seen.cpu / NEAR_S * share
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
        (soft * missed).sum(axis=-2) * share,
        openness,
    )
    of_all = (openness.mean(-1), wired.mean(-1), computing.mean(-1), all_work[..., 0] / users[..., 0])
    facts = [*of_server, *(jnp.broadcast_to(fact[..., None], load.shape) for fact in of_all), messages.price, messages.entry]
    features = jnp.concatenate([jnp.stack(facts, axis=-1), messages.memory], axis=-1)
    sensitivity = sharpness * (soft * (1 - soft) * work**2).sum(axis=-2) / seen.cpu / NEAR_S
    return Response(score / sharpness, soft, features, sensitivity)


def updated(network: MLP, response: Response, messages: Messages) -> Messages:
    """What servers say next: the more their load depends on prices, the smaller a step towards those that the network wants."""
    wanted = network(response.features)
    step = jax.nn.sigmoid(wanted[..., MEMORY + 2]) / (1 + 2 * response.sensitivity)
    return Messages(
        jnp.tanh(wanted[..., :MEMORY]),
        messages.price + step * (wanted[..., MEMORY] - messages.price),
        messages.entry + step * (wanted[..., MEMORY + 1] - messages.entry),
    )


def no_messages(seen: Seen) -> Messages:
    """What servers have said before the first round."""
    return Messages(jnp.zeros((*seen.cpu.shape, MEMORY)), jnp.zeros(seen.cpu.shape), jnp.zeros(seen.cpu.shape))


def opening_logits(actor: Actor, seen: Seen) -> jax.Array:
    """Whether servers should open, (…, servers), above 0 for those that should; `limited` makes it a score."""
    sharpness = OPENING_SHARPNESS * jnp.exp(actor.log_sharpness[0])

    def turn(carry: tuple[jax.Array, Messages], _: None) -> tuple[tuple[jax.Array, Messages], None]:
        logits, messages = carry
        openness = jax.nn.sigmoid(limited(logits))
        messages = updated(actor.bidding, respond(seen, openness, messages, sharpness), messages)
        logits = logits + actor.gate(respond(seen, openness, messages, sharpness).features)[..., 0]
        return (logits, messages), None

    (logits, _), _ = jax.lax.scan(turn, (jnp.zeros(seen.cpu.shape), no_messages(seen)), length=OPENING_ROUNDS)
    return logits


def limited(logits: jax.Array) -> jax.Array:
    """The same from −`SCORE_LIMIT` to `SCORE_LIMIT`, so that noise may always open or close a server."""
    return SCORE_LIMIT * jnp.tanh(logits / SCORE_LIMIT)


def associated(actor: Actor, seen: Seen, is_open: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What users prefer among the servers in `is_open`, (…, servers), and their soft association, (…, users, servers) both."""
    openness = is_open.astype(jnp.float32)
    sharpness = jnp.asarray(SHARPNESS) * jnp.exp(actor.log_sharpness[1])

    def turn(messages: Messages, sharpness: jax.Array) -> tuple[Messages, None]:
        return updated(actor.pricing, respond(seen, openness, messages, sharpness), messages), None

    messages, _ = jax.lax.scan(turn, no_messages(seen), sharpness[:-1])
    response = respond(seen, openness, messages, sharpness[-1])
    return response.preference, response.association


def scores(logits: jax.Array, preference: jax.Array) -> jax.Array:
    """The action of (23) from −1 to 1, (…, servers, 1 + users). Order and margins within a user are those of `preference`."""
    behind = preference.max(axis=-1, keepdims=True) - preference
    association = 1 - 2 * jnp.tanh(behind)
    return jnp.concatenate([(logits / SCORE_LIMIT)[..., None], association.swapaxes(-1, -2)], axis=-1)
