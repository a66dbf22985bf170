"""The host loop that trains any learner: compiled blocks, evaluations on the way, a line of metrics for each, and checkpoints.

A checkpoint is everything (`learning.learner`), so a run that was killed goes on bit for bit. Training, its evaluations and
comparisons draw their worlds from random streams of their own and never share one.
"""

import functools
import json
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from edgetwin.errors import InputError, did_you_mean
from edgetwin.evaluation.compare import shares_of
from edgetwin.evaluation.rollout import device_rollout
from edgetwin.evaluation.statistics import pooled
from edgetwin.files import check_writable, replacing
from edgetwin.learning import arrays
from edgetwin.learning.learner import Learner
from edgetwin.learning.runs import (
    CHECKPOINT,
    METRICS,
    POLICY,
    RUN,
    Run,
    differences,
    identity,
    plain,
    read_metrics,
    read_run,
    trained,
)
from edgetwin.problem import Policy, episode_keys

TRAINING_STREAM, EVALUATION_STREAM = 0x7EAC4E11, 0x7E57F00D
CHECKPOINT_EVERY_S = 10.0

Progress = Callable[[int, int, Mapping[str, Any]], None]


class Stopped(KeyboardInterrupt):
    """^C during a training: its folder, if it has one, can be resumed."""

    def __init__(self, folder: Path | None, slots: int):
        super().__init__(f"stopped after {slots:,} slots")
        self.folder = folder


class Training(NamedTuple):
    """A training between two blocks. `lines` are its metrics so far."""

    state: Any
    blocks: int
    seconds: float
    lines: tuple[dict[str, Any], ...]


class Programs(NamedTuple):
    """A learner's compiled functions. `totals(params, keys)` are the sums of each evaluation episode's metrics."""

    init: Callable[..., Any]
    block: Callable[..., Any]
    policy: Callable[..., Any]
    totals: Callable[..., Any]


def train(
    learner: Learner,
    seed: int = 0,
    budget: int | str = "quick",
    out: Path | None = None,
    evaluations: int = 10,
    evaluation_episodes: int = 64,
    progress: Progress = lambda slots, budget, line: None,
) -> Run:
    """Trains for `budget` slots ("quick", "paper" or a number), rounded up to whole blocks, and returns the trained policy.

    The deterministic policy is evaluated at the start, and `evaluations` times after it, the last at the end; on the same
    `evaluation_episodes` for every training. With `out`, the run is kept in that folder. progress(slots, budget, line) is told each
    line of the metrics.
    Raises InputError for an impossible number, a folder that holds a run, and where learning diverges: a loss, or what is learned, is
    no longer finite. Then the folder holds what was learned up to the block in which that happened. Raises Stopped on ^C.
    """
    for name, value in (("evaluations", evaluations), ("evaluation episodes", evaluation_episodes)):
        if value < 1:
            raise InputError(f"{name} = {value}: must be at least 1")
    episode_keys(seed, 1)
    about = {
        **identity(learner, seed),
        "budget": slots_of(learner, budget),
        "block_slots": learner.block_slots,
        "evaluation": {"times": evaluations, "episodes": evaluation_episodes, "slots": learner.task.spec.comparison_slots},
    }
    if out is not None:
        _begin(out, about)
    return _run(learner, about, lambda: _start(learner, seed), out, progress)


def resume(learner: Learner, folder: Path, progress: Progress = lambda slots, budget, line: None) -> Run:
    """Goes on with the run in `folder` from its last checkpoint to its budget; without a checkpoint, from its beginning.

    The result is that of a training that was never stopped, bit for bit. Raises InputError for a run of another learner, scenario or
    version, for a damaged folder, and where learning diverges; Stopped on ^C.
    """
    about = read_run(folder)
    check_same(about, learner, folder)
    stored = _stored(learner, folder, about) if (folder / CHECKPOINT).exists() else None
    with replacing(folder / METRICS) as file:
        file.writelines(_dumped(line) for line in (stored.lines if stored else ()))
    return _run(learner, about, lambda: stored or _start(learner, about["seed"]), folder, progress)


def train_or_resume(
    learner: Learner, seed: int, budget: int | str, out: Path, evaluations: int = 10, evaluation_episodes: int = 64
) -> Run:
    """`train` into a folder, or where that holds a run already, from where it stopped: for work that may be killed and asked for again."""
    if (out / RUN).exists():
        return resume(learner, out)
    return train(learner, seed, budget, out, evaluations, evaluation_episodes)


def slots_of(learner: Learner, budget: int | str) -> int:
    """A budget in slots. Raises InputError for a name that the learner does not have, or a number below 1."""
    if isinstance(budget, str) and not budget.lstrip("-").isdigit():
        if budget not in learner.budgets:
            known = list(learner.budgets)
            raise InputError(f"budget {budget!r}: must be {', '.join(known)} or a number of slots{did_you_mean(budget, known)}")
        return learner.budgets[budget]
    if int(budget) < 1:
        raise InputError(f"budget = {budget}: must be at least 1 slot")
    return int(budget)


def check_same(about: Mapping[str, Any], learner: Learner, folder: Path) -> None:
    """Raises InputError where a run's folder or checkpoint is that of another task, algorithm, version, scenario or setting."""
    here = identity(learner, about["seed"])
    for key in ("task", "algorithm"):
        if about[key] != here[key]:
            raise InputError(
                f"{folder}: is a run of {key} {about[key]}, not {here[key]}: resume it as such, or train into another folder"
            )
    for name, value in here["versions"].items():
        if about["versions"].get(name) != value:
            raise InputError(
                f"{folder}: is a run of {name} {about['versions'].get(name)}, not {value}: "
                f"resume it with the {name} that began it, or train into another folder"
            )
    if about["scenario"]["digest"] != here["scenario"]["digest"]:
        what = differences(about["scenario"], here["scenario"])
        raise InputError(f"{folder}: is a run on another scenario: {what}; resume it on its own, or train into another folder")
    settings = {**here["settings"], "block_slots": learner.block_slots}
    for key, value in {**about["settings"], "block_slots": about["block_slots"]}.items():
        if settings.get(key) != value:
            raise InputError(f"{folder}: is a run with {key} = {value}, not {settings.get(key)}: train into another folder")
    if about.get("origin") != here.get("origin"):
        there, now = (_began(each.get("origin")) for each in (about, here))
        raise InputError(f"{folder}: is a run that began {there}, not {now}: train into another folder")


@functools.lru_cache(maxsize=8)
def programs(learner: Learner) -> Programs:
    """A learner's compiled functions, compiled once for all trainings with it, and for all learners that share them."""
    learn, follow = jax.jit(learner.block), learner.after and jax.jit(learner.after)
    task: Any = learner.task

    def block(state: Any) -> tuple[Any, Mapping[str, jax.Array]]:
        state, figures = learn(state)
        if follow is None:
            return state, figures
        state, more = follow(state)
        return state, {**figures, **more}

    return Programs(jax.jit(learner.init), block, jax.jit(learner.policy), _totals(task, learner.act))


@functools.lru_cache(maxsize=8)
def _totals(task: Any, act: Callable[..., Any]) -> Callable[..., Any]:
    slots = task.spec.comparison_slots

    @jax.jit
    def totals(params: Any, keys: jax.Array) -> Any:
        def decide(carry: Any, view: Any, key: Any) -> Any:
            return carry, act(params, view.observation, key)

        sums, _ = device_rollout(Policy("evaluated", task, decide), slots, slots)(keys)
        return jax.tree.map(lambda leaf: leaf.sum(axis=1), sums)

    return totals


def evaluation_keys(episodes: int) -> jax.Array:
    """Keys of the evaluation's episodes: the same for every training, none of a comparison's. Returns (episodes,)."""
    key = jax.random.fold_in(jax.random.key(0), EVALUATION_STREAM)
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(np.arange(episodes))


def evaluate(learner: Learner, params: Any, episodes: int) -> dict[str, Any]:
    """The task's metrics of the deterministic policy, each a mean with its 95 % interval."""
    sums = jax.tree.map(np.asarray, programs(learner).totals(params, evaluation_keys(episodes)))
    estimates = {name: pooled(*share) for name, share in shares_of(learner.task, sums).items()}
    return {
        name: {"mean": _number(each.mean), "ci95": [_number(end) for end in each.ci95] if each.ci95 else None}
        for name, each in estimates.items()
    }


def _start(learner: Learner, seed: int) -> Training:
    state = learner.begin(programs(learner).init(jax.random.fold_in(jax.random.key(seed), TRAINING_STREAM)))
    return Training(_plainly_typed(state), 0, 0.0, ())


def _run(learner: Learner, about: dict[str, Any], begin: Callable[[], Training], folder: Path | None, progress: Progress) -> Run:
    """Blocks until the budget is used, with a checkpoint now and then and at the end."""
    blocks = math.ceil(about["budget"] / about["block_slots"])
    kept_s = time.monotonic()
    training = None
    try:
        training = begin()
        for line in training.lines:
            progress(line["slots"], about["budget"], line)
        if not training.lines:
            began = time.monotonic()
            line = {"slots": 0, **_evaluated(learner, about, training)}
            training = _noted(training, line, time.monotonic() - began, folder, about, progress)
        while training.blocks < blocks:
            training = _advanced(learner, about, training, blocks, folder, progress)
            if folder is not None and (time.monotonic() - kept_s > CHECKPOINT_EVERY_S or training.blocks == blocks):
                _keep(learner, about, training, folder)
                kept_s = time.monotonic()
    except KeyboardInterrupt:
        if folder is not None and training is not None:
            _keep(learner, about, training, folder)
        raise Stopped(folder, training.blocks * learner.block_slots if training else 0) from None
    params = programs(learner).policy(training.state)
    return trained(learner, params, _of_policy(about, training), training.lines, folder)


def _advanced(
    learner: Learner, about: dict[str, Any], training: Training, blocks: int, folder: Path | None, progress: Progress
) -> Training:
    """One block, evaluated where it is time, and its line."""
    began = time.monotonic()
    state, figures = programs(learner).block(training.state)
    after = training._replace(state=_plainly_typed(state), blocks=training.blocks + 1)
    slots = after.blocks * learner.block_slots
    if wrong := _not_finite(learner, state, figures):
        if folder is not None:
            _keep(learner, about, training, folder)
        kept = "" if folder is None else f"; what it had learned before is kept in {folder}"
        raise InputError(
            f"{learner.name}: {wrong} between slots {slots - learner.block_slots:,} and {slots:,}: lower the learning rate{kept}"
        )
    line = {"slots": slots, "training": {key: _numbers(value) for key, value in figures.items()}}
    due = {math.ceil(blocks * time / about["evaluation"]["times"]) for time in range(1, about["evaluation"]["times"] + 1)}
    if after.blocks in due:
        line |= _evaluated(learner, about, after)
    return _noted(after, line, time.monotonic() - began, folder, about, progress)


def _evaluated(learner: Learner, about: dict[str, Any], training: Training) -> dict[str, Any]:
    params = programs(learner).policy(training.state)
    return {"evaluation": evaluate(learner, params, about["evaluation"]["episodes"])}


def _not_finite(learner: Learner, state: Any, figures: Mapping[str, Any]) -> str:
    """What says that learning has diverged: a loss, or a part of what is learned; empty where all is well."""
    for name, value in figures.items():
        if name.endswith("loss") and figures.get("updates", 1) > 0 and not np.isfinite(value).all():
            return f"{name} became {np.asarray(value)}"
    learned = (learner.learned or programs(learner).policy)(state)
    for place, leaf in jax.tree_util.tree_leaves_with_path(learned):
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not np.isfinite(leaf).all():
            return f"{jax.tree_util.keystr(place).lstrip('.') or 'the parameters'} became nan or infinite"
    return ""


def _noted(
    training: Training, line: dict[str, Any], seconds: float, folder: Path | None, about: dict[str, Any], progress: Progress
) -> Training:
    """The training with a line more, told and written."""
    seconds += training.seconds
    line = {"slots": line.pop("slots"), "seconds": round(seconds, 3), **line}
    if folder is not None:
        with open(folder / METRICS, "a", encoding="utf-8") as file:
            file.write(_dumped(line))
    progress(line["slots"], about["budget"], line)
    return training._replace(seconds=seconds, lines=(*training.lines, line))


def _begin(folder: Path, about: dict[str, Any]) -> None:
    for name in (RUN, METRICS, CHECKPOINT, POLICY):
        if (folder / name).exists():
            raise InputError(f"{folder}: already holds a run: go on with it (--resume {folder}), or choose another folder")
    check_writable(folder / RUN)
    with replacing(folder / RUN) as file:
        file.write(json.dumps(about, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def _keep(learner: Learner, about: dict[str, Any], training: Training, folder: Path) -> None:
    """The checkpoint, with the metrics up to it, and the policy."""
    done = {"blocks": training.blocks, "seconds": training.seconds, "lines": len(training.lines)}
    arrays.write(folder / CHECKPOINT, training.state, {**plain(about), "done": done})
    arrays.write(folder / POLICY, programs(learner).policy(training.state), _of_policy(about, training))


def _of_policy(about: dict[str, Any], training: Training) -> dict[str, Any]:
    return {**plain(about), "trained_slots": training.blocks * about["block_slots"]}


def _stored(learner: Learner, folder: Path, about: dict[str, Any]) -> Training:
    """A training as its checkpoint has it. Lines written after it are left out: they will be written again."""
    found, kept = arrays.read(folder / CHECKPOINT)
    check_same(kept, learner, folder / CHECKPOINT)
    if kept["seed"] != about["seed"]:
        raise InputError(
            f"{folder / CHECKPOINT}: is of seed {kept['seed']}, but {RUN} beside it of seed {about['seed']}: it is another run's"
        )
    lines = read_metrics(folder)[: kept["done"]["lines"]]
    if len(lines) < kept["done"]["lines"]:
        raise InputError(
            f"{folder / METRICS}: has {len(lines)} lines, but the checkpoint comes after {kept['done']['lines']}: it is damaged"
        )
    try:
        state = arrays.restore(jax.eval_shape(lambda: learner.begin(learner.init(jax.random.key(0)))), found)
    except ValueError as error:
        raise InputError(
            f"{folder / CHECKPOINT}: does not fit {learner.name}: {error}; train again into another folder"
        ) from None
    return Training(state, kept["done"]["blocks"], kept["done"]["seconds"], tuple(lines))


def _began(origin: Mapping[str, Any] | None) -> str:
    if origin is None:
        return "from nothing"
    sources = ", ".join(f"{source['run']} as of slot {source['slots']:,}" for source in origin["sources"])
    return f"from {sources} ({origin['transfer']})"


def _plainly_typed(state: Any) -> Any:
    """The state without JAX's weak types, so that one program serves the first block, the later ones and those after a checkpoint."""
    return jax.tree.map(lambda leaf: leaf if not getattr(leaf, "weak_type", False) else jnp.asarray(leaf, leaf.dtype), state)


def _number(value: Any) -> float | None:
    with suppress(TypeError):
        return float(value) if math.isfinite(value) else None
    return None


def _numbers(figure: Any) -> Any:
    """A figure as JSON has it: a number, or a list of them; None for what is not finite."""
    values = np.asarray(figure)
    return [_numbers(value) for value in values] if values.ndim else _number(values)


def _dumped(line: dict[str, Any]) -> str:
    return json.dumps(line, allow_nan=False) + "\n"
