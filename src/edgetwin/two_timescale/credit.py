"""Who deserves what: every action's own share in a slot's cost, by asking how the slot would have gone without it.

The printed reward (28) is one number for 35 agents. A *difference reward* is what it would change by if one action were replaced while
everything else stays as it was: the same gradient, far less noise. A slot costs its energy and a fixed price for each failed request,
in units of that price.
"""

import jax
import jax.numpy as jnp

from edgetwin.physical import radio
from edgetwin.two_timescale import rewards, sync
from edgetwin.two_timescale.task import Action, State, Synchronised, TwoTimescale


def slot_cost(done: Synchronised, failure_price_j: float) -> jax.Array:
    """(E_k + price·X_k)/price: what each user costs. (users,)"""
    return done.energy_j / failure_price_j + done.failed


def power_difference(task: TwoTimescale, state: State, done: Synchronised, failure_price_j: float) -> jax.Array:
    """What the slot costs less because a user is not silent: minus its own cost, minus what its interference costs the others. (users,)

    Without user i's power the rate of j has p_i·g less in the denominator of (7); CPU and link shares stay as they were.
    """
    world, limits = state.world, task.radio
    users = jnp.arange(task.users)
    wanted = done.power_w * radio.at_serving(world.gain, done.serving)
    if limits.interference == "physical":
        heard_from = done.power_w[:, None] * world.gain[:, done.serving]
    else:
        heard_from = jnp.broadcast_to(wanted[:, None], (task.users, task.users))
    all_heard = jnp.sum(heard_from, axis=0)
    left = jnp.maximum(all_heard - wanted - heard_from, 0) + limits.noise_power_w
    rate = radio.rate(wanted / left, limits.bandwidth_hz)

    others = (users[:, None] != users[None, :]) & done.sending[None, :] & (done.power_w > 0)[None, :]
    elsewhere = world.data_bits / done.link_bps + world.data_bits * world.cycles_per_bit / done.cpu_hz
    failed = world.data_bits / rate + elsewhere > limits.latency_limit_s
    energy = sync.sync_energy(done.power_w, world.data_bits, rate, limits.latency_limit_s)
    spared = jnp.where(others, (done.energy_j - energy) / failure_price_j + done.failed - failed.astype(jnp.float32), 0)
    return -slot_cost(done, failure_price_j) - jnp.sum(spared, axis=1)


def share_difference(task: TwoTimescale, state: State, action: Action, done: Synchronised) -> tuple[jax.Array, jax.Array]:
    """Failures that a station's score for a user averts, against the score that would give that user an equal share.

    A server with n active twins, or a link with n users, would give the user 1/n and leave the rest to the others in their
    proportions. Returns (sites, 2·users) as the scores are, and which of them mattered: those of active users that share with others.
    """
    world, users = state.world, jnp.arange(task.users)
    host_site = task.server_sites[done.host]
    crossing = done.serving != host_site
    cpu_s = world.data_bits * world.cycles_per_bit / done.cpu_hz
    link_s = world.data_bits / done.link_bps
    limit_s = task.radio.latency_limit_s
    rest_s = world.data_bits / done.rate_bps + cpu_s + link_s

    def averted(score: jax.Array, time_s: jax.Array, rivals: jax.Array, drawing: jax.Array) -> tuple[jax.Array, jax.Array]:
        """rivals: (users, users), who draws on the same resource; drawing: (users,)."""
        rivals = rivals & drawing[:, None] & drawing[None, :]
        score = jnp.where(drawing, score, 0)
        total = rivals @ score
        count = jnp.sum(rivals, axis=1)
        shared = drawing & (count > 1)
        others = total - score
        scale = others * count / jnp.maximum(count - 1, 1) / jnp.where(total > 0, total, 1)
        own_s = time_s * score / jnp.where(total > 0, total, 1) * count
        itself = users[:, None] == users[None, :]
        instead = jnp.where(itself, own_s[None, :], time_s[None, :] * scale[:, None])
        failed = (rest_s - time_s)[None, :] + instead > limit_s
        change = jnp.where(rivals, failed.astype(jnp.float32) - done.failed[None, :], 0)
        return jnp.where(shared, jnp.sum(change, axis=1), 0), shared

    same_server = done.host[:, None] == done.host[None, :]
    same_link = (done.serving[:, None] == done.serving[None, :]) & (host_site[:, None] == host_site[None, :])
    cpu, cpu_shared = averted(action.stations[host_site, users], cpu_s, same_server, done.sending)
    link, link_shared = averted(
        action.stations[done.serving, task.users + users], jnp.where(crossing, link_s, 0), same_link, done.sending & crossing
    )
    station = jnp.arange(task.sites)[:, None]
    at_host, at_serving = station == host_site[None, :], station == done.serving[None, :]
    gained = jnp.concatenate([jnp.where(at_host, cpu, 0), jnp.where(at_serving, link, 0)], axis=1)
    mattered = jnp.concatenate([at_host & cpu_shared, at_serving & link_shared], axis=1)
    return gained, mattered


def move_aware_delay(task: TwoTimescale, state: State, action: Action, done: Synchronised, horizon_frames: float) -> jax.Array:
    """(27) averaged over the frames that a decision lasts: a twin that moves is out for G of their slots, which cost δt each. (users,), s.

    As printed, moving is free, and a centre that learns from it moves twins for any passing gain.
    """
    limits = task.radio
    delay = rewards.centre_delay(
        action.centre[0],
        serving=done.serving,
        host=done.host,
        server_sites=task.server_sites,
        competing=done.sending,
        cpu_score=action.stations[:, : task.users],
        link_score=action.stations[:, task.users :],
        data_bits=state.world.data_bits,
        cycles_per_bit=state.world.cycles_per_bit,
        cpu_hz=task.cpu_hz,
        link_rate_bps=task.link_rate_bps,
        slot_s=limits.slot_s,
    )
    out = limits.migration_slots / (limits.frame_slots * horizon_frames)
    return jnp.where(action.centre[0] != done.host, (1 - out) * delay + out * limits.slot_s, delay)


def deployment_difference(
    task: TwoTimescale, state: State, action: Action, done: Synchronised, horizon_frames: float
) -> jax.Array:
    """Failures that each twin averts by going where the centre wants it, all others going too, over the frames that a decision lasts. (users,)

    Against staying where it is. A twin that moves is out for G slots of those frames, in which its requests fail; it speeds up those it
    leaves behind and slows down those it joins, on CPUs and on links. Scores are as they are.
    """
    world, limits, users = state.world, task.radio, jnp.arange(task.users)
    chosen, serving, sending = action.centre[0], done.serving, done.sending
    site, stay_site = task.server_sites[chosen], task.server_sites[done.host]
    cpu_score, link_score = action.stations[:, : task.users], action.stations[:, task.users :]
    cycles, link_bps = world.data_bits * world.cycles_per_bit, jnp.broadcast_to(task.link_rate_bps, (task.users,))
    link = link_score[serving, users]
    same_end = serving[None, :] == serving[:, None]

    def times(work, rate, score, mates, stay_rate, stay_score, stay_mates):
        """A resource's times when all have moved, (users,); when one stayed instead, its own, (users,), and the others', (users, users), the
        one that stayed first."""
        others = sending[None, :] & (users[:, None] != users[None, :])
        with_it, with_it_there = mates & others, stay_mates & others
        total = jnp.sum(jnp.where(with_it, score[None, :], 0), axis=1) + score
        there = jnp.sum(jnp.where(with_it_there, score[None, :], 0), axis=1) + stay_score
        time = work * total / (score * rate)
        less = jnp.where(with_it, score[:, None] / total[None, :], 0)
        more = jnp.where(with_it_there, stay_score[:, None] / total[None, :], 0)
        return time, work * there / (stay_score * stay_rate), time[None, :] * (1 - less + more)

    cpu = times(
        cycles,
        task.cpu_hz[chosen],
        cpu_score[site, users],
        chosen[None, :] == chosen[:, None],
        task.cpu_hz[done.host],
        cpu_score[stay_site, users],
        chosen[None, :] == done.host[:, None],
    )
    crosses, would_cross = site != serving, stay_site != serving
    wire = times(
        world.data_bits,
        link_bps,
        link,
        same_end & (site[None, :] == site[:, None]) & (crosses[None, :] & crosses[:, None]),
        link_bps,
        link,
        same_end & (site[None, :] == stay_site[:, None]) & (crosses[None, :] & would_cross[:, None]),
    )
    radio_s, limit_s = world.data_bits / done.rate_bps, limits.latency_limit_s
    failed = radio_s + cpu[0] + jnp.where(crosses, wire[0], 0) > limit_s
    stayed = radio_s + cpu[1] + jnp.where(would_cross, wire[1], 0) > limit_s
    others = (radio_s + cpu[2] + jnp.where(crosses, wire[2], 0) > limit_s).astype(jnp.float32) - failed[None, :]
    averted = (
        jnp.sum(jnp.where(sending[None, :] & (users[:, None] != users[None, :]), others, 0), axis=1)
        + stayed
        - failed.astype(jnp.float32)
    )
    out = limits.migration_slots / (limits.frame_slots * horizon_frames)
    value = (1 - out) * averted - out * (1 - stayed)
    return jnp.where((chosen != done.host) & sending, value, 0)
