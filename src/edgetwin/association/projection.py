"""From what agents ask for to what the constraints allow: placement scores to one open server with room per user, (18a), (18b), (23);
requests to move to those for which there is room, (21a), (21b)."""

import jax
import jax.numpy as jnp


def opened(placement_score, capacity, users):
    """Servers whose score is above 0, and always the best ones that hold all users together. (servers,) bool."""
    order = jnp.argsort(-placement_score, stable=True)
    before = jnp.cumsum(capacity[order]) - capacity[order]
    needed = jnp.zeros(len(capacity), bool).at[order].set(before < users)
    return (placement_score > 0) | needed


def associated(score, open_servers, capacity, present):
    """Each user's best-scored open server with a free slot, those first who prefer it most over their second best. (users,), -1 if absent.

    score: (users, servers); open_servers, capacity: (servers,); present: (users,).
    """
    score = jnp.where(open_servers, score, -jnp.inf)
    best = jax.lax.top_k(score, min(2, score.shape[1]))[0]
    margin = best[:, 0] - best[:, -1]
    order = jnp.argsort(-jnp.where(present, margin, -jnp.inf), stable=True)

    def take(free, user):
        choice = jnp.argmax(jnp.where(free > 0, score[user], -jnp.inf))
        return free.at[choice].add(-present[user].astype(free.dtype)), jnp.where(present[user], choice, -1)

    _, taken = jax.lax.scan(take, capacity, order)
    return jnp.zeros(len(score), taken.dtype).at[order].set(taken)


def scores_of(host, servers):
    """The scores that `associated` turns into exactly these hosts: (servers, 1 + users), 1 where wanted, −1 elsewhere."""
    wanted = host[None, :] == jnp.arange(servers)[:, None]
    return jnp.where(jnp.concatenate([wanted.any(axis=1, keepdims=True), wanted], axis=1), 1.0, -1.0)


def admitted(host, wanted, capacity):
    """Where twins are after they asked to move: who asks last (by index) for a full server stays where it is. (users,)

    host: (users,), feasible, -1 for a user without a twin; wanted: (users,). Denying one may fill its old server again, so this repeats
    until all fit; it ends, since at worst nobody moves.
    """
    servers = jnp.arange(len(capacity))

    def crowded(target):
        at = target[:, None] == servers
        return jnp.sum(at, axis=0) - capacity, at

    def deny(target):
        excess, at = crowded(target)
        moving = at & (target != host)[:, None]
        from_last = jnp.cumsum(moving[::-1], axis=0)[::-1]
        return jnp.where((moving & (from_last <= excess)).any(axis=1), host, target)

    return jax.lax.while_loop(lambda target: (crowded(target)[0] > 0).any(), deny, jnp.where(host < 0, host, wanted))
