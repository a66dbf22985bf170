"""Runs that a training begins from: what they had learned, their experience, and a digest by which they are known again.

A run's checkpoint is read as a whole, so that what is carried over (`learning.transfer`) is what training there would have gone on with.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from edgetwin.errors import InputError
from edgetwin.learning import arrays
from edgetwin.learning import replay as ring
from edgetwin.learning.learner import Learner
from edgetwin.learning.off_policy import State
from edgetwin.learning.runs import CHECKPOINT, read_run


class Source(NamedTuple):
    """A run to begin from. `about` as in its checkpoint; `digest` is its checkpoint's; learned and replay as in `off_policy.State`."""

    folder: Path
    about: Mapping[str, Any]
    digest: str
    learned: Any
    replay: ring.Replay

    @property
    def origin(self) -> dict[str, Any]:
        """What run.json of a training that begins from it says of it; plain data."""
        about = self.about
        return {
            "run": str(self.folder.resolve()),
            "checkpoint": self.digest,
            "scenario": about["scenario"]["name"],
            "scenario_digest": about["scenario"]["digest"],
            "seed": about["seed"],
            "slots": about["done"]["blocks"] * about["block_slots"],
        }


def read_source(learner: Learner, folder: Path) -> Source:
    """The run in `folder` as `learner` can begin from it.

    Raises InputError where there is no run, or none with a checkpoint; for a run of another task or algorithm; where its networks or its
    experience have other sizes; and for a learner without replay.
    """
    like = jax.eval_shape(learner.init, jax.random.key(0))
    if not isinstance(like, State):
        raise InputError(f"{learner.name}: cannot begin from a run: that takes an algorithm that learns from replay")
    asked = read_run(folder)
    path = folder / CHECKPOINT
    if not path.is_file():
        raise InputError(
            f"{folder}: was stopped before its first checkpoint, so that there is nothing to begin from: --resume it"
        )
    for what, here, there in (
        ("task", learner.task.name, asked["task"]),
        ("algorithm", _plainly(learner.name), _plainly(asked["algorithm"])),
    ):
        if here != there:
            raise InputError(f"{folder}: is a run of {what} {there}: a training of {here} cannot begin from it")
    found, about = arrays.read(path)
    try:
        learned = arrays.restore(like.learned, _below(".learned", found))
        rows = _below(".replay.rows", found)
        capacity = min((len(leaf) for leaf in rows.values()), default=0)
        fitting = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((capacity, *leaf.shape[1:]), leaf.dtype), like.replay.rows)
        replay = ring.Replay(arrays.restore(fitting, rows), found[".replay.added"])
    except (ValueError, KeyError) as error:
        there, here = about["scenario"]["name"], learner.task.scenario.name
        raise InputError(
            f"{folder}: what was learned on {there} does not fit {here}: {error}; users and servers must be as many"
        ) from None
    return Source(folder, about, hashlib.sha256(path.read_bytes()).hexdigest()[:16], learned, replay)


def check_one_lineage(sources: Sequence[Source]) -> None:
    """Raises InputError where runs are not one lineage in order: each but the first must have begun from one before it."""
    for number, source in enumerate(sources[1:], 1):
        parents = {each["checkpoint"] for each in source.about.get("origin", {}).get("sources", ())}
        before = sources[:number]
        if not parents & {each.digest for each in before}:
            names = ", ".join(str(each.folder) for each in before)
            raise InputError(
                f"{source.folder}: did not begin from {names}: a mean is of one lineage, whose runs are given in their order"
            )


def _below(place: str, found: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    return {name.removeprefix(place): leaf for name, leaf in found.items() if name.startswith(place)}


def _plainly(algorithm: str) -> str:
    return algorithm.partition("[")[0]
