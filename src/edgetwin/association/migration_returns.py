"""What came of a twin's being at a server, for every server it could have been at: λ-returns over afterstates.

Users, channels and CPUs move as they do wherever a twin is, so a stretch of slots that was played tells what would have followed from every
start: the user's own later choices are made anew from there, by the network's values, and paid by difference rewards. The others stay with
what they did.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Played(NamedTuple):
    """Slots that were played, slots first, then any axes …, then users. worth, value: (…, users, servers), the difference reward at a server, and
    what the network expects from later slots; may: (…, users, servers), where the user could go; price: (…, users), utility that a metre
    of transfer costs; between_m: (…, servers, servers); present: (…, users); ended: (…), whether the next slot is of another episode."""

    worth: jax.Array
    value: jax.Array
    may: jax.Array
    price: jax.Array
    between_m: jax.Array
    present: jax.Array
    ended: jax.Array


def later(played: Played, discount: float, trace_decay: float) -> jax.Array:
    """What followed after each slot but the last from every server, (slots − 1, …, users, servers).

    G_t(k) = D_{t+1}(k′) − c(k, k′) + γ·((1−λ)·W_{t+1}(k′) + λ·G_{t+1}(k′)),   k′ = argmax D_{t+1} − c(k, ·) + γ·W_{t+1}

    with W itself where the stretch or an episode ends. Who is absent stays and earns nothing in that slot.
    """
    stay = jnp.eye(played.worth.shape[-1], dtype=bool)

    def before(following: jax.Array, slot: tuple[Played, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        after, value, ended = slot
        transfer = after.price[..., None, None] * after.between_m[..., None, :, :]
        going = after.worth + discount * after.value
        chosen = jnp.argmax(jnp.where(after.may[..., None, :] | stay, going[..., None, :] - transfer, -jnp.inf), axis=-1)
        gained = after.worth + discount * ((1 - trace_decay) * after.value + trace_decay * following)
        paid = jnp.take_along_axis(transfer, chosen[..., None], axis=-1)[..., 0]
        found = jnp.take_along_axis(gained, chosen, axis=-1) - paid
        found = jnp.where(after.present[..., None], found, discount * following)
        found = jnp.where(ended[..., None, None], value, found)
        return found, found

    slots = (jax.tree.map(lambda leaf: leaf[1:], played), played.value[:-1], played.ended[:-1])
    return jax.lax.scan(before, played.value[-1], slots, reverse=True)[1]
