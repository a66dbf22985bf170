"""What this problem's studies share: their scenarios and scales, and jobs for trainings and for rules."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from edgetwin.evaluation.statistics import Estimate
from edgetwin.evaluation.study import Job, Scale

A, B, PAPER, TRACKS = "network-sync/a", "network-sync/b", "network-sync/paper", "network-sync/tracks"
JOBS = "edgetwin.network_sync.jobs"
SEEDS: Mapping[Scale, int] = {"quick": 3, "full": 5}
SLOTS: Mapping[Scale, int] = {"quick": 60_000, "full": 200_000}
EPISODES: Mapping[Scale, int] = {"quick": 512, "full": 1500}


def training_jobs(name: str, scale: Scale, **settings: object) -> list[Job]:
    """A job for every seed."""
    fixed = {"slots": SLOTS[scale], "evaluations": 10, "episodes": EPISODES[scale]}
    return [Job(f"{name}, seed {seed}", f"{JOBS}:training", {**settings, **fixed, "seed": seed}) for seed in range(SEEDS[scale])]


def rules_job(base: str, scale: Scale, policies: Sequence[str], changes: Mapping[str, object] = MappingProxyType({})) -> Job:
    """The policies on the scenario `base` with some settings changed."""
    name = f"rules on {base}" + "".join(f", {key.split('.')[1]} {value}" for key, value in changes.items())
    settings = {"scenario": base, "set": dict(changes), "policies": list(policies), "episodes": EPISODES[scale], "rules": base}
    return Job(name, f"{JOBS}:rules", settings)


def percent(saving: Estimate, sign: int) -> Estimate:
    """A share as percent; with sign −1 what was below counts as above."""
    ends = saving.ci95 and tuple(sorted(100 * sign * end for end in saving.ci95))
    return Estimate(100 * sign * saving.mean, ends or None)  # type: ignore[arg-type]
