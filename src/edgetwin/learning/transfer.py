"""From one region to another: Algorithm 2 of association, (32)-(34). One equation, one function; then the ways to begin from them.

What moves is what a run has learned (policies, critics, slow copies) and its replay. θ, wherever it is written here, is all that is learned:
real numbers outside of fields called `…optimiser` are parameters. Optimisers stay behind, so that learning rates are those of any training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin import registry
from edgetwin.errors import InputError
from edgetwin.learning import replay as ring
from edgetwin.learning.learner import Learner
from edgetwin.learning.off_policy import State
from edgetwin.learning.sources import Source, check_one_lineage, read_source


def aggregated(models: Sequence[Any], weights: Sequence[float]) -> Any:
    """θ = Σ_j w_j θ_j, with Σ_j w_j = 1, over the models θ_j of the places p_j on a trajectory; what is no parameter is the last one's.      (32)

    Raises InputError where the weights do not sum to 1, or are not as many as the models.
    """
    if len(models) != len(weights) or not np.isclose(sum(weights), 1):
        raise InputError(f"weights {list(weights)} of {len(models)} models: must be as many, and sum to 1")
    return parameters_changed(
        lambda *each: sum(weight * theta for weight, theta in zip(reversed(weights), each, strict=True)), *reversed(models)
    )


def merged(replay: ring.Replay, source: ring.Replay) -> ring.Replay:
    """(A_t, S_t) = (A_{t−1}, S_{t−1}) ∪ (A_s, S_s): all rows of both, in a ring with room for the source's beside the target's.      (33)

    Whole transitions move, rewards too. The source's count as older, so the target's own experience comes to replace them.
    """
    capacity, room = (jax.tree.leaves(each.rows)[0].shape[0] for each in (source, replay))
    held = min(int(source.added), capacity)
    theirs = (int(source.added) - held + np.arange(held)) % capacity
    begin = jnp.where(replay.added > room, replay.added % room, 0)
    ours = (begin + jnp.arange(room)) % room
    rows = jax.tree.map(lambda own, other: jnp.concatenate([other[theirs], own[ours]]), replay.rows, source.rows)
    return ring.Replay(rows, held + jnp.minimum(replay.added, room))


def pulled(theta: Any, source: Any, rho: jax.Array | float) -> Any:
    """θ ← (1 − ρ) θ + ρ θ_src, which stays between the two.      (34), convex"""
    return parameters_changed(lambda own, other: (1 - rho) * own + rho * other, theta, source)


def added(theta: Any, source: Any, rho: jax.Array | float) -> Any:
    """θ ← θ + ρ θ_src as printed: it grows by ρ θ_src each time, without bound.      (34)"""
    return parameters_changed(lambda own, other: own + rho * other, theta, source)


def parameters_changed(change: Callable[..., jax.Array], theta: Any, *others: Any) -> Any:
    """θ with `change(own, other, …)` in place of every parameter; optimisers' states and whole numbers stay."""

    def at(place: Any, own: jax.Array, *other: jax.Array) -> jax.Array:
        return change(own, *other) if _is_parameter(place, own) else own

    return jax.tree_util.tree_map_with_path(at, theta, *others)


def carried(fresh: Any, source: Any) -> Any:
    """What a source has learned, with the optimisers' states of a fresh beginning."""
    return jax.tree_util.tree_map_with_path(lambda place, own, other: own if _of_optimiser(place) else other, fresh, source)


def norm(theta: Any) -> jax.Array:
    """‖θ‖, over all parameters."""
    leaves = jax.tree_util.tree_leaves_with_path(theta)
    return jnp.sqrt(sum(jnp.sum(leaf**2) for place, leaf in leaves if _is_parameter(place, leaf)))


def warm(learner: Learner, sources: Sequence[Source]) -> Learner:
    """Begins with what the source had learned, its policy and critic; line 4 of Algorithm 2."""
    source = _only(sources, "warm")
    return replace(learner, begin=lambda state: _with_learned(state, source.learned))


def experience(learner: Learner, sources: Sequence[Source]) -> Learner:
    """`warm`, and learns from the source's experience beside its own, (33)."""
    source = _only(sources, "experience")
    return replace(learner, begin=lambda state: _with_experience(state, source))


def aggregate(learner: Learner, sources: Sequence[Source]) -> Learner:
    """Begins with the mean, (32) with weights 1/n, of what one lineage had learned at n places, in their order."""
    check_one_lineage(sources)
    theta = aggregated([source.learned for source in sources], [1 / len(sources)] * len(sources))
    return replace(learner, begin=lambda state: _with_learned(state, theta))


def pull(learner: Learner, sources: Sequence[Source], *, rho: float = 0.3, decay: float = 0.7) -> Learner:
    """Algorithm 2 with the convex (34): `experience`, and after each block a pull back to the source by ρ, which decays by a factor each time."""
    for name, value in {"rho": rho, "decay": decay}.items():
        if not 0 <= value <= 1:
            raise InputError(f"transfer 'pull': {name} = {value}: must be from 0 to 1")
    return _after_each_block(learner, _only(sources, "pull"), pulled, lambda blocks: rho * decay**blocks)


def printed(learner: Learner, sources: Sequence[Source], *, rho: float = 0.1) -> Learner:
    """Algorithm 2 with (34) as printed: `experience`, and after each block ρ times the source is added."""
    return _after_each_block(learner, _only(sources, "printed"), added, lambda blocks: rho)


TRANSFERS: dict[str, Callable[..., Learner]] = {
    "warm": warm,
    "experience": experience,
    "aggregate": aggregate,
    "pull": pull,
    "printed": printed,
}


def begun_from(learner: Learner, runs: Sequence[Path], transfer: str | None = None) -> Learner:
    """The learner as it begins from runs elsewhere, in one of the ways of `TRANSFERS` with its knobs, such as `pull[rho=0.5]`; by default `warm`.

    runs: their folders; several for `aggregate`, in their order; none to begin from nothing. Raises InputError for an unknown way or knob,
    and for runs that do not fit.
    """
    if not runs:
        if transfer is None:
            return learner
        raise InputError(f"transfer {transfer!r}: needs a run to begin from")
    transfer = (transfer or "warm").strip()
    factory, knobs = registry.parsed(transfer, TRANSFERS, "transfer")
    sources = [read_source(learner, run) for run in runs]
    origin = {"transfer": transfer, "sources": [source.origin for source in sources]}
    return replace(factory(learner, sources, **knobs), origin=origin)


def begun_as(learner: Learner, about: Mapping[str, Any]) -> Learner:
    """The learner as the run described by `about` began: from the same runs, if from any. Raises InputError where they are no longer the same."""
    origin = about.get("origin")
    if origin is None:
        return learner
    again = begun_from(learner, [Path(source["run"]) for source in origin["sources"]], origin["transfer"])
    assert again.origin is not None
    for then, now in zip(origin["sources"], again.origin["sources"], strict=True):
        if then["checkpoint"] != now["checkpoint"]:
            raise InputError(
                f"{then['run']}: is no longer the run that this one began from: it was at slot {then['slots']:,} then, "
                f"at {now['slots']:,} now; train again into another folder"
            )
    return again


def _after_each_block(
    learner: Learner,
    source: Source,
    change: Callable[[Any, Any, Any], Any],
    rho_of: Callable[[jax.Array], jax.Array | float],
) -> Learner:
    """`experience`, and `change(θ, θ_src, ρ)` after each block; ρ by the number of blocks before. The source is kept in the state."""

    def begin(state: State) -> State:
        return _with_experience(state, source)._replace(source=source.learned)

    def after(state: State) -> tuple[State, dict[str, jax.Array]]:
        rho = rho_of(state.slots / learner.block_slots - 1)
        learned = change(state.learned, state.source, rho)
        return state._replace(learned=learned), {"rho": jnp.asarray(rho), "parameter_norm": norm(learned)}

    return replace(learner, begin=begin, after=after)


def _with_learned(state: State, theta: Any) -> State:
    return state._replace(learned=carried(state.learned, theta))


def _with_experience(state: State, source: Source) -> State:
    return _with_learned(state, source.learned)._replace(replay=merged(state.replay, source.replay))


def _only(sources: Sequence[Source], transfer: str) -> Source:
    if len(sources) != 1:
        raise InputError(f"transfer {transfer!r}: begins from one run, not {len(sources)}; the mean of several is 'aggregate'")
    return sources[0]


def _is_parameter(place: Any, leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating) and not _of_optimiser(place)


def _of_optimiser(place: Any) -> bool:
    return any(getattr(step, "name", "").endswith("optimiser") for step in place)
